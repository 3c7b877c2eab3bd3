"""A worker whose work another one has taken over stops before it writes or sends anything."""

from pathlib import Path

import pytest

from app.jobs.ending import read_ending
from app.jobs.job import JobState
from tests.made_queue import MadeQueue
from tests.node import wait_for
from tests.worker_site import WorkerSite, worker_site

pytestmark = pytest.mark.slow


def claims_lost(site: WorkerSite) -> int:
    """Return how often a worker found that its work is another's."""
    return (site.layout.root / "node.log").read_text().count('"event": "claim_lost"')


def test_a_worker_that_lost_its_claim_neither_writes_nor_sends(tmp_path: Path) -> None:
    """While the engine works, and between two instances of a delivery; whoever has the work then delivers it once."""
    taken = {"owner_xid": "another", "executor_id": "another"}  # as DBOS has it after a recovery
    with worker_site(tmp_path) as site, site.worker():
        made = MadeQueue(site.layout)
        site.hold()
        job = site.accept(count=3)
        wait_for(lambda: len(site.begun()) == 1, "the engine works")
        output = site.layout.job_folder(job.job_id) / "output"

        made.change("workflow_status", job.job_id, **taken)
        site.let_go()
        wait_for(lambda: claims_lost(site) == 1, "the worker finds that its work is another's")
        written = output.exists()
        site.archive.hold.set()
        wait_for(site.archive.asked.is_set, "the first instance is being sent by whoever took over")
        made.change("workflow_status", f"{job.job_id}-delivery", **taken)
        site.archive.hold.clear()
        wait_for(lambda: claims_lost(site) == 2, "the delivery finds it, too")
        sent = len(site.archive.times)
        ended = read_ending(site.layout, job.job_id)
        made.close()

        assert not written
        assert sent == 1
        assert ended is None
        assert site.ended(job).state is JobState.DELIVERED
        assert sorted(site.archive.times.values()) == [1, 1, 1]
        assert read_ending(site.layout, job.job_id) is not None
        assert not site.layout.job_making(job.job_id).exists()
