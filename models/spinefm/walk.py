"""The inductive walk: from three vertebrae up and down the spine, both ways in one batch.

Each step predicts the next centroid from the last three, segments there, and goes on unless something ends the way.
Where the settings let the detector have a say, a step looks at its nearest detection as well and takes the nearer
vertebra, and a way looks once more, nearer, before it ends: neither is in the published method.

Source: Simons & Papież, "SpineFM" (2024): inductive identification.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum

from models.spinefm.config import WalkSettings
from models.spinefm.detection import Detection
from models.spinefm.eyes import Eyes, Vertebra
from models.spinefm.patches import PlacedMask, Point
from models.spinefm.start import turn_degrees

SAME_BODY = 0.5  # of a body's size: a detection this near to a mask's centroid is of the same body
SAME_MASK = 0.3  # masks that overlap by more are of one body
DOUBT = 0.5  # of the classifier, that a mask is a vertebra's
OTHER_GOAL = 0.2  # of a body's size: a prediction this far from a detection is looked at beside it


class Ending(Enum):
    """Why a way ended; the value completes the sentence "the walk ended: …"."""

    LEFT_IMAGE = "the next vertebra would lie outside the image"
    SAME_AGAIN = "the next mask overlaps the last one"
    TOO_NEAR = "the next mask is much nearer than the one before"
    NOTHING = "nothing was segmented there"
    ODD_SIZE = "the next mask is much smaller or larger than the last one"
    TURNED = "the next mask is not in line"
    BACKGROUND = "the classifier sees no vertebra"
    LANDMARK = "a landmark was reached"
    TOO_LONG = "the spine has no more vertebrae than were found"


@dataclass(frozen=True)
class Chain:
    """The vertebrae from the top downwards, and why it ends above and below."""

    vertebrae: tuple[Vertebra, ...]
    above: Ending
    below: Ending


@dataclass(eq=False)
class Way:
    """One direction: the vertebrae so far, nearest last, and why it ended, once it did."""

    vertebrae: list[Vertebra]
    found: list[Vertebra] = field(default_factory=list)
    ending: Ending | None = None

    def keep(self, vertebra: Vertebra) -> None:
        """Go on from a new vertebra."""
        self.vertebrae.append(vertebra)
        self.found.append(vertebra)


@dataclass(frozen=True)
class Sight:
    """What the detector saw on the whole image, for a walk that looks at patches; `body_px` is the size of a body."""

    detections: Sequence[Detection]
    body_px: float

    def snapped(self, point: Point, reach_body_sizes: float | None) -> Point:
        """Go to the nearest detection instead of (x, y), where one lies within reach; None never does."""
        reach = (reach_body_sizes or 0.0) * self.body_px
        places = [d.centroid_px for d in self.detections if math.dist(d.centroid_px, point) < reach]
        return min(places, key=lambda place: math.dist(place, point), default=point)

    def second_opinion(self, vertebra: Vertebra, classes: Sequence[str]) -> str:
        """The likeliest class when the detector, where it saw this very vertebra, has a vote as sure as its score."""
        votes = dict(zip(classes, vertebra.probabilities, strict=True))
        near = [d for d in self.detections if math.dist(d.centroid_px, vertebra.centroid) < SAME_BODY * self.body_px]
        if near:
            best = max(near, key=lambda d: d.score)
            votes[best.kind] = votes.get(best.kind, 0.0) + best.score
        return max(votes, key=votes.__getitem__)


@dataclass(frozen=True)
class Candidate:
    """What was seen at a goal of a way: a vertebra, or why there is none."""

    way: Way
    vertebra: Vertebra | None
    fault: Ending | None


def walk(
    eyes: Eyes,
    start: Sequence[Vertebra],
    *,
    settings: WalkSettings,
    classes: Sequence[str],
    detections: Sequence[Detection] = (),
    body_px: float = 0.0,
    report: Callable[[int], None] = lambda _: None,
) -> Chain:
    """Walk up and down from three refined vertebrae.

    start: three, from the top. classes: what the classifier's probabilities stand for.
    detections, body_px: where `settings` snap predictions to detections.
    report: told how many vertebrae were found so far, after every step.
    """
    up, down, sight = Way([*reversed(start)]), Way([*start]), Sight(detections, body_px)
    for way in (up, down):
        if _kind(way.vertebrae[-1], settings, classes, sight) in {"C2", "S1"}:
            way.ending = Ending.LANDMARK
    for _ in range(settings.max_steps):
        open_ways = [way for way in (up, down) if way.ending is None]
        if not open_ways:
            break
        _step(eyes, open_ways, settings=settings, classes=classes, sight=sight)
        report(len(start) + len(up.found) + len(down.found))
    return Chain(
        vertebrae=(*reversed(up.found), *start, *down.found),
        above=up.ending or Ending.TOO_LONG,
        below=down.ending or Ending.TOO_LONG,
    )


def _step(
    eyes: Eyes,
    ways: Sequence[Way],
    *,
    settings: WalkSettings,
    classes: Sequence[str],
    sight: Sight,
) -> None:
    """Take one step on every way that is open, all in one batch.

    Before a way ends where no vertebra is, it looks once more, nearer: a small one may have been stepped over.
    """
    goals = _goals(eyes, ways, settings, sight)
    stuck = _take(ways, _seen(eyes, goals, settings), settings=settings, classes=classes, sight=sight)
    if settings.nearer_step is None:
        return
    nearer = [
        (way, _along(way.vertebrae[-1].centroid, goal, settings.nearer_step)) for way, goal in goals if way in stuck
    ]
    _take(stuck, _seen(eyes, nearer, settings), settings=settings, classes=classes, sight=sight)


def _take(
    ways: Sequence[Way],
    seen: Sequence[Candidate],
    *,
    settings: WalkSettings,
    classes: Sequence[str],
    sight: Sight,
) -> list[Way]:
    """Go on to the best of what was seen on each way, or note why it ends; returns the ways without a vertebra."""
    stuck = []
    for way in ways:
        there = [candidate for candidate in seen if candidate.way is way]
        if not there:
            continue
        possible = [candidate.vertebra for candidate in there if candidate.vertebra]
        vertebra = _nearest_sure(way, possible, classes) if possible else None
        kind = _kind(vertebra, settings, classes, sight) if vertebra else "background"
        if vertebra is None or kind == "background":
            way.ending = way.ending or (there[0].fault if vertebra is None else Ending.BACKGROUND)
            stuck.append(way)
            continue
        way.keep(vertebra)
        way.ending = None if kind == "vertebra" else Ending.LANDMARK
    return stuck


def _kind(vertebra: Vertebra, settings: WalkSettings, classes: Sequence[str], sight: Sight) -> str:
    return sight.second_opinion(vertebra, classes) if settings.second_opinion else leading_class(vertebra, classes)


def _along(last: Point, goal: Point, share: float) -> Point:
    return last[0] + share * (goal[0] - last[0]), last[1] + share * (goal[1] - last[1])


def _nearest_sure(way: Way, candidates: Sequence[Vertebra], classes: Sequence[str]) -> Vertebra:
    """Of what may come next the nearest that the classifier takes for a vertebra, else the likeliest.

    Where two of them are the same one, the first: it was seen from where the detector put it.
    """
    background, last = classes.index("background"), way.vertebrae[-1].centroid
    sure = [vertebra for vertebra in candidates if vertebra.probabilities[background] < DOUBT]
    if len(sure) > 1 and sure[0].mask.iou(sure[1].mask) > SAME_MASK:
        return sure[0]
    if sure:
        return min(sure, key=lambda vertebra: math.dist(vertebra.centroid, last))
    return min(candidates, key=lambda vertebra: vertebra.probabilities[background])


def _goals(eyes: Eyes, ways: Sequence[Way], settings: WalkSettings, sight: Sight) -> list[tuple[Way, Point]]:
    """Where each way may go next, the detection near the predicted place first; one that would leave the image ends."""
    triples = [[vertebra.centroid for vertebra in way.vertebrae[-3:]] for way in ways]
    goals = []
    for way, triple, predicted in zip(ways, triples, eyes.predict(triples), strict=True):
        expected = plausible(predicted, triple, settings)
        goal = sight.snapped(expected, settings.snap_body_sizes)
        if not inside(goal, eyes.image_size):
            way.ending = Ending.LEFT_IMAGE
            continue
        goals.append((way, goal))
        if math.dist(goal, expected) > OTHER_GOAL * sight.body_px and inside(expected, eyes.image_size):
            goals.append((way, expected))
    return goals


def _seen(eyes: Eyes, goals: Sequence[tuple[Way, Point]], settings: WalkSettings) -> list[Candidate]:
    """What stands at the goals: masks, refined centroids and, where a mask can be the next vertebra, its classes."""
    if not goals:
        return []
    masks = eyes.segment([goal for _, goal in goals])
    centroids = [mask.weighted_centroid() for mask in masks]
    faults = [
        _fault(way, mask, centroid, settings) for (way, _), mask, centroid in zip(goals, masks, centroids, strict=True)
    ]
    sound = [index for index, fault in enumerate(faults) if fault is None]
    classes = dict(zip(sound, eyes.classify([centroids[i] for i in sound]), strict=True)) if sound else {}
    return [
        Candidate(way, Vertebra(masks[i], centroids[i], classes[i]) if i in classes else None, faults[i])
        for i, (way, _) in enumerate(goals)
    ]


def _fault(way: Way, mask: PlacedMask, centroid: Point, settings: WalkSettings) -> Ending | None:
    """Why a mask cannot be the next vertebra of a way, or None."""
    last = way.vertebrae[-1]
    if not mask.area_px:
        return Ending.NOTHING
    if mask.iou(last.mask) > settings.iou:
        return Ending.SAME_AGAIN
    if not _fits(mask.area_px, last.mask.area_px, settings.area_ratio):
        return Ending.ODD_SIZE
    if _too_near(way, centroid, settings.step_ratio):
        return Ending.TOO_NEAR
    return Ending.TURNED if _turned(way, centroid, settings.max_turn_degrees) else None


def leading_class(vertebra: Vertebra, classes: Sequence[str]) -> str:
    """The class that the classifier holds likeliest."""
    return classes[max(range(len(classes)), key=vertebra.probabilities.__getitem__)]


def inside(point: Point, image_size: tuple[int, int]) -> bool:
    """Tell whether (x, y) lies on an image of (rows, columns)."""
    return 0 <= point[0] < image_size[1] and 0 <= point[1] < image_size[0]


def plausible(point: Point, last_three: Sequence[Point], settings: WalkSettings) -> Point:
    """Take the last step once more where the predicted one is far shorter, far longer or turns away."""
    if settings.step_ratio is None:
        return point
    before, last = last_three[-2:]
    step, predicted = math.dist(before, last), math.dist(last, point)
    low, high = settings.step_ratio
    if low * step <= predicted <= high * step and turn_degrees(before, last, point) <= settings.max_turn_degrees:
        return point
    return 2 * last[0] - before[0], 2 * last[1] - before[1]


def _fits(area: int, before: int, ratio: tuple[float, float] | None) -> bool:
    return ratio is None or ratio[0] * before <= area <= ratio[1] * before


def _too_near(way: Way, centroid: Point, ratio: tuple[float, float] | None) -> bool:
    before, last = (vertebra.centroid for vertebra in way.vertebrae[-2:])
    return ratio is not None and math.dist(last, centroid) < ratio[0] * math.dist(before, last)


def _turned(way: Way, centroid: Point, max_turn_degrees: float) -> bool:
    before, last = (vertebra.centroid for vertebra in way.vertebrae[-2:])
    return turn_degrees(before, last, centroid) > max_turn_degrees
