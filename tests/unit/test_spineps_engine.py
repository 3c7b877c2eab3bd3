"""The engine from end to end on a made spine: what crosses its border is on the source grid and in LPS."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.contracts import SpineVolume, VolumeResult
from models.errors import EngineRefusal, NoSpineFound, PackError
from models.packs import ModelPack
from models.spineps.engine import SPINEPS
from tests.made_spineps import ComponentNetwork, made_pack, made_spine, volume_of

COUNT = 5
LABELS = ["L1", "L1/L2", "L2", "L2/L3", "L3", "L3/L4", "L4", "L4/L5", "L5", "L5/S1", "sacrum"]


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> ModelPack:
    """A pack on disk."""
    return made_pack(tmp_path_factory.mktemp("packs") / "spineps-made")


@pytest.fixture(scope="module")
def engine(pack: ModelPack) -> SPINEPS:
    """The engine; what its instance network would have to learn is done by components."""
    engine = SPINEPS(pack, device="cpu")
    engine.instances.network = ComponentNetwork()  # type: ignore[assignment]
    return engine


@pytest.fixture(scope="module")
def result(engine: SPINEPS) -> VolumeResult:
    """The answer to the made spine as a scanner would store it: sagittal slices from the right."""
    return engine.segment(volume_of(made_spine(COUNT)))


def test_a_volume_that_would_outgrow_the_memory_is_declined_before_it_is_made(engine: SPINEPS) -> None:
    """Voxels of 50 × 50 × 50 mm by the header: the reason names them, and what they would become."""
    volume = volume_of(made_spine(COUNT))
    claimed = replace(volume, affine=volume.affine * np.array([50.0, 50.0, 50.0, 1.0]))

    with pytest.raises(EngineRefusal, match=r"the voxels of the header are .* million \(.* GiB\)"):
        engine.segment(claimed)


def labels_in_lps(result: VolumeResult) -> dict[str, tuple[float, ...]]:
    """Centroids by Segment Label."""
    return {item.label: item.centroid_lps_mm for item in (*result.vertebrae, *result.substructures)}


def test_vertebrae_and_discs_come_from_the_head_down_by_level(result: VolumeResult) -> None:
    """The sacrum is in view: numbering begins there; each vertebra is followed by its disc."""
    assert [item.label for item in result.vertebrae] == LABELS
    assert [item.segment_number for item in result.vertebrae] == list(range(1, len(LABELS) + 1))
    assert [item.spineps_label for item in result.vertebrae] == [20, 120, 21, 121, 22, 122, 23, 123, 24, 124, 26]
    assert result.numbering == "landmark"
    assert all(0 < item.confidence <= 1 for item in result.vertebrae)


def test_both_labelmaps_are_on_the_source_grid_and_agree_with_their_structures(result: VolumeResult) -> None:
    """Segment Numbers without gaps, volumes and centroids as counted."""
    volume = volume_of(made_spine(COUNT))
    for labelmap, structures in (
        (result.vertebra_labelmap, result.vertebrae),
        (result.subregion_labelmap, result.substructures),
    ):
        assert labelmap.dtype == np.uint16
        assert labelmap.shape == volume.voxels.shape
        assert sorted(np.unique(labelmap)) == [0, *(item.segment_number for item in structures)]
        for item in structures:
            inside = np.argwhere(labelmap == item.segment_number)
            assert item.volume_mm3 == pytest.approx(len(inside) * 2.0)
            centre = volume.affine @ [*inside.mean(0), 1]
            np.testing.assert_allclose(item.centroid_lps_mm, centre[:3], atol=1e-6)


def test_the_structures_are_those_of_the_volume(result: VolumeResult) -> None:
    """Voxel for voxel, as the network set by hand sees them."""
    truth = made_spine(COUNT)
    table = np.zeros(len(result.substructures) + 1, np.uint8)
    for item in result.substructures:
        table[item.segment_number] = item.spineps_label

    found = table[result.subregion_labelmap].transpose(2, 1, 0)

    assert np.mean(found[truth > 0] == truth[truth > 0]) > 0.999
    assert not found[truth == 0].any()


@pytest.mark.parametrize(
    ("order", "signs"),
    [((2, 1, 0), (-1, 1, 1)), ((2, 1, 0), (1, -1, -1)), ((0, 1, 2), (1, 1, 1)), ((1, 2, 0), (-1, 1, -1))],
)
def test_the_way_a_volume_is_stored_changes_nothing(
    order: tuple[int, ...], signs: tuple[int, ...], engine: SPINEPS, result: VolumeResult
) -> None:
    """Right stays right: the same centroids in LPS, whatever runs where."""
    turned = engine.segment(volume_of(made_spine(COUNT), order=order, signs=signs))

    expected, found = labels_in_lps(result), labels_in_lps(turned)
    assert list(found) == list(expected)
    np.testing.assert_allclose(list(found.values()), list(expected.values()), atol=0.05)


def test_a_finer_or_coarser_grid_gives_the_same_places(engine: SPINEPS, result: VolumeResult) -> None:
    """Resampled to the pack's spacing and back: within a voxel."""
    volume = volume_of(made_spine(COUNT))
    fine = SpineVolume(volume.voxels.repeat(2, 1).repeat(2, 2), volume.affine.copy(), "T2w")
    fine.affine[:3, 1:3] /= 2
    fine.affine[:3, 3] -= fine.affine[:3, 1:3].sum(1) / 2

    found = engine.segment(fine)

    assert found.vertebra_labelmap.shape == fine.voxels.shape
    assert [item.label for item in found.vertebrae] == LABELS
    for label, centre in labels_in_lps(result).items():
        assert np.linalg.norm(np.subtract(centre, labels_in_lps(found)[label])) < 1.0


def test_no_landmark_is_said(engine: SPINEPS) -> None:
    """Without a sacrum, levels of a spine whose region the header does not tell stay open."""
    result = engine.segment(volume_of(made_spine(4, sacrum=False)))

    assert result.numbering != "landmark"
    assert result.warnings


@pytest.mark.parametrize("level", [0.0, 300.0])
def test_a_volume_without_a_spine_is_refused(level: float, engine: SPINEPS) -> None:
    """An even volume, or an empty one."""
    volume = volume_of(made_spine(COUNT))

    with pytest.raises(NoSpineFound, match="was found|were found"):
        engine.segment(replace(volume, voxels=np.full_like(volume.voxels, level)))


def test_too_little_of_a_spine_is_refused(engine: SPINEPS) -> None:
    """One vertebra is no spine."""
    labels = np.zeros((40, 60, 12), np.uint8)
    labels[8:28, 20:32, 3:11], labels[30:34, 10:50, 4:8] = 49, 100

    with pytest.raises(NoSpineFound, match="1 vertebrae were found, 2 are needed"):
        engine.segment(volume_of(labels))


def test_phases_are_timed_and_progress_is_told(engine: SPINEPS) -> None:
    """Each phase in its order, and an end."""
    told: list[tuple[str, float]] = []

    result = engine.segment(volume_of(made_spine(COUNT)), progress=lambda phase, done: told.append((phase, done)))

    assert list(result.timings_s) == ["prepare", "semantic", "clean", "instances", "combine"]
    assert [phase for phase, _ in told] == ["prepare", "semantic", "instances", "combine", "done"]
    assert [done for _, done in told] == sorted(done for _, done in told)


def test_a_network_that_fills_the_memory_is_run_in_smaller_batches(
    engine: SPINEPS, result: VolumeResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same answer, and a warning that says so."""

    class Narrow:
        def __init__(self, inner: Callable[[torch.Tensor], torch.Tensor]) -> None:
            self.inner = inner

        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > 1:
                raise torch.OutOfMemoryError("out of memory")
            return self.inner(x)

    monkeypatch.setattr("models.spineps.memory.CPU_BATCH", 2)
    monkeypatch.setattr(engine.semantic, "networks", [Narrow(network) for network in engine.semantic.networks])

    found = engine.segment(volume_of(made_spine(COUNT)))

    np.testing.assert_array_equal(found.vertebra_labelmap, result.vertebra_labelmap)
    assert any("ran out of memory under the semantic network" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("network", "change", "reason"),
    [("semantic", {"configuration": "2d"}, "'2d'"), ("semantic", {"preparation": {"sharpen": 1}}, "sharpen"),
     ("instance", {"dim": 16}, "size mismatch")],
)  # fmt: skip
def test_a_pack_that_describes_no_spineps_is_refused(
    network: str, change: dict[str, object], reason: str, pack: ModelPack
) -> None:
    """The message names the pack and what is wrong."""
    networks = {**pack.networks, network: {**pack.networks[network], **change}}

    with pytest.raises(PackError, match=f"spineps-made 1 (?s:.*){reason}"):
        SPINEPS(replace(pack, networks=networks), device="cpu")
