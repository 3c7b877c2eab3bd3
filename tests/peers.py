"""Programs of other makers that tests run against: a PACS (Orthanc) and a plain Storage SCP (DCMTK)."""

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

PATIENCE_S = 60.0
NO_OPTIONS: Mapping[str, object] = MappingProxyType({})
# Orthanc with a DICOMweb service below /dicom-web, as Debian installs its plug-in.
DICOMWEB: Mapping[str, object] = MappingProxyType(
    {
        "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }
)


def free_port() -> int:
    """Return a port of this machine that is free now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def wait_for_port(port: int) -> None:
    """Wait until something listens on a port of this machine."""
    limit = time.monotonic() + PATIENCE_S
    while time.monotonic() < limit:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


@dataclass(frozen=True)
class Pacs:
    """An Orthanc that runs."""

    dicom_port: int
    http_port: int

    def get(self, path: str) -> Any:
        """Return the answer of its REST interface to a GET."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def post(self, path: str, body: str) -> Any:
        """Return the answer of its REST interface to a POST."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}", body.encode(), method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def sop_classes(self, study: str) -> list[str]:
        """Return the SOP Class UIDs of a study's instances, sorted."""
        instances = self.get(f"/studies/{study}/instances")
        return sorted(self._text(f"/instances/{each['ID']}/metadata/SopClassUid") for each in instances)

    def receptions(self, study: str) -> dict[str, str]:
        """Return SOP Instance UID → when the instance was received, for the instances of a study."""
        return {
            each["MainDicomTags"]["SOPInstanceUID"]: self._text(f"/instances/{each['ID']}/metadata/ReceptionDate")
            for each in self.get(f"/studies/{study}/instances")
        }

    def _text(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}{path}", timeout=PATIENCE_S) as answer:
            return str(answer.read().decode())


@contextmanager
def running_pacs(folder: Path, *, node_port: int, options: Mapping[str, object] = NO_OPTIONS) -> Iterator[Pacs]:
    """Run an Orthanc called PACS that knows the node as SPONDYL at a port of this machine; `options` are Orthanc's."""
    pacs = Pacs(free_port(), free_port())
    folder.mkdir()
    configuration = {
        "Name": "PACS",
        "StorageDirectory": str(folder / "db"),
        "IndexDirectory": str(folder / "db"),
        "HttpPort": pacs.http_port,
        "DicomPort": pacs.dicom_port,
        "DicomAet": "PACS",
        "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False,
        "DicomAlwaysAllowStore": True,
        "UnknownSopClassAccepted": True,
        "DicomModalities": {"SPONDYL": ["SPONDYL", "127.0.0.1", node_port]},
        **options,
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with _running(["Orthanc", str(folder / "orthanc.json")], folder / "orthanc.log"):
        wait_for_port(pacs.http_port)
        wait_for_port(pacs.dicom_port)
        yield pacs


@contextmanager
def running_storescp(folder: Path, *options: str) -> Iterator[int]:
    """Run DCMTK's storescp, with options of its own, and return its port."""
    port = free_port()
    folder.mkdir()
    with _running(["storescp", *options, "-od", str(folder), str(port)], folder / "storescp.log"):
        wait_for_port(port)
        yield port


@contextmanager
def running_dcmqrscp(folder: Path) -> Iterator[int]:
    """Run DCMTK's dcmqrscp with one storage area, and return its port."""
    port = free_port()
    (folder / "area").mkdir(parents=True)
    lines = [
        f"NetworkTCPPort = {port}",
        "MaxPDUSize = 16384",
        "MaxAssociations = 16",
        "HostTable BEGIN",
        "HostTable END",
        "VendorTable BEGIN",
        "VendorTable END",
        "AETable BEGIN",
        f"PACS {folder / 'area'} RW (200, 1024mb) ANY",
        "AETable END",
    ]
    (folder / "dcmqrscp.cfg").write_text("\n".join([*lines, ""]))
    with running_program(["dcmqrscp", "-c", str(folder / "dcmqrscp.cfg")], port, folder / "dcmqrscp.log"):
        yield port


@contextmanager
def running_program(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a program that listens on a port of this machine."""
    with _running(command, log):
        wait_for_port(port)
        yield


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            yield
        finally:
            process.terminate()
