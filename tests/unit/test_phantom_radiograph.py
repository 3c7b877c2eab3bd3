"""Laws of the synthetic radiographs: same seed, same image; the truth lies where the bone is."""

import numpy as np
import pytest

from models.contracts import BodyRegion
from models.phantom.anatomy import LEVEL_VALUE, LEVELS, draw_spine
from models.phantom.decoys import draw_decoy
from models.phantom.projection import Field, Layers
from models.phantom.radiograph import draw_scene, expose, radiograph_phantom
from models.phantom.solids import body_outline, body_sections, body_truth

SEEDS = (3, 4)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_seed_gives_the_same_radiograph(seed: int) -> None:
    """Chance comes from the seed alone."""
    first, second = (radiograph_phantom(seed, columns_limit=600) for _ in range(2))

    np.testing.assert_array_equal(first.pixels, second.pixels)
    np.testing.assert_array_equal(first.labelmap, second.labelmap)
    assert not np.array_equal(
        first.pixels,
        radiograph_phantom(seed + 10, columns_limit=600).pixels[: first.pixels.shape[0], : first.pixels.shape[1]],
    )


@pytest.mark.parametrize("region", ["cervical", "lumbar"])
def test_levels_follow_each_other_down_the_image(region: BodyRegion) -> None:
    """Centroids of successive levels go from the head downwards, and each lies in its own label."""
    phantom = radiograph_phantom(7, region=region, columns_limit=800)
    ordered = sorted(phantom.centroids_px, key=LEVELS.index)

    heights = [phantom.centroids_px[level][1] for level in ordered]
    assert len(ordered) >= 4
    assert heights == sorted(heights)
    for level in ordered:
        x, y = phantom.centroids_px[level]
        assert phantom.levels[int(phantom.labelmap[round(y), round(x)])] == level


def test_stored_values_fit_their_bits_and_polarity() -> None:
    """MONOCHROME1 stores dense tissue low: turned back, bodies are denser than the air around the patient."""
    seen = set()
    for seed in range(12):
        phantom = radiograph_phantom(seed, columns_limit=400)
        assert phantom.pixels.max() < 2**phantom.bits_stored
        seen.add(phantom.photometric_interpretation)
        dense = phantom.pixels.astype(float) * (-1 if phantom.photometric_interpretation == "MONOCHROME1" else 1)
        assert dense[phantom.labelmap > 0].mean() > np.percentile(dense, 20)

    assert seen == {"MONOCHROME1", "MONOCHROME2"}


def test_bone_lies_where_the_truth_says() -> None:
    """The bodies' path length is several times larger inside the labels than on a ring around the chain."""
    scene = draw_scene(np.random.default_rng(11), "lumbar", 400)
    bodies, inside = scene.layers.planes["bodies"], (scene.labelmap > 0) & (scene.labelmap != LEVEL_VALUE["S1"])

    assert bodies[inside].mean() > 5 * bodies[~(scene.labelmap > 0)].mean()


def test_the_sections_of_a_body_fill_its_width() -> None:
    """Slabs are side by side: their thicknesses, less the two cortical faces, add up to the body's width."""
    vertebra = draw_spine(np.random.default_rng(2), "lumbar")["L3"]

    total = sum(section.thickness for section in body_sections(vertebra, 1.0, 0.0))

    assert total == pytest.approx(vertebra.size[0])


def test_the_truth_bridges_the_hollows_of_the_midline_section() -> None:
    """The annotated outline is convex and holds the midline section."""
    vertebra = draw_spine(np.random.default_rng(5), "cervical")["C5"]
    field = Field((200, 200), 0.2, (-20.0, -20.0))
    layers = Layers(field)

    truth, section = layers.mask(body_truth(vertebra)), layers.mask(body_outline(vertebra.size, vertebra.shape))

    assert (section & ~truth).sum() <= 0.01 * section.sum()
    assert truth.sum() >= section.sum()


def test_the_beam_enlarges_what_is_nearer_to_the_tube() -> None:
    """A point towards the focus moves away from the central ray in proportion."""
    field = Field((100, 100), 1.0, (0.0, 0.0))
    point = np.array([[90.0, 50.0]])

    near, far = field.project(point, 100.0)[0, 0], field.project(point, -100.0)[0, 0]

    assert near - 49.5 == pytest.approx(40.5 * 1250 / 1150)
    assert far - 49.5 == pytest.approx(40.5 * 1250 / 1350)


def test_an_exposure_stays_within_its_range_and_turns_brighter_with_bone() -> None:
    """More bone never makes the image darker there, on average over exposures."""
    scene = draw_scene(np.random.default_rng(1), "cervical", 300)
    planes = scene.layers.planes
    more = {**planes, "bodies": planes["bodies"] * 2}
    inside = scene.labelmap > 0

    plain = [expose(planes, np.random.default_rng(k)) for k in range(3)]
    denser = [expose(more, np.random.default_rng(k)) for k in range(3)]

    assert all(image.min() >= 0 and image.max() <= 1 for image in plain)
    assert np.mean([b[inside].mean() - a[inside].mean() for a, b in zip(plain, denser, strict=True)]) > 0


def test_a_decoy_holds_no_vertebra_of_a_lateral_spine() -> None:
    """Decoys of every kind can be exposed and differ from each other."""
    images = [expose(draw_decoy(np.random.default_rng(k), 128).planes, np.random.default_rng(k)) for k in range(6)]

    assert all(np.isfinite(image).all() for image in images)
    assert len({image.shape for image in images}) > 1
