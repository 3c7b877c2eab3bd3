"""The gateway process: takes studies in and turns complete series into jobs.

It imports neither torch nor holoscan, and the queue's client only once it listens.
"""

import threading
import time

from app.gateway.inbox import Inbox, Taken, read_jobs
from app.gateway.storage_scp import start_storage_scp
from app.jobs.commitments import CommitmentRecords
from app.jobs.job import SeriesJob
from app.jobs.layout import StorageLayout
from app.jobs.process import Heartbeat, stop_event
from app.logs import configure_logging, get_logger
from app.settings import Settings, load_settings
from models.errors import SpondylError

LONGEST_WAIT_S = 1.0
QUEUE_PATIENCE_S = 0.2

log = get_logger()


def run_gateway(settings: Settings, stop: threading.Event) -> None:
    """Listen, and queue what is complete, until `stop` is set.

    Raises:
        OSError: the port is taken or may not be bound.
    """
    layout = StorageLayout(settings.storage.resolve())
    layout.create()
    inbox = Inbox(
        layout,
        quiet_s=settings.assembly.quiet_s,
        minimum_free_bytes=settings.node.limits.minimum_free_mib << 20,
    )
    recovered = inbox.recover()
    node = settings.node
    scp = start_storage_scp(inbox, node, commitments=CommitmentRecords(layout))
    host, port = scp.address
    heartbeat = Heartbeat(layout, "gateway", host=host, port=port)
    log.info("gateway_listening", ae_title=node.ae_title, host=host, port=port, series_recovered=recovered)
    assembler = _Assembler(inbox, layout)
    heartbeat.start()
    try:
        assembler.run(stop)
    finally:
        scp.stop()
        heartbeat.stop()
        log.info("gateway_stopped")


class _Assembler:
    """Takes complete series out of the inbox and hands them to the queue, which may not be there yet."""

    def __init__(self, inbox: Inbox, layout: StorageLayout) -> None:
        from app.jobs.queue import JobQueue  # noqa: PLC0415  half a second that the Storage SCP does not wait for

        self._inbox = inbox
        self._queue = JobQueue(layout.queue_url)
        # A crash between the rename and the queue leaves a job that nobody knows; a second submission is none.
        self._unsent = [Taken(job, is_repeat=False) for job in read_jobs(layout)]

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._inbox.changed.wait(self._wait_s())
            self._inbox.changed.clear()
            for taken in self._inbox.take_complete():
                log.info("series_repeated" if taken.is_repeat else "series_complete", **_ids(taken.job))
                self._unsent.append(taken)
            self._send()
        self._queue.close()

    def _wait_s(self) -> float:
        waits = [LONGEST_WAIT_S]
        if self._unsent:
            waits.append(QUEUE_PATIENCE_S)
        completion = self._inbox.next_completion()
        if completion is not None:
            waits.append(max(0.0, completion - time.monotonic()))
        return min(waits)

    def _send(self) -> None:
        from app.jobs.queue import QueueUnavailable  # noqa: PLC0415  likewise

        while self._unsent:
            try:
                self._hand_over(self._unsent[0])
            except QueueUnavailable as fault:
                log.debug("queue_unavailable", reason=str(fault))
                return
            self._unsent.pop(0)

    def _hand_over(self, taken: Taken) -> None:
        self._queue.submit(taken.job)
        if taken.is_repeat and self._queue.retry_if_failed(taken.job.job_id):
            log.info("job_retried", **_ids(taken.job))


def _ids(job: SeriesJob) -> dict[str, str | int]:
    return {"job": job.job_id, "series_instance_uid": job.series_instance_uid, "instances": job.instance_count}


def main() -> int:
    """Run the gateway with the settings in force."""
    stop = stop_event()
    settings = load_settings()
    configure_logging(settings.log_level, process="gateway")
    try:
        run_gateway(settings, stop)
    except (OSError, SpondylError) as fault:
        log.error("gateway_failed", reason=str(fault))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
