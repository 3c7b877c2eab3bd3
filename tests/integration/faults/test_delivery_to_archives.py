"""Results at real archives: delivered by rule, proven, and never held up by a destination that is down."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import FileDataset

from app.delivery.channels import Proof, proof_fault, prove_at, reach, store_at
from app.delivery.destinations import Fate
from app.delivery.instances import InstanceToSend, read_instances
from app.delivery.receiver import Receiver
from app.delivery.send import send_folder
from app.jobs.commitments import CommitmentRecords
from app.jobs.job import JobState
from app.jobs.layout import StorageLayout
from app.jobs.queue import JobStatus
from app.peer_settings import ClientTls, DeliveryRule
from app.serve import Node
from app.settings import Destination, WebDestination
from tests.certificates import make_certificates
from tests.made_dicom import made_dx
from tests.node import gateway_port, jobs_of, node_settings, running_node, wait_for
from tests.peers import DICOMWEB, Pacs, free_port, running_pacs
from tests.tls_front import tls_front

pytestmark = [pytest.mark.slow, pytest.mark.peers("Orthanc")]

PASSWORD = "only for this test"


@dataclass
class Site:
    """A node whose results go to an archive by C-STORE and by STOW-RS, and to one that is down."""

    node: Node
    pacs: Pacs
    down_port: int
    folder: Path
    number: int = 0

    def route(self, calling: str, *, modality: str = "DX") -> FileDataset:
        """Send one radiograph to the node under a calling AE title and return it."""
        self.number += 1
        dataset = made_dx(np.eye(16), study=f"archived {self.number}", modality=modality)
        folder = self.folder / str(self.number)
        folder.mkdir()
        dataset.save_as(folder / "instance", enforce_file_format=True)
        called = self.node.settings.node.ae_title
        outcomes = send_folder(folder, "127.0.0.1", gateway_port(self.node), calling=calling, called=called)
        assert [outcome.fate for outcome in outcomes] == ["stored"]
        return dataset

    def status(self, dataset: FileDataset) -> JobStatus | None:
        """Return the job of a study, once there is one."""
        return next(
            (each for each in jobs_of(self.node) if each.job.study_instance_uid == dataset.StudyInstanceUID), None
        )

    def in_state(self, dataset: FileDataset, state: JobState, patience_s: float = 60.0) -> JobStatus:
        """Wait until the job of a study is in a state, and return it."""

        def reached() -> bool:
            status = self.status(dataset)
            return status is not None and status.state is state

        wait_for(reached, f"{state}, but: {self.status(dataset)}", patience_s=patience_s)
        status = self.status(dataset)
        assert status is not None
        return status


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run the archive and the node."""
    root = tmp_path_factory.mktemp("archives")
    (root / "studies").mkdir()
    (root / "password").write_text(f"{PASSWORD}\n")
    port, down_port = free_port(), free_port()
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"spondyl": PASSWORD}}
    with running_pacs(root / "pacs", node_port=port, options={**DICOMWEB, **users}) as pacs:
        destinations = (
            _peer("committed", pacs.dicom_port, proof="storage-commitment", calling="COMMIT", modality="DX"),
            _peer("found", pacs.dicom_port, proof="c-find", calling="FIND"),
            WebDestination(
                name="web",
                kind="stow-rs",
                url=f"http://127.0.0.1:{pacs.http_port}/dicom-web",
                user="spondyl",
                password_file=root / "password",
                when=DeliveryRule(calling_ae_titles=("WEB", "DOWN")),
            ),
            _peer("down", down_port, proof="none", calling="DOWN"),
        )
        with running_node(node_settings(root / "storage", *destinations, port=port)) as node:
            yield Site(node, pacs, down_port, root / "studies")


def _peer(name: str, port: int, *, proof: str, calling: str, modality: str | None = None) -> Destination:
    rule = DeliveryRule(calling_ae_titles=(calling,), modalities=(modality,) if modality else ())
    return Destination(name=name, ae_title="PACS", host="127.0.0.1", port=port, proof=proof, when=rule)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("calling", "sentence"),
    [
        ("COMMIT", "committed: 1 of 1 stored HH:MM, proven HH:MM by Storage Commitment (UTC)."),
        ("FIND", "found: 1 of 1 stored HH:MM, proven HH:MM by C-FIND (UTC)."),
        ("WEB", "web: 1 of 1 stored HH:MM, proven HH:MM by QIDO-RS (UTC)."),
    ],
)
def test_results_are_delivered_by_rule_and_proven(site: Site, calling: str, sentence: str) -> None:
    """Each way of asking back, at a real archive: the commitment comes on an association of the archive's own."""
    status = site.in_state(site.route(calling), JobState.DELIVERED)

    assert re.sub(r"\d\d:\d\d", "HH:MM", status.sentence) == f"1 captured. {sentence}"
    assert status.proof == "proven"


def test_a_rule_of_modality_leaves_the_others_out(site: Site) -> None:
    """Where no rule takes the results they stay here, unproven."""
    status = site.in_state(site.route("COMMIT", modality="CR"), JobState.DELIVERED)

    assert "no destination takes these results" in status.sentence
    assert status.proof == "unavailable"


def test_a_destination_that_is_down_delays_nobody_and_gets_its_results_once_it_is_up(
    site: Site, tmp_path: Path
) -> None:
    """More waiting deliveries than there are threads for it; what goes elsewhere has arrived meanwhile."""
    waiting = [site.route("DOWN") for _ in range(12)]
    last = site.route("WEB")

    assert site.in_state(last, JobState.DELIVERED).proof == "proven"
    wait_for(lambda: _jobs_in(site, waiting, JobState.DELIVERING) == 12, "twelve deliveries that wait")
    with Receiver(tmp_path / "up", "PACS", port=site.down_port) as receiver:
        for dataset in waiting:
            site.in_state(dataset, JobState.DELIVERED)
        counts = dict(receiver.counts)

    assert list(counts.values()) == [1] * 12


def _jobs_in(site: Site, datasets: list[FileDataset], state: JobState) -> int:
    statuses = [site.status(dataset) for dataset in datasets]
    return sum(status is not None and status.state is state for status in statuses)


def test_a_check_says_what_a_destination_lacks(site: Site) -> None:
    """`spondyl check` knows before the first study whether proof will be possible."""
    peers = {destination.name: destination for destination in site.node.settings.destinations}
    wrong = peers["web"].model_copy(update={"password_file": site.folder / "none"})

    assert [reach(peers[name], calling_ae_title="SPONDYL") for name in ("committed", "web")] == [None, None]
    assert "cannot be reached" in (reach(peers["down"], calling_ae_title="SPONDYL") or "")
    assert "credential" in (reach(wrong, calling_ae_title="SPONDYL") or "")
    assert proof_fault(peers["found"], calling_ae_title="SPONDYL") is None


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of certificates."""
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def instances(tmp_path: Path) -> tuple[InstanceToSend, ...]:
    """Return one instance to send."""
    made_dx(np.eye(16), study="over TLS").save_as(tmp_path / "instance.dcm", enforce_file_format=True)
    return read_instances([tmp_path / "instance.dcm"])


@pytest.mark.peers("openssl")
def test_stow_over_tls_needs_a_server_whose_certificate_is_vouched_for(
    certificates: Path, instances: tuple[InstanceToSend, ...], tmp_path: Path
) -> None:
    """With the authority of the settings it is stored and found; with the system's it is postponed, and told why."""
    with (
        running_pacs(tmp_path / "pacs", node_port=104, options=DICOMWEB) as pacs,
        tls_front(certificates, pacs.http_port) as port,
    ):
        url = f"https://127.0.0.1:{port}/dicom-web"
        trusted = WebDestination(name="web", kind="stow-rs", url=url, tls=ClientTls(ca_file=certificates / "ca.pem"))
        stored = store_at(trusted, instances, calling_ae_title="SPONDYL")
        proof = _proof(trusted, instances, tmp_path)
        unknown = store_at(trusted.model_copy(update={"tls": None}), instances, calling_ae_title="SPONDYL")

    assert [outcome.fate for outcome in stored] == [Fate.STORED]
    assert proof.state == "proven"
    assert [outcome.fate for outcome in unknown] == [Fate.POSTPONED]
    assert "unable to get local issuer certificate" in unknown[0].sentence


@pytest.mark.peers("openssl")
def test_c_store_over_tls_reaches_a_real_archive_that_asks_for_a_certificate(
    certificates: Path, instances: tuple[InstanceToSend, ...], tmp_path: Path
) -> None:
    """Orthanc with DICOM TLS: ours is let in, a stranger's is not."""
    options = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(certificates / "pacs.pem"),
        "DicomTlsPrivateKey": str(certificates / "pacs.key"),
        "DicomTlsTrustedCertificates": str(certificates / "ca.pem"),
    }
    with running_pacs(tmp_path / "pacs", node_port=104, options=options) as pacs:
        ours = _over_tls(pacs.dicom_port, certificates, "node")
        stored = store_at(ours, instances, calling_ae_title="SPONDYL")
        stranger = store_at(_over_tls(pacs.dicom_port, certificates, "stranger"), instances, calling_ae_title="SPONDYL")

    assert [outcome.fate for outcome in stored] == [Fate.STORED]
    assert [outcome.fate for outcome in stranger] == [Fate.POSTPONED]


def _over_tls(port: int, certificates: Path, name: str) -> Destination:
    tls = ClientTls(
        ca_file=certificates / "ca.pem",
        certificate_file=certificates / f"{name}.pem",
        key_file=certificates / f"{name}.key",
    )
    return Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=port, tls=tls)


def _proof(destination: WebDestination, instances: tuple[InstanceToSend, ...], folder: Path) -> Proof:
    records = CommitmentRecords(StorageLayout(folder))
    return prove_at(destination, instances, None, calling_ae_title="SPONDYL", records=records)
