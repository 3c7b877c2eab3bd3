"""What strangers or earlier versions left in the queue's database, met by a real worker."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from app.jobs.job import FINAL_STATES, JobState, SeriesJob
from app.jobs.queries import show_job
from tests.fault_site import fault_site
from tests.made_queue import PICKLE, MadeQueue, Planted, pickled
from tests.node import wait_for

pytestmark = pytest.mark.slow


def rewind(made: MadeQueue, job: SeriesJob) -> None:
    """Make a job one that a worker takes up where its recorded steps end."""
    made.run("DELETE FROM workflow_status WHERE workflow_uuid = :id", id=f"{job.job_id}-delivery")
    made.run("DELETE FROM operation_outputs WHERE workflow_uuid = :id AND function_id > 1", id=job.job_id)
    queued = {"status": "ENQUEUED", "output": None, "queue_name": "processing", "owner_xid": None, "error": None}
    made.change("workflow_status", job.job_id, **queued)


def keep_as_pickles(made: MadeQueue, job: SeriesJob) -> None:
    """Make input and first step of a job what an earlier version kept."""
    with closing(sqlite3.connect(made.url.removeprefix("sqlite:///"))) as database:
        (step,) = database.execute(
            "SELECT output FROM operation_outputs WHERE workflow_uuid = ? AND function_id = 1", [job.job_id]
        ).fetchone()
    inputs = {"args": (json.loads(job.to_json()),), "kwargs": {}}
    made.change("workflow_input", job.job_id, inputs=pickled(inputs))
    made.change("workflow_status", job.job_id, serialization=PICKLE)
    made.change("operation_outputs", job.job_id, output=pickled(json.loads(step)), serialization=PICKLE)


def test_a_worker_goes_on_with_old_rows_and_refuses_planted_ones(tmp_path: Path) -> None:
    """Input, step output and step fault: the job fails with a sentence, no code runs, and the next study is delivered.

    All that a node of this version wrote itself is JSON.
    """
    marker = tmp_path / "opened"
    with fault_site(tmp_path) as site:
        studies = [site.radiograph() for _ in range(4)]
        jobs = []
        for study in studies:
            site.route([study])
            jobs.append(site.ended(study)[0].job)
        made = MadeQueue(site.node.layout)
        with closing(sqlite3.connect(site.node.layout.queue_file)) as database:
            tables = ("workflow_status", "operation_outputs")
            written = {name for table in tables for (name,) in database.execute(f"SELECT serialization FROM {table}")}
        keep_as_pickles(made, jobs[0])
        made.change("workflow_input", jobs[1].job_id, inputs=pickled(Planted(marker)))
        made.change("workflow_status", jobs[1].job_id, serialization=PICKLE)
        planted = {"serialization": PICKLE, "output": pickled(Planted(marker))}
        made.change("operation_outputs", jobs[2].job_id, **planted)
        made.change("operation_outputs", jobs[3].job_id, serialization=PICKLE, output=None, error=planted["output"])
        for job in jobs:
            rewind(made, job)
        made.close()
        settings = site.node.settings

        wait_for(
            lambda: all(show_job(settings, job.job_id).status.state in FINAL_STATES for job in jobs), "all have ended"
        )
        statuses = [show_job(settings, job.job_id).status for job in jobs]
        after = site.radiograph()
        site.route([after])

        assert written <= {"portable_json", None}
        assert [status.state for status in statuses] == [JobState.DELIVERED, *[JobState.FAILED] * 3]
        assert "was not read" in statuses[1].sentence
        assert all("was not opened" in status.sentence for status in statuses[2:])
        assert site.outcome([after]) == "delivered once"
        assert not marker.exists()
