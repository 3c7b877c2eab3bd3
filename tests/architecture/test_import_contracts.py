"""Each import contract is red on a planted fault."""

import shutil
import tomllib
from pathlib import Path

import pytest

from tests.architecture.gates import CONFIGURATION, LINT_IMPORTS, ROOMS, ROOT, run_gate

CONTRACTS = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads(CONFIGURATION.read_text())["tool"]["importlinter"]["contracts"]
}
# contract, module to plant, what it imports
FAULTS = (
    ("layers", "models.planted_upwards", "operators"),
    ("layers", "operators.planted_upwards", "app"),
    ("torch", "app.planted_torch", "torch"),
    ("torch", "operators.planted_torch", "torchvision"),
    ("dicom", "models.planted_dicom", "pydicom"),
    ("dicom", "models.planted_highdicom", "highdicom"),
    ("dicom", "models.planted_pynetdicom", "pynetdicom"),
    ("holoscan", "operators.dicom.planted_holoscan", "holoscan"),
    ("holoscan", "app.planted_holoscan", "holoscan"),
    ("holoscan", "app.jobs.planted_deploy", "monai"),
    ("engines", "models.planted_holoscan", "holoscan"),
    ("sockets", "app.jobs.planted_socket", "socket"),
    ("sockets", "app.planted_socket", "pynetdicom"),
    ("sockets", "operators.planted_socket", "requests"),
    ("sockets", "models.planted_socket", "http"),
    ("gateway", "app.gateway.planted_torch", "models.planted_weights"),
    ("processes", "app.dashboard.planted_gateway", "app.gateway"),
    ("meeting", "app.dashboard.planted_worker", "app.jobs.worker"),
    ("meeting", "app.gateway.planted_delivery", "app.delivery.storage_scu"),
    ("worker", "app.jobs.planted_gateway", "app.gateway.inbox"),
    ("worker", "app.delivery.planted_dashboard", "app.dashboard.page"),
)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what the import linter says of a copy of the checkout with every fault planted."""
    folder = tmp_path_factory.mktemp("planted")
    for room in ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=lambda _, names: [n for n in names if n.endswith(".pyc")])
    (folder / "models" / "planted_weights.py").write_text("import torch\n")
    for _, module, imported in FAULTS:
        (folder / Path(*module.split("."))).with_suffix(".py").write_text(f"import {imported}\n")
    outcome = run_gate(*LINT_IMPORTS, folder=folder)
    assert outcome.returncode == 1
    return outcome.stdout


@pytest.mark.parametrize(("contract", "module", "imported"), FAULTS)
def test_the_contract_is_broken(contract: str, module: str, imported: str, report: str) -> None:
    """The contract's section names the planted import."""
    name = CONTRACTS[contract]
    section = report.partition("Broken contracts")[2].partition(f"{name}\n{'-' * len(name)}\n")[2].partition("\n---")[0]

    assert f"{name} BROKEN" in report
    assert f"{module} -> {imported}" in section


def test_every_contract_has_a_planted_fault() -> None:
    """A contract that was never seen red does not count."""
    assert {contract for contract, _, _ in FAULTS} == set(CONTRACTS)
