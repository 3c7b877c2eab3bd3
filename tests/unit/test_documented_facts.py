"""Statuses, states, retry times and settings that the documents name are those of the code."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from app.gateway.storage_scp import PROCESSING_FAILURE, STATUS_FOR
from app.jobs.commitments import SUCCESS
from app.jobs.courses import PAUSES_S
from app.jobs.job import JobState
from app.settings import Settings
from app.version import software_version

DAY_S = 86_400.0
_SETTING = re.compile(r"`([a-z_]+(?:\.[a-z_]+)+)(?:: [^`]*)?`")


def page(repository: Path, name: str) -> str:
    """Return a document."""
    return (repository / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["conformance.md", "operations.md"])
def test_the_statuses_are_those_that_the_node_answers(repository: Path, name: str) -> None:
    """Each one there is, and none that is not."""
    told = {int(status, 16) for status in re.findall(r"^\| 0x([0-9A-F]{4}) \|", page(repository, name), re.MULTILINE)}

    assert told == {*STATUS_FOR.values(), PROCESSING_FAILURE, SUCCESS}


def test_the_states_are_those_of_a_job(repository: Path) -> None:
    """In the order in which they are declared."""
    text = page(repository, "operations.md")
    table = text[text.index("| state | meaning |") :]
    told = re.findall(r"^\| ([a-z]+) \|", table[: table.index("\n\n")], re.MULTILINE)

    assert [word for word in told if word != "state"] == [state.value for state in JobState]


def test_the_times_of_delivery_are_those_of_the_pauses(repository: Path) -> None:
    """How often, and for how long in all."""
    first = [pause for pause in PAUSES_S if pause < 3600]
    words = f"after {', '.join(map(str, first[:-1]))} and {first[-1]} seconds, then every\nhour, three days in all"

    assert words in page(repository, "network.md")
    assert "asked again for three days" in page(repository, "operations.md")
    assert sum(PAUSES_S) == pytest.approx(3 * DAY_S, rel=0.05)


def test_the_conformance_statement_is_of_this_version(repository: Path) -> None:
    """PS3.2: a statement is of one version of a product."""
    assert f"for Spondyl {software_version()}." in page(repository, "conformance.md")


def _field(model: Any, keys: list[str]) -> bool:
    for key in keys:
        fields = getattr(model, "model_fields", {})
        if key not in fields:
            return False
        annotation = fields[key].annotation
        candidates = [annotation, *getattr(annotation, "__args__", ())]
        model = next((each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)), None)
    return True


def test_every_setting_that_a_document_names_exists(repository: Path) -> None:
    """`node.port` and the like, in README and docs."""
    sections = {key for key, field in Settings.model_fields.items() if _is_section(field.annotation)}
    texts = [(repository / "README.md").read_text(encoding="utf-8")]
    texts += [file.read_text(encoding="utf-8") for file in sorted((repository / "docs").glob("*.md"))]
    named = {name for text in texts for name in _SETTING.findall(text) if name.split(".")[0] in sections}

    missing = sorted(name for name in named if not _field(Settings, name.split(".")))
    assert missing == []
    assert len(named) > 10


def _is_section(annotation: Any) -> bool:
    return any(
        isinstance(each, type) and issubclass(each, BaseModel)
        for each in (annotation, *getattr(annotation, "__args__", ()))
    )
