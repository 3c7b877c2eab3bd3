"""The tools of the MAP, which are the image's entry point: show, extract, env, help, or start the application.

Every path is the one that the image's HOLOSCAN_* variables name.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from models.errors import SpondylError

EXPORT = Path("/var/run/holoscan/export")
EXIT_UNUSABLE = 2
USAGE = f"""\
Spondyl as a MONAI Application Package. Without a command it segments what lies in the input folder.

  show [app|pkg|service]   print the manifests
  extract                  copy what the image holds to what is mounted below {EXPORT}: the application to app,
                           manifests and settings to config, model packs to models, documents to docs;
                           all four where only {EXPORT} itself is mounted
  env                      print the environment
  help                     print this
  serve                    run the node: Storage SCP at port 11112, page and probes at port 8080
  spondyl VERB …           any verb of the spondyl command
"""
# What is extracted → the variables that name where it lies in the image.
EXTRACTS: Mapping[str, tuple[str, ...]] = {
    "app": ("HOLOSCAN_APPLICATION",),
    "config": ("HOLOSCAN_APP_MANIFEST_PATH", "HOLOSCAN_PKG_MANIFEST_PATH", "HOLOSCAN_CONFIG_PATH"),
    "models": ("HOLOSCAN_MODEL_PATH",),
    "docs": ("HOLOSCAN_DOCS_PATH",),
}


class ToolError(SpondylError):
    """A tool of the package cannot do what is asked; the message says what to mount or to type."""


def show(name: str | None, environment: Mapping[str, str]) -> str:
    """Return the manifests, or the one of them that is named (`app`, `pkg`, `service`).

    Raises:
        ToolError: there is none of this name.
    """
    app, package = (Path(environment[f"HOLOSCAN_{key}_MANIFEST_PATH"]) for key in ("APP", "PKG"))
    manifests = {"app": app, "pkg": package, "service": app.with_name("service.json")}
    if name is not None and name not in manifests:
        raise ToolError(f"there is no manifest {name!r}; there are {', '.join(manifests)}")
    wanted = [name] if name is not None else ["app", "pkg"]
    return "\n".join(f"{f' {key}.json ':=^80}\n{manifests[key].read_text(encoding='utf-8')}" for key in wanted)


def extract(export: Path, environment: Mapping[str, str]) -> list[str]:
    """Copy what the image holds into the folders that are mounted, and return a sentence for each.

    Args:
        export: everything goes below it where it has none of the folders app, config, models and docs; otherwise
            each of them that is there gets its own.
        environment: the image's.

    Raises:
        ToolError: nothing is mounted, or what is mounted cannot be written.
    """
    if not export.is_dir():
        raise ToolError(f"mount a folder at {export}, or at app, config, models or docs below it")
    present = [name for name in EXTRACTS if (export / name).is_dir()]
    done = []
    for name in present or EXTRACTS:
        target = export / name
        try:
            for variable in EXTRACTS[name]:
                _copy(Path(environment[variable]), target)
        except (OSError, shutil.Error) as fault:
            why = fault.strerror or fault.args[0][0][-1]  # copytree tells of every file
            raise ToolError(f"{target} cannot be written by user {os.getuid()}: {why}") from fault
        done.append(f"{name}: {target}")
    return done


def _copy(source: Path, target: Path) -> None:
    """Copy a file into a folder, or the content of a folder."""
    target.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target / source.name)


def command(words: list[str], environment: Mapping[str, str]) -> list[str]:
    """Return the program that the words ask for, with its arguments.

    Args:
        words: none for the application itself, `serve`, or `spondyl` with a verb.
        environment: names the manifests.

    Raises:
        ToolError: the words ask for nothing that there is.
    """
    if words[:1] == ["spondyl"]:
        return words
    manifest = Path(environment["HOLOSCAN_APP_MANIFEST_PATH"])
    if words[:1] == ["serve"]:
        manifest = manifest.with_name("service.json")
    elif words:
        raise ToolError(f"there is no command {words[0]!r}; `help` shows what there is")
    return [*json.loads(json.loads(manifest.read_text(encoding="utf-8"))["command"]), *words[1:]]


def main(words: list[str], environment: Mapping[str, str] = os.environ) -> int:
    """Do what the words say; an application takes the place of this process, so that it gets the signals."""
    try:
        if words[:1] == ["show"]:
            print(show(words[1] if len(words) > 1 else None, environment))
        elif words == ["extract"]:
            print("\n".join(extract(EXPORT, environment)))
        elif words == ["env"]:
            print("\n".join(f"{name}={value}" for name, value in sorted(environment.items())))
        elif words in (["help"], ["--help"], ["-h"]):
            print(USAGE, end="")
        else:
            program = command(words, environment)
            os.execvp(program[0], program)
    except SpondylError as error:
        print(f"spondyl: {error}", file=sys.stderr)
        return EXIT_UNUSABLE
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
