"""What the documents say of the shipped packs is what was measured, with these weights."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from models.packs import load_pack

_AIM = re.compile(r"^\| (?P<what>[^|]+) \| [\d.]+(?: %)? \| (?P<measured>[\d.]+(?: %)?) \|", re.MULTILINE)


def figures(repository: Path) -> dict[str, str]:
    """Return what docs/accuracy.md measured for each of its aims; of two of one name, that on phantoms, the first."""
    text = (repository / "docs/accuracy.md").read_text(encoding="utf-8")
    found = reversed([*_AIM.finditer(text)])
    return {match["what"]: match["measured"].replace(".0 %", " %") for match in found}


@pytest.mark.parametrize("pack", ["spinefm-phantom", "spineps-phantom"])
def test_accuracy_was_measured_with_the_shipped_weights(repository: Path, pack: str) -> None:
    """Who ships others measures anew."""
    shipped = load_pack(repository / "models/packs" / pack)

    said = (repository / "docs/accuracy.md").read_text(encoding="utf-8")

    assert f"with the pack `{shipped.name}` {shipped.version} (SHA-256 of its weights `{shipped.digest}`)" in said


def test_the_comparison_with_the_original_was_made_with_the_shipped_weights(repository: Path) -> None:
    """The table of docs/performance.md, which a command writes, and the text around it."""
    shipped = load_pack(repository / "models/packs/spineps-phantom")

    said = (repository / "docs/performance.md").read_text(encoding="utf-8")

    assert f"Pack: SHA-256 `{shipped.digest[:16]}…`" in said
    assert f"measured with the pack's version {shipped.version}:" in said


def test_the_readme_says_what_was_measured(repository: Path) -> None:
    """The figures of docs/accuracy.md, row by row."""
    found = figures(repository)
    rows = {
        "| 200 synthetic radiographs": ("vertebrae identified", "mean Dice, those not found as 0"),
        "| 50 synthetic MR volumes": (
            "volumes in which every vertebra is found",
            "Dice per vertebra, those not found as 0",
            "Dice of the discs as a whole",
            "volumes with a landmark in view whose levels are all right",
        ),
        "| real lumbar MR": ("Dice per body, those not found as 0", "Dice per disc, those not found as 0"),
    }
    readme = (repository / "README.md").read_text(encoding="utf-8").splitlines()

    for beginning, whats in rows.items():
        row = next(line for line in readme if line.startswith(beginning))
        for what in whats:
            assert f"| {found[what]}" in row, f"{what} is {found[what]} in docs/accuracy.md; README.md says: {row}"
