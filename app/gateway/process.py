"""The gateway process: takes studies in and turns complete series into jobs.

It imports neither torch nor holoscan, and the queue's client only once it listens.
"""

import gc
import hashlib
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.config import IGNORE
from pydicom.config import settings as pydicom_settings

from app.gateway.inbox import Inbox
from app.gateway.storage_scp import start_storage_scp
from app.gateway.taking import Taken
from app.jobs.commitments import CommitmentRecords
from app.jobs.job import SeriesJob
from app.jobs.layout import StorageLayout
from app.jobs.process import Heartbeat, PulseWatch, name_of_this_process, process_name, stop_event
from app.jobs.set_aside import clear_place, set_aside
from app.logs import configure_logging, get_logger
from app.settings import Settings, load_settings
from models.errors import SpondylError

if TYPE_CHECKING:
    from app.jobs.queue import JobQueue

LONGEST_WAIT_S = 1.0
QUEUE_PATIENCE_S = 0.2
LOOK_AROUND_EVERY_S = 2.0

log = get_logger()


def run_gateway(settings: Settings, stop: threading.Event, *, name: str = "gateway") -> None:
    """Listen, and queue what is complete, until `stop` is set.

    Args:
        settings: of the node.
        stop: ends the gateway.
        name: of this process in its node.

    Raises:
        OSError: the port is taken or may not be bound.
    """
    pydicom_settings.reading_validation_mode = IGNORE  # the inbox checks what it uses
    layout = StorageLayout(settings.storage.resolve())
    layout.create()
    gateway = process_name(settings, name)
    packs = _PackIdentities(settings.packs)
    inbox = Inbox(
        layout,
        quiet_s=settings.assembly.quiet_s,
        minimum_free_bytes=settings.node.limits.minimum_free_mib << 20,
        gateway=gateway,
        packs=packs.of_modality,
    )
    recovered = inbox.recover()
    node = settings.node
    scp = start_storage_scp(inbox, node, commitments=CommitmentRecords(layout))
    host, port = scp.address
    heartbeat = Heartbeat(layout, gateway, host=host, port=port)
    log.info("gateway_listening", ae_title=node.ae_title, host=host, port=port, series_recovered=recovered)
    assembler = _Assembler(inbox, layout, settings, gateway)
    clear_place(layout, layout.heartbeats / gateway)
    heartbeat.start()
    gc.collect()
    gc.freeze()  # what the start has made stays: looking through it again would halt every association
    try:
        assembler.run(stop)
    finally:
        scp.stop()
        heartbeat.stop()
        log.info("gateway_stopped")


class _PackIdentities:
    """Tells apart the packs that may answer for a modality; reads their descriptions alone, never their weights."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of_modality(self, modality: str) -> tuple[str, ...]:
        """Return a digest per installed pack that takes a modality: of its version, settings and weights' digests."""
        identities = []
        for file in sorted(self._folder.glob("*/pack.json")):
            content = file.read_bytes()
            try:
                accepted = json.loads(content)["accepts"].get("modality", ())
            except (ValueError, KeyError, AttributeError):  # the worker will say what is wrong with it
                continue
            if modality in accepted:
                identities.append(hashlib.sha256(content).hexdigest())
        return tuple(identities)


class _Assembler:
    """Takes complete series out of the inbox and hands them to the queue, which may not be there yet."""

    def __init__(self, inbox: Inbox, layout: StorageLayout, settings: Settings, gateway: str) -> None:
        from app.jobs.queue import queue_of  # noqa: PLC0415  half a second that the Storage SCP does not wait for

        self._inbox = inbox
        self._layout = layout
        self._gateway = gateway
        self._queue: JobQueue = queue_of(settings)
        self._watch = PulseWatch(layout)
        self._looked_at = 0.0
        self._repeats: list[Taken] = []
        self._unsent: dict[str, SeriesJob] = {}
        self._find_unsent()

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._inbox.changed.wait(self._wait_s())
            self._inbox.changed.clear()
            try:
                self._advance()
            except Exception as fault:  # damage that nothing foresees: reception goes on, and so does the next round
                log.error("assembly_failed", fault=type(fault).__name__)
                stop.wait(LONGEST_WAIT_S)
        self._queue.close()

    def _advance(self) -> None:
        for taken in self._inbox.take_complete():
            log.info("series_repeated" if taken.is_repeat else "series_complete", **_ids(taken.job))
            if taken.is_repeat:
                self._repeats.append(taken)
            self._unsent[taken.job.job_id] = taken.job
        if time.monotonic() - self._looked_at > LOOK_AROUND_EVERY_S:
            self._look_around()
        self._send()

    def _wait_s(self) -> float:
        waits = [LONGEST_WAIT_S]
        if self._unsent:
            waits.append(QUEUE_PATIENCE_S)
        completion = self._inbox.next_completion()
        if completion is not None:
            waits.append(max(0.0, completion - time.monotonic()))
        return min(waits)

    def _look_around(self) -> None:
        """See what other gateways have received, and take up what those that have died have left behind."""
        self._looked_at = time.monotonic()
        self._inbox.look_around()
        entries = [entry for kind in (self._layout.partial, self._layout.taking) for entry in kind.iterdir()]
        for stray in (entry for entry in entries if not entry.is_dir()):
            set_aside(self._layout, stray, "a file where the folders of gateways lie")
        folders = {folder.name for folder in entries if folder.is_dir()}
        dead = [name for name in sorted(folders - {self._gateway}) if self._watch.is_dead(name)]
        left = [name for name in dead if any((self._layout.taking / name).glob("*")) or self._has_parts(name)]
        if left:
            log.warning("gateway_taken_over", gateways=left, series=self._inbox.recover(left))
        if dead:
            self._find_unsent()

    def _has_parts(self, gateway: str) -> bool:
        return any((self._layout.partial / gateway).glob("*"))

    def _find_unsent(self) -> None:
        """A crash between the rename and the queue leaves a job that nobody knows; a second submission is none."""
        for marker in self._layout.unsent.iterdir():
            record = self._layout.job_folder(marker.name) / "job.json"
            if not marker.is_file():
                set_aside(self._layout, marker, "a folder where the marks of jobs lie")
            elif marker.name not in self._unsent and record.is_file():
                try:
                    self._unsent[marker.name] = SeriesJob.from_mapping(_read(record))
                except (ValueError, KeyError, TypeError, OSError):
                    set_aside(self._layout, marker, "the mark of a job whose job.json cannot be read")

    def _send(self) -> None:
        from app.jobs.queue import QueueUnavailable  # noqa: PLC0415  likewise

        try:
            for job in tuple(self._unsent.values()):
                self._queue.submit(job)
                clear_place(self._layout, self._layout.unsent / job.job_id)
                (self._layout.unsent / job.job_id).unlink(missing_ok=True)
                del self._unsent[job.job_id]
            while self._repeats:
                job = self._repeats[0].job
                if self._queue.retry_if_failed(job.job_id):
                    log.info("job_retried", **_ids(job))
                self._repeats.pop(0)
        except QueueUnavailable as fault:
            log.debug("queue_unavailable", reason=str(fault))


def _read(file: Path) -> Mapping[str, object]:
    content: Mapping[str, object] = json.loads(file.read_text("ascii"))
    return content


def _ids(job: SeriesJob) -> dict[str, str | int]:
    ids = {"job": job.job_id, "series_instance_uid": job.series_instance_uid}
    return {**ids, "instances": job.instance_count, "version": job.version}


def main() -> int:
    """Run the gateway with the settings in force."""
    stop = stop_event()
    settings = load_settings()
    name = name_of_this_process("gateway")
    configure_logging(settings.log_level, process=process_name(settings, name))
    try:
        run_gateway(settings, stop, name=name)
    except (OSError, SpondylError) as fault:
        log.error("gateway_failed", reason=str(fault))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
