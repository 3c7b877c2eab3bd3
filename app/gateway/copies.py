"""What becomes of an instance whose SOP Instance UID has come before in its series.

==================  ================================================================================================
the copy is         then
==================  ================================================================================================
the same            nothing new; the first encoding is kept
a corrected header  it counts from now on: the series becomes one more version, which supersedes the earlier one
in conflict         another image under the UID: the first counts, the copy lies in the folder `aside`, and the job says
                    so until an administrator has decided
==================  ================================================================================================
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from app.gateway.kept_file import digest_of
from app.jobs.instance_contents import read_content, recorded_contents
from app.jobs.layout import CONFLICT_SUFFIX, PRIVATE_FOLDER, REPLACED_SUFFIX, StorageLayout
from app.jobs.lineage import Lineage
from app.logs import get_logger
from operators.dicom.content import Content, Copy, compare

log = get_logger()


def settle_arriving(part: Path, target: Path, digest: str) -> str:
    """Keep one of two copies of an instance that arrive together, and return the digest of the one that counts.

    Args:
        part: the copy that has just come.
        target: the one that is in the series' folder.
        digest: of `part`.
    """
    first = digest_of(target)
    relation = _relation(part, digest, target)
    if relation is Copy.SAME:
        part.unlink()
        return first
    uid = target.stem
    aside = target.parent.parent / "aside"
    aside.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    if relation is Copy.CORRECTED:
        target.rename(aside / f"{uid}.{first[:12]}{REPLACED_SUFFIX}")
        part.rename(target)
        log.info("instance_replaced", sop_instance_uid=uid, reason="came again with a corrected header")
        return digest
    part.rename(aside / f"{uid}.{digest[:12]}{CONFLICT_SUFFIX}")
    log.warning("instance_conflict", sop_instance_uid=uid, reason="another image came under the same SOP Instance UID")
    return first


def settle_with_earlier_jobs(
    layout: StorageLayout, folder: Path, came: Mapping[str, str], lineage: Lineage
) -> dict[str, str]:
    """Compare what came with what the earlier jobs of the series hold.

    A copy whose content is known, from whichever earlier job, is a repeat: so two archives that differ in a header and
    are routed in turn lead to two versions, and no more.

    Args:
        layout: where the node keeps what.
        folder: of the series that came, on its way to become a job; conflicting copies are moved to its `aside`.
        came: SOP Instance UID → digest of the files in its `input`.
        lineage: of the series.

    Returns:
        SOP Instance UID → digest of the content that counts, of what is left in `input`.
    """
    counted = dict(came)
    for uid, digest in came.items():
        known = lineage.known.get(uid)
        if known is None or known == digest:
            continue
        file = folder / "input" / f"{uid}.dcm"
        relations = list(_relations(layout, file, digest, lineage))
        if not relations or Copy.SAME in relations:
            # without anything to compare with, it is taken as what it most often is
            counted[uid] = known
            if relations and relations[0] is not Copy.SAME and _is_kept(layout, uid, lineage):
                file.unlink()  # an older content: the job gets the youngest
                del counted[uid]
        elif relations[0] is Copy.CORRECTED:
            log.info("instance_corrected", sop_instance_uid=uid)
        else:
            (folder / "aside").mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
            file.rename(folder / "aside" / f"{uid}.{digest[:12]}{CONFLICT_SUFFIX}")
            del counted[uid]
            log.warning(
                "instance_conflict", sop_instance_uid=uid, reason="another image under a known SOP Instance UID"
            )
    return counted


def _relations(layout: StorageLayout, file: Path, digest: str, lineage: Lineage) -> Iterator[Copy]:
    """Say what a copy is to each earlier content of the instance, the youngest job first."""
    content: Content | None = None
    for job_id in reversed(lineage.job_ids):
        earlier = layout.job_input(job_id) / file.name
        if earlier.is_file():
            yield _relation(file, digest, earlier)
            continue
        recorded = recorded_contents(layout, job_id).get(file.stem)
        if recorded is not None:
            content = content or read_content(file)
            yield compare(content, recorded) if content is not None else Copy.CONFLICTING


def _relation(file: Path, digest: str, earlier: Path) -> Copy:
    if digest == digest_of(earlier):
        return Copy.SAME
    one, two = read_content(file), read_content(earlier)
    return compare(one, two) if one is not None and two is not None else Copy.CONFLICTING


def _is_kept(layout: StorageLayout, uid: str, lineage: Lineage) -> bool:
    return (layout.job_input(lineage.job_ids[-1]) / f"{uid}.dcm").is_file()
