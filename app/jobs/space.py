"""Is there room for more studies: the one rule that gateway, page and check share; and how a job waits for room."""

import errno
import shutil
import time
from collections.abc import Callable
from pathlib import Path

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
LEAST_ROOM_BYTES = 32 << 20  # the results of one series take less
ASK_AGAIN_AFTER_S = 2.0


def space_fault(folder: Path, minimum_free_bytes: int) -> str | None:
    """Return why a folder is too full to take more studies, in a sentence, or None where it is not.

    Args:
        folder: any folder on the disk in question.
        minimum_free_bytes: the mark below which nothing is taken.
    """
    free = shutil.disk_usage(folder).free
    if free >= minimum_free_bytes:
        return None
    mark = minimum_free_bytes >> 20
    return f"{free >> 20} MiB free in {folder}, below the mark of {mark} MiB: make room, senders will try again"


def is_full(folder: Path) -> bool:
    """Say whether the disk of a folder has too little room for the results of one series."""
    return shutil.disk_usage(folder).free < LEAST_ROOM_BYTES


def wait_for_room(folder: Path, still_wanted: Callable[[], None]) -> None:
    """Wait until there is room on the disk of a folder.

    Args:
        folder: any folder on the disk in question.
        still_wanted: asked now and then; what it raises ends the waiting.
    """
    while is_full(folder):
        time.sleep(ASK_AGAIN_AFTER_S)
        still_wanted()
