"""What a node installs may be used under Apache-2.0: no GPL at run time, and what is not permissive is in NOTICE."""

import re
from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name

from app.licences import licence_of, runtime_licences
from tests.architecture.gates import ROOT
from tests.architecture.test_package import PROJECT


def test_no_distribution_of_the_runtime_is_gpl() -> None:
    """An image with one would have to be GPL as a whole."""
    licences = runtime_licences(PROJECT["dependencies"])

    assert [each.name for each in licences if each.is_gpl] == []
    assert len(licences) > 100


def test_the_installed_spondyl_leads_to_the_same_distributions() -> None:
    """`spondyl licences` judges what pyproject.toml asks for, without the tools of its developers."""
    assert runtime_licences() == runtime_licences(PROJECT["dependencies"])
    assert not {"pytest", "ruff", "mypy"} & {each.name for each in runtime_licences()}


def test_every_distribution_of_the_runtime_is_in_the_lock() -> None:
    """What is judged here is what is installed elsewhere."""
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))

    assert {each.name for each in runtime_licences()} - {canonicalize_name(name) for name in locked} == set()


def test_what_is_not_permissive_is_in_the_notice() -> None:
    """LGPL, MPL and proprietary parts, by name; and no name that is not installed."""
    licences = runtime_licences()
    listed = set(re.findall(r"^  ([a-z0-9-]+)", (ROOT / "NOTICE").read_text(), re.MULTILINE))

    assert {each.name for each in licences if each.has_conditions} <= listed
    assert listed <= {each.name for each in licences}


def test_a_gpl_distribution_is_found(tmp_path: Path) -> None:
    """A gate that was never red proves nothing: planted distributions of each kind."""
    planted = {
        "gpl-expression": "License-Expression: GPL-3.0-or-later",
        "gpl-classifier": "Classifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
        "agpl-text": "License: GNU Affero General Public License v3",
        "lgpl": "Classifier: License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)",
        "choice": "License-Expression: MIT OR GPL-2.0-only",
        "bsd": "License: BSD-3-Clause",
    }
    for name, line in planted.items():
        folder = tmp_path / f"{name.replace('-', '_')}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.4\nName: {name}\nVersion: 1\n{line}\n")

    found = [licence_of(each) for each in distributions(path=[str(tmp_path)])]
    assert sorted(each.name for each in found if each.is_gpl) == ["agpl-text", "gpl-classifier", "gpl-expression"]
