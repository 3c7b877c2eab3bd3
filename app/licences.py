"""Which distributions the node needs at run time, and under which licences they come."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_LESSER_GPL = re.compile(r"\bLGPL[\w.+-]*|(lesser|library) general public licen[sc]e[^,;]*", re.IGNORECASE)
_GPL = re.compile(r"\bA?GPL|(?<!lesser )(?<!library )general public licen[sc]e", re.IGNORECASE)
_WITH_CONDITIONS = re.compile(r"LGPL|lesser general public|proprietary|Mozilla|MPL-", re.IGNORECASE)
_PERMISSIVE = re.compile(r"MIT|BSD|Apache|ISC|PSF")


@dataclass(frozen=True, slots=True)
class Licence:
    """The licence of an installed distribution, in the words of its own metadata."""

    name: str
    version: str
    text: str

    @property
    def is_gpl(self) -> bool:
        """True for the GPL or AGPL where no permissive licence may be chosen instead."""
        if re.search(r"\bOR\b", self.text) and _PERMISSIVE.search(self.text):
            return False
        return bool(_GPL.search(_LESSER_GPL.sub("", self.text)))

    @property
    def has_conditions(self) -> bool:
        """True for LGPL, MPL and proprietary licences: NOTICE has to name these distributions."""
        return bool(_WITH_CONDITIONS.search(self.text))


def runtime_licences(requirements: Iterable[str] | None = None) -> list[Licence]:
    """Return the licences of everything that the node needs at run time, by name.

    Args:
        requirements: requirement lines to begin with; None for those of the installed Spondyl. What an extra of
            Spondyl alone asks for (`dev`) is left out.
    """
    if requirements is None:
        requirements = [line for line in distribution("spondyl").requires or () if "extra ==" not in line]
    return sorted(map(licence_of, _closure(requirements)), key=lambda each: each.name)


def licence_of(installed: Distribution) -> Licence:
    """Read a distribution's licence: its expression, its short text and its classifiers."""
    texts = [
        value.strip().partition("\n")[0]  # some put the whole licence there
        for key in ("License-Expression", "License", "Classifier")
        for value in installed.metadata.get_all(key) or ()
        if key != "Classifier" or value.startswith("License ::")
    ]
    name = canonicalize_name(installed.metadata["Name"])
    return Licence(name, installed.version, "; ".join(filter(None, texts)))


def _closure(requirements: Iterable[str]) -> Iterator[Distribution]:
    """Yield each installed distribution that the requirements lead to, once."""
    wanted = [Requirement(line) for line in requirements]
    looked_at: set[tuple[str, frozenset[str]]] = set()
    found: set[str] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if (key := (name, frozenset(requirement.extras))) in looked_at:
            continue
        looked_at.add(key)
        try:
            installed = distribution(requirement.name)
        except PackageNotFoundError:  # for another platform
            continue
        wanted += _requirements(installed, requirement.extras)
        if name not in found:
            found.add(name)
            yield installed


def _requirements(installed: Distribution, extras: set[str]) -> Iterator[Requirement]:
    for line in installed.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": name}) for name in ("", *extras)):
            yield requirement
