"""Each destination of a job has a clock of its own: one that hangs delays no other."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from dbos import DBOS
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage
from pynetdicom import AE, evt

import app.delivery.association
import app.jobs.courses
from app.jobs.delivering import Delivery
from app.jobs.history import read_history
from app.jobs.job import SeriesJob
from app.jobs.layout import StorageLayout
from tests.captures import capture_of
from tests.made_dicom import made_dx
from tests.node import destination, node_settings

JOB = SeriesJob("ab" * 16, "1.2.3", "1.2.3.4", "DX", "PACS", 1)


@contextmanager
def hanging(closed: list[float]) -> Iterator[int]:
    """Listen, take connections and never answer; put down when each was closed by the other side."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    while connection.recv(1 << 16):
                        pass
                closed.append(time.monotonic())

        thread = Thread(target=listen)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def busy_once(stored: list[float]) -> Iterator[int]:
    """Run an archive that is out of resources the first time it is asked; put down when it stored."""
    statuses = iter([0xA700])

    def answer(_event: evt.Event) -> int:
        status = next(statuses, 0x0000)
        if status == 0x0000:
            stored.append(time.monotonic())
        return status

    entity = AE(ae_title="PACS")
    entity.add_supported_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
    assert server is not None
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()


@pytest.fixture
def outside_of_a_workflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let steps run at once, without a queue that records them."""

    async def run_step(_options: Any, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)

    monkeypatch.setattr(DBOS, "run_step_async", run_step)


@pytest.mark.usefixtures("outside_of_a_workflow")
def test_a_destination_that_hangs_delays_no_other_of_the_same_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive is tried again, and stores, while the other one has not even answered the first time."""
    monkeypatch.setattr(app.delivery.association, "ANSWER_TIMEOUT_S", 0.7)
    monkeypatch.setattr(app.jobs.courses, "PAUSES_S", (0.05,))
    layout = StorageLayout(tmp_path)
    layout.job_output(JOB.job_id, "standard").mkdir(parents=True)
    file = layout.job_output(JOB.job_id, "standard") / "result.dcm"
    capture_of(made_dx(np.eye(8)), "standard").save_as(file, enforce_file_format=True)
    closed: list[float] = []
    stored: list[float] = []

    with hanging(closed) as hanging_port, busy_once(stored) as port:
        settings = node_settings(tmp_path, destination(hanging_port, name="hangs"), destination(port, name="pacs"))
        outcome = asyncio.run(Delivery(settings, lambda _: False).run(JOB, "found"))

    assert stored[0] < closed[0]
    assert outcome["state"] == "failed"
    assert "Partly delivered: 1 of 2 destinations; hangs: 0 of 1 stored, " in outcome["sentence"]
    assert "pacs: 1 of 1 stored " in outcome["sentence"]
    tries = [event.details["words"] for event in read_history(layout, JOB.job_id) if event.word == "delivery_tried"]
    assert [words.split(":")[0] for words in tries] == ["pacs", "pacs", "hangs", "hangs"]
    assert "out of resources (0xA700), 1st try" in tries[0]
