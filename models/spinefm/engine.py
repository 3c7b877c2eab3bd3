"""SpineFM: a lateral radiograph in, its vertebrae by level out, or a refusal with the reason.

Detect on the whole image, choose three neighbours, refine them, walk up and down, finish the masks, name the levels.
Large flat borders are cut off first; an image taller than a single exposure is searched in windows as well, and each
stretch of the spine that shows up goes the same way in a view of its own.

Source: Simons & Papież, "SpineFM" (2024).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from models.clock import Clock
from models.contracts import FoundStructure, RadiographImage, RadiographResult
from models.device import choose_device
from models.errors import NoSpineFound
from models.packs import ModelPack
from models.spinefm.borders import exposed, exposed_field, is_large
from models.spinefm.config import SpineFMConfig, read_config
from models.spinefm.detection import Detection, DetectionKind
from models.spinefm.eyes import Eyes, Vertebra
from models.spinefm.finish import Finished, finish
from models.spinefm.levels import Numbered, number_chain
from models.spinefm.networks import Networks, build_networks
from models.spinefm.patches import Point
from models.spinefm.plausibility import implausible
from models.spinefm.scale import Scale, resolve_scale
from models.spinefm.start import Triple, is_one_line, order_along_spine, order_downwards, runs_of_three
from models.spinefm.stretches import Stretch, chosen, on_image, put_together
from models.spinefm.views import Field
from models.spinefm.walk import Chain, Ending, leading_class, walk
from models.spinefm.windows import may_be_tall, stretches, views_of

Progress = Callable[[str, float], None]
FEWEST = 3  # fewer vertebrae than this are no spine
MOST_STARTS = 3  # how many runs of three are tried
EVEN_STEPS = 1.6  # two steps of a run that differ by more have a vertebra between them that was not detected
EDGE_SHARE = 0.05  # a mask that comes this near to the image's edge, in body sizes, is cut by it
# How far, in body sizes, a detection may lie from the vertebra it speaks for; the middle of C2 with its dens is high.
REACH: Mapping[DetectionKind, float] = {"vertebra": 0.5, "C2": 1.0, "S1": 0.7}


@dataclass(frozen=True)
class Begun:
    """What is known once the walk can start: sizes, the three refined vertebrae, what the detector saw."""

    detections: tuple[Detection, ...]
    scale: Scale
    eyes: Eyes
    start: tuple[Vertebra, ...]


class SpineFM:
    """The engine, with one pack's networks loaded on one device."""

    def __init__(self, pack: ModelPack, *, device: str = "auto") -> None:
        """Load a pack.

        device: `auto` takes a GPU where there is one; else a torch device such as `cpu` or `cuda:1`.

        Raises: PackError when the pack does not describe a SpineFM or its weights do not fit.
        """
        self.device = choose_device(device)
        self.config = read_config(pack)
        self.networks = build_networks(pack, self.device, min_score=self.config.walk.detector)

    @classmethod
    def of(cls, networks: Networks, config: SpineFMConfig) -> "SpineFM":
        """Make an engine of networks that are at hand, on the CPU."""
        engine = cls.__new__(cls)
        engine.device, engine.config, engine.networks = torch.device("cpu"), config, networks
        return engine

    @torch.inference_mode()
    def segment(self, image: RadiographImage, *, progress: Progress | None = None) -> RadiographResult:
        """Segment and name the vertebrae of a lateral radiograph.

        progress: told the phase and how much of the whole is done, 0–1.

        Raises: NoSpineFound with the reason when no spine is in view.
        """
        report = progress or _nothing
        field, shape = exposed_field(image.pixels), image.pixels.shape
        if is_large(field, shape):
            within = replace(image, pixels=exposed(image.pixels, field))
            result = on_image(self._segment_exposed(within, report), field, shape)
        else:
            result = self._segment_exposed(image, report)
        report("done", 1.0)
        return result

    def _segment_exposed(self, image: RadiographImage, report: Progress) -> RadiographResult:
        """Segment a radiograph without large borders: as a whole, and where it is tall in windows."""
        from_afar, refusal = None, None
        try:
            from_afar = self._segment_view(image, report)
        except NoSpineFound as error:
            refusal = error
        nearer = None
        if may_be_tall(image, from_afar):
            nearer = self._segment_in_windows(image, report)
        if nearer is not None and (from_afar is None or len(nearer.structures) >= len(from_afar.structures)):
            return nearer
        if from_afar is None:
            raise refusal or NoSpineFound("no spine is in view")
        return from_afar

    def _segment_in_windows(self, image: RadiographImage, report: Progress) -> RadiographResult | None:
        """Segment each stretch of the spine that the windows of a tall radiograph show; None where they show none."""
        report("windows", 0.9)
        detector, shape = self.networks.detector, image.pixels.shape
        found: list[Stretch] = []
        for stretch in stretches(image, detector.detect, min_score=self.config.walk.detector):
            seen = [any(known.covers(detection.centroid_px) for known in found) for detection in stretch]
            if 2 * sum(seen) > len(seen):
                continue
            for field in views_of(stretch, shape):
                # The header's region is that of the whole image; in a view it is for the bodies' size to tell.
                view = replace(image, pixels=_cut(image.pixels, field), body_region=None)
                try:
                    found.append(Stretch(field, self._segment_view(view, _nothing, is_whole=False)))
                except NoSpineFound:
                    continue
        kept = chosen(found)
        return put_together(kept, shape) if kept else None

    def _segment_view(self, image: RadiographImage, report: Progress, *, is_whole: bool = True) -> RadiographResult:
        """Segment what is in one view of the detector. is_whole: whether the image's edges are the radiograph's."""
        clock = Clock()
        report("detect", 0.0)
        detections = tuple(
            d for d in self.networks.detector.detect(image.pixels) if d.score > self.config.walk.detector
        )
        clock.lap("detect")
        report("start", 0.2)
        begun = self._begin(image, detections)
        clock.lap("start")
        report("walk", 0.4)
        chain = walk(
            begun.eyes,
            begun.start,
            settings=self.config.walk,
            classes=self.config.classes,
            detections=detections,
            body_px=begun.scale.body_px,
            report=lambda count: report("walk", min(0.9, 0.4 + 0.04 * count)),
        )
        clock.lap("walk")
        report("finish", 0.9)
        return self._finish(begun, chain, clock, is_whole=is_whole)

    def _begin(self, image: RadiographImage, detections: tuple[Detection, ...]) -> Begun:
        """Refine the likeliest three neighbours that really are three vertebrae in a line."""
        if len(detections) < FEWEST:
            raise NoSpineFound(f"{len(detections)} vertebrae were detected, {FEWEST} are needed to start")
        scale = resolve_scale(image, detections, self.config)
        eyes = Eyes(image.pixels, self.networks, self.config, scale=scale, device=self.device)
        reason, second_best = "the detected vertebrae do not stand in one line", None
        for run in likely_starts(detections, self.config.walk.max_turn_degrees)[:MOST_STARTS]:
            begun = Begun(detections, scale, eyes, tuple(eyes.look([detection.centroid_px for detection in run])))
            fault = self._start_fault(begun.start)
            if fault is None and not self._doubted(begun.start):
                return begun
            if fault is None:
                second_best = second_best or begun
            reason = fault or reason
        if second_best is None:
            raise NoSpineFound(reason)
        return second_best

    def _start_fault(self, start: Sequence[Vertebra]) -> str | None:
        """Why three refined vertebrae are no start, or None."""
        settings = self.config.walk
        if 2 * self._doubted(start) > len(start):
            return "the classifier sees no vertebrae where the detector does"
        if any(a.mask.iou(b.mask) > settings.iou for a, b in zip(start, start[1:], strict=False)):
            return "neighbouring detections turned out to be one structure"
        if not is_one_line([vertebra.centroid for vertebra in start], settings.max_turn_degrees):
            return "the refined vertebrae do not stand in one line"
        return None

    def _doubted(self, start: Sequence[Vertebra]) -> int:
        """How many of a start the classifier takes for background."""
        return sum(leading_class(vertebra, self.config.classes) == "background" for vertebra in start)

    def _finish(self, begun: Begun, chain: Chain, clock: Clock, *, is_whole: bool) -> RadiographResult:
        settings, size = self.config.walk, begun.eyes.image_size
        whole = finish([v.mask for v in chain.vertebrae], size, threshold=settings.final, smoothing=settings.smoothing)
        vertebrae, finished = _without_empty(chain.vertebrae, whole)
        margin = 1 + int(EDGE_SHARE * begun.scale.body_px)
        cut = [_edges_touched(finished.labelmap == number, margin) for number in range(1, len(vertebrae) + 1)]
        if not is_whole:  # the spine runs on beyond the view, and what its edge cuts has no outline
            vertebrae, finished = _kept(vertebrae, finished, [index for index, sides in enumerate(cut) if not sides])
            cut = [()] * len(vertebrae)
        numbered = number_chain(
            self._evidence(vertebrae, begun),
            threshold=settings.landmark,
            region=begun.scale.region,
            cut_above=not is_whole or (bool(cut) and "upper" in cut[0]),
            cut_below=not is_whole or (bool(cut) and "lower" in cut[-1]),
            certain=self._certain(vertebrae, finished),
            steps=_steps(vertebrae, begun.scale.body_px),
        )
        if len(numbered.members) < FEWEST:
            raise NoSpineFound(f"the walk ended with {len(numbered.members)} vertebrae, fewer than {FEWEST}")
        kept = [vertebrae[i] for i in numbered.members]
        certain = self._certain(kept, finished, numbered.members)
        if fault := implausible([v.centroid for v in kept], certain, numbered, begun.scale.region):
            raise NoSpineFound(fault)
        labelmap = _renumbered(finished.labelmap, numbered.members)
        structures = self._structures(labelmap, kept, finished, numbered)
        clock.lap("finish")
        return RadiographResult(
            labelmap=labelmap,
            structures=structures,
            numbering=numbered.numbering,
            scale=begun.scale.sentence,
            warnings=(
                *begun.scale.warnings,
                *numbered.warnings,
                *_cut_warnings(structures, [cut[i] for i in numbered.members]),
                *_doubts(begun, chain),
            ),
            timings_s=clock.laps,
        )

    def _evidence(self, vertebrae: Sequence[Vertebra], begun: Begun) -> list[dict[str, float]]:
        """How much speaks for each landmark: the classifier and, where it saw this vertebra, the detector."""
        classes = self.config.classes
        kinds: Sequence[str | None] = [None] * len(vertebrae)
        if self.networks.detector_tells_landmarks:
            kinds = _kinds_seen([vertebra.centroid for vertebra in vertebrae], begun.detections, begun.scale.body_px)
        evidence = []
        for vertebra, kind in zip(vertebrae, kinds, strict=True):
            votes: dict[str, list[float]] = {"C2": [], "S1": []}
            for level, given in votes.items():
                if level in classes:
                    given.append(vertebra.probabilities[classes.index(level)])
                if kind is not None:
                    given.append(float(kind == level))
            evidence.append({level: sum(given) / len(given) if given else 0.0 for level, given in votes.items()})
        return evidence

    def _structures(
        self, labelmap: NDArray[np.uint16], vertebrae: Sequence[Vertebra], finished: Finished, numbered: Numbered
    ) -> tuple[FoundStructure, ...]:
        numbers = range(1, len(vertebrae) + 1)
        centres = ndimage.center_of_mass(labelmap > 0, labelmap, list(numbers))
        certain = self._certain(vertebrae, finished, numbered.members)
        return tuple(
            FoundStructure(
                segment_number=number,
                label=level or f"vertebra {number}",
                level=level,
                confidence=numbered.probability * sure,
                centroid_px=(float(column), float(row)),
            )
            for number, level, sure, (row, column) in zip(numbers, numbered.levels, certain, centres, strict=True)
        )

    def _certain(
        self, vertebrae: Sequence[Vertebra], finished: Finished, members: Sequence[int] | None = None
    ) -> list[float]:
        """That each is a vertebra with this outline, 0–1. members: their places in `finished`, else all of it."""
        background = self.config.classes.index("background")
        places = range(len(vertebrae)) if members is None else members
        return [
            (1 - vertebra.probabilities[background]) * finished.probabilities[place]
            for vertebra, place in zip(vertebrae, places, strict=True)
        ]


def _steps(vertebrae: Sequence[Vertebra], body_px: float) -> list[float]:
    """From each vertebra to the next, in body sizes."""
    centroids = [vertebra.centroid for vertebra in vertebrae]
    return [math.dist(a, b) / body_px for a, b in zip(centroids, centroids[1:], strict=False)]


def _nothing(_phase: str, _done: float) -> None:
    """Tell nobody."""


def _cut(pixels: NDArray[np.float32], field: Field) -> NDArray[np.float32]:
    return pixels[field.top : field.top + field.rows, field.left : field.left + field.columns]


def likely_starts(detections: Sequence[Detection], max_turn_degrees: float) -> tuple[Triple, ...]:
    """The runs of three neighbours in a line, from the top each: even ones first, then by score."""
    runs = (*runs_of_three(order_along_spine(detections)), *runs_of_three(order_downwards(detections)))
    upright = {frozenset(map(id, run)): _from_the_top(run) for run in runs}
    lines = [run for run in upright.values() if is_one_line([d.centroid_px for d in run], max_turn_degrees)]
    return tuple(sorted(lines, key=lambda run: (not _is_even(run), -sum(d.score for d in run))))


def _from_the_top(run: Triple) -> Triple:
    first, second, third = sorted(run, key=lambda detection: detection.centroid_px[1])
    return first, second, third


def _is_even(run: Triple) -> bool:
    a, b, c = (detection.centroid_px for detection in run)
    short, long = sorted((math.dist(a, b), math.dist(b, c)))
    return long <= EVEN_STEPS * short


def _kinds_seen(centroids: Sequence[Point], detections: Sequence[Detection], body_px: float) -> list[str | None]:
    """What the detector took each vertebra of a chain for; None where it saw none there.

    A detection speaks for the vertebra nearest to it, within REACH body sizes; a landmark outvotes a vertebra.
    """
    said: list[list[Detection]] = [[] for _ in centroids]
    for detection in detections:
        distances = [math.dist(detection.centroid_px, centroid) for centroid in centroids]
        nearest = min(range(len(distances)), key=distances.__getitem__)
        if distances[nearest] <= REACH[detection.kind] * body_px:
            said[nearest].append(detection)
    return [max(near, key=lambda d: (d.kind != "vertebra", d.score)).kind if near else None for near in said]


def _without_empty(vertebrae: Sequence[Vertebra], finished: Finished) -> tuple[list[Vertebra], Finished]:
    """Leave out vertebrae of whose masks nothing is left."""
    return _kept(vertebrae, finished, [index for index, share in enumerate(finished.probabilities) if share > 0])


def _kept(vertebrae: Sequence[Vertebra], finished: Finished, members: Sequence[int]) -> tuple[list[Vertebra], Finished]:
    """The members, 0-based, of a chain and their masks."""
    labelmap = _renumbered(finished.labelmap, members)
    return [vertebrae[i] for i in members], Finished(labelmap, tuple(finished.probabilities[i] for i in members))


def _renumbered(labelmap: NDArray[np.uint16], members: Sequence[int]) -> NDArray[np.uint16]:
    """Keep the members, 0-based, and number them from 1 without gaps."""
    table = np.zeros(int(labelmap.max()) + 1, dtype=np.uint16)
    table[[member + 1 for member in members]] = np.arange(1, len(members) + 1)
    return table[labelmap]


def _edges_touched(mask: NDArray[np.bool_], margin: int) -> tuple[str, ...]:
    """Which edges of the image a mask comes within `margin` pixels of."""
    sides: Mapping[str, NDArray[np.bool_]] = {
        "upper": mask[:margin],
        "lower": mask[-margin:],
        "left": mask[:, :margin],
        "right": mask[:, -margin:],
    }
    return tuple(side for side, pixels in sides.items() if pixels.any())


def _cut_warnings(structures: Sequence[FoundStructure], cut: Sequence[tuple[str, ...]]) -> list[str]:
    return [
        f"{structure.label} is cut by the image's {' and '.join(sides)} edge"
        for structure, sides in zip(structures, cut, strict=True)
        if sides
    ]


def _doubts(begun: Begun, chain: Chain) -> list[str]:
    """What the walk leaves open: odd endings, and vertebrae that only the detector saw."""
    odd = (Ending.ODD_SIZE, Ending.TURNED, Ending.TOO_LONG)
    doubts = [
        f"the walk {way} ended early: {ending.value}"
        for way, ending in (("upwards", chain.above), ("downwards", chain.below))
        if ending in odd
    ]
    reached = [vertebra.centroid for vertebra in chain.vertebrae]
    lone = sum(
        all(math.dist(detection.centroid_px, centroid) > begun.scale.body_px for centroid in reached)
        for detection in begun.detections
    )
    if lone:
        doubts.append(f"{lone} structures that the detector took for vertebrae are not part of the chain")
    return doubts
