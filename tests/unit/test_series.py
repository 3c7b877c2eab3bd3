"""Files become Series: what is found, what is ignored, what is named as broken."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import ImplicitVRLittleEndian, MediaStorageDirectoryStorage

from operators.dicom.series import FolderError, InstanceError, SeriesFiles, index_folder, load_series
from tests.made_dicom import made_dx

PIXELS = np.linspace(0, 1, 64 * 48).reshape(64, 48)


def write(folder: Path, name: str, dataset: FileDataset) -> Path:
    """Write a data set as a DICOM file and return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_files_of_any_name_and_depth_are_found(tmp_path: Path) -> None:
    """Names and folders say nothing; the identifiers say all."""
    write(tmp_path, "a/b/c/IM0001", made_dx(PIXELS, instance_number=1))
    write(tmp_path, "x.txt", made_dx(PIXELS, instance_number=2))
    write(tmp_path, "ünï cödé/1.2.3", made_dx(PIXELS, study="other"))

    index = index_folder(tmp_path)

    assert len(index.series) == 3
    assert len({files.study_instance_uid for files in index.series}) == 2
    assert (index.ignored_count, index.faults) == (0, ())


def test_what_is_no_dicom_is_counted_and_ignored(tmp_path: Path) -> None:
    """Text, pictures, empty files and a DICOMDIR are no instances."""
    write(tmp_path, "1.dcm", made_dx(PIXELS))
    directory = made_dx(PIXELS, instance_number=9)
    directory.SOPClassUID = MediaStorageDirectoryStorage
    write(tmp_path, "DICOMDIR", directory)
    (tmp_path / "empty").touch()
    (tmp_path / "report.txt").write_text("C-SPINE LAT")
    (tmp_path / "two.bin").write_bytes(b"\x08\x00" + b"\xff" * 300)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 200)

    index = index_folder(tmp_path)

    assert len(index.series) == 1
    assert index.ignored_count == 5
    assert index.faults == ()


@pytest.mark.filterwarnings("ignore:.*VR UI")
def test_a_broken_file_is_named_and_stops_nothing(tmp_path: Path) -> None:
    """A truncated header and a missing UID are told with a sentence; the sound file is loaded."""
    sound = write(tmp_path, "sound.dcm", made_dx(PIXELS))
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(sound.read_bytes()[:420])
    nameless = made_dx(PIXELS, instance_number=3, without=["SeriesInstanceUID"])
    write(tmp_path, "nameless.dcm", nameless)

    loaded = load_series(tmp_path)

    assert [series.paths for series in loaded.series] == [(sound,)]
    sentences = dict(loaded.faults)
    assert set(sentences) == {cut, tmp_path / "nameless.dcm"}
    assert "lacks Series Instance UID" in sentences[tmp_path / "nameless.dcm"]
    assert str(cut) in sentences[cut]


@pytest.mark.filterwarnings("ignore:.*VR UI")
@pytest.mark.parametrize("uid", ["../../outside", "1.2.x", "1..2", "1." * 40 + "1"])
def test_what_is_no_uid_never_becomes_a_folder_name(uid: str, tmp_path: Path) -> None:
    """UIDs name folders and files of the output (PS3.5 section 9.1)."""
    dataset = made_dx(PIXELS)
    dataset.StudyInstanceUID = uid
    write(tmp_path, "evil.dcm", dataset)

    index = index_folder(tmp_path)

    assert index.series == ()
    assert "invalid Study Instance UID" in index.faults[0][1]


def test_the_same_instance_twice_is_loaded_once_with_a_note(tmp_path: Path) -> None:
    """A SOP Instance UID names one instance, wherever it lies."""
    write(tmp_path, "a.dcm", made_dx(PIXELS))
    write(tmp_path, "b.dcm", made_dx(PIXELS))

    index = index_folder(tmp_path)

    assert [files.paths for files in index.series] == [(tmp_path / "a.dcm",)]
    assert len(index.notes) == 1
    assert "b.dcm: dropped" in index.notes[0]


def test_headers_come_without_pixels_and_pixels_at_need(tmp_path: Path) -> None:
    """Ten thousand headers fit into memory, ten thousand images do not."""
    write(tmp_path, "a.dcm", made_dx(PIXELS))

    instance = load_series(tmp_path).series[0].instances[0]

    assert "PixelData" not in instance.dataset
    assert "PixelData" in instance.with_pixels()


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    """Between the header and the pixels a file may vanish."""
    path = write(tmp_path, "a.dcm", made_dx(PIXELS))
    instance = load_series(tmp_path).series[0].instances[0]
    path.unlink()

    with pytest.raises(InstanceError, match=r"a\.dcm cannot be parsed"):
        instance.with_pixels()


def test_a_file_without_file_meta_information_is_read(tmp_path: Path) -> None:
    """Old systems store the data set alone; its encoding is guessed and noted as Transfer Syntax."""
    dataset = made_dx(PIXELS)
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    path = write(tmp_path, "bare", dataset)
    content = path.read_bytes()
    path.write_bytes(content[content.index(b"\x08\x00\x05\x00") :])

    series = load_series(tmp_path).series[0]

    assert series.datasets[0].file_meta.TransferSyntaxUID == ImplicitVRLittleEndian


SLICES = {"file order": (3, 1, 2), "reversed": (1, 2, 3), "sorted": (2, 3, 1)}


@pytest.mark.parametrize("numbers", SLICES.values(), ids=SLICES)
def test_slices_are_sorted_along_their_normal(numbers: tuple[int, ...], tmp_path: Path) -> None:
    """Position outweighs Instance Number (PS3.3 C.7.6.2.1.1); sagittal slices, normal towards −x."""
    for number in numbers:
        dataset = made_dx(PIXELS, instance_number=number)
        dataset.SeriesInstanceUID = "2.25.7"
        dataset.InstanceNumber = 10 - number
        dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        dataset.ImagePositionPatient = [number * 4.0, 0, 0]
        write(tmp_path, f"{number}.dcm", dataset)

    series = load_series(tmp_path).series[0]

    assert [float(dataset.ImagePositionPatient[0]) for dataset in series.datasets] == [12.0, 8.0, 4.0]


def test_each_radiograph_of_a_series_is_a_view_of_its_own(tmp_path: Path) -> None:
    """A CR series may hold a lateral and a frontal image; slices of an MR series stay together."""
    for modality, series_uid in (("CR", "2.25.1"), ("MR", "2.25.2")):
        for number in (1, 2):
            dataset = made_dx(PIXELS, modality="CR", instance_number=number, study=modality)
            dataset.Modality, dataset.SeriesInstanceUID = modality, series_uid
            write(tmp_path, f"{modality}{number}", dataset)

    views = {files.modality: [len(view.paths) for view in files.views()] for files in index_folder(tmp_path).series}

    assert views == {"CR": [1, 1], "MR": [2]}


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """Nothing there is not the same as nothing found."""
    with pytest.raises(FolderError, match="does not exist"):
        index_folder(tmp_path / "none")


def test_a_series_that_went_away_loads_as_faults(tmp_path: Path) -> None:
    """All files gone: no series, a fault each."""
    loaded = SeriesFiles("2.25.1", "2.25.2", "DX", (tmp_path / "gone.dcm",)).load()

    assert loaded.series == ()
    assert len(loaded.faults) == 1
