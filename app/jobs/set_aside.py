"""Damage in the storage folder is set aside and told of: one odd file must not stop what else is received.

A torn or empty file, a stray file of a desktop, a folder where a file belongs or a file where a folder belongs is moved
to `damaged` under a name of its own. Nothing is deleted; the log names place, reason and new name, and never the old
name, which strangers may have given.
"""

import uuid
from pathlib import Path

from app.jobs.layout import PRIVATE_FOLDER, StorageLayout
from app.logs import get_logger

log = get_logger()


def set_aside(layout: StorageLayout, path: Path, reason: str) -> None:
    """Move something damaged out of the way; what is gone already, or cannot be moved, is left.

    Args:
        layout: where the node keeps what.
        path: what is damaged.
        reason: what is wrong with it, without its name.
    """
    place = path.parent.relative_to(layout.root).as_posix() if path.parent != layout.root else "."
    name = f"{path.parent.name}-{uuid.uuid4().hex[:12]}"
    try:
        layout.damaged.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        path.rename(layout.damaged / name)
    except FileNotFoundError:
        return
    except OSError as fault:
        log.error("damage_left", folder=place, reason=reason, fault=fault.strerror)
        return
    log.warning("damage_set_aside", folder=place, reason=reason, now_in=f"damaged/{name}")


def ensure_folder(layout: StorageLayout, folder: Path) -> None:
    """Make a private folder where there is none; what is there and is no folder is set aside."""
    if not folder.is_dir():
        if folder.exists() or folder.is_symlink():
            set_aside(layout, folder, "a file where a folder belongs")
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)


def clear_place(layout: StorageLayout, file: Path) -> None:
    """Make sure that a file can be written at a place: a folder there is set aside."""
    if file.is_dir():
        set_aside(layout, file, "a folder where a file belongs")
