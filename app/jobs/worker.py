"""The worker process: keeps the networks loaded and runs the durable workflows."""

import os
import resource
import shutil
import sys
import threading
import time
from typing import NoReturn

from dbos import DBOS

from app.jobs.job import FINAL_STATES, JobState
from app.jobs.layout import StorageLayout
from app.jobs.process import Heartbeat, stop_event
from app.jobs.queue import (
    DELIVERY_QUEUE,
    PROCESSING_QUEUE,
    WORKFLOW_VERSION,
    JobQueue,
    JobStatus,
    QueueUnavailable,
    UnknownJob,
)
from app.jobs.results import Runner
from app.jobs.workflow import register_workflows
from app.logs import configure_logging, get_logger
from app.settings import Retention, Settings, load_settings

EXECUTOR = "worker-1"  # the same after a restart: so DBOS gives it back what it had begun
POLLING_INTERVAL_S = 0.1
ENDING_GRACE_S = 5
RETENTION_EVERY_S = 600.0
HOLOSCAN_STACK_BYTES = 32 << 20  # Holoscan's schedulers ask for it

log = get_logger()


def run_worker(settings: Settings, runner: Runner, stop: threading.Event) -> None:
    """Process and deliver jobs until `stop` is set.

    Args:
        settings: of the node.
        runner: does the work on one series.
        stop: ends the worker; what it is doing is done again by the next one.
    """
    layout = StorageLayout(settings.storage.resolve())
    layout.create()
    DBOS(
        config={
            "name": "spondyl",
            "system_database_url": layout.queue_url,
            "executor_id": EXECUTOR,
            "application_version": WORKFLOW_VERSION,
            "log_level": "CRITICAL",
        }
    )
    register_workflows(runner, settings)
    DBOS.launch()
    DBOS.register_queue(PROCESSING_QUEUE, worker_concurrency=1, polling_interval_sec=POLLING_INTERVAL_S)
    # Without a limit: a delivery that waits is a sleeping coroutine, and each destination has its own threads.
    DBOS.register_queue(DELIVERY_QUEUE, polling_interval_sec=POLLING_INTERVAL_S)
    heartbeat = Heartbeat(layout, "worker")
    heartbeat.start()
    log.info("worker_ready")
    _keep_house(layout, settings.retention, stop)
    heartbeat.stop()
    DBOS.destroy(workflow_completion_timeout_sec=ENDING_GRACE_S)
    log.info("worker_stopped")


def apply_retention(layout: StorageLayout, retention: Retention, *, now: float) -> int:
    """Remove input and output of jobs that ended long enough ago; their records stay.

    Args:
        layout: where the node keeps what.
        retention: how long each kind is kept.
        now: seconds since the epoch.

    Returns:
        How many jobs were emptied.
    """
    queue = JobQueue(layout.queue_url)
    emptied = 0
    try:
        for folder in layout.jobs.iterdir():
            contents = [child for child in (folder / "input", folder / "output") if child.is_dir()]
            if contents and _is_over(queue.get(folder.name), retention, now):
                for child in contents:
                    shutil.rmtree(child)
                emptied += 1
    except (QueueUnavailable, UnknownJob):  # a job that is not queued yet; the next round sees it
        log.debug("retention_postponed")
    finally:
        queue.close()
    return emptied


def _is_over(status: JobStatus, retention: Retention, now: float) -> bool:
    if status.state not in FINAL_STATES:
        return False
    hours = retention.failed_hours if status.state is JobState.FAILED else retention.delivered_hours
    return hours is not None and now - status.updated_at.timestamp() > hours * 3600


def _keep_house(layout: StorageLayout, retention: Retention, stop: threading.Event) -> None:
    while not stop.wait(RETENTION_EVERY_S):
        log.info("retention_applied", jobs=apply_retention(layout, retention, now=time.time()))


def main() -> int:
    """Run the worker with the settings in force and the engines."""
    stop = stop_event()
    settings = load_settings()
    configure_logging(settings.log_level, process="worker")
    _, hard = resource.getrlimit(resource.RLIMIT_STACK)
    resource.setrlimit(resource.RLIMIT_STACK, (HOLOSCAN_STACK_BYTES, hard))
    from app.jobs.runner import engine_runner  # noqa: PLC0415  only the real worker loads networks

    run_worker(settings, engine_runner(settings), stop)
    return 0


def leave(status: int) -> NoReturn:
    """End the process at once, whatever its workflows do: the queue knows how far they came.

    An ordinary exit would wait for a delivery that sleeps until a destination is asked again.
    """
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    leave(main())
