"""What must be in place before anything starts: a container that cannot do its work says why at once, in a sentence."""

import os
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from app.delivery.hosts import is_unknown
from app.settings import Destination, Settings
from models.errors import PackError, SpondylError
from models.packs import DESCRIPTION, discover_packs


class FolderUnwritable(SpondylError):
    """Results or the inbox cannot be written; the message names the folder and the user."""


class UnknownDestination(SpondylError):
    """The network knows no machine of a destination's name; the message names both."""


def check_one_shot(settings: Settings, output: Path) -> None:
    """See that a run over a folder can begin; the packs' hashes are verified when they are loaded.

    Raises:
        PackError: there is no model pack.
        FolderUnwritable: the output folder cannot be written.
    """
    _check_pack_is_there(settings.packs)
    _check_writable(output)


def check_service(settings: Settings) -> None:
    """See that the node can begin.

    Raises:
        PackError: there is no model pack, or one that has not its hashes.
        FolderUnwritable: the storage folder cannot be written.
        UnknownDestination: the name of a destination's machine does not exist.
    """
    _check_pack_is_there(settings.packs)
    discover_packs(settings.packs)
    _check_writable(settings.storage)
    for destination in settings.destinations:
        host = destination.host if isinstance(destination, Destination) else urlsplit(destination.url).hostname or ""
        if is_unknown(host):
            raise UnknownDestination(
                f"destination {destination.name} is at {host}, a name that nobody knows: mend it in app.yaml"
            )


def _check_pack_is_there(packs: Path) -> None:
    if not any(packs.glob(f"*/{DESCRIPTION}")):
        raise PackError(
            f"no model pack is in {packs}: mount a folder of packs there, or name theirs with SPONDYL_PACKS"
        )


def _check_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as fault:
        user = os.getuid()
        raise FolderUnwritable(
            f"{folder} cannot be written by user {user} ({fault.strerror}): mount a folder there that belongs to {user}"
        ) from fault
