"""A queue without a worker: its tables, jobs in any state, and values that strangers or earlier versions left there."""

import base64
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from dbos import DBOS

from app.jobs.job import SeriesJob
from app.jobs.json_only import SERIALIZER
from app.jobs.layout import StorageLayout
from app.jobs.queue import JobQueue, delivery_id, enqueue_options

PICKLE = "py_pickle"


class Planted:
    """What runs code when it is opened: it makes a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._marker,)


def pickled(value: object) -> str:
    """Return a value as earlier versions kept it."""
    return base64.b64encode(pickle.dumps(value)).decode()


def make_tables(url: str) -> None:
    """Make the tables of a queue that no worker has seen."""
    DBOS.migrate(url)


def made_job(number: int = 1, **changes: Any) -> SeriesJob:
    """Return a job that was never sent."""
    fields: dict[str, Any] = {
        "job_id": f"{number:032x}",
        "study_instance_uid": f"1.2.{number}",
        "series_instance_uid": f"1.2.{number}.3",
        "modality": "DX",
        "calling_ae_title": "PACS",
        "instance_count": 1,
    }
    return SeriesJob(**{**fields, **changes})


class MadeQueue:
    """A queue in a storage folder (or at a URL), with a hand in its rows.

    url: SQLAlchemy URL. queue: as the node sees it.
    """

    def __init__(self, layout: StorageLayout, url: str = "") -> None:
        layout.root.mkdir(parents=True, exist_ok=True)
        self.url = url or layout.queue_url
        make_tables(self.url)
        self.queue = JobQueue(self.url)
        self._engine = sa.create_engine(self.url)
        self._schema = "" if self.url.startswith("sqlite") else "dbos."

    def close(self) -> None:
        """Let go of the database."""
        self.queue.close()
        self._engine.dispose()

    def change(self, table: str, workflow_id: str, **columns: object) -> int:
        """Set columns of the rows of a workflow, and return how many rows there were."""
        parts = ", ".join(f"{name} = :{name}" for name in columns)
        return self.run(f"UPDATE {self.table(table)} SET {parts} WHERE workflow_uuid = :id", id=workflow_id, **columns)

    def table(self, name: str) -> str:
        """Return the name of a table as a statement has it."""
        return f"{self._schema}{name}"

    def run(self, statement: str, **values: object) -> int:
        """Run a statement and return how many rows it concerned."""
        with self._engine.begin() as connection:
            return int(connection.execute(sa.text(statement), values).rowcount)

    def ended(self, job: SeriesJob, state: str, sentence: str, *, proof: str = "") -> None:
        """Put a job into the queue as one that has ended; with a proof, by its delivery."""
        self.queue.submit(job)
        ids = [job.job_id]
        if proof:
            self.queue._ask(lambda client: client.enqueue(enqueue_options(job, delivery=True), asdict(job), sentence))
            ids.append(delivery_id(job.job_id))
        for workflow_id, its_state in zip(ids[::-1], (state, "delivering"), strict=False):
            output = SERIALIZER.serialize({"state": its_state, "sentence": sentence, "proof": proof})
            self.change("workflow_status", workflow_id, status="SUCCESS", queue_name=None, output=output)
