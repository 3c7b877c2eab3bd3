"""SPINEPS against the original with the same pack: equal answers, a third of the time, half of the memory.

Needs the environment variable SPONDYL_ORIGINAL_PYTHON: the interpreter of an environment with the package `spineps`.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.benchmarks.spineps_against_original import (
    LEAST_DICE,
    LEAST_RATIO,
    MOST_MEMORY,
    PACK,
    ROOT,
    Duel,
    run_duels,
    tables,
    volumes,
)

SAMPLE = ("phantom 2000000", "lumbar_VB2_02")  # the whole set takes most of an hour: the command runs it


@pytest.fixture(scope="module")
def duels(tmp_path_factory: pytest.TempPathFactory) -> list[Duel]:
    """Return both engines' answers on a phantom and, where the reference data are there, a real series."""
    python = os.environ.get("SPONDYL_ORIGINAL_PYTHON")
    if python is None:
        pytest.skip("SPONDYL_ORIGINAL_PYTHON does not name a Python with the package spineps")
    if not PACK.is_dir():
        pytest.skip("the pack spineps-phantom is not installed")
    real = ROOT.parent / "shared" / "data" / "mr"
    return list(run_duels(Path(python), PACK, volumes(real, SAMPLE), tmp_path_factory.mktemp("duels")))


@pytest.mark.slow
@pytest.mark.benchmark
def test_both_engines_find_the_same(duels: list[Duel]) -> None:
    """The same number of vertebrae, and a mean Dice of 0.98 between the two per structure and per vertebra."""
    agreements = [duel.agreement for duel in duels]

    for agreement in agreements:
        assert agreement is not None
        assert agreement.vertebra_counts[0] == agreement.vertebra_counts[1]
        assert np.mean(list(agreement.structures.values())) >= LEAST_DICE
        assert np.mean(agreement.vertebrae) >= LEAST_DICE


@pytest.mark.slow
@pytest.mark.benchmark
def test_ours_takes_a_third_of_the_time_and_half_of_the_memory(
    duels: list[Duel], record_property: Callable[[str, object], None]
) -> None:
    """All phases count, on two threads."""
    ratio = sum(duel.original.wall_s for duel in duels) / sum(duel.ours.wall_s for duel in duels)
    share = max(duel.ours.peak_mib / duel.original.peak_mib for duel in duels)

    record_property("tables", tables(duels, ""))
    assert ratio >= LEAST_RATIO
    assert share <= MOST_MEMORY
