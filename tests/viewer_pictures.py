"""Photograph the demonstration's studies and results, stored in Orthanc, in OHIF: docs/images/ohif*.png.

Run, after `CI=true bash .ci/run`, which fetches viewer and PACS: python -m tests.viewer_pictures
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image
from pydicom import Dataset, dcmread

from app.demo import STUDIES
from app.run import run_profiles
from app.settings import Settings
from tests.viewer import View, viewer

ROOT = Path(__file__).resolve().parent.parent
MODULES, SHARED, PICTURES = ROOT / "node_modules", ROOT.parent / "shared", ROOT / "docs" / "images"
# study and first word of the result's Series Description → picture
NAMES = {
    ("radiograph", "Vertebrae"): "ohif.png",
    ("mr", "Vertebrae"): "ohif-mr-vertebrae.png",
    ("mr", "Spinal"): "ohif-mr-substructures.png",
    ("radiograph", "Spine"): "ohif-report.png",
    ("mr", "Spine"): "ohif-mr-report.png",
}


def main() -> None:
    """Segment, store, photograph."""
    with TemporaryDirectory() as scratch, viewer(MODULES, SHARED, Path(scratch)) as running:
        views: dict[str, View] = {}
        for study in STUDIES:
            folder, results = Path(scratch) / study.name, Path(scratch) / f"{study.name} results"
            study.write(folder, study.seed)
            run_profiles(folder, {"ohif": results}, settings=Settings())
            made = _instances(results)
            running.store([*_instances(folder), *made])
            for result in (each for each in made if each.Modality in ("SEG", "SR")):
                kind = str(result.SeriesDescription).split()[0]
                number = _middle(result, _instances(folder)) if result.Modality == "SEG" else 0  # OHIF goes there
                views[NAMES[study.name, kind]] = View(result, number)
        for name, picture in zip(views, running.photograph(list(views.values())), strict=True):
            Image.fromarray(picture).save(PICTURES / name, optimize=True)
            print(f"wrote {PICTURES / name}")


def _instances(folder: Path) -> list[Dataset]:
    return [dcmread(path) for path in sorted(folder.rglob("*.dcm"))]


def _middle(segmentation: Dataset, sources: list[Dataset]) -> int:
    """The Instance Number of the slice in the middle of those that hold something; 0 for a radiograph."""
    if len(sources) == 1:
        return 0
    held = np.flatnonzero(segmentation.pixel_array.reshape(-1, segmentation.Rows * segmentation.Columns).any(1))
    frame = segmentation.PerFrameFunctionalGroupsSequence[int(np.median(held))]
    uid = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
    return next(int(source.InstanceNumber) for source in sources if source.SOPInstanceUID == uid)


if __name__ == "__main__":
    main()
