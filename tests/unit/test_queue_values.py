"""The queue holds JSON: what a stranger left in its database is told of as unreadable, and never run."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from dbos._serialization import DefaultSerializer
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from app.cli import app
from app.dashboard.page import build_page
from app.jobs.job import JobState, MalformedJob, SeriesJob
from app.jobs.json_only import NotPlainData, StepBroke, close_pickles, read_old_value, told_plainly
from app.jobs.layout import StorageLayout
from app.settings import Settings
from tests.made_queue import PICKLE, MadeQueue, Planted, made_job, pickled


@pytest.fixture
def made(tmp_path: Path) -> Iterator[MadeQueue]:
    """Return a queue that no worker serves."""
    layout = StorageLayout(tmp_path / "storage")
    layout.create()
    made = MadeQueue(layout)
    yield made
    made.close()


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    """Return the file that a pickle makes where it is opened."""
    return tmp_path / "opened"


@pytest.mark.parametrize(
    "value",
    [None, True, 3, 10**30, 1.5, "ä", [1, "a"], {"a": {"b": None}}, ("a", 1), {"a", "b"}, b"bytes"],
    ids=lambda value: type(value).__name__,
)
def test_a_plain_value_of_an_earlier_version_is_read(value: object) -> None:
    """Jobs that were on their way when the node was upgraded go on."""
    assert read_old_value(pickled(value)) == value


@pytest.mark.parametrize(
    "encoded",
    [
        pickled(JobState.FAILED),
        pickled(ValueError("x")),
        pickled([{"a": made_job()}]),
        pickled("x" * 2_000_000),
        base64.b64encode(b"cos\nsystem\n(S'true'\ntR.").decode(),
        base64.b64encode(b"\x80\x04broken").decode(),
        "no base64",
        "",
    ],
    ids=["an enum", "a fault", "a class in a list", "too long", "protocol 0", "broken", "no base64", "nothing"],
)
def test_whatever_else_a_pickle_holds_is_refused(encoded: str) -> None:
    """No name is looked up, so nothing can be called: our own classes are refused as well."""
    with pytest.raises(NotPlainData, match="was not opened"):
        read_old_value(encoded)


def test_a_pickle_that_would_run_code_runs_none(marker: Path) -> None:
    """The plain reader refuses what the one of DBOS runs."""
    encoded = pickled(Planted(marker))
    with pytest.raises(NotPlainData):
        read_old_value(encoded)

    assert not marker.exists()


def test_dbos_writes_no_pickle_and_opens_none(marker: Path) -> None:
    """Also where a row says that it is one: DBOS then takes its own reader, whatever serializer is set."""
    close_pickles()
    serializer = DefaultSerializer()

    with pytest.raises(NotPlainData):
        serializer.deserialize(pickled(Planted(marker)))
    with pytest.raises(TypeError, match="not portable JSON"):
        serializer.serialize(made_job())
    assert not marker.exists()
    assert json.loads(serializer.serialize({"a": [1]})) == serializer.deserialize(serializer.serialize({"a": [1]}))
    assert str(serializer.deserialize(serializer.serialize(StepBroke("OSError in a.py:1")))) == "OSError in a.py:1"


def test_a_fault_is_kept_by_its_type_and_place_alone() -> None:
    """The words of a library may quote the header of a patient, and may be long."""

    @told_plainly
    def step() -> None:
        raise ValueError("Doe^Jane" * 1000)

    with pytest.raises(StepBroke, match=r"^ValueError in test_queue_values.py:\d+$"):
        step()


@pytest.mark.parametrize(
    "changes",
    [
        {"job_id": "../../home"},
        {"series_instance_uid": "../1.2"},
        {"series_key": "a/b"},
        {"instance_count": "6"},
        {"modality": None},
        {"surprise": 1},
    ],
    ids=str,
)
def test_a_record_that_would_lead_elsewhere_is_no_job(changes: dict[str, Any]) -> None:
    """Ids of a job become names of folders that are emptied: a path in one must not get so far."""
    record = {**json.loads(made_job().to_json()), **changes}

    with pytest.raises(MalformedJob, match="is no job"):
        SeriesJob.from_mapping(record)


def plant(made: MadeQueue, marker: Path) -> tuple[str, ...]:
    """Put jobs into the queue, each with something else planted, and return their ids."""
    planted = pickled(Planted(marker))
    jobs = [made_job(number) for number in range(1, 9)]
    for job in jobs:
        made.ended(job, "delivered", "fine", proof="trusted" if job is jobs[5] else "")
    ids = tuple(job.job_id for job in jobs)
    made.change("workflow_status", ids[0], serialization=PICKLE, output=planted)
    made.change("workflow_input", ids[0], inputs=planted)
    made.change("workflow_status", ids[1], serialization=PICKLE, status="ERROR", error=planted)
    made.change("workflow_status", ids[2], status="ERROR", error='{"name":"' + "x" * 9000 + '","message":"m"}')
    made.change("workflow_status", ids[3], output='{"state":["[/X]"],"sentence":7}')
    made.change("workflow_input", ids[4], inputs='{"positionalArgs":[{"job_id":"../../home"}]}')
    made.change("workflow_status", f"{ids[5]}-delivery", serialization=PICKLE, output=planted)
    made.change("workflow_status", ids[6], serialization="unknown", status=None, created_at=10**17)
    for number, (output, error) in enumerate([(planted, None), (None, planted)]):
        made.run(
            f"INSERT INTO {made.table('operation_outputs')} (workflow_uuid, function_id, function_name, output, error,"
            " started_at_epoch_ms, completed_at_epoch_ms, serialization, retention_timestamp)"
            " VALUES (:id, :number, :name, :output, :error, 1, 1, 'py_pickle', 0)",
            id=ids[7],
            number=number,
            name="[/infer]",
            output=output,
            error=error,
        )
    return ids


def test_planted_rows_harm_neither_the_administrators_commands_nor_the_page(
    made: MadeQueue, marker: Path, tmp_path: Path
) -> None:
    """Each is listed with a sentence that says what to do, and the sound jobs beside it as ever."""
    ids = plant(made, marker)
    file = tmp_path / "app.yaml"
    file.write_text(f"storage: {tmp_path / 'storage'}\n")
    command = CliRunner()

    told = {one: command.invoke(app, ["jobs", "show", one, "--config", str(file)]) for one in ids}
    listed = command.invoke(app, ["jobs", "list", "--config", str(file)], env={"COLUMNS": "200"})
    page = TestClient(build_page(Settings(storage=tmp_path / "storage")), base_url="http://localhost")

    assert [(one.exit_code, one.exception) for one in (*told.values(), listed)] == [(0, None)] * (len(ids) + 1)
    assert all(one[:12] in listed.output for one in ids)
    assert all("was not read" in told[ids[number]].output for number in (0, 1, 3, 5))
    assert "with a fault that was not read" in told[ids[7]].output
    assert max(map(len, told[ids[2]].output.splitlines())) < 1000
    assert [page.get(path).status_code for path in ("/", "/metrics")] == [200, 200]
    assert not marker.exists()
