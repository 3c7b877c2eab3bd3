"""Whether a chain in a radiograph can be a spine seen from the side: signs against it; four are too many.

A frontal spine is a chain of bodies too. It differs by what it lacks: no landmark at its end, no curve, bodies that are
hardly outlined and jumped over; and whoever sends a frontal chest says nothing of a spine's region. Each of these is
found in true laterals as well, seldom more than two together.
"""

from collections.abc import Sequence
from statistics import median

import numpy as np

from models.contracts import BodyRegion
from models.spinefm.levels import Numbered
from models.spinefm.patches import Point

MOST_SIGNS = 3
GOOD_OUTLINE = 0.82  # median certainty; true laterals of ../docs/accuracy.md have 0.86 and more
STRAIGHT_DEGREES, FEWEST_FOR_A_CURVE = 10.0, 5  # between the directions of any two steps


def implausible(
    centroids: Sequence[Point], certain: Sequence[float], numbered: Numbered, region: BodyRegion | None
) -> str | None:
    """Why a chain is no lateral spine, or None.

    centroids: (x, y) from the top; certain: 0–1 for each; region: as the header has it.
    """
    signs = []
    if numbered.numbering != "landmark":
        signs.append("no landmark")
    if region is None:
        signs.append("no body region")
    if median(certain) < GOOD_OUTLINE:
        signs.append("poor outlines")
    if any("not found" in warning for warning in numbered.warnings):
        signs.append("gaps")
    steps = np.diff(np.array(centroids), axis=0)
    if len(centroids) >= FEWEST_FOR_A_CURVE and np.ptp(np.degrees(np.arctan2(*steps.T))) < STRAIGHT_DEGREES:
        signs.append("no curve")
    return "what was found is no spine seen from the side: " + ", ".join(signs) if len(signs) > MOST_SIGNS else None
