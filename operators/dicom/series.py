"""Files in a folder become Series: any file names, any depth, and no file stops the others.

Why not MONAI Deploy's DICOMDataLoaderOperator: it reads every file with its pixels before it looks at the
first, ends at the first file that pydicom cannot parse, and keeps one instance per Image Position (Patient),
so that a repeated position silently loses a slice. Here a first look takes a handful of attributes from each
file (`index_folder`), headers are read a Series at a time (`SeriesFiles.load`), pixels an instance at a
time (`SourceInstance.with_pixels`): ten thousand files take no more memory than the largest Series' headers.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from models.errors import SpondylError
from operators.dicom.bounds import swelling_fault
from operators.dicom.series_parts import (
    GEOMETRY_TAGS,
    SliceGeometry,
    slice_geometry,
    spread_over_studies,
    stations_of,
)

# What every composite instance has (PS3.3 C.7.2.1, C.7.3.1, C.12.1; all type 1).
IDENTIFIERS = {
    "SOPClassUID": "SOP Class UID",
    "SOPInstanceUID": "SOP Instance UID",
    "StudyInstanceUID": "Study Instance UID",
    "SeriesInstanceUID": "Series Instance UID",
}
# A Series of these is a pile of single images (PS3.3 C.7.3.1.1.1: RG is digitised film).
PROJECTION_MODALITIES = ("CR", "DX", "RG")
UID_FORM = re.compile(r"(?=.{1,64}$)\d+(\.\d+)*")  # PS3.5 section 9.1; leading zeros are let pass
PREFIX_OFFSET = 128  # PS3.10 section 7.1: preamble, then the prefix DICM
FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")  # a data set without preamble starts with one of these groups


class FolderError(SpondylError):
    """The input folder cannot be read at all; the message names it."""


class InstanceError(SpondylError):
    """A file is DICOM but cannot be used; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class SourceInstance:
    """One received SOP Instance: its header in memory, its pixels on disk.

    dataset: everything before Pixel Data; never changed.
    path: the file it came from.
    """

    dataset: FileDataset
    path: Path

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""
        return str(self.dataset.SOPInstanceUID)

    def with_pixels(self) -> FileDataset:
        """Return the whole data set, Pixel Data included, read anew from the file.

        Raises:
            InstanceError: the file has gone or is cut short.
        """
        return _read(self.path, stop_before_pixels=False)


@dataclass(frozen=True)
class SourceSeries:
    """The instances of one Series, sorted by position along the slice normal where they have one, else by
    Instance Number.

    notes: sentences for the report on which part of the Series this is. fault: why nothing can be made of it, or empty.
    """

    instances: tuple[SourceInstance, ...]
    notes: tuple[str, ...] = ()
    fault: str = ""

    @property
    def datasets(self) -> tuple[FileDataset, ...]:
        """The headers, in order."""
        return tuple(instance.dataset for instance in self.instances)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files, in order."""
        return tuple(instance.path for instance in self.instances)

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID."""
        return str(self.instances[0].dataset.StudyInstanceUID)

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID."""
        return str(self.instances[0].dataset.SeriesInstanceUID)

    @property
    def sop_class_uid(self) -> str:
        """SOP Class UID of the first instance."""
        return str(self.instances[0].dataset.SOPClassUID)

    @property
    def modality(self) -> str:
        """Modality, empty where the header has none."""
        return str(self.instances[0].dataset.get("Modality") or "")


@dataclass(frozen=True)
class SeriesFiles:
    """Where the instances of one Series lie; what `index_folder` keeps of them.

    view_number: 1-based, counts the radiographs of one Series, and the stations of an MR Series.
    notes, fault: those of the SourceSeries.
    """

    study_instance_uid: str
    series_instance_uid: str
    modality: str
    paths: tuple[Path, ...]
    view_number: int = 1
    notes: tuple[str, ...] = ()
    fault: str = ""

    def views(self) -> tuple["SeriesFiles", ...]:
        """Return one SeriesFiles per radiograph: each is an image of its own, whatever Series it lies in."""
        if self.modality not in PROJECTION_MODALITIES:
            return (self,)
        return tuple(replace(self, paths=(path,), view_number=n) for n, path in enumerate(self.paths, 1))

    def load(self) -> "LoadedFolder":
        """Read the headers of this Series."""
        faults: list[tuple[Path, str]] = []
        instances = []
        for path in self.paths:
            try:
                instances.append(SourceInstance(_read(path, stop_before_pixels=True), path))
            except InstanceError as error:
                faults.append((path, str(error)))
        series = (SourceSeries(tuple(_in_order(instances)), self.notes, self.fault),) if instances else ()
        return LoadedFolder(series, faults=tuple(faults))


@dataclass(frozen=True)
class FolderIndex:
    """What a folder holds, before anything but identifiers was read.

    series: grouped by Study, both in the order of their first file.
    ignored_count: files that are no DICOM, and DICOMDIR.
    faults: (file, sentence) for what is DICOM but cannot be used.
    notes: a sentence for every instance dropped as a duplicate.
    """

    series: tuple[SeriesFiles, ...]
    ignored_count: int = 0
    faults: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class LoadedFolder:
    """Series with their headers; the other fields as in FolderIndex."""

    series: tuple[SourceSeries, ...]
    ignored_count: int = 0
    faults: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()


# Study Instance UID, Series Instance UID, Modality.
_Key = tuple[str, str, str]


@dataclass(frozen=True)
class _Found:
    """A DICOM file of a folder."""

    path: Path
    sop_instance_uid: str
    key: _Key
    geometry: SliceGeometry | None


def index_folder(source: Path | Iterable[Path]) -> FolderIndex:
    """Find the Series in a folder (recursively) or among files.

    Raises:
        FolderError: the folder does not exist.
    """
    ignored = 0
    faults: list[tuple[Path, str]] = []
    notes: list[str] = []
    seen: dict[str, Path] = {}
    groups: dict[_Key, list[_Found]] = {}
    for path in _files(source):
        try:
            found = _identify(path)
        except InstanceError as error:
            faults.append((path, str(error)))
            continue
        if found is None:
            ignored += 1
            continue
        uid = found.sop_instance_uid
        if uid in seen:
            notes.append(f"{path}: dropped, {seen[uid]} has the same SOP Instance UID {uid}")
            continue
        seen[uid] = path
        groups.setdefault(found.key, []).append(found)
    first_seen = {study: -place for place, (study, _, _) in enumerate(reversed(groups))}
    in_studies = sorted(groups, key=lambda key: first_seen[key[0]])
    return FolderIndex(tuple(_parts({key: groups[key] for key in in_studies})), ignored, tuple(faults), tuple(notes))


def _parts(groups: dict[_Key, list[_Found]]) -> Iterator[SeriesFiles]:
    """Yield what is processed by itself: a Series, a station of one, or one that lies in several studies."""
    spread = _spread(groups)
    for key, group in groups.items():
        study, series, modality = key
        if (series, modality) in spread:
            fault, together = spread[series, modality]
            if together[0] is group[0]:
                yield SeriesFiles(*key, tuple(found.path for found in together), fault=fault)
            continue
        parts = stations_of([found.geometry for found in group]) if modality == "MR" else ()
        for number, station in enumerate(parts, 1):
            paths = tuple(group[index].path for index in station.members)
            yield SeriesFiles(study, series, modality, paths, number, (station.note,) if station.note else ())
        if not parts:
            yield SeriesFiles(*key, tuple(found.path for found in group))


def _spread(groups: dict[_Key, list[_Found]]) -> dict[tuple[str, str], tuple[str, list[_Found]]]:
    """Return (Series Instance UID, Modality) of what lies in several studies → why it is not taken, its files."""
    by_series: dict[tuple[str, str], dict[str, list[_Found]]] = {}
    for (study, series, modality), group in groups.items():
        if modality not in PROJECTION_MODALITIES:
            by_series.setdefault((series, modality), {})[study] = group
    spread = {}
    for name, studies in by_series.items():
        fault = spread_over_studies({study: [found.geometry for found in own] for study, own in studies.items()})
        if fault is not None:
            spread[name] = fault, [found for own in studies.values() for found in own]
    return spread


def load_series(source: Path | Iterable[Path]) -> LoadedFolder:
    """Read the headers of every Series in a folder (recursively) or among files.

    Keeps all headers in memory: for a folder of unknown size go through `index_folder`, a Series at a time.

    Raises:
        FolderError: the folder does not exist.
    """
    index = index_folder(source)
    loaded = [files.load() for files in index.series]
    return LoadedFolder(
        tuple(series for part in loaded for series in part.series),
        index.ignored_count,
        index.faults + tuple(fault for part in loaded for fault in part.faults),
        index.notes,
    )


def _files(source: Path | Iterable[Path]) -> Iterator[Path]:
    if not isinstance(source, Path):
        yield from sorted(source)
    elif source.is_file():
        yield source
    elif source.is_dir():
        yield from sorted(path for path in source.rglob("*") if path.is_file())
    else:
        raise FolderError(f"{source} does not exist; name a folder with DICOM files")


def _identify(path: Path) -> _Found | None:
    """Return identifiers and place of an instance; None for what is no DICOM and for a DICOMDIR."""
    try:
        with path.open("rb") as file:
            start = file.read(PREFIX_OFFSET + 4)
    except OSError as error:
        raise InstanceError(f"{path} cannot be read: {error.strerror}") from error
    if start[PREFIX_OFFSET:] != b"DICM" and start[:2] not in FIRST_GROUPS:
        return None
    has_prefix = start[PREFIX_OFFSET:] == b"DICM"
    fault = swelling_fault(path) if has_prefix else None
    if fault is not None:
        raise InstanceError(f"{path} {fault}")
    try:
        dataset = _read(path, stop_before_pixels=True, only=[*IDENTIFIERS, "Modality", *GEOMETRY_TAGS])
    except InstanceError:
        if has_prefix:
            raise
        return None  # two bytes alone do not make a file DICOM
    if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        return None
    values = {keyword: _text(dataset, keyword) for keyword in (*IDENTIFIERS, "Modality")}
    missing = [name for keyword, name in IDENTIFIERS.items() if not values[keyword]]
    if missing and not has_prefix:
        return None
    if missing:
        raise InstanceError(f"{path} lacks {', '.join(missing)}; send it again from the PACS")
    # UIDs become names of folders and files: what is no UID must not get that far.
    invalid = [name for keyword, name in IDENTIFIERS.items() if not UID_FORM.fullmatch(values[keyword])]
    if invalid:
        raise InstanceError(f"{path} has an invalid {', '.join(invalid)}; send it again from the PACS")
    key = values["StudyInstanceUID"], values["SeriesInstanceUID"], values["Modality"]
    return _Found(path, values["SOPInstanceUID"], key, slice_geometry(dataset))


def _text(dataset: Dataset, keyword: str) -> str:
    try:
        return str(dataset.get(keyword) or "").strip()
    except Exception:  # a value that pydicom cannot convert is as good as none
        return ""


def _read(path: Path, *, stop_before_pixels: bool, only: list[str] | None = None) -> FileDataset:
    try:
        dataset = dcmread(path, stop_before_pixels=stop_before_pixels, force=True, specific_tags=only)
    except Exception as error:  # pydicom raises a dozen kinds for broken files; one file must not stop the others
        raise InstanceError(f"{path} cannot be parsed as DICOM: {str(error) or type(error).__name__}") from error
    if "TransferSyntaxUID" not in dataset.file_meta:
        # PS3.10 7.1 wants a File Meta Information; files of old systems go without, and their encoding is guessed.
        implicit, little = dataset.original_encoding
        little_endian = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = little_endian if little else ExplicitVRBigEndian
    return dataset


def _in_order(instances: list[SourceInstance]) -> list[SourceInstance]:
    normal = _normal(instances[0].dataset)

    def place(instance: SourceInstance) -> tuple[float, int, str]:
        position = _numbers(instance.dataset, "ImagePositionPatient", 3)
        along = float(np.dot(position, normal)) if position is not None and normal is not None else 0.0
        number = _numbers(instance.dataset, "InstanceNumber", 1)
        return along, int(number[0]) if number is not None else 0, instance.sop_instance_uid

    return sorted(instances, key=place)


def _normal(dataset: Dataset) -> np.ndarray | None:
    """Return the slice normal in LPS, rows × columns (PS3.3 C.7.6.2.1.1)."""
    cosines = _numbers(dataset, "ImageOrientationPatient", 6)
    return None if cosines is None else np.cross(cosines[:3], cosines[3:])


def _numbers(dataset: Dataset, keyword: str, count: int) -> np.ndarray | None:
    try:
        values = np.atleast_1d(np.asarray(dataset.get(keyword), dtype=float))
    except Exception:  # pydicom converts values as they are read; what is no number sorts as none
        return None
    return values if values.shape == (count,) and np.isfinite(values).all() else None
