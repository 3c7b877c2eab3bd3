"""STOW-RS: what the server's answer says of an instance, and what it does not."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from app.delivery.destinations import Fate
from app.delivery.instances import InstanceToSend, read_instances
from app.delivery.stow import query_over_web, store_over_web
from app.delivery.web import WebFault
from app.settings import WebDestination
from tests.made_dicom import made_dx


@dataclass
class Server:
    """A web server that answers everything alike and keeps what it was asked."""

    status: int
    answer: object
    port: int = 0
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def serving(status: int, answer: object) -> Iterator[Server]:
    """Run a web server on this machine."""
    server = Server(status, answer)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer()

        def do_POST(self) -> None:
            self.answer()

        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            server.requests.append((self.path, dict(self.headers), content))
            body = server.answer if isinstance(server.answer, bytes) else json.dumps(server.answer).encode()
            self.send_response(server.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Tell nobody."""

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        server.port = http.server_address[1]
        thread = Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()


@pytest.fixture
def instances(tmp_path: Path) -> tuple[InstanceToSend, ...]:
    """Return one instance to send."""
    made_dx(np.eye(8), study="web").save_as(tmp_path / "instance.dcm", enforce_file_format=True)
    return read_instances([tmp_path / "instance.dcm"])


def destination(server: Server, **settings: Any) -> WebDestination:
    """Return the destination that is the server."""
    url = f"http://127.0.0.1:{server.port}/dicom-web"
    return WebDestination(name="web", kind="stow-rs", url=url, **settings)


def uids(instances: tuple[InstanceToSend, ...]) -> dict[str, object]:
    """Return an item of the answer's sequences that names the instance."""
    return {"00081155": {"vr": "UI", "Value": [instances[0].sop_instance_uid]}}


def test_an_instance_that_the_answer_names_is_stored(instances: tuple[InstanceToSend, ...]) -> None:
    """PS3.18 10.5: one part per instance, posted to its study; Referenced SOP Sequence names what is stored."""
    with serving(200, {"00081199": {"Value": [uids(instances)]}}) as server:
        (outcome,) = store_over_web(instances, destination(server))

    ((path, headers, body),) = server.requests
    boundary = headers["Content-Type"].rpartition("boundary=")[2].encode()
    assert outcome.fate is Fate.STORED
    assert path == f"/dicom-web/studies/{instances[0].study_instance_uid}"
    assert body.startswith(b"--" + boundary) and body.endswith(b"--" + boundary + b"--\r\n")
    assert instances[0].path.read_bytes() in body
    assert dcmread(instances[0].path).SOPInstanceUID == outcome.sop_instance_uid


def test_what_is_refused_compressed_is_sent_once_more_without(tmp_path: Path) -> None:
    """STOW-RS has no negotiation: a server that answers 415 may take the same instance uncompressed."""
    compressed = made_dx(np.eye(8), study="web")
    compressed.compress(RLELossless, generate_instance_uid=False)
    compressed.save_as(tmp_path / "instance.dcm", enforce_file_format=True)
    instances = read_instances([tmp_path / "instance.dcm"])
    with serving(415, {}) as server:
        (outcome,) = store_over_web(instances, destination(server))

    assert outcome.fate is Fate.REFUSED
    first, second = (_sent(body) for _, _, body in server.requests)
    assert [each.file_meta.TransferSyntaxUID for each in (first, second)] == [RLELossless, ExplicitVRLittleEndian]
    assert first.SOPInstanceUID == second.SOPInstanceUID
    assert np.array_equal(first.pixel_array, second.pixel_array)


def _sent(body: bytes) -> Dataset:
    """Return the instance in the one part of a request."""
    head, _, rest = body.partition(b"\r\n\r\n")
    boundary = head.partition(b"\r\n")[0]
    return dcmread(BytesIO(rest.rpartition(b"\r\n" + boundary)[0]))


def as_xml(sequence: str, uid: str, reason: int | None = None) -> bytes:
    """Return a STOW answer in the Native DICOM Model (PS3.19 A.1)."""
    value = f'<DicomAttribute tag="00081155" vr="UI"><Value number="1">{uid}</Value></DicomAttribute>'
    if reason is not None:
        value += f'<DicomAttribute tag="00081197" vr="US"><Value number="1">{reason}</Value></DicomAttribute>'
    item = f'<DicomAttribute tag="{sequence}" vr="SQ"><Item number="1">{value}</Item></DicomAttribute>'
    namespace = "http://dicom.nema.org/PS3.19/models/NativeDICOM"
    return f'<?xml version="1.0"?><NativeDicomModel xmlns="{namespace}">{item}</NativeDicomModel>'.encode()


def test_an_answer_in_xml_or_as_a_list_is_read(instances: tuple[InstanceToSend, ...]) -> None:
    """Servers answer so although JSON was asked for; only what they name is stored."""
    uid = instances[0].sop_instance_uid
    answers: dict[Fate, list[object]] = {
        Fate.STORED: [as_xml("00081199", uid), [{"00081199": {"Value": [uids(instances)]}}]],
        Fate.REFUSED: [
            as_xml("00081198", uid, 0x0122),
            [{"00081198": {"Value": [{**uids(instances), "00081197": {"Value": [0x0122]}}]}}],
        ],
        Fate.POSTPONED: [
            as_xml("00081199", "1.2.3"),
            [{}],
            as_xml("00081199", uid).replace(b"<Native", b"<!DOCTYPE x><Native", 1),
            as_xml("00081199", uid)[:-5],
        ],
    }
    with serving(200, {}) as server:
        for fate, bodies in answers.items():
            for server.answer in bodies:
                (outcome,) = store_over_web(instances, destination(server))
                assert outcome.fate is fate, server.answer


def test_a_query_that_is_answered_in_xml_is_read(instances: tuple[InstanceToSend, ...]) -> None:
    """One model, or several in one document."""
    uid = instances[0].sop_instance_uid
    attribute = f'<DicomAttribute tag="00080018" vr="UI"><Value>{uid}</Value></DicomAttribute>'
    model = f"<NativeDicomModel>{attribute}</NativeDicomModel>"
    with serving(200, model.encode()) as server:
        assert query_over_web(instances, destination(server)) == {uid}
        server.answer = f"<models>{model}</models>".encode()
        assert query_over_web(instances, destination(server)) == {uid}
        server.answer = b"<html>"
        with pytest.raises(WebFault, match="something else than DICOM JSON or XML"):
            query_over_web(instances, destination(server))


@pytest.mark.parametrize(
    ("status", "answer", "fate", "sentence"),
    [
        (200, {}, Fate.POSTPONED, "did not confirm"),
        (200, b"<xml/>", Fate.POSTPONED, "did not confirm"),
        (200, [1], Fate.POSTPONED, "did not confirm"),
        (302, {}, Fate.POSTPONED, "(302)"),
        (400, {}, Fate.REFUSED, "malformed"),
        (401, {}, Fate.DENIED, "credentials of this node: mend token_file"),
        (403, {}, Fate.DENIED, "let its administrator permit it"),
        (404, {}, Fate.POSTPONED, "is the URL right"),
        (409, {}, Fate.REFUSED, "does not say why"),
        (413, {}, Fate.REFUSED, "too large"),
        (503, {}, Fate.POSTPONED, "(503)"),
    ],
)
def test_an_answer_that_does_not_name_the_instance_is_no_success(
    instances: tuple[InstanceToSend, ...], status: int, answer: object, fate: Fate, sentence: str
) -> None:
    """Also 200: a server may have stored nothing."""
    with serving(status, answer) as server:
        (outcome,) = store_over_web(instances, destination(server))

    assert outcome.fate is fate
    assert sentence in outcome.sentence


@pytest.mark.parametrize(
    ("reason", "fate"),
    [(0x0122, Fate.REFUSED), (0xA700, Fate.POSTPONED), (0xC000, Fate.REFUSED), (None, Fate.POSTPONED)],
)
def test_a_failed_instance_has_its_own_reason(
    instances: tuple[InstanceToSend, ...], reason: int | None, fate: Fate
) -> None:
    """PS3.18 10.5.3: Failed SOP Sequence with a Failure Reason, whatever the status of the whole request."""
    item = {**uids(instances), **({"00081197": {"Value": [reason]}} if reason else {})}
    with serving(202, {"00081198": {"Value": [item]}}) as server:
        (outcome,) = store_over_web(instances, destination(server))

    assert outcome.fate is fate


def test_credentials_come_from_their_files(instances: tuple[InstanceToSend, ...], tmp_path: Path) -> None:
    """A token that is renewed is read anew; a credential that is not there is told, and the results wait."""
    token, password = tmp_path / "token", tmp_path / "password"
    password.write_text("päss:word\n")
    with serving(200, {}) as server:
        store_over_web(instances, destination(server, user="spondyl", password_file=password))
        (missing,) = store_over_web(instances, destination(server, token_file=token))
        token.write_text("abc\n")
        store_over_web(instances, destination(server, token_file=token))

    assert [headers["Authorization"] for _, headers, _ in server.requests] == [
        "Basic c3BvbmR5bDpww6Rzczp3b3Jk",
        "Bearer abc",
    ]
    assert missing.fate is Fate.POSTPONED
    assert "token cannot be read" in missing.sentence


def test_a_query_tells_what_the_server_really_has(instances: tuple[InstanceToSend, ...]) -> None:
    """PS3.18 10.6: a list, an empty answer, or a fault; never more than was asked for."""
    other = {"00080018": {"Value": ["1.2.3"]}}
    with serving(200, [other]) as server:
        assert query_over_web(instances, destination(server)) == frozenset()
        server.answer = [other, {"00080018": {"Value": [instances[0].sop_instance_uid]}}]
        assert query_over_web(instances, destination(server)) == {instances[0].sop_instance_uid}
        server.status, server.answer = 204, b""
        assert query_over_web(instances, destination(server)) == frozenset()
        server.status = 500
        with pytest.raises(WebFault, match="500"):
            query_over_web(instances, destination(server))


def test_a_server_that_is_away_postpones_the_rest_unasked(instances: tuple[InstanceToSend, ...]) -> None:
    """One look is enough: a hundred instances do not wait for a hundred timeouts."""
    with serving(200, {}) as server:
        gone = destination(server)

    outcomes = store_over_web(instances * 3, gone)

    assert {(outcome.fate, outcome.sentence) for outcome in outcomes} == {(Fate.POSTPONED, outcomes[0].sentence)}
    assert "cannot be asked" in outcomes[0].sentence
