"""Both Segmentations of an MR volume, profile `ohif`, in a real viewer: each slice shows its own, where it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models.contracts import SpineStructure, VolumeResult
from operators.dicom.volume import plan_volumes
from operators.dicom.volume_segmentation import VolumeSegmentations, build_volume_segmentations
from tests.made_mr import SAGITTAL, made_mr, series_of
from tests.made_volume import ALGORITHM, made_result
from tests.viewer import Shown, View, overlaps, viewer

pytestmark = [pytest.mark.slow, pytest.mark.peers("Orthanc", "chromium", "node", "curl")]

SCALE = (1, 10, 10)  # of the made result, so that a voxel is some pixels wide on the screen
OFF_CENTRE, MIDDLE = 1, 3  # slices: the outer one has no arch and no canal; slice 0 and the last one hold nothing


def enlarged(labelmap: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return a labelmap of the made result on the finer grid; one row less, so that frames do not end on a byte."""
    return np.kron(labelmap, np.ones(SCALE, np.uint16))[:, :-1, :-1]


def study(folder: Path) -> tuple[list, VolumeResult, VolumeSegmentations]:  # type: ignore[type-arg]
    """Return a white-framed series of grey slices, slices to the right, with its result."""
    affine = SAGITTAL @ np.diag([-1, 0.1, 0.1, 1])
    made = made_result()
    subregions = enlarged(made.subregion_labelmap)
    voxels = np.full(subregions.shape, 300, np.uint16)
    voxels[:, :6], voxels[:, -6:], voxels[:, :, :6], voxels[:, :, -6:] = 1000, 1000, 1000, 1000
    datasets = made_mr(voxels, affine, study="viewer mr", WindowCenter="500", WindowWidth="1000")
    stack = plan_volumes(series_of(datasets, folder)).chosen

    def placed(labelmap: NDArray[np.uint16], structure: SpineStructure) -> SpineStructure:
        places = np.argwhere(labelmap == structure.segment_number)
        x, y, z = stack.affine[:3, :3] @ places.mean(0) + stack.affine[:3, 3]
        volume = len(places) * abs(float(np.linalg.det(stack.affine[:3, :3])))
        return replace(structure, centroid_lps_mm=(x, y, z), volume_mm3=volume)

    vertebrae = enlarged(made.vertebra_labelmap)
    result = replace(
        made,
        vertebra_labelmap=vertebrae,
        subregion_labelmap=subregions,
        vertebrae=tuple(placed(vertebrae, structure) for structure in made.vertebrae),
        substructures=tuple(placed(subregions, structure) for structure in made.substructures),
    )
    return datasets, result, build_volume_segmentations(result, stack, algorithm=ALGORITHM, profile="ohif")


@pytest.fixture(scope="module")
def shown(npm_modules: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Shown]:
    """Show each Segmentation on two slices."""
    folder = tmp_path_factory.mktemp("viewer_mr")
    datasets, result, built = study(folder / "series")
    parts = {
        "vertebrae": (built.vertebrae, result.vertebra_labelmap),
        "substructures": (built.substructures, result.subregion_labelmap),
    }
    wanted = [(name, index) for name in parts for index in (OFF_CENTRE, MIDDLE)]
    with viewer(npm_modules, shared, folder) as running:
        running.store([*datasets, built.vertebrae, built.substructures])
        pictures = running.photograph([View(parts[name][0], index + 1) for name, index in wanted])
    return {
        (name, index): Shown(picture, parts[name][1][index], parts[name][0])
        for picture, (name, index) in zip(pictures, wanted, strict=True)
    }


@pytest.mark.parametrize(
    ("name", "index", "count"),
    [
        ("vertebrae", OFF_CENTRE, 3),
        ("vertebrae", MIDDLE, 3),
        ("substructures", OFF_CENTRE, 2),
        ("substructures", MIDDLE, 4),
    ],
)
def test_the_viewer_shows_each_structure_on_its_slice(
    shown: dict[tuple[str, int], Shown], name: str, index: int, count: int
) -> None:
    """Dice of coloured pixels with the Segment: slices without anything have no frame, and nothing moves for it."""
    found = overlaps(shown[name, index])

    assert len(found) == count
    assert {label: round(value, 2) for label, value in found.items() if value < 0.9} == {}


def test_the_law_is_red_for_the_overlay_of_another_slice(shown: dict[tuple[str, int], Shown]) -> None:
    """The outer slice has neither arch nor canal: the middle one's overlay would not do."""
    outer, middle = shown["substructures", OFF_CENTRE], shown["substructures", MIDDLE]

    assert min(overlaps(replace(middle, labelmap=outer.labelmap)).values()) < 0.9
