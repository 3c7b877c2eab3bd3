"""What a monitor polls: metrics in Prometheus' text format, and whether the node is ready."""

import shutil
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from app.jobs.job import JobState
from app.jobs.layout import StorageLayout
from app.jobs.process import read_signs
from app.jobs.queue_counts import OpenCounts

NEEDED_PROCESSES = ("gateway", "worker")


def missing_processes(layout: StorageLayout) -> tuple[str, ...]:
    """Return the kinds of processes that the node cannot do without and of which none gives a sign of life."""
    kinds = {_kind(name) for name in read_signs(layout)}
    return tuple(kind for kind in NEEDED_PROCESSES if kind not in kinds)


def _kind(process: str) -> str:
    """Return the kind of a process by its name: `north.worker-2` is a worker."""
    return process.rpartition(".")[2].partition("-")[0]


def metrics_text(layout: StorageLayout, counts: tuple[OpenCounts, Mapping[JobState, int]] | None) -> bytes:
    """Return the metrics of a node.

    Args:
        layout: where the node keeps what.
        counts: of the jobs that have not ended, and of those that have; None where the queue cannot be read, and then
            what it would tell is left out: not known is not zero.
    """
    registry = CollectorRegistry()
    Gauge("spondyl_queue_up", "1 where the queue can be read.", registry=registry).set(counts is not None)
    if counts is not None:
        _count_jobs(registry, *counts)
    processes = Gauge("spondyl_process_up", "1 where a process gives a sign of life.", ["process"], registry=registry)
    alive = read_signs(layout)
    for name in sorted({file.name for file in layout.heartbeats.iterdir() if not file.name.startswith(".")}):
        processes.labels(process=name).set(name in alive)
    for kind in missing_processes(layout):
        processes.labels(process=kind).set(0)
    disk = Gauge("spondyl_storage_free_bytes", "Free space of the storage folder.", registry=registry)
    disk.set(shutil.disk_usage(layout.root).free)
    return generate_latest(registry)


def _count_jobs(registry: CollectorRegistry, waiting: OpenCounts, ended: Mapping[JobState, int]) -> None:
    by_state = Gauge("spondyl_jobs", "Jobs on record by state.", ["state"], registry=registry)
    for state in JobState:
        by_state.labels(state=state.value).set(waiting.by_state.get(state, 0) + ended.get(state, 0))
    oldest = Gauge("spondyl_oldest_queued_job_seconds", "When the oldest waiting job came.", registry=registry)
    oldest.set(waiting.oldest_queued or 0.0)
