"""docs/accuracy.md in halves: each is written by its own measurement and leaves the other as it is."""

import re
from pathlib import Path

TITLE = (
    "# Accuracy\n\nHow far the shipped packs can be trusted: [radiographs](#radiographs), [MR volumes](#mr-volumes).\n"
)
PARTS = ("radiographs", "MR volumes")


def write_part(document: Path, part: str, text: str) -> None:
    """Put a half into the document, in place of what it said before.

    part: one of PARTS. text: Markdown; its headings go down a level.
    """
    before = document.read_text(encoding="utf-8") if document.is_file() else ""
    kept = {name: found for name in PARTS if (found := _find(before, name))}
    kept[part] = re.sub(r"^#", "##", text.strip(), flags=re.MULTILINE)
    halves = (f"{_mark(name)}\n\n{kept[name]}\n\n{_mark(name, end=True)}\n" for name in PARTS if name in kept)
    document.write_text("\n".join((TITLE, *halves)), encoding="utf-8")


def _find(document: str, part: str) -> str | None:
    _, start, rest = document.partition(_mark(part))
    text, end, _ = rest.partition(_mark(part, end=True))
    return text.strip() if start and end else None


def _mark(part: str, *, end: bool = False) -> str:
    return f"<!-- {'end of ' if end else ''}{part} -->"
