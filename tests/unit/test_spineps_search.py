"""Windows beside the spine are left out; those that see it are all computed, where nnU-Net lays them."""

import numpy as np
import pytest
import torch
from torch import Tensor

from models.spineps.memory import Fitting
from models.spineps.search import ColumnSearch, Sight, together
from models.spineps.windows import Windows, stream_logits

CPU = torch.device("cpu")
SIZE = (4, 16, 8)


def searched(columns: dict[int, Sight], count: int, first: int) -> list[int]:
    """The order in which columns are asked for."""
    search, order = ColumnSearch(count, first), list[int]()
    while (column := search.following()) is not None:
        order.append(column)
        search.seen[column] = columns[column]
    return order


def sight(share: float, reach: str = "") -> Sight:
    """What a column found; reach: `<`, `>` where its neighbours may see more."""
    return Sight(share, before="<" in reach, after=">" in reach)


@pytest.mark.parametrize(
    ("columns", "first", "order"),
    [
        ({2: sight(0.1)}, 2, [2]),  # all of it in one
        ({2: sight(0.1, "<>"), 1: sight(0.05, ">"), 3: sight(0.02, "<")}, 2, [2, 1, 3]),
        ({2: sight(0.1, "<"), 1: sight(0.1, "<>"), 0: sight(0.02)}, 2, [2, 1, 0]),
        ({2: sight(0.001), 1: sight(0.1, ">"), 3: sight(0.0)}, 2, [2, 1]),  # specks are no spine
        ({column: sight(0.0) for column in range(5)}, 2, [2, 1, 3, 0, 4]),  # nothing anywhere: all are looked at
    ],
)
def test_the_search_goes_on_where_structures_reach_the_next_column(
    columns: dict[int, Sight], first: int, order: list[int]
) -> None:
    """To either side, and everywhere while nothing was found."""
    assert searched(columns, 5, first) == order


def test_a_row_begins_where_the_last_found_most() -> None:
    """A spine leans."""
    search = ColumnSearch(4, 1)
    search.seen |= {1: sight(0.02, ">"), 2: sight(0.08)}

    assert search.densest() == 2
    assert together([sight(0.2, "<"), sight(0.0, ">")]) == sight(0.1, "<>")


class Threshold:
    """Class 1 where the image is bright; counts the windows it is asked for."""

    def __init__(self) -> None:
        self.windows = 0

    def __call__(self, x: Tensor) -> Tensor:
        """(B, 1, …) → logits (B, 2, …)."""
        self.windows += len(x)
        return torch.cat([0.5 - x, x - 0.5], 1)


def test_windows_beside_a_leaning_column_are_left_out_and_nothing_is_lost() -> None:
    """The classes are those of all windows together; fewer than two thirds of them were computed."""
    volume = np.zeros((6, 80, 48), np.float32)
    for row in range(80):
        middle = 12 + row // 4
        volume[:, row, middle - 3 : middle + 3] = 1
    windows = Windows.over(volume.shape, SIZE, 0.5)
    network = Threshold()

    parts = stream_logits(torch.from_numpy(volume)[None], windows, network, classes=2, fitting=Fitting(CPU, "it"))
    classes = np.concatenate([part.argmax(0).numpy() for _, part in parts], windows.axis)

    np.testing.assert_array_equal(classes, volume)
    assert network.windows < 0.67 * np.prod([len(along) for along in windows.starts])
