"""MR phantoms: truth in SPINEPS' scheme on the volume's own grid, and what a scanner makes of it."""

from functools import cache

import numpy as np
import pytest

from models.phantom.anatomy import draw_whole_spine
from models.phantom.mr import LEVEL_NAMES, REGIONS, MrPhantom, MrRegion, draw_grid, draw_scene, mr_phantom
from models.phantom.mr_column import Column
from models.phantom.mr_plane import Plane, PlaneGrid
from models.phantom.mr_surroundings import Surroundings
from models.phantom.mr_tissues import Tissue
from models.phantom.mr_vertebra import SACRUM, VERTEBRA_NUMBER

STRUCTURES = {0, 26, 41, 42, 43, 44, 45, 46, 47, 48, 49, 60, 61, 62, 100}
BODY, CORD, CANAL, DISC = 49, 60, 61, 100
SEED_OF_REGION: dict[MrRegion, int] = {"cervical": 2, "thoracic": 3, "lumbar": 1}


@cache
def phantom(region: MrRegion = "lumbar", *, isotropic: bool = False) -> MrPhantom:
    """One person a region, scanned once for all tests of this module."""
    return mr_phantom(SEED_OF_REGION[region], region=region, contrast="T2w", isotropic=isotropic)


def centroid(mask: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """(x, y, z) in LPS mm of a mask's centre of mass."""
    return np.asarray(affine[:3, :3] @ np.argwhere(mask).mean(0) + affine[:3, 3])


def test_the_same_seed_gives_the_same_volume() -> None:
    """Seeds are what makes a phantom's result comparable between machines."""
    again = mr_phantom(SEED_OF_REGION["cervical"], region="cervical", contrast="T2w")

    assert np.array_equal(again.voxels, phantom("cervical").voxels)
    assert np.array_equal(again.vertebrae, phantom("cervical").vertebrae)
    assert not np.array_equal(again.affine, phantom("thoracic").affine)


@pytest.mark.parametrize("region", SEED_OF_REGION)
def test_truth_uses_only_the_labels_of_spineps(region: MrRegion) -> None:
    """Structures of the first labelmap; vertebrae, discs and end-plates of the same numbers in the second."""
    made = phantom(region)

    assert set(np.unique(made.subregions)) <= STRUCTURES
    assert made.subregions.shape == made.vertebrae.shape == made.voxels.shape
    numbers = set(np.unique(made.vertebrae)) - {0}
    assert {number % 100 for number in numbers} <= set(LEVEL_NAMES)
    assert np.all(made.vertebrae[made.subregions == BODY] < 100)
    assert np.all(made.vertebrae[made.subregions == DISC] // 100 == 1)


@pytest.mark.parametrize("region", SEED_OF_REGION)
def test_vertebrae_follow_each_other_from_head_to_foot_with_their_discs_between(region: MrRegion) -> None:
    """Order along z in the patient's frame, not along an array's axis."""
    made = phantom(region)
    order = [number for number in made.levels if number != SACRUM]
    order.sort(key=lambda number: list(LEVEL_NAMES).index(number))
    bodies = {n: centroid((made.vertebrae == n) & (made.subregions == BODY), made.affine)[2] for n in order}

    heights = [bodies[number] for number in order]
    assert heights == sorted(heights, reverse=True)
    for above, below in zip(order, order[1:], strict=False):
        disc = made.vertebrae == 100 + above
        if disc.sum() > 30:
            assert bodies[below] < centroid(disc, made.affine)[2] < bodies[above]


def test_the_atlas_is_drawn_but_no_part_of_the_truth() -> None:
    """SPINEPS' models have none unless they declare it. Its arches lie before and behind the dens."""
    rng = np.random.default_rng(4)
    spine = draw_whole_spine(rng)
    scene = draw_scene(rng, draw_grid(rng, spine, "cervical"), spine)

    marrow = scene.tissues.tissue[:, scene.tissues.tissue.shape[1] // 2] == Tissue.POSTERIOR_MARROW
    columns = np.argwhere(marrow & (scene.subregions == 0))[:, 2]
    axis = np.argwhere((scene.vertebrae == VERTEBRA_NUMBER["C2"]) & (scene.subregions == BODY))[:, 2]
    assert len(axis)
    assert columns.min() < np.median(axis) < columns.max()
    assert VERTEBRA_NUMBER["C1"] not in scene.vertebrae
    assert not (scene.subregions[scene.vertebrae == 0] == BODY).any()


def painted_plane(outline: list[tuple[float, float]], *, width: float | None = None) -> list[tuple[int, int]]:
    """Rows and columns of what an outline, or a line of a width, paints on a grid of 1 mm."""
    plane = Plane(PlaneGrid((8, 8), (1.0, 1.0), (0.0, 0.0)), 0.0, np.zeros((8, 8), np.uint8))
    if width is None:
        plane.fill(np.array(outline), Tissue.MARROW)
    else:
        plane.stroke(np.array(outline), width, Tissue.MARROW)
    return [(int(row), int(column)) for row, column in np.argwhere(plane.numbers()[0])]


def test_a_pixel_is_painted_when_its_centre_is_inside() -> None:
    """Nothing grows or shrinks with the pixels' size; a line is at least one pixel wide."""
    assert painted_plane([(1.6, 2.4), (4.4, 2.4), (4.4, 4.6), (1.6, 4.6)]) == [
        (row, column) for row in (3, 4) for column in (2, 3, 4)
    ]
    assert painted_plane([(1.6, 4.2), (5.4, 4.2)], width=0.2) == [(4, column) for column in (2, 3, 4, 5)]


@pytest.mark.parametrize("seed", [1, 2, 5])
def test_no_disc_lies_before_or_behind_a_body_and_c2_has_its_end_plate(seed: int) -> None:
    """In the planes through the bodies' own middles, also where a body leans or is hollow in front."""
    rng = np.random.default_rng(seed)
    spine = draw_whole_spine(rng)
    grid = PlaneGrid((900, 400), (1.0, 1.0), tuple(np.min([v.centre[1:] for v in spine.vertebrae], 0) - [100, 100]))
    column = Column.draw(rng, spine, Surroundings.draw(rng, spine, grid))

    for vertebra in spine.vertebrae[1:-4]:
        plane = Plane(grid, float(vertebra.centre[0]), np.zeros(grid.shape, np.uint8))
        column.paint(plane)
        u, v = np.meshgrid(np.linspace(-0.7, 0.7, 60), np.linspace(-0.25, 0.25, 40))
        around = np.stack([u.ravel() * vertebra.size[1], v.ravel() * vertebra.size[2]], 1)
        columns, rows = np.rint(grid.to_pixels(vertebra.to_phantom(0.0, around)[1])).astype(int).T
        assert DISC not in plane.numbers()[1][rows, columns], vertebra.level

    axis = Plane(grid, float(spine.vertebrae[0].centre[0]), np.zeros(grid.shape, np.uint8))
    column.paint(axis)
    assert (axis.numbers()[2] == 200 + VERTEBRA_NUMBER["C2"]).sum() > 5


def test_left_structures_lie_to_the_patients_left() -> None:
    """In LPS x grows to the left: every paired process of the truth is on its side."""
    made = phantom()

    for left, right in ((43, 44), (45, 46), (47, 48)):
        x_left, x_right = (centroid(made.subregions == label, made.affine)[0] for label in (left, right))
        assert x_left > x_right + 15


def test_the_canal_runs_behind_the_bodies() -> None:
    """In LPS y grows to the back."""
    made = phantom("thoracic")
    body, canal, spinous = (centroid(made.subregions == label, made.affine)[1] for label in (BODY, CANAL, 42))

    assert body < canal < spinous


@pytest.mark.parametrize(("region", "landmark"), [("cervical", "C2"), ("lumbar", "S1")])
def test_landmarks_in_view_are_named(region: MrRegion, landmark: str) -> None:
    """They decide whether a level may count as wrong."""
    made = phantom(region)

    assert landmark in made.landmarks_in_view
    assert landmark in made.levels.values()


@pytest.mark.parametrize(("contrast", "brighter"), [("T2w", True), ("STIR", True), ("T1w", False)])
def test_fluid_is_bright_under_t2_and_dark_under_t1(contrast: str, brighter: bool) -> None:
    """Fluid in the sac against the marrow beside it."""
    made = mr_phantom(1, region="lumbar", contrast=contrast)  # type: ignore[arg-type]
    fluid, marrow = (np.median(made.voxels[made.subregions == label]) for label in (CANAL, BODY))

    assert (fluid > marrow) == brighter


def test_slices_are_thick_and_isotropic_volumes_are_not() -> None:
    """3 to 5 mm between slices as scanners are set, or one size in all directions."""
    thick = np.linalg.norm(phantom().affine[:3, :3], axis=0)
    fine = np.linalg.norm(phantom("cervical", isotropic=True).affine[:3, :3], axis=0)

    assert 2.5 < thick[0] < 6 and 0.5 < thick[1] < 1.2
    assert np.allclose(fine, fine[0])


def test_people_differ_in_what_radiologists_count() -> None:
    """Extra and missing vertebrae, wedges, narrowed discs and the like turn up among two hundred people."""
    people = [draw_whole_spine(np.random.default_rng([seed, 21])) for seed in range(200)]
    levels = {vertebra.level for person in people for vertebra in person.vertebrae}

    assert {"L6", "T13"} <= levels
    assert len({finding.split(" ")[0] for person in people for finding in person.findings}) >= 4
    assert set(REGIONS) >= set(SEED_OF_REGION)
