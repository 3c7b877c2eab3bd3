"""What a job is found by besides its id: study, series, accession key, instance.

DBOS can search an embedded queue by id alone, so each name leads to its jobs by a small file, `names/<name>`, with a
job id a line. Instances have none: they are looked for in the records, which takes longer.
"""

import os
from collections.abc import Iterable

from app.jobs.accession import accession_key
from app.jobs.layout import PRIVATE_FILE, SENT_RECORD, StorageLayout
from app.jobs.lineage import read_lineage
from app.jobs.set_aside import set_aside


def give_names(layout: StorageLayout, job_id: str, names: Iterable[str]) -> None:
    """Let names (UIDs, an accession key) lead to a job; doing it twice is the same as doing it once."""
    for name in filter(None, names):
        if job_id in _named(layout, name):
            continue
        descriptor = os.open(layout.names / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE)
        try:
            os.write(descriptor, f"{job_id}\n".encode("ascii"))
        finally:
            os.close(descriptor)


def job_ids_of(layout: StorageLayout, name: str) -> tuple[str, ...]:
    """Return the jobs that a UID of a study, a series, an instance or a result, or an accession number leads to."""
    is_uid = name.replace(".", "").isdigit() and name.isascii()
    key = accession_key(layout, name)
    found = [*(_named(layout, key) if key else ()), *(_named(layout, name) if is_uid else ())]
    if not found and is_uid:
        found += read_lineage(layout, name).job_ids or _of_instance(layout, name)
    return tuple(dict.fromkeys(found))


def _named(layout: StorageLayout, name: str) -> list[str]:
    try:
        return (layout.names / name).read_text("ascii").split()
    except FileNotFoundError:
        return []
    except (OSError, ValueError):
        set_aside(layout, layout.names / name, "a name that cannot be read; its earlier jobs are found by their id")
        return []


def _of_instance(layout: StorageLayout, sop_instance_uid: str) -> list[str]:
    """Look for an instance among those that came and those that were sent."""
    quoted = f'"{sop_instance_uid}"'.encode("ascii")
    found = [record.parent.name for record in layout.jobs.glob(f"*/{SENT_RECORD}") if quoted in record.read_bytes()]
    for record in layout.series.glob("*.json"):
        if quoted in record.read_bytes():
            found += read_lineage(layout, record.stem).job_ids
    return found
