"""report.json: what became of every Series of a run, for people and programs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from models.contracts import VolumeResult
from models.quantity import Lordosis, Quantity
from models.spineps.morphometry import DiscMeasures, VertebraMeasures, VolumeMorphometry
from operators.answers import Answer, RadiographAnswer, VolumeAnswer
from operators.dicom.identity import Profile
from operators.files import write_whole
from operators.outcome import SeriesOutcome, Status, WrittenOutput

EXIT_SUCCEEDED = 0
EXIT_NOTHING_ROUTED = 3
EXIT_FAILED = 4
REPORT_NAME = "report.json"

Json = Mapping[str, Any]


@dataclass(frozen=True)
class SeriesReport:
    """One Series (a radiograph: one instance of it) in the report; the fields are those of report.json.

    decision: the engine, or `skipped`. reason: why it was routed or skipped, or what went wrong.
    sop_instance_uids: the instances that were looked at.
    outputs: in all profiles of the run.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uids: tuple[str, ...]
    decision: str
    status: Status
    reason: str
    pack: str | None = None
    body_region: str | None = None
    contrast: str | None = None
    numbering: str | None = None
    scale: str | None = None
    spacing: str | None = None
    measurements: Json = field(default_factory=dict)
    structures: tuple[Json, ...] = ()
    outputs: tuple[WrittenOutput, ...] = ()
    timings_s: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def as_json(self) -> Json:
        """Return the entry of report.json."""
        own = {name: value for name, value in vars(self).items() if name not in ("study_instance_uid", "outputs")}
        dicom = [{"sop_class_uid": o.sop_class_uid, "path": o.path.as_posix()} for o in self.outputs if o.sop_class_uid]
        pictures = [output.path.as_posix() for output in self.outputs if not output.sop_class_uid]
        return {**own, "outputs": dicom, "picture": pictures[0] if pictures else None}


@dataclass(frozen=True)
class RunReport:
    """What a run did.

    faults: (file, sentence) for what is DICOM but could not be read; notes: instances dropped as duplicates.
    """

    software_version: str
    series: tuple[SeriesReport, ...]
    ignored_count: int = 0
    faults: tuple[tuple[Path, str], ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0: every routed Series succeeded; 3: nothing was routed; 4: a routed Series has no result."""
        statuses = {series.status for series in self.series}
        if statuses & {"failed", "refused"}:
            return EXIT_FAILED
        return EXIT_SUCCEEDED if "succeeded" in statuses else EXIT_NOTHING_ROUTED

    def for_profile(self, profile: Profile) -> "RunReport":
        """Return the report with the outputs of one profile only."""
        series = tuple(
            replace(entry, outputs=tuple(o for o in entry.outputs if o.profile == profile)) for entry in self.series
        )
        return replace(self, series=series)

    def as_json(self) -> Json:
        """Return the content of report.json."""
        studies: dict[str, list[Json]] = {}
        for entry in self.series:
            studies.setdefault(entry.study_instance_uid, []).append(entry.as_json())
        return {
            "software_version": self.software_version,
            "studies": [{"study_instance_uid": uid, "series": entries} for uid, entries in studies.items()],
            "ignored_count": self.ignored_count,
            "faults": [{"path": str(path), "sentence": sentence} for path, sentence in self.faults],
            "notes": list(self.notes),
        }

    def write(self, folder: Path) -> Path:
        """Write report.json into a folder, whole or not at all, and return its path."""
        path = folder / REPORT_NAME
        write_whole(path, json.dumps(self.as_json(), indent=1).encode())
        return path


def series_report(outcome: SeriesOutcome) -> SeriesReport:
    """Return what report.json says of an outcome; keeps no arrays."""
    succeeded = outcome.status == "succeeded"
    answer = outcome.answer
    radiograph = answer if isinstance(answer, RadiographAnswer) else None
    return SeriesReport(
        study_instance_uid=outcome.series.study_instance_uid,
        series_instance_uid=outcome.series.series_instance_uid,
        sop_instance_uids=tuple(instance.sop_instance_uid for instance in outcome.series.instances),
        decision=outcome.decision.decision,
        status=outcome.status,
        reason=outcome.reason,
        pack=outcome.decision.pack,
        body_region=outcome.decision.body_region,
        contrast=outcome.decision.contrast,
        numbering=answer.result.numbering if answer else None,
        scale=radiograph.result.scale if radiograph else None,
        spacing=radiograph.spacing_source if radiograph else None,
        measurements=_of_series(answer) if answer and succeeded else {},
        structures=tuple(_structures(answer)) if answer and succeeded else (),
        outputs=outcome.outputs if succeeded else (),
        timings_s=dict(outcome.timings_s),
        warnings=outcome.warnings,
    )


def vertebra_labels(structures: Iterable[Json]) -> list[str]:
    """Return the labels of the vertebrae among the structures of a report, from the head downwards."""
    return [str(structure["label"]) for structure in structures if structure["kind"] == "vertebra"]


def label_range(labels: Sequence[str]) -> str:
    """Say which vertebrae there are in a few letters.

    >>> label_range(["C2", "C3", "C4"]), label_range(["L5"])
    ('C2–C4 (3)', 'L5')
    """
    return f"{labels[0]}–{labels[-1]} ({len(labels)})" if len(labels) > 1 else "".join(labels)


def _structures(answer: Answer) -> Iterable[Json]:
    if isinstance(answer, VolumeAnswer):
        yield from volume_structures(answer.result, answer.morphometry)
        return
    measured = {vertebra.segment_number: vertebra for vertebra in answer.morphometry.vertebrae}
    for structure in answer.result.structures:
        yield {
            "label": structure.label,
            "kind": "vertebra",
            "segment_number": structure.segment_number,
            "level": structure.level,
            "centroid_px": [round(value, 3) for value in structure.centroid_px],
            "confidence": round(structure.confidence, 4),
            "measurements": _quantities(measured.get(structure.segment_number)),
        }


def volume_structures(result: VolumeResult, morphometry: VolumeMorphometry) -> Iterable[Json]:
    """Those of both maps of a volume: `segmentation` tells in which a Segment Number counts."""
    both: list[VertebraMeasures | DiscMeasures] = [*morphometry.vertebrae, *morphometry.discs]
    measured = {one.segment_number: one for one in both}
    for name, structures in (("vertebrae", result.vertebrae), ("substructures", result.substructures)):
        for structure in structures:
            own = measured.get(structure.segment_number) if name == "vertebrae" else None
            volume = {"volume": {"value": round(structure.volume_mm3, 3), "unit": "mm3"}}
            yield {
                "label": structure.label,
                "kind": structure.kind,
                "segmentation": name,
                "segment_number": structure.segment_number,
                "level": structure.level,
                "spineps_label": structure.spineps_label,
                "centroid_lps_mm": [round(value, 3) for value in structure.centroid_lps_mm],
                "confidence": structure.confidence,
                "measurements": {**volume, **_quantities(own)},
            }


def _quantities(measures: object) -> Json:
    """Every quantity that a record of measurements holds."""
    fields = vars(measures) if measures is not None else {}
    return {name: _quantity(value) for name, value in fields.items() if isinstance(value, Quantity)}


def _of_series(answer: Answer) -> Json:
    if isinstance(answer, VolumeAnswer):
        return volume_measurements(answer.morphometry)
    return {"facing": answer.morphometry.facing, **_angles(answer.morphometry.lordoses)}


def volume_measurements(morphometry: VolumeMorphometry) -> Json:
    """What is measured of a volume as a whole: curves, and the canal by level."""
    return {**_angles(morphometry.lordoses), "canal": {one.label: _quantities(one) for one in morphometry.canal}}


def _angles(lordoses: Iterable[Lordosis]) -> Json:
    return {f"lordosis_{one.upper_level}_{one.lower_level}": _quantity(one.angle) for one in lordoses}


def _quantity(quantity: Quantity) -> Json:
    return {"value": round(quantity.value, 3), "unit": quantity.unit}
