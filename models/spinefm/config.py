"""What a pack says about the networks' patches and about the walk, read once and checked.

Keys of `networks`: `detector`, `segmenter`, `point_predictor`, `classifier`, each with a `kind`. Keys of `walk`: the
fields of `WalkSettings`; what is left out keeps its default.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, cast, get_args

from models.contracts import BodyRegion
from models.errors import PackError
from models.packs import ModelPack
from models.spinefm.patches import Outside, Upsampling

Resampling = Literal["float", "uint8"]
NETWORKS = ("detector", "segmenter", "point_predictor", "classifier")
# Square root of the area of a vertebral body seen from the side, mm: between men and women, upper and lower levels.
BODY_SIZE_MM: Mapping[BodyRegion, float] = {"cervical": 14.5, "thoracic": 23.0, "lumbar": 30.0}


@dataclass(frozen=True)
class Smoothing:
    """Gaussian smoothing of the finished mask: `kernel` px along an edge (odd) and `sigma` px."""

    kernel: int
    sigma: float


@dataclass(frozen=True)
class WalkSettings:
    """How the engine starts, walks, stops and finishes.

    detector: score above which a detection counts.
    iou: overlap with the mask before, above which the walk has not moved on and stops.
    final: probability above which a pixel belongs to the finished mask.
    smoothing: of the finished mask, or None.
    outside: what lies outside a patch, see `patches.place`.
    resampling: `uint8` rounds images and patches to 8 bits, as the published weights have seen them.
    area_ratio: a mask outside these times the area of the one before ends the walk; None lets any pass.
    max_turn_degrees: a chain that turns by more is no spine.
    step_ratio: a predicted step outside these times the one before is replaced by that one, and no vertebra is nearer
        than the first of them; None trusts the predictor.
    snap_body_sizes: a detection within this many body sizes of the predicted point is walked to instead; None never.
    nearer_step: the share of a step that is tried before a way ends where no vertebra is; None tries none.
    second_opinion: whether the detector, where it saw a vertebra, has a say in what the classifier sees there.
    max_steps: each way.
    landmark: evidence from which C2 and S1 count as seen.
    body_size_mm: square root of a body's area per region.
    size_tolerance: calibrated and seen body size may differ by this factor.
    """

    detector: float = 0.6
    iou: float = 0.1
    final: float = 0.5
    smoothing: Smoothing | None = None
    outside: Outside = "background"
    resampling: Resampling = "float"
    area_ratio: tuple[float, float] | None = (0.25, 4.0)
    max_turn_degrees: float = 60.0
    step_ratio: tuple[float, float] | None = (0.5, 2.0)
    snap_body_sizes: float | None = 0.5
    nearer_step: float | None = 0.72
    second_opinion: bool = False
    max_steps: int = 24
    landmark: float = 0.45
    body_size_mm: Mapping[BodyRegion, float] = field(default_factory=lambda: BODY_SIZE_MM)
    size_tolerance: float = 1.6


@dataclass(frozen=True)
class PatchSettings:
    """What a network looks at around a point.

    px, body_sizes: the patch's edge, in pixels of the image or in body sizes; exactly one is given.
    input_px: edge of the network's input.
    via_px: edge to which the patch is brought first, before nearest neighbour makes it `input_px`; None goes straight.
    zooms: times the edge, at which the classifier looks; its probabilities are averaged.
    """

    input_px: int
    px: int | None = None
    body_sizes: float | None = None
    via_px: int | None = None
    zooms: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class SpineFMConfig:
    """Everything the engine takes from its pack besides the networks themselves.

    reference_body_px: the body size, in pixels, of the images whose patches `px` speaks of; None where unknown.
    classes: what the classifier answers, in its order; the first is background.
    regions: the body regions that the pack accepts.
    """

    segmenter: PatchSettings
    classifier: PatchSettings
    mask_upsampling: Upsampling
    classes: tuple[str, ...]
    walk: WalkSettings
    regions: tuple[BodyRegion, ...]
    reference_body_px: float | None = None


def read_config(pack: ModelPack) -> SpineFMConfig:
    """Read the engine's configuration out of a pack.

    Raises: PackError naming the pack and the entry at fault.
    """
    if missing := [name for name in NETWORKS if name not in pack.networks]:
        raise PackError(f"pack {pack.name}: no entry for {', '.join(missing)} in 'networks'")
    try:
        segmenter, classifier = pack.networks["segmenter"], pack.networks["classifier"]
        walk = dict(pack.walk)
        reference = walk.pop("reference_body_px", None)
        return SpineFMConfig(
            segmenter=_patch(segmenter),
            classifier=_patch(classifier),
            mask_upsampling=_one_of(segmenter.get("mask_upsampling", "nearest"), get_args(Upsampling)),
            classes=_classes(classifier["classes"]),
            walk=_walk(walk),
            regions=tuple(_one_of(region, get_args(BodyRegion)) for region in pack.accepts.get("body_region", ())),
            reference_body_px=None if reference is None else float(reference),
        )
    except (KeyError, TypeError, ValueError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else error
        raise PackError(f"pack {pack.name}: {what} in pack.json") from error


def _patch(network: Mapping[str, Any]) -> PatchSettings:
    edge = network["patch_edge"]
    if set(edge) not in ({"px"}, {"body_sizes"}):
        raise ValueError(f"patch_edge {dict(edge)} is neither 'px' nor 'body_sizes'")
    zooms = tuple(float(zoom) for zoom in network.get("zooms", (1.0,)))
    if not zooms or min(zooms) <= 0:
        raise ValueError(f"zooms {zooms} are not positive")
    return PatchSettings(input_px=int(network["input_px"]), via_px=network.get("via_px"), zooms=zooms, **edge)


def _classes(names: Any) -> tuple[str, ...]:
    classes = tuple(names)
    if classes[:2] != ("background", "vertebra") or not set(classes[2:]) <= {"C2", "S1"}:
        raise ValueError(f"classes {classes} are not background, vertebra and at most C2, S1")
    return classes


def _walk(body: Mapping[str, Any]) -> WalkSettings:
    if unknown := set(body) - {entry.name for entry in fields(WalkSettings)}:
        raise ValueError(f"walk {', '.join(sorted(unknown))} means nothing")
    values = dict(body)
    for key in ("area_ratio", "step_ratio"):
        if values.get(key) is not None:
            low, high = values[key]
            values[key] = (float(low), float(high))
    if values.get("smoothing") is not None:
        values["smoothing"] = Smoothing(**values["smoothing"])
    if "outside" in values:
        _one_of(values["outside"], get_args(Outside))
    if "resampling" in values:
        _one_of(values["resampling"], get_args(Resampling))
    return WalkSettings(**values)


def _one_of(value: Any, choices: tuple[Any, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"{value!r} is none of {', '.join(map(str, choices))}")
    return cast(Any, value)
