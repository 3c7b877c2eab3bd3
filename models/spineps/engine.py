"""SPINEPS: a sagittal MR volume in; vertebrae, discs and structures out on the source grid, or a refusal.

Prepare, segment structures, tell vertebrae apart, bring both together, name the levels.

Source: Möller et al., "SPINEPS" (European Radiology 2024).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from models.clock import Clock
from models.contracts import BodyRegion, SpineVolume, VolumeResult
from models.device import choose_device
from models.errors import NoSpineFound, PackError
from models.packs import ModelPack, read_weights
from models.spineps.answer import Found, compose_result
from models.spineps.clean import clean_subregions
from models.spineps.combine import combine
from models.spineps.evidence import Landmarks
from models.spineps.frame import (
    Orientation,
    Spacing,
    require_bounded,
    resample_image,
    resample_labels,
    target_spacing,
)
from models.spineps.instances import FoundInstances, InstancePhase
from models.spineps.labelling import LabellingPhase
from models.spineps.levels import cord_end, decide_levels, sees_sacrum, shapes_of
from models.spineps.plausibility import implausible
from models.spineps.prepare import Preparation, prepare
from models.spineps.semantic import SemanticPhase, build_semantic_network
from models.state_dicts import with_aliases

Progress = Callable[[str, float], None]
FEWEST = 2  # fewer vertebrae than this are no spine
FROM_SACRUM = 0.5  # agreement on a vertebra that was taken out of the sacrum: no instance saw it
LEAST_MM3 = 400.0  # of all vertebrae together


class SPINEPS:
    """The engine, with one pack's networks loaded on one device."""

    def __init__(self, pack: ModelPack, *, device: str = "auto") -> None:
        """Load a pack.

        device: `auto` takes a GPU where there is one; else a torch device such as `cpu` or `cuda:1`.

        Raises: PackError when the pack does not describe a SPINEPS or its weights do not fit.
        """
        self.device = choose_device(device)
        try:
            semantic, instance = pack.networks["semantic"], pack.networks["instance"]
            self.preparation = Preparation.of(semantic)
            self.resolution = semantic["resolution"]
            network = build_semantic_network(semantic)
            names = ["semantic"] if semantic["folds"] == 1 else [f"semantic_fold_{n}" for n in range(semantic["folds"])]
            folds = [with_aliases(read_weights(pack, name), network) for name in names]
            self.semantic = SemanticPhase(semantic, folds, self.device)
            self.instances = InstancePhase(instance, read_weights(pack, "instance"), self.device)
            self.labelling = self._labelling_of(pack)
        except (KeyError, TypeError, RuntimeError) as error:
            raise PackError(
                f"pack {pack.name} {pack.version} describes no SPINEPS ({error}): import it again"
            ) from error

    @torch.inference_mode()
    def segment(self, volume: SpineVolume, *, progress: Progress | None = None) -> VolumeResult:
        """Segment and name what a sagittal volume shows.

        progress: told the phase and how much of the whole is done, 0–1.

        Raises: NoSpineFound with the reason when no spine is in view; EngineRefusal where the header's spacing would
        make more voxels than there is memory for.
        """
        report, clock = progress or (lambda _phase, _done: None), Clock()
        orientation = Orientation.of(volume.affine)
        source, spacing = orientation.apply(volume.voxels), orientation.spacing(volume.spacing_mm)
        report("prepare", 0.0)
        target = target_spacing(spacing, self.resolution)
        require_bounded(source.shape, spacing, target)
        image = resample_image(prepare(source, spacing, self.preparation), spacing, target)
        clock.lap("prepare")
        report("semantic", 0.1)
        structures = self.semantic.predict(image, target)
        clock.lap("semantic")
        subregions = clean_subregions(structures.labels, target)
        if not subregions.any():
            raise NoSpineFound("no structure of a spine was found in the volume")
        clock.lap("clean")
        report("instances", 0.7)
        instances = self.instances.predict(subregions, target)
        clock.lap("instances")
        report("combine", 0.9)
        hints = Hints(source, volume.body_region)
        found = self._combine(hints, subregions, instances, Grids(source.shape, spacing, target))
        result = compose_result(volume, orientation, found, (*structures.notes, *instances.notes))
        clock.lap("combine")
        report("done", 1.0)
        return replace(result, timings_s=clock.laps)

    def _labelling_of(self, pack: ModelPack) -> LabellingPhase | None:
        settings = pack.networks.get("labelling")
        return LabellingPhase(settings, read_weights(pack, "labelling"), self.device) if settings else None

    def _combine(
        self, hints: "Hints", subregions: NDArray[np.uint8], instances: FoundInstances, grids: "Grids"
    ) -> Found:
        at_source = grids.back(subregions, self.preparation.padding)
        combined = combine(at_source, grids.back(instances.labelmap, self.preparation.padding), grids.source_mm)
        volume_mm3 = np.count_nonzero(combined.vertebrae) * float(np.prod(grids.source_mm))
        if len(combined.kept) < FEWEST or volume_mm3 < LEAST_MM3:
            raise NoSpineFound(f"{len(combined.kept)} vertebrae were found, {FEWEST} are needed")
        shapes = shapes_of(combined.vertebrae, combined.subregions, grids.source_mm)
        sacrum = sees_sacrum(combined.subregions, shapes, grids.source_mm)
        said = None
        if self.labelling is not None:
            said = self.labelling.look(hints.image, grids.source_mm, combined.vertebrae, combined.subregions)
        end = cord_end(combined.subregions, shapes, grids.source_mm)
        levels = decide_levels(shapes, Landmarks(sacrum, hints.body_region, combined.lower_end, end, said))
        agreement = (instances.agreement[number - 1] if number else FROM_SACRUM for number in combined.kept)
        found = Found(combined, levels, tuple(agreement))
        fault = implausible(combined, shapes, levels, found.agreement, grids.source_mm)
        if fault is not None:
            raise NoSpineFound(fault)
        return found


@dataclass(frozen=True)
class Hints:
    """What helps to name levels besides the structures: the image (P, I, R), and what the header says is in view."""

    image: NDArray[np.float32]
    body_region: BodyRegion | None


@dataclass(frozen=True)
class Grids:
    """The source grid (P, I, R) and the spacing that the networks worked at."""

    source_shape: tuple[int, ...]
    source_mm: Spacing
    target_mm: Spacing

    def back(self, labels: NDArray[np.generic], padding: int) -> NDArray:  # type: ignore[type-arg]
        """Labels of the prepared image on the source grid."""
        p, i, r = (n + 2 * padding for n in self.source_shape)
        padded = resample_labels(labels, self.target_mm, self.source_mm, (p, i, r))
        return padded[tuple(slice(padding, padding + n) for n in self.source_shape)]
