"""What a node installs may be used under Apache-2.0: no GPL at run time, and what is not permissive is in NOTICE."""

import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.gates import ROOT
from tests.architecture.test_package import PROJECT

# Of a choice of licences (`MIT OR GPL-2.0`) the permissive one is taken.
_GPL = re.compile(r"\bA?GPL|(?<!lesser )(?<!library )general public licen[sc]e", re.IGNORECASE)
_LESSER = re.compile(r"\bLGPL[\w.+-]*|(lesser|library) general public licen[sc]e[^,;]*", re.IGNORECASE)
_NAMED = re.compile(r"LGPL|lesser general public|proprietary|Mozilla|MPL-", re.IGNORECASE)


def runtime_distributions() -> dict[str, Distribution]:
    """Return the installed distributions that the node needs, its extra for development left out, by name."""
    found: dict[str, Distribution] = {}
    seen: set[str] = set()
    wanted = [Requirement(line) for line in PROJECT["dependencies"]]
    while wanted:
        requirement = wanted.pop()
        key = f"{canonicalize_name(requirement.name)}[{','.join(sorted(requirement.extras))}]"
        if key in seen:
            continue
        seen.add(key)
        try:
            installed = distribution(requirement.name)
        except PackageNotFoundError:  # for another platform
            continue
        found[canonicalize_name(requirement.name)] = installed
        wanted += _requirements(installed, requirement.extras)
    return found


def _requirements(installed: Distribution, extras: set[str]) -> Iterator[Requirement]:
    for line in installed.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": name}) for name in ("", *extras)):
            yield requirement


def licences_of(installed: Distribution) -> str:
    """Return all that a distribution's metadata say of its licence."""
    lines = [
        value.strip().partition("\n")[0]  # some put the whole text there
        for key in ("License-Expression", "License", "Classifier")
        for value in installed.metadata.get_all(key) or ()
        if key != "Classifier" or value.startswith("License ::")
    ]
    return "; ".join(filter(None, lines))


def is_gpl(licences: str) -> bool:
    """Say whether a licence is the GPL or AGPL without another to choose."""
    if re.search(r"\bOR\b", licences) and re.search(r"MIT|BSD|Apache|ISC|PSF", licences):
        return False
    return bool(_GPL.search(_LESSER.sub("", licences)))


def gpl_among(installed: Iterable[Distribution]) -> list[str]:
    """Return the names of distributions under the GPL."""
    return sorted(each.metadata["Name"] for each in installed if is_gpl(licences_of(each)))


def test_no_distribution_of_the_runtime_is_gpl() -> None:
    """An image with one would have to be GPL as a whole."""
    runtime = runtime_distributions()

    assert gpl_among(runtime.values()) == []
    assert len(runtime) > 100


def test_every_distribution_of_the_runtime_is_in_the_lock() -> None:
    """What is judged here is what is installed elsewhere."""
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))

    assert {
        name for name in runtime_distributions() if name not in {canonicalize_name(each) for each in locked}
    } == set()


def test_what_is_not_permissive_is_in_the_notice() -> None:
    """LGPL, MPL and proprietary parts, by name; and no name that is not installed."""
    notice = (ROOT / "NOTICE").read_text()
    named = {name for name, each in runtime_distributions().items() if _NAMED.search(licences_of(each))}

    listed = set(re.findall(r"^  ([a-z0-9-]+)", notice, re.MULTILINE))
    assert named <= listed
    assert listed <= set(runtime_distributions())


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

    assert gpl_among(distributions(path=[str(tmp_path)])) == ["agpl-text", "gpl-classifier", "gpl-expression"]
