"""Which windows of a row see the spine: those beside it say background, and need not be computed.

A row of windows is laid in columns from the front to the back (or wherever more of them stand side by side). One column
is looked at first; from there the search goes on to each side for as long as the structures found reach into the part
that the next column would see as well. Where too little was found to be a spine it goes on in any case. So every window
that would find a part of the spine is computed, at the places that nnU-Net gives it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

ENOUGH = 0.01  # of a column's voxels: less than this is no spine


@dataclass(frozen=True)
class Sight:
    """What a column found. share: of its voxels that are a structure; before, after: whether the next may see more."""

    share: float
    before: bool
    after: bool


def together(sights: Sequence[Sight]) -> Sight:
    """What the windows of one column found."""
    share = sum(sight.share for sight in sights) / len(sights)
    return Sight(share, before=any(sight.before for sight in sights), after=any(sight.after for sight in sights))


@dataclass
class ColumnSearch:
    """The search in one row of `count` columns, beginning at `first`."""

    count: int
    first: int
    seen: dict[int, Sight] = field(default_factory=dict)

    def following(self) -> int | None:
        """The column to compute next, None where all that see the spine are known."""
        left = [column for column in range(self.count) if column not in self.seen]
        if max((sight.share for sight in self.seen.values()), default=0.0) >= ENOUGH:
            left = [column for column in left if self._reached(column)]
        return min(left, key=lambda column: abs(column - self.first), default=None)

    def densest(self) -> int:
        """The column that found most: where the next row's search begins."""
        return max(self.seen, key=lambda column: self.seen[column].share, default=self.first)

    def _reached(self, column: int) -> bool:
        nothing = Sight(0.0, before=False, after=False)
        return self.seen.get(column - 1, nothing).after or self.seen.get(column + 1, nothing).before
