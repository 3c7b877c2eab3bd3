"""Damage in the storage folder: whatever is torn, missing or out of place, the next study comes in."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from structlog.testing import capture_logs

from app.gateway.inbox import Inbox
from app.jobs.commitments import CommitmentRecords
from app.jobs.layout import StorageLayout
from app.jobs.process import Heartbeat, read_signs
from tests.made_dicom import made_dx, made_uid
from tests.received import received

Damage = Callable[[Path], None]


def study(number: int) -> FileDataset:
    """Return a radiograph of a study of its own."""
    image = made_dx(np.full((4, 4), number / 20))
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        setattr(image, name, made_uid(name, number))
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    return image


def new_inbox(root: Path) -> Inbox:
    """Return the inbox of a process that has just started."""
    layout = StorageLayout(root)
    layout.create()
    return Inbox(layout, quiet_s=0, minimum_free_bytes=0)


def jobs_of(inbox: Inbox, number: int) -> list[str]:
    """Send a study on an association of its own, and return the studies that become jobs."""
    inbox.accept(received(study(number)), number)
    inbox.association_ended(number, in_order=True)
    inbox.look_around()
    return [taken.job.study_instance_uid for _ in range(3) for taken in inbox.take_complete()]


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a storage folder with one of each thing that a gateway keeps."""
    root = tmp_path_factory.mktemp("damage") / "storage"
    inbox = new_inbox(root)
    layout = StorageLayout(root)
    jobs_of(inbox, 1)  # job, records of series and names, mark for the queue
    inbox.accept(received(study(2)), 2)
    other = study(2)
    other.PixelData = bytes(len(other.PixelData))
    inbox.accept(received(other), 2)  # a copy in conflict
    inbox.accept(received(study(3)), 3)
    arriving = next(folder for folder in layout.arriving.iterdir() if not (folder / "aside").exists())
    arriving.rename(layout.taking / "gateway" / f"{arriving.name}@0")
    kept = next(layout.arriving.glob("*/input/*.dcm"))
    for spare in (layout.partial / "gateway").iterdir():
        spare.unlink()
    shutil.copy(kept, layout.partial / "gateway" / "whole")
    CommitmentRecords(layout).expect("1.2.3")
    heartbeat = Heartbeat(layout, "gateway")
    heartbeat.start()
    sign = (layout.heartbeats / "gateway").read_bytes()
    heartbeat.stop()
    (layout.heartbeats / "gateway").write_bytes(sign)
    return root


def emptied(path: Path) -> None:
    """A file without content, or a folder that holds a file of a desktop."""
    if path.is_dir():
        (path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    else:
        path.write_bytes(b"")


def torn(path: Path) -> None:
    """The first half of a file; in a folder a file that no program of ours has written."""
    if path.is_dir():
        (path / "Thumbs.dcm").write_bytes(b"\xff" * 300)
    else:
        content = path.read_bytes()
        path.write_bytes(content[: len(content) // 2])


def exchanged(path: Path) -> None:
    """A folder where a file belongs, or a file where a folder belongs."""
    if path.is_dir():
        shutil.rmtree(path)
        path.write_bytes(b"no folder")
    else:
        path.unlink()
        path.mkdir()


def crowded(path: Path) -> None:
    """A folder with something in it where a file belongs, or a folder in a folder."""
    if path.is_dir():
        (path / "untitled.dcm").mkdir()
    else:
        exchanged(path)
        (path / "file").write_bytes(b"x")


DAMAGES = [emptied, torn, exchanged, crowded]


def places(storage: Path) -> Iterator[str]:
    """Yield every file and folder, and the storage folder itself, relative to it."""
    yield "."
    for path in sorted(storage.rglob("*")):
        yield path.relative_to(storage).as_posix()


def applies(damage: Damage, place: str) -> bool:
    """Say whether a damage can be: the folder that an administrator has named is there."""
    return not (place == "." and damage is exchanged)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_place_stops_no_start(storage: Path, tmp_path: Path, damage: Damage) -> None:
    """One at a time, for everything that the node keeps."""
    failed = []
    for number, place in enumerate(places(storage)):
        if not applies(damage, place):
            continue
        root = tmp_path / str(number)
        shutil.copytree(storage, root)
        damage(root / place)
        try:
            inbox = new_inbox(root)
            inbox.recover()
            read_signs(StorageLayout(root))
            if made_uid("StudyInstanceUID", 9) not in jobs_of(inbox, 9):
                failed.append(f"{place}: no job")
        except Exception as fault:
            failed.append(f"{place}: {fault!r}")

    assert failed == []


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_place_stops_no_work(storage: Path, tmp_path: Path, damage: Damage) -> None:
    """The same while the gateway runs, except that the inbox's own folders do not vanish under it."""
    failed = []
    for number, place in enumerate(places(storage)):
        if not applies(damage, place) or (damage is exchanged and (storage / place).is_dir() and _is_shared(place)):
            continue
        root = tmp_path / str(number)
        shutil.copytree(storage, root)
        inbox = new_inbox(root)
        inbox.recover()
        if not (root / place).exists():  # placed by the start
            continue
        damage(root / place)
        try:
            if made_uid("StudyInstanceUID", 9) not in jobs_of(inbox, 9):
                failed.append(f"{place}: no job")
        except Exception as fault:
            failed.append(f"{place}: {fault!r}")

    assert failed == []


def _is_shared(place: str) -> bool:
    """Say whether a folder is one of the node's own and not of a series, a job or a gateway."""
    return place.count("/") < 2 and not place.startswith("jobs/")


def test_everything_damaged_at_once_stops_nothing_and_is_told(storage: Path, tmp_path: Path) -> None:
    """All files torn or empty, a stray file in each folder; each that was set aside is a line without its name."""
    root = tmp_path / "storage"
    shutil.copytree(storage, root)
    for number, place in enumerate([*places(storage)]):
        DAMAGES[number % 2](root / place)
    with capture_logs() as lines:
        inbox = new_inbox(root)
        inbox.recover()
        started = jobs_of(inbox, 9)
        emptied(root / "inbox" / "arriving")
        torn(root / "inbox" / "arriving")
        working = jobs_of(inbox, 10)

    assert made_uid("StudyInstanceUID", 9) in started
    assert made_uid("StudyInstanceUID", 10) in working
    told = [line for line in lines if line["event"] == "damage_set_aside"]
    assert len(told) == len(list((root / "damaged").glob("*-*"))) > 5
    assert "DS_Store" not in str(told)
    assert "Thumbs" not in str(told)
