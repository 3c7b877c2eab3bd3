"""STOW-RS: one instance a request, and what the answer says of it; QIDO-RS: what the server really has.

A server may answer 200 and have stored nothing, so the answer's body decides (PS3.18 section 10.5).
"""

import os
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from types import MappingProxyType
from typing import Any, BinaryIO

from app.delivery.destinations import Fate, fate_of_status
from app.delivery.dicom_web_records import Record, records_of
from app.delivery.instances import ENCODING_FAULTS, InstanceOutcome, InstanceToSend, decompressed
from app.delivery.web import DENIED_WORDS, WebAnswer, WebFault, ask
from app.peer_settings import WebDestination

JSON = "application/dicom+json"
CHUNK = 1 << 20

# Tags of the answer: PS3.18 section 10.5.3.
_REFERENCED, _FAILED, _REASON, _SOP_INSTANCE = "00081199", "00081198", "00081197", "00081155"
_OF_INSTANCE = "00080018"

# What a status says where the body says nothing of the instance; an administrator can mend the others.
_STATUS_FATES: Mapping[int, tuple[Fate, str]] = MappingProxyType(
    {
        400: (Fate.REFUSED, "the server finds the request malformed"),
        401: (Fate.DENIED, f"the server {DENIED_WORDS[401]}"),
        403: (Fate.DENIED, f"the server {DENIED_WORDS[403]}"),
        404: (Fate.POSTPONED, "the server knows no such path: is the URL right?"),
        409: (Fate.REFUSED, "the server stored nothing and does not say why"),
        413: (Fate.REFUSED, "the server finds it too large"),
        415: (Fate.REFUSED, "the server does not take its encoding"),
    }
)


def store_over_web(
    instances: Sequence[InstanceToSend],
    destination: WebDestination,
    *,
    on_outcome: Callable[[InstanceOutcome], None] = lambda _outcome: None,
) -> tuple[InstanceOutcome, ...]:
    """Send instances by STOW-RS.

    Args:
        instances: what to send, from `read_instances`.
        destination: the server.
        on_outcome: told of each instance as soon as its fate is known.

    Returns:
        An outcome per instance, in order. Once the server is found away, the rest is postponed unasked.
    """
    outcomes: list[InstanceOutcome] = []
    away = ""
    for instance in instances:
        if not away:
            try:
                fate, words = _store_one(instance, destination)
            except WebFault as fault:
                away = str(fault)
        if away:
            fate, words = Fate.POSTPONED, away
        outcomes.append(InstanceOutcome(instance.sop_instance_uid, fate, words))
        on_outcome(outcomes[-1])
    return tuple(outcomes)


def query_over_web(instances: Sequence[InstanceToSend], destination: WebDestination) -> frozenset[str]:
    """Return which SOP Instance UIDs the server has, asked by QIDO-RS series by series.

    Raises:
        WebFault: it cannot be asked, or does not answer with a list.
    """
    kept: set[str] = set()
    for study, series in sorted({(each.study_instance_uid, each.series_instance_uid) for each in instances}):
        answer = ask(destination, "GET", f"/studies/{study}/series/{series}/instances", headers={"Accept": JSON})
        if answer.status in (204, 404):  # PS3.18 section 10.6.3: no match
            continue
        if answer.status != 200:
            words = DENIED_WORDS.get(answer.status, "answered")
            raise WebFault(f"{destination.url} {words} (QIDO-RS, {answer.status})")
        kept |= set(_uids(_parsed(answer, destination), _OF_INSTANCE))
    return frozenset(kept & {each.sop_instance_uid for each in instances})


def _store_one(instance: InstanceToSend, destination: WebDestination) -> tuple[Fate, str]:
    with instance.path.open("rb") as content:
        fate, words = _fate(_post(instance, destination, content), instance.sop_instance_uid)
    if fate is not Fate.REFUSED or not instance.transfer_syntax.is_compressed:
        return fate, words
    # The server may not know the transfer syntax; STOW-RS has no negotiation that would have told.
    plain = BytesIO()
    try:
        decompressed(instance).save_as(plain, enforce_file_format=True)
    except ENCODING_FAULTS:
        return fate, words
    return _fate(_post(instance, destination, plain), instance.sop_instance_uid)


def _post(instance: InstanceToSend, destination: WebDestination, content: BinaryIO) -> WebAnswer:
    boundary = uuid.uuid4().hex
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode("ascii")
    tail = f"\r\n--{boundary}--\r\n".encode("ascii")
    size = len(head) + content.seek(0, os.SEEK_END) + len(tail)
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Content-Length": str(size),
        "Accept": JSON,
    }
    path = f"/studies/{instance.study_instance_uid}"
    return ask(destination, "POST", path, headers=headers, body=_pieces(head, content, tail))


def _pieces(head: bytes, content: BinaryIO, tail: bytes) -> Iterator[bytes]:
    yield head
    content.seek(0)
    while piece := content.read(CHUNK):
        yield piece
    yield tail


def _fate(answer: WebAnswer, sop_instance_uid: str) -> tuple[Fate, str]:
    records = records_of(answer.body) or []
    if any(sop_instance_uid in _uids(_items(record, _REFERENCED), _SOP_INSTANCE) for record in records):
        return Fate.STORED, f"stored ({answer.status})"
    for item in (item for record in records for item in _items(record, _FAILED)):
        if sop_instance_uid in _uids([item], _SOP_INSTANCE):
            return fate_of_status(_number(item, _REASON))
    if answer.status in _STATUS_FATES:
        fate, words = _STATUS_FATES[answer.status]
        return fate, f"{words} ({answer.status})"
    # also 200 without a word on the instance: nobody knows whether it is there
    return Fate.POSTPONED, f"the server did not confirm it ({answer.status})"


def _parsed(answer: WebAnswer, destination: WebDestination) -> list[Record]:
    records = records_of(answer.body)
    if records is None:
        raise WebFault(f"{destination.url} answered QIDO-RS with something else than DICOM JSON or XML")
    return records


def _items(record: Mapping[str, Any], tag: str) -> list[Any]:
    return list((record.get(tag) or {}).get("Value") or [])


def _uids(items: Sequence[Any], tag: str) -> list[str]:
    return [str(uid) for item in items if isinstance(item, dict) for uid in _items(item, tag)]


def _number(item: Mapping[str, Any], tag: str) -> int:
    values = _items(item, tag)
    return int(values[0]) if values and isinstance(values[0], int) else 0x0110  # a failure without a reason
