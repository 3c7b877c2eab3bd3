"""The version of this software, wherever it runs from; it is part of every result's device UID."""

import tomllib
from importlib.metadata import PackageNotFoundError, version

from app.settings import installed_root


def software_version() -> str:
    """Return the installed version, or that of the source tree where nothing is installed."""
    try:
        return version("spondyl")
    except PackageNotFoundError:
        content = tomllib.loads((installed_root() / "pyproject.toml").read_text(encoding="utf-8"))
        return str(content["project"]["version"])
