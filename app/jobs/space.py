"""Is there room for more studies: the one rule that gateway, page and check share."""

import shutil
from pathlib import Path


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
