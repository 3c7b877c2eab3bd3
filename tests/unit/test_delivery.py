"""The Storage SCU: an answer per instance, whatever the receiver lacks."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    ComprehensiveSRStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.events import Event

import app.delivery.association
from app.delivery.association import Peer, echo
from app.delivery.destinations import Fate
from app.delivery.instances import read_instances
from app.delivery.receiver import Receiver
from app.delivery.send import send_folder
from app.delivery.storage_scu import store
from tests.made_dicom import made_dx

DX = DigitalXRayImageStorageForPresentation


def write(folder: Path, *datasets: FileDataset) -> Path:
    """Write data sets into a folder under names that say nothing."""
    folder.mkdir(exist_ok=True)
    for number, dataset in enumerate(datasets):
        dataset.save_as(folder / f"file {number}", enforce_file_format=True)
    return folder


def radiograph(number: int = 1) -> FileDataset:
    """Return a small radiograph."""
    return made_dx(np.eye(8), instance_number=number)


def as_report(dataset: FileDataset) -> FileDataset:
    """Return the data set under the SOP class of a report."""
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = ComprehensiveSRStorage
    return dataset


@contextmanager
def peer(
    contexts: dict[UID, list[UID]], answer: Callable[[Event], int] = lambda _event: 0x0000, title: str | None = None
) -> Iterator[Peer]:
    """Run a Storage SCP with given presentation contexts and answers."""
    entity = AE(ae_title="PACS")
    entity.require_called_aet = title is not None
    for sop_class, syntaxes in contexts.items():
        entity.add_supported_context(sop_class, syntaxes)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, answer)])
    assert server is not None
    try:
        yield Peer("PACS", "127.0.0.1", server.server_address[1])
    finally:
        server.shutdown()


def send(folder: Path, to: Peer) -> dict[str, tuple[Fate, str]]:
    """Send a folder and return SOP Instance UID → fate and sentence."""
    outcomes = store(read_instances(sorted(folder.iterdir())), to, calling_ae_title="SPONDYL")
    return {outcome.sop_instance_uid: (outcome.fate, outcome.sentence) for outcome in outcomes}


def test_a_receiver_without_the_context_of_one_instance_gets_the_others(tmp_path: Path) -> None:
    """A PACS that knows no SR must not lose the segmentation."""
    picture, report = radiograph(1), as_report(radiograph(2))

    with peer({DX: [ExplicitVRLittleEndian]}) as pacs:
        outcomes = send(write(tmp_path / "in", picture, report), pacs)

    assert outcomes[picture.SOPInstanceUID][0] is Fate.STORED
    assert outcomes[report.SOPInstanceUID][0] is Fate.REFUSED
    assert "Comprehensive SR Storage" in outcomes[report.SOPInstanceUID][1]


def test_each_instance_has_its_own_answer(tmp_path: Path) -> None:
    """Only a per-instance success is a success."""
    first, second = radiograph(1), radiograph(2)

    def answer(event: Event) -> int:
        return 0xA700 if event.dataset.SOPInstanceUID == second.SOPInstanceUID else 0x0000

    with peer({DX: [ExplicitVRLittleEndian]}, answer) as pacs:
        outcomes = send(write(tmp_path / "in", first, second), pacs)

    assert outcomes[first.SOPInstanceUID][0] is Fate.STORED
    assert outcomes[second.SOPInstanceUID] == (Fate.POSTPONED, "PACS: the receiver is out of resources (0xA700)")


def test_a_receiver_that_is_away_postpones_every_instance(tmp_path: Path) -> None:
    """It may be back in a minute: the delivery tries again."""
    with peer({DX: [ExplicitVRLittleEndian]}) as pacs:
        gone = pacs

    outcomes = send(write(tmp_path / "in", radiograph()), gone)

    (fate, sentence), *_ = outcomes.values()
    assert fate is Fate.POSTPONED
    assert "cannot be reached" in sentence


def test_a_receiver_that_hangs_up_after_one_instance_postpones_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was stored stays stored; the rest is sent again."""
    monkeypatch.setattr(app.delivery.association, "ANSWER_TIMEOUT_S", 2.0)  # pynetdicom waits for it all the same
    first, second = radiograph(1), radiograph(2)

    def answer(event: Event) -> int:
        if event.dataset.SOPInstanceUID == second.SOPInstanceUID:
            event.assoc.abort()
        return 0x0000

    with peer({DX: [ExplicitVRLittleEndian]}, answer) as pacs:
        outcomes = send(write(tmp_path / "in", first, second, radiograph(3)), pacs)

    assert [fate for fate, _ in outcomes.values()] == [Fate.STORED, Fate.POSTPONED, Fate.POSTPONED]


def test_a_receiver_that_rejects_the_association_is_said_to_do_so(tmp_path: Path) -> None:
    """The usual cause is an AE title that is not known there."""
    with peer({DX: [ExplicitVRLittleEndian]}, title="PACS") as pacs:
        outcomes = send(write(tmp_path / "in", radiograph()), Peer("OTHER", pacs.host, pacs.port))

    assert "AE title" in next(iter(outcomes.values()))[1]


@pytest.mark.parametrize("accepted", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_compressed_result_reaches_a_receiver_that_takes_none_compressed(tmp_path: Path, accepted: UID) -> None:
    """PS3.5 10.1: every receiver takes the default transfer syntax; the instance keeps its UID and its pixels."""
    dataset = radiograph()
    pixels = dataset.pixel_array.copy()
    uid = str(dataset.SOPInstanceUID)
    dataset.compress(RLELossless, generate_instance_uid=False)
    got: list[tuple[str, bool]] = []

    def answer(event: Event) -> int:
        event.dataset.file_meta = event.file_meta
        got.append((str(event.dataset.SOPInstanceUID), bool((event.dataset.pixel_array == pixels).all())))
        return 0x0000

    with peer({DX: [accepted]}, answer) as pacs:
        outcomes = send(write(tmp_path / "in", dataset), pacs)

    assert outcomes[uid][0] is Fate.STORED
    assert got == [(uid, True)]


def test_a_compressed_result_stays_compressed_where_the_receiver_takes_it(tmp_path: Path) -> None:
    """Nothing is encoded twice without need."""
    dataset = radiograph()
    dataset.compress(RLELossless, generate_instance_uid=False)
    syntaxes: list[UID] = []

    def answer(event: Event) -> int:
        syntaxes.append(event.context.transfer_syntax)
        return 0x0000

    with peer({DX: [ExplicitVRLittleEndian, RLELossless]}, answer) as pacs:
        send(write(tmp_path / "in", dataset), pacs)

    assert syntaxes == [RLELossless]


def test_a_folder_is_sent_whole_with_progress_and_without_what_is_no_dicom(tmp_path: Path) -> None:
    """`spondyl send`: any file names, in any depth."""
    write(tmp_path / "in", radiograph(1), radiograph(2))
    write(tmp_path / "in" / "deeper", radiograph(3))
    (tmp_path / "in" / "notes.txt").write_text("no DICOM")
    told: list[tuple[int, int]] = []

    with Receiver(tmp_path / "out") as receiver:
        outcomes = send_folder(
            tmp_path / "in",
            "127.0.0.1",
            receiver.port,
            calling="ME",
            called="RECEIVER",
            progress=lambda done, total: told.append((done, total)),
        )

    assert {outcome.fate for outcome in outcomes} == {Fate.STORED}
    assert told == [(1, 3), (2, 3), (3, 3)]
    kept = {str(dcmread(file).SOPInstanceUID) for file in (tmp_path / "out").rglob("*.dcm")}
    assert kept == {outcome.sop_instance_uid for outcome in outcomes}


def test_a_peer_that_is_away_fails_its_echo_with_a_sentence() -> None:
    """`spondyl check` tells which destination cannot be reached."""
    with peer({DX: [ExplicitVRLittleEndian]}) as pacs:
        gone = pacs

    assert "cannot be reached" in (echo(gone, calling_ae_title="SPONDYL") or "")
