"""The worker process: runs the durable workflows, and keeps an engine process warm for them."""

import os
import sys
import threading
import time
from typing import NoReturn

from dbos import DBOS

from app.jobs.comparison import begin, mend
from app.jobs.engine_process import EngineLimits, EngineProcess
from app.jobs.json_only import SERIALIZER, close_pickles
from app.jobs.keeping import apply_retention, forget_rows
from app.jobs.layout import StorageLayout
from app.jobs.process import Heartbeat, name_of_this_process, process_name, stop_event
from app.jobs.queue import (
    DELIVERY_QUEUE,
    PROCESSING_QUEUE,
    WORKFLOW_VERSION,
    JobQueue,
    QueueUnavailable,
    queue_of,
    queue_url,
)
from app.jobs.results import EngineLost, Runner
from app.jobs.shares import share_of, this_machine
from app.jobs.taking_over import TakingOver
from app.jobs.workflow import register_workflows
from app.logs import configure_logging, get_logger
from app.settings import Settings, load_settings

POLLING_INTERVAL_S = 0.1
ENDING_GRACE_S = 5
TAKE_OVER_EVERY_S = 3.0
RETENTION_EVERY_S = 600.0
FIRST_WORKER = "worker-1"

log = get_logger()


def run_worker(settings: Settings, runner: Runner, stop: threading.Event, *, name: str = FIRST_WORKER) -> None:
    """Process and deliver jobs until `stop` is set.

    Args:
        settings: of the node.
        runner: does the work on one series.
        stop: ends the worker; what it is doing is done again by the next one.
        name: of this process in its node. The same after a restart, so that DBOS gives it back what it had begun.
    """
    layout = StorageLayout(settings.storage.resolve())
    layout.create()
    executor = process_name(settings, name)
    close_pickles()
    DBOS(
        config={
            "name": "spondyl",
            "system_database_url": queue_url(settings),
            "executor_id": executor,
            "application_version": WORKFLOW_VERSION,
            "log_level": "CRITICAL",
            "serializer": SERIALIZER,
        }
    )
    register_workflows(runner, settings)
    DBOS.launch()
    DBOS.register_queue(PROCESSING_QUEUE, worker_concurrency=1, polling_interval_sec=POLLING_INTERVAL_S)
    # Without a limit: a delivery that waits is a sleeping coroutine, and each destination has its own threads.
    DBOS.register_queue(DELIVERY_QUEUE, polling_interval_sec=POLLING_INTERVAL_S)
    if name == FIRST_WORKER:
        begin(layout)
    heartbeat = Heartbeat(layout, executor)
    heartbeat.start()
    log.info("worker_ready")
    _keep_house(settings, TakingOver(layout, executor), stop, keeps_files=name == FIRST_WORKER)
    heartbeat.stop()
    DBOS.destroy(workflow_completion_timeout_sec=ENDING_GRACE_S)
    log.info("worker_stopped")


def _keep_house(settings: Settings, taking_over: TakingOver, stop: threading.Event, *, keeps_files: bool) -> None:
    layout = StorageLayout(settings.storage.resolve())
    queue = queue_of(settings)
    next_retention = time.monotonic() + RETENTION_EVERY_S
    compared = not keeps_files or _compare(layout, queue, stop)
    while not stop.wait(TAKE_OVER_EVERY_S):
        try:
            taking_over.look()
        except Exception as fault:  # the database may be away for a while: the next round sees it
            log.warning("take_over_postponed", fault=type(fault).__name__)
        compared = compared or _compare(layout, queue, stop)
        if keeps_files and time.monotonic() >= next_retention:
            next_retention = time.monotonic() + RETENTION_EVERY_S
            compared = _compare(layout, queue, stop)
            emptied = apply_retention(layout, settings.retention, queue, now=time.time())
            log.info("retention_applied", jobs=emptied, forgotten=forget_rows(layout, queue, now=time.time()))
    queue.close()


def _compare(layout: StorageLayout, queue: JobQueue, stop: threading.Event) -> bool:
    try:
        mend(layout, queue, stop)
    except (QueueUnavailable, OSError) as fault:
        log.warning("comparison_postponed", fault=type(fault).__name__)
        return False
    return True


def run_with_engine(settings: Settings, module: str, stop: threading.Event, *, name: str) -> None:
    """Run a worker whose engine has a process of its own.

    Args:
        settings: of the node.
        module: the program of the engine.
        stop: ends both.
        name: of this process in its node: `worker-` and its number.
    """
    number = int(name.rpartition("-")[2])
    share = share_of(settings, this_machine(), number)
    limits = EngineLimits(settings.workers.time_limit_s, share.memory_mib)
    log_name = process_name(settings, f"engine-{number}")
    engine = EngineProcess(module, limits, arguments=(log_name,), environment=share.environment)
    try:
        engine.start()
    except EngineLost as loss:  # each job will say so; one that has none in the way may be delivered meanwhile
        log.error("engine_not_started", reason=str(loss))
    threading.Thread(target=engine.keep_warm, args=(stop,), name="keep-warm", daemon=True).start()
    try:
        run_worker(settings, engine, stop, name=name)
    finally:
        engine.stop()


def main(engine: str = "app.jobs.engine") -> int:
    """Run the worker with the settings in force.

    Args:
        engine: the program of the engine.
    """
    stop = stop_event()
    settings = load_settings()
    name = name_of_this_process(FIRST_WORKER)
    configure_logging(settings.log_level, process=process_name(settings, name))
    run_with_engine(settings, engine, stop, name=name)
    return 0


def leave(status: int) -> NoReturn:
    """End the process at once, whatever its workflows do: the queue knows how far they came.

    An ordinary exit would wait for a delivery that sleeps until a destination is asked again.
    """
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main())
