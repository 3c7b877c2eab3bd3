"""Whether what was found in a volume can be a spine at all: signs against it, each a sentence; two are too many.

One sign alone is what disease, a crop or a poor outline makes of a true spine. Limits lie outside what phantoms and
real spines show; sizes from the smallest neck to the largest lumbar body (models.phantom.anatomy), with a wide margin.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from models.spineps.combine import Combined
from models.spineps.frame import Spacing
from models.spineps.levels import CANAL, CORD, SACRUM, BodyShape, Levels

MOST_SIGNS = 1
DEPTH_MM, STEP_MM = (8.0, 55.0), (9.0, 60.0)  # of the median body along P; from one vertebra to the next
UNEVEN = 3.5  # the longest of the steps by the shortest
TURN_DEGREES = 50.0  # from one step to the next
SHARE = 0.5  # of the vertebrae must have a disc beside them, of those in view a canal behind
BEHIND_MM = 70.0  # how far behind a body's centre its canal may lie
SPECK_MM3 = 20.0  # a smaller sacrum says nothing
POOR_AGREEMENT = 0.6  # mean agreement of the instances' predictions


def implausible(
    combined: Combined, shapes: Sequence[BodyShape], levels: Levels, agreement: Sequence[float], spacing: Spacing
) -> str | None:
    """Why the answer as a whole can be no spine, or None."""
    signs = [*_signs_of_shape(shapes), *_signs_of_neighbours(combined, shapes, levels, spacing)]
    if float(np.mean(agreement)) < POOR_AGREEMENT:
        signs.append("the outlines disagree")
    return "what was found is no spine: " + ", ".join(signs) if len(signs) > MOST_SIGNS else None


def _signs_of_shape(shapes: Sequence[BodyShape]) -> Iterator[str]:
    centres = np.array([shape.centre for shape in shapes if shape.has_body])
    if len(centres) < 2:
        yield "it has no bodies"
        return
    depth = float(np.median([shape.depth for shape in shapes]))
    if not DEPTH_MM[0] <= depth <= DEPTH_MM[1]:
        yield f"bodies of {depth:.0f} mm"
    steps = np.diff(centres[:, :2], axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    if not STEP_MM[0] <= np.median(lengths) <= STEP_MM[1]:
        yield f"steps of {np.median(lengths):.0f} mm"
    if lengths.max() > UNEVEN * lengths.min():
        yield "uneven steps"
    angles = np.degrees(np.unwrap(np.arctan2(steps[:, 0], steps[:, 1])))
    if len(angles) > 1 and np.abs(np.diff(angles)).max() > TURN_DEGREES:
        yield "vertebrae out of line"


def _signs_of_neighbours(
    combined: Combined, shapes: Sequence[BodyShape], levels: Levels, spacing: Spacing
) -> Iterator[str]:
    count = len(shapes)
    discs = {int(number) for number in np.unique(combined.discs)} - {0, count + 1}
    if len(discs) < SHARE * (count - 1):
        yield "too few discs"
    canal = np.asarray(np.isin(combined.subregions, (CORD, CANAL)).any(2), bool)
    if sum(_has_canal(shape, canal, spacing) for shape in shapes) < SHARE * count:
        yield "no canal behind the bodies"
    sacrum_mm3 = np.count_nonzero(combined.subregions == SACRUM) * float(np.prod(spacing))
    last = next((name for name in reversed(levels.names) if name), "")
    if sacrum_mm3 > SPECK_MM3 and last.startswith("C"):
        yield f"a sacrum next to {last}"


def _has_canal(shape: BodyShape, canal: NDArray[np.bool_], spacing: Spacing) -> bool:
    """Whether the canal runs behind a body at its height; canal: (P, I), anywhere across."""
    p, i = (round(place / mm) for place, mm in zip(shape.centre, spacing[:2], strict=False))
    reach, half = round(BEHIND_MM / spacing[0]), round(shape.height / 4 / spacing[1])
    return bool(canal[p : p + reach, max(0, i - half) : i + half + 1].any())
