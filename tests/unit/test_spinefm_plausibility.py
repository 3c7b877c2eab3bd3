"""A chain that lacks all that a lateral spine has is refused."""

import pytest

from models.contracts import BodyRegion
from models.spinefm.levels import Numbered
from models.spinefm.plausibility import implausible

STRAIGHT = [(100.0 + 2 * (index % 2), 50.0 * index) for index in range(6)]
CURVED = [(100.0 + 3 * index**2, 50.0 * index) for index in range(6)]
UNKNOWN = Numbered(range(6), (None,) * 6, "unknown")
C2_SEEN = Numbered(range(6), ("C2", "C3", "C4", "C5", "C6", "C7"), "landmark")


def test_a_frontal_chest_is_no_lateral_spine() -> None:
    """Straight, poorly outlined, no landmark, and the header tells no region."""
    fault = implausible(STRAIGHT, [0.7] * 6, UNKNOWN, None)

    assert fault == (
        "what was found is no spine seen from the side: no landmark, no body region, poor outlines, no curve"
    )


@pytest.mark.parametrize(
    ("centroids", "certain", "numbered", "region"),
    [
        (CURVED, 0.7, UNKNOWN, None),
        (STRAIGHT, 0.9, UNKNOWN, None),
        (STRAIGHT, 0.7, C2_SEEN, None),
        (STRAIGHT, 0.7, UNKNOWN, "lumbar"),
    ],
)
def test_a_chain_that_has_one_of_these_is_kept(
    centroids: list[tuple[float, float]], certain: float, numbered: Numbered, region: BodyRegion | None
) -> None:
    """True laterals lack some."""
    assert implausible(centroids, [certain] * 6, numbered, region) is None
