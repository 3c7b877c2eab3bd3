"""Which SOP classes of results a destination takes is asked before the first is sent."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import UID, Comprehensive3DSRStorage, SecondaryCaptureImageStorage, SegmentationStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StudyRootQueryRetrieveInformationModelFind,
    Verification,
)

from app.check import Finding, check_node
from app.delivery.commitment import PeerAway
from app.delivery.result_classes import LABEL_MAP_SEGMENTATION_STORAGE, profile_at, refused_classes
from app.jobs.courses import begun
from app.jobs.delivering import Delivery
from app.jobs.job import SeriesJob
from app.jobs.layout import StorageLayout
from app.peer_settings import Destination, WebDestination
from tests.captures import capture_of
from tests.made_dicom import made_dx
from tests.node import destination, node_settings

REPORT_AND_PICTURE = (Comprehensive3DSRStorage, SecondaryCaptureImageStorage)


@contextmanager
def archive(*sop_classes: UID, stored: list[str] | None = None, port: int = 0) -> Iterator[int]:
    """Run a Storage SCP that takes some SOP classes, and return its port; what it stores is listed in `stored`."""

    def keep(event: evt.Event) -> int:
        (stored if stored is not None else []).append(str(event.dataset.SOPInstanceUID))
        return 0x0000

    entity = AE(ae_title="PACS")
    for sop_class in (Verification, StudyRootQueryRetrieveInformationModelFind, *sop_classes):
        entity.add_supported_context(sop_class)
    server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    assert server is not None
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()


def ohif(port: int) -> Destination:
    """Return a destination whose viewer is OHIF."""
    return destination(port, profile="ohif")


def finding(tmp_path: Path, wanted: Destination) -> Finding:
    """Return what `check` says of the results there."""
    settings = node_settings(tmp_path / "storage", wanted)
    return next(each for each in check_node(settings) if each.subject == "results for pacs")


def test_an_archive_that_takes_label_maps_gets_them(tmp_path: Path) -> None:
    """As the settings say."""
    with archive(LABEL_MAP_SEGMENTATION_STORAGE, *REPORT_AND_PICTURE) as port:
        assert profile_at(ohif(port), calling_ae_title="SPONDYL") == ("ohif", "")
        found = finding(tmp_path, ohif(port))

    assert found.sound
    assert found.words == (
        "PACS accepts Label Map Segmentation Storage, Comprehensive 3D SR Storage, Secondary Capture Image Storage"
    )


def test_an_archive_that_refuses_label_maps_alone_gets_the_binary_form(tmp_path: Path) -> None:
    """Orthanc as installed, dcmqrscp and storescp know no Label Map Segmentation."""
    words = "PACS refuses Label Map Segmentation Storage: the BINARY form goes instead"
    with archive(SegmentationStorage, *REPORT_AND_PICTURE) as port:
        assert profile_at(ohif(port), calling_ae_title="SPONDYL") == ("standard", words)
        found = finding(tmp_path, ohif(port))

    assert found.sound
    assert found.words == words


def test_an_archive_that_refuses_both_forms_is_a_fault_by_name(tmp_path: Path) -> None:
    """Nothing can take their place."""
    with archive(Comprehensive3DSRStorage) as port:
        assert profile_at(ohif(port), calling_ae_title="SPONDYL") == ("ohif", "")
        found = finding(tmp_path, ohif(port))

    assert not found.sound
    assert found.words == "PACS refuses Label Map Segmentation Storage, Secondary Capture Image Storage"


def test_an_archive_of_the_standard_form_is_not_asked_for_label_maps(tmp_path: Path) -> None:
    """What it would not get need not be accepted."""
    with archive(SegmentationStorage, *REPORT_AND_PICTURE) as port:
        assert refused_classes(destination(port), calling_ae_title="SPONDYL") == ()
        assert finding(tmp_path, destination(port)).sound


def test_an_archive_that_is_away_is_not_taken_for_one_that_refuses() -> None:
    """Its answer is waited for."""
    with archive() as port:
        pass
    with pytest.raises(PeerAway, match="cannot be reached"):
        profile_at(ohif(port), calling_ae_title="SPONDYL")


def test_a_web_destination_gets_what_the_settings_say() -> None:
    """STOW-RS negotiates nothing."""
    web = WebDestination(name="web", kind="stow-rs", url="http://127.0.0.1:1/dicom-web", profile="ohif")

    assert profile_at(web, calling_ae_title="SPONDYL") == ("ohif", "")


def test_a_job_settles_on_the_form_once_its_archive_is_there(tmp_path: Path) -> None:
    """Nothing is sent in two forms, and the job's sentence says why it is not that of the settings."""
    with archive() as port:
        pass
    job = SeriesJob("0" * 64, "1.2.3", "1.2.3.4", "DX", "PACS", 1)
    layout = StorageLayout((tmp_path / "storage").resolve())
    uids = {}
    for profile in ("standard", "ohif"):
        layout.job_output(job.job_id, profile).mkdir(parents=True)
        result = capture_of(made_dx(np.eye(8)), profile)
        result.save_as(layout.job_output(job.job_id, profile) / "result.dcm", enforce_file_format=True)
        uids[profile] = str(result.SOPInstanceUID)
    delivery = Delivery(node_settings(layout.root, ohif(port)))
    stored: list[str] = []

    away = delivery.attempt(job, "pacs", begun())
    with archive(SegmentationStorage, *REPORT_AND_PICTURE, stored=stored, port=port):
        course = delivery.attempt(job, "pacs", away)

    assert [*away["instances"]] == [uids["ohif"]]
    assert stored == [*course["instances"]] == [uids["standard"]]
    assert "the BINARY form goes instead" in course["note"]
