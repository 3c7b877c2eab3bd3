"""No patient data outside the instances: a node is fed with marked attributes, and all that it tells is searched."""

import os
import urllib.request
from pathlib import Path
from urllib.error import HTTPError

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence

from app.delivery.receiver import Receiver
from app.delivery.send import send_folder
from app.jobs.queries import show_job
from app.serve import MODULES, Node
from tests.made_dicom import made_dx, made_uid
from tests.node import destination, ended_jobs, gateway_port, node_settings, running_node

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::UserWarning"),  # pydicom's, about the odd values
]

# Patient, Patient Study, General Study and Series modules (PS3.3 C.7.1.1, C.7.2, C.7.3.1): what could tell of a person.
MARKED = {
    "PatientName": "Xqvornak^Zulimeta",
    "PatientID": "XQ-77120-PID",
    "IssuerOfPatientID": "XQVISSUER",
    "OtherPatientIDs": "XQ-OTHER-5531",
    "OtherPatientNames": "Xqvalias^Other",
    "PatientBirthName": "Xqvbirth^Name",
    "PatientMotherBirthName": "Xqvmother^Name",
    "PatientBirthDate": "19031217",
    "PatientBirthTime": "034455.671",
    "PatientAge": "117Y",
    "PatientAddress": "Xqvstreet 12",
    "PatientTelephoneNumbers": "+99-5551-XQV",
    "PatientReligiousPreference": "XQVFAITH",
    "PatientComments": "Xqvcomment on the patient",
    "AdditionalPatientHistory": "Xqvhistory of falls",
    "MedicalAlerts": "XQVALERT",
    "Allergies": "XQVALLERGY",
    "EthnicGroup": "XQVETHNIC",
    "Occupation": "XQVOCCUPATION",
    "MilitaryRank": "XQVRANK",
    "CountryOfResidence": "XQVCOUNTRY",
    "ReferringPhysicianName": "Xqvreferrer^Doctor",
    "PhysiciansOfRecord": "Xqvrecord^Doctor",
    "OperatorsName": "Xqvoperator^Name",
    "PerformingPhysicianName": "Xqvperformer^Name",
    "AccessionNumber": "XQV-ACC-88213",
    "StudyID": "XQVSTUDYID",
    "StudyDescription": "Xqvstudy described",
    "SeriesDescription": "Xqvseries described",
    "ProtocolName": "Xqvprotocol",
    "InstitutionName": "Xqvhospital",
    "InstitutionAddress": "Xqvhospital street",
    "StationName": "XQVSTATION",
    "DeviceSerialNumber": "XQVSERIAL9",
    "ImageComments": "Xqvimage comment",
    "RequestedProcedureDescription": "Xqvrequest",
}


def marked(name: str, body_part: str) -> FileDataset:
    """Return a radiograph that carries every marked attribute, also inside a sequence."""
    dataset = made_dx(np.eye(64), study=f"marked {name}", body_part=body_part)
    for keyword, value in MARKED.items():
        setattr(dataset, keyword, value)
    item = Dataset()
    item.PatientID, item.IssuerOfPatientID = MARKED["OtherPatientIDs"], MARKED["IssuerOfPatientID"]
    dataset.OtherPatientIDsSequence = Sequence([item])
    return dataset


def odd(dataset: FileDataset) -> FileDataset:
    """Return the data set with values that libraries like to quote in their complaints."""
    dataset.SpecificCharacterSet = "XQVCHARSET"
    for keyword in ("StudyDate", "PatientBirthDate", "WindowCenter", "Rows"):
        element = dataset[keyword]
        element.VR = "LO"
        element.value = f"XQVODD{keyword.upper()}"
    return dataset


def refused(dataset: FileDataset) -> FileDataset:
    """Return the data set with a Series Instance UID that is none, and names the patient."""
    dataset["SeriesInstanceUID"].VR = "LO"
    dataset["SeriesInstanceUID"].value = MARKED["PatientName"]
    return dataset


def test_neither_log_nor_metrics_nor_page_nor_file_name_tells_of_a_patient(tmp_path: Path) -> None:
    """Studies that are looked at, skipped, broken and declined; log level debug; every mark is searched for."""
    studies = tmp_path / "studies"
    studies.mkdir()
    sent = {
        "spine": marked("spine", "CSPINE"),
        "chest": marked("chest", "CHEST"),
        "odd": odd(marked("odd", "CSPINE")),
        "declined": refused(marked("declined", "CSPINE")),
    }
    for name, dataset in sent.items():
        dataset.save_as(studies / name, enforce_file_format=True)
    with Receiver(tmp_path / "pacs", "PACS") as pacs:
        settings = node_settings(tmp_path / "storage", destination(pacs.port)).model_copy(update={"log_level": "debug"})
        with running_node(settings, MODULES) as node:
            outcomes = send_folder(studies, "127.0.0.1", gateway_port(node), calling="PACS", called="SPONDYL")
            jobs = ended_jobs(node, 3)
            told = _told(node) | {f"job {job.job.job_id}": str(show_job(settings, job.job.job_id)) for job in jobs}

    assert sorted(str(outcome.fate) for outcome in outcomes) == ["refused", "stored", "stored", "stored"]
    assert "instance_refused" in told["log"]
    assert len(told["log"].splitlines()) > 10
    marks = [*MARKED.values(), "XQV", "Xqv"]
    found = {(place, mark) for place, text in told.items() for mark in marks if mark in text}
    assert found == set()
    assert made_uid("marked spine", "study") in told["log"] or "series_complete" in told["log"]


def _told(node: Node) -> dict[str, str]:
    """Return all that a node tells: place → text."""
    sign = node.sign("dashboard")
    assert sign is not None
    told = {"log": (node.layout.root / "node.log").read_text()}
    for path in ("/", "/metrics", "/healthz", "/readyz"):
        try:
            with urllib.request.urlopen(f"http://{sign.host}:{sign.port}{path}", timeout=60) as answer:
                told[path] = answer.read().decode()
        except HTTPError as answer:
            told[path] = answer.read().decode()
    # a walk that takes no offence at what the node moves meanwhile
    told["file names"] = "\n".join(
        name for _, folders, files in os.walk(node.layout.root) for name in (*folders, *files)
    )
    told["queue"] = (node.layout.root / "queue.sqlite").read_bytes().decode("latin-1")
    return told
