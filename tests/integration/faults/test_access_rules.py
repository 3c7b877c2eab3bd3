"""Who may talk to the Storage SCP, over real connections to a real gateway process: titles, addresses, classes, TLS."""

import contextlib
import gc
import json
import os
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
)
from pynetdicom import AE
from pynetdicom.association import Association

from app.delivery.association import Peer, echo
from app.peer_settings import ClientTls, ServerTls
from app.serve import Node
from tests.certificates import make_certificates
from tests.made_dicom import made_dx
from tests.node import gateway_port, node_settings, running_node, wait_for

pytestmark = pytest.mark.slow

DX = DigitalXRayImageStorageForPresentation
ACCESS = [
    {"called": "SPINE", "calling_ae_titles": ["PACS"], "addresses": ["127.0.0.1", "127.0.0.3"]},
    {"called": "FAR", "addresses": ["127.0.0.3"]},
]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Keep no log record, which would keep a socket alive, and let no other test be blamed for this one's."""
    caplog.set_level("CRITICAL", "pynetdicom")
    yield
    gc.collect()


def gateway(root: Path, **node: Any) -> Any:
    """Return a gateway process, to be entered as a context, with settings of its Storage SCP."""
    settings = node_settings(root)
    values = {**settings.node.model_dump(), **node}
    whole = settings.model_copy(update={"node": type(settings.node).model_validate(values)})
    return running_node(whole, role="gateway")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """Run a gateway with rules and a list of SOP Classes."""
    with gateway(tmp_path_factory.mktemp("guarded") / "storage", access=ACCESS, sop_classes=[str(DX)]) as node:
        yield node


def associate(
    node: Node, calling: str, called: str, *, address: str = "127.0.0.1", sop_class: str = str(DX)
) -> Association:
    """Ask the gateway for an association."""
    entity = AE(ae_title=calling)
    entity.add_requested_context(sop_class, ExplicitVRLittleEndian)
    entity.acse_timeout = entity.network_timeout = 10
    return entity.associate("127.0.0.1", gateway_port(node), ae_title=called, bind_address=(address, 0))


@pytest.mark.parametrize(
    ("calling", "called", "address", "fate"),
    [
        ("PACS", "SPINE", "127.0.0.1", "established"),
        ("PACS", "SPINE", "127.0.0.3", "established"),
        ("ANY", "FAR", "127.0.0.3", "established"),
        ("INTRUDER", "SPINE", "127.0.0.1", "rejected 3"),
        ("PACS", "SPONDYL", "127.0.0.1", "rejected 7"),
        ("PACS", "FAR", "127.0.0.1", "rejected 3"),
        ("PACS", "SPINE", "127.0.0.2", "closed"),
    ],
)
def test_a_rule_lets_in_or_the_association_is_rejected_with_its_reason(
    guarded: Node, calling: str, called: str, address: str, fate: str
) -> None:
    """PS3.8 Table 9-21: 3 calling title, 7 called title not recognised; a foreign address is not even answered."""
    association = associate(guarded, calling, called, address=address)
    told = "established" if association.is_established else "closed"
    if association.is_rejected:
        told = f"rejected {association.acceptor.primitive.diagnostic}"  # type: ignore[union-attr]
    association.release()

    assert told == fate


def test_a_rejection_leaves_a_line_in_the_log(guarded: Node) -> None:
    """An administrator sees who tried, from where, and which setting was in the way."""
    associate(guarded, "SNOOPER", "SPINE")

    lines = [json.loads(line) for line in (guarded.layout.root / "node.log").read_text().splitlines()]
    (line,) = (line for line in lines if line.get("calling") == "SNOOPER")
    assert (line["event"], line["called"], line["address"]) == ("association_rejected", "SPINE", "127.0.0.1")
    assert "node.access" in line["reason"]


def test_only_listed_sop_classes_are_accepted(guarded: Node) -> None:
    """PS3.7 Annex D.3.3.2: the others get no presentation context, so the association comes to nothing."""
    listed = associate(guarded, "PACS", "SPINE")
    other = associate(guarded, "PACS", "SPINE", sop_class=MRImageStorage)
    accepted = listed.is_established, other.is_established
    listed.release()

    assert accepted == (True, False)


def test_what_is_kept_is_readable_by_the_owner_alone(guarded: Node) -> None:
    """0700 and 0600, from the storage folder down to the instance and the log."""
    association = associate(guarded, "PACS", "SPINE")
    status = association.send_c_store(made_dx(np.eye(8), study="private")).Status
    association.release()

    arriving = modes_below(guarded.layout.root)
    wait_for(lambda: any(guarded.layout.jobs.glob("*/input/*.dcm")), "the series as a job")  # at rest there
    modes = arriving | modes_below(guarded.layout.root)

    assert status == 0x0000
    assert any(path.suffix == ".dcm" for path in modes)
    assert {path: oct(mode) for path, mode in modes.items() if mode & 0o077} == {}


def modes_below(root: Path) -> dict[Path, int]:
    """Return the permissions of a folder and all in it; what moves meanwhile may be missed."""
    modes = {root: stat.S_IMODE(root.stat().st_mode)}
    for folder, folders, files in os.walk(root):
        for path in (Path(folder) / name for name in (*folders, *files)):
            with contextlib.suppress(FileNotFoundError):
                modes[path] = stat.S_IMODE(path.stat().st_mode)
    return modes


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of certificates."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, certificates: Path) -> Iterator[Node]:
    """Run a gateway with TLS."""
    tls = ServerTls(
        certificate_file=certificates / "node.pem",
        key_file=certificates / "node.key",
        client_ca_file=certificates / "ca.pem",
    )
    with gateway(tmp_path_factory.mktemp("secured") / "storage", tls=tls.model_dump()) as node:
        yield node


def client(certificates: Path, name: str | None) -> ClientTls:
    """Return the TLS of a client with a certificate, or without one."""
    own = {"certificate_file": certificates / f"{name}.pem", "key_file": certificates / f"{name}.key"} if name else {}
    return ClientTls(ca_file=certificates / "ca.pem", **own)


@pytest.mark.peers("openssl")
def test_with_tls_only_a_vouched_for_client_gets_an_association(secured: Node, certificates: Path) -> None:
    """PS3.15 B.9: both sides show a certificate; plain, without one, or with a stranger's, nobody is let in."""
    port = gateway_port(secured)
    faults = {
        name: echo(Peer("SPONDYL", "127.0.0.1", port, tls), calling_ae_title="PACS")
        for name, tls in {
            "vouched for": client(certificates, "pacs"),
            "stranger": client(certificates, "stranger"),
            "nameless": client(certificates, None),
            "plain": None,
        }.items()
    }

    assert faults["vouched for"] is None
    assert "TLS" in (faults["stranger"] or "")
    assert "TLS" in (faults["nameless"] or "")
    assert "cannot be reached" in (faults["plain"] or "")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")  # the point of the test
@pytest.mark.peers("openssl")
def test_tls_older_than_1_2_is_declined(secured: Node, certificates: Path) -> None:
    """Whatever the client would put up with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates / "ca.pem")
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_1

    with (
        socket.create_connection(("127.0.0.1", gateway_port(secured)), timeout=10) as plain,
        pytest.raises(ssl.SSLError, match="(?i)protocol|version"),
    ):
        context.wrap_socket(plain, server_hostname="127.0.0.1")


@pytest.mark.peers("openssl", "storescu")
def test_another_makers_scu_stores_over_tls(secured: Node, certificates: Path, tmp_path: Path) -> None:
    """DCMTK with a certificate of the authority."""
    made_dx(np.eye(8), study="over TLS").save_as(tmp_path / "instance", enforce_file_format=True)
    own = [str(certificates / "pacs.key"), str(certificates / "pacs.pem")]
    command = ["storescu", "+tls", *own, "+cf", str(certificates / "ca.pem"), "-aec", "SPONDYL"]

    run = subprocess.run(
        [*command, "127.0.0.1", str(gateway_port(secured)), str(tmp_path / "instance")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stderr
    # The node moves it at once from folder to folder, and a listing may miss a file that is moved meanwhile.
    wait_for(lambda: len(list(secured.layout.root.rglob("*.dcm"))) == 1, "the instance that was stored")


@pytest.mark.peers("openssl")
def test_a_handshake_that_stalls_holds_up_nobody(secured: Node, certificates: Path) -> None:
    """A connection that never says hello waits in a thread of its own, not in the listener's."""
    port = gateway_port(secured)
    with socket.create_connection(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(b"\x16\x03\x01")

        assert echo(Peer("SPONDYL", "127.0.0.1", port, client(certificates, "pacs")), calling_ae_title="PACS") is None
