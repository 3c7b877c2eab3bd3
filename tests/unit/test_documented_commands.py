"""Every command line in the documents and manifests is one that the real command takes."""

import importlib.util
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from app.cli import app

DOCUMENTS = ("README.md", "CHANGELOG.md", "docs/*.md", "manifests/**/*.yaml", "Dockerfile", "app.yaml")
VERBS = {"serve", "run", "send", "check", "demo", "segment", "evaluate", "train", "jobs", "models", "phantom"}
# What stands for something of the reader's.
PLACEHOLDERS = {"INPUT": ".", "DIR": ".", "FOLDER": ".", "PRED": ".", "REFERENCE": ".", "OTHER": "."}
PLACEHOLDERS |= {"T2W_DIR": ".", "INSTANCE_DIR": ".", "SPIDER/images": ".", "SPIDER/masks": ".", "out": "."}
PLACEHOLDERS |= {"T2w_semantic": ".", "instance_sagittal": ".", "T2w_labeling": ".", "studies": "."}
_SPONDYL = re.compile(r"(?:^|(?<=[\s`$(;]))(?:\./run )?spondyl(?: [^`\n|;&)]*)?")
_MODULE = re.compile(r"python3? -m ((?:app|tests)[\w.]*)")
_RUN = re.compile(r"\./run (?!spondyl\b)([a-z]+)")


class WrongLine(Exception):
    """A line that the command does not take; the message says why."""


def texts(repository: Path) -> Iterator[tuple[Path, str]]:
    """Yield every document with its text, continued lines joined."""
    for pattern in DOCUMENTS:
        for file in sorted(repository.glob(pattern)):
            yield file, file.read_text(encoding="utf-8").replace("\\\n", " ")


def code_of(file: Path, text: str) -> Iterator[str]:
    """Yield what in a text is code: blocks, and spans between backticks; of a manifest all but its comments."""
    if file.suffix != ".md":
        yield from (line.split(" #")[0] for line in text.splitlines() if not line.lstrip().startswith("#"))
        return
    for block in re.findall(r"```[a-z]*\n(.*?)```", text, re.DOTALL):
        yield from (line.split("#")[0] for line in block.splitlines())
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def command_lines(repository: Path) -> list[tuple[str, str]]:
    """Return (document, arguments) of every call of `spondyl`."""
    found = []
    for file, text in texts(repository):
        for code in code_of(file, text):
            for match in _SPONDYL.finditer(code):
                arguments = match.group().strip().removeprefix("./run ").removeprefix("spondyl").strip()
                if arguments.split(" ")[0] in VERBS:
                    found.append((str(file.relative_to(repository)), arguments))
    return found


def manifest_arguments(repository: Path) -> list[tuple[str, list[str]]]:
    """Return (manifest, arguments) of every container of ours in Kubernetes and Compose, and of app.yaml's service."""
    found: list[tuple[str, list[str]]] = []
    for file in [*sorted(repository.glob("manifests/**/*.yaml")), repository / "app.yaml"]:
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            found += [(str(file.relative_to(repository)), arguments) for arguments in _arguments(document)]
    return found


def _arguments(node: Any) -> Iterator[list[str]]:
    if isinstance(node, dict):
        for key in ("args", "command"):
            value = node.get(key)
            if isinstance(value, list) and value and value[0] in ("serve", "spondyl"):
                yield [str(part) for part in value if part != "spondyl"]
        for value in node.values():
            yield from _arguments(value)
    elif isinstance(node, list):
        for value in node:
            yield from _arguments(value)


def parse(arguments: list[str]) -> None:
    """Hold arguments against the real command, without running it.

    Raises:
        WrongLine: no such command or option, or a value of another kind.
    """
    command: Any = typer.main.get_command(app)
    while hasattr(command, "commands"):
        if not arguments or arguments[0].startswith("-"):
            return  # the group alone, or its --help
        if arguments[0] not in command.commands:
            raise WrongLine(f"there is no {arguments[0]!r}")
        command, arguments = command.commands[arguments[0]], arguments[1:]
    try:
        command.make_context("spondyl", list(arguments))
    except typer.Exit:  # --help
        return
    except Exception as fault:  # typer's own click, whose classes are not for others to name
        words = f"{type(fault).__name__} {getattr(fault, 'message', '')}".strip()
        if "requires an argument" in words or "MissingParameter" in words:
            return  # a sentence that names the verb, or the option, alone
        raise WrongLine(words) from fault


def split(line: str) -> list[str]:
    """Return the words of a documented line; optional parts count as given."""
    plain = re.sub(r"\[|\]|…|\.\.\.", " ", line)
    return [PLACEHOLDERS.get(word, word) for word in shlex.split(plain, comments=True)]


def test_every_documented_line_of_spondyl_is_taken_by_the_command(repository: Path) -> None:
    """Strings that look right have ended both Kubernetes deployments."""
    lines = command_lines(repository)

    faults = []
    for document, line in lines:
        try:
            parse(split(line))
        except (WrongLine, ValueError) as fault:
            faults.append(f"{document}: spondyl {line}: {fault}")
    assert faults == []
    assert len(lines) > 40


def test_every_command_of_the_manifests_is_taken_by_the_command(repository: Path) -> None:
    """Kubernetes' and Compose's lists, and the service of app.yaml."""
    commands = manifest_arguments(repository)

    for _, arguments in commands:
        parse(arguments)
    assert len(commands) >= 4


@pytest.mark.parametrize(
    "line",
    [
        "serve --rule gateway",
        "serve --role gate",
        "jobs lists",
        "check everything",
        "run --profle ohif . out",
        "nothing",
    ],
)
def test_a_line_that_the_command_does_not_take_is_found(line: str) -> None:
    """A gate that was never red proves nothing."""
    with pytest.raises(WrongLine):
        parse(split(line))


def _is_runnable(module: str) -> bool:
    spec = importlib.util.find_spec(module)
    if spec is not None and spec.submodule_search_locations:
        spec = importlib.util.find_spec(f"{module}.__main__")
    return spec is not None


def test_every_documented_module_can_be_run(repository: Path) -> None:
    """`python -m …` of ours, in documents and manifests."""
    found = {name for _, text in texts(repository) for name in _MODULE.findall(text)}

    assert [name for name in sorted(found) if not _is_runnable(name)] == []
    assert len(found) > 5
    assert not _is_runnable("app.jobs")


def test_every_documented_verb_of_run_exists(repository: Path) -> None:
    """`./run …`: the cases of the script."""
    script = (repository / "run").read_text(encoding="utf-8")
    verbs = set(re.findall(r"^([a-z]+)\)", script, re.MULTILINE))
    code = [line for file, text in texts(repository) for line in code_of(file, text)]
    found = {verb for line in code for verb in _RUN.findall(line)}

    assert found <= verbs
    assert {"demo", "test", "setup", "image", "lock"} <= found


def test_the_help_of_run_names_its_verbs(repository: Path) -> None:
    """Without a verb it says what there is."""
    told = subprocess.run([repository / "run"], capture_output=True, text=True, check=False, cwd=repository)

    assert told.returncode == 0
    for verb in ("setup", "demo", "test", "spondyl", "image", "lock"):
        assert f"./run {verb}" in told.stdout
