"""The cases of `shared/cases`, made by their own script; the phantom that they change is made once."""

import importlib.util
import sys
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from pydicom import config

Make = Callable[[str], Path]
COMMAND = str(Path(sys.executable).with_name("spondyl"))


def case_maker(shared: Path, folders: pytest.TempPathFactory) -> Make:
    """Return a function that writes the files of a case (`01` to `14`) into a new folder and returns it.

    Skips the test where the script is absent.
    """
    script = shared / "cases" / "make.py"
    if not script.is_file():
        pytest.skip(f"{script} is not there")
    cases = _module(script)
    phantom = cache(cases.phantom)
    cases.phantom = lambda kind, command: deepcopy(phantom(kind, command))  # type: ignore[attr-defined]

    def make(number: str) -> Path:
        folder = folders.mktemp(f"case-{number}")
        with pytest.MonkeyPatch.context() as patch:  # the cases hold values that pydicom would rather not write
            patch.setattr(config.settings, "reading_validation_mode", config.IGNORE)
            patch.setattr(config.settings, "writing_validation_mode", config.IGNORE)
            cases.write(number, folder, COMMAND)
        return folder

    return make


def _module(script: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("shared_cases_make", script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module
