"""What a monitor polls: metrics in Prometheus' text format, and whether the node is ready."""

import shutil
from collections import Counter

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from app.jobs.job import JobState
from app.jobs.layout import StorageLayout
from app.jobs.process import read_signs
from app.jobs.queue import JobStatus

NEEDED_PROCESSES = ("gateway", "worker")


def missing_processes(layout: StorageLayout) -> tuple[str, ...]:
    """Return the kinds of processes that the node cannot do without and of which none gives a sign of life."""
    kinds = {_kind(name) for name in read_signs(layout)}
    return tuple(kind for kind in NEEDED_PROCESSES if kind not in kinds)


def _kind(process: str) -> str:
    """Return the kind of a process by its name: `north.worker-2` is a worker."""
    return process.rpartition(".")[2].partition("-")[0]


def metrics_text(layout: StorageLayout, jobs: tuple[JobStatus, ...]) -> bytes:
    """Return the metrics of a node.

    Args:
        layout: where the node keeps what.
        jobs: the jobs to count.
    """
    registry = CollectorRegistry()
    by_state = Gauge("spondyl_jobs", "Jobs on record by state.", ["state"], registry=registry)
    counted = Counter(status.state for status in jobs)
    for state in JobState:
        by_state.labels(state=state.value).set(counted[state])
    processes = Gauge("spondyl_process_up", "1 where a process gives a sign of life.", ["process"], registry=registry)
    alive = read_signs(layout)
    for name in sorted({file.name for file in layout.heartbeats.iterdir() if not file.name.startswith(".")}):
        processes.labels(process=name).set(name in alive)
    for kind in missing_processes(layout):
        processes.labels(process=kind).set(0)
    waiting = [status.created_at.timestamp() for status in jobs if status.state is JobState.QUEUED]
    oldest = Gauge("spondyl_oldest_queued_job_seconds", "When the oldest waiting job came.", registry=registry)
    oldest.set(min(waiting, default=0.0))
    disk = Gauge("spondyl_storage_free_bytes", "Free space of the storage folder.", registry=registry)
    disk.set(shutil.disk_usage(layout.root).free)
    return generate_latest(registry)
