"""Model packs are verified whole or refused."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from models.errors import PackError
from models.packs import discover_packs, load_pack, read_weights, sha256_of, write_pack

DESCRIPTION: dict[str, Any] = {
    "name": "made",
    "version": "1.2.0",
    "engine": "spinefm",
    "accepts": {"modality": ["CR", "DX"], "body_region": ["cervical"]},
    "networks": {"segmenter": {"kind": "compact"}},
    "provenance": "made by a test",
    "licence": "Apache-2.0",
    "intended_use": "tests",
}
WEIGHTS = {"segmenter": {"a.weight": torch.tensor([[1.5, -2.0]]), "a.count": torch.tensor(7)}}


def described(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Write a good pack and change its description."""
    write_pack(folder, DESCRIPTION, WEIGHTS)
    body = json.loads((folder / "pack.json").read_text())
    change(body)
    (folder / "pack.json").write_text(json.dumps(body))
    return folder


def test_a_written_pack_is_read_back_as_it_was(tmp_path: Path) -> None:
    """What goes in comes out: description, weights, hashes."""
    written = write_pack(tmp_path / "made", DESCRIPTION, WEIGHTS)

    pack = load_pack(tmp_path / "made")

    assert pack == written
    assert {key: getattr(pack, key) for key in DESCRIPTION} == DESCRIPTION
    assert pack.weights["segmenter"].sha256 == sha256_of(pack.weights_path("segmenter"))
    weights = read_weights(pack, "segmenter")
    assert all(torch.equal(weights[key], value) for key, value in WEIGHTS["segmenter"].items())


def test_half_precision_leaves_whole_numbers_alone(tmp_path: Path) -> None:
    """`float16` is for weights, not for counters."""
    pack = write_pack(tmp_path, DESCRIPTION, WEIGHTS, dtype="float16")

    weights = read_weights(pack, "segmenter")

    assert weights["a.weight"].dtype == torch.float16
    assert weights["a.count"].dtype == torch.int64


def test_one_changed_byte_is_refused_with_both_hashes(tmp_path: Path) -> None:
    """A wrong hash is a refusal that shows what was found and what was expected."""
    pack = write_pack(tmp_path, DESCRIPTION, WEIGHTS)
    path = pack.weights_path("segmenter")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

    with pytest.raises(PackError, match=f"{sha256_of(path)}, expected {pack.weights['segmenter'].sha256}"):
        load_pack(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body.pop("licence"), "'licence' must be a text"),
        (lambda body: body.update(version=3), "'version' must be a text"),
        (lambda body: body.update(networks=[]), "'networks' must be an object"),
        (lambda body: body.update(acepts={}), "'acepts' means nothing"),
        (lambda body: body.update(accepts={"modality": "CR"}), "accepts 'modality' must be a list of texts"),
        (lambda body: body.update(weights={}), "'weights' names no file"),
        (lambda body: body["weights"]["segmenter"].update(sha256="abc"), "'abc' is no SHA-256"),
        (lambda body: body["weights"]["segmenter"].update(file="../x.safetensors"), "inside the pack"),
        (lambda body: body["weights"]["segmenter"].update(file="x.safetensors"), "x.safetensors cannot be read"),
    ],
)
def test_a_faulty_description_is_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    """The message names the file and the fault."""
    folder = described(tmp_path, change)

    with pytest.raises(PackError, match=message):
        load_pack(folder)


def test_all_faults_are_named_together(tmp_path: Path) -> None:
    """One look is enough to mend a description."""
    folder = described(tmp_path, lambda body: (body.pop("licence"), body.pop("engine")))

    with pytest.raises(PackError, match="'engine' must be a text; 'licence' must be a text"):
        load_pack(folder)


def test_a_folder_without_description_is_no_pack(tmp_path: Path) -> None:
    """The message says what a pack is."""
    with pytest.raises(PackError, match=r"pack\.json is missing"):
        load_pack(tmp_path)


def test_a_description_that_is_no_json_is_refused(tmp_path: Path) -> None:
    """A broken file is named."""
    (tmp_path / "pack.json").write_text("{")

    with pytest.raises(PackError, match=r"pack\.json cannot be read"):
        load_pack(tmp_path)


def test_an_unknown_network_is_named_with_those_there_are(tmp_path: Path) -> None:
    """Asking for weights that a pack has not says which it has."""
    pack = write_pack(tmp_path, DESCRIPTION, WEIGHTS)

    with pytest.raises(PackError, match="no weights for 'detector'; it has segmenter"):
        pack.weights_path("detector")


def test_packs_are_found_by_folder_name(tmp_path: Path) -> None:
    """Discovery goes by name and leaves other folders alone."""
    for name in ("b", "a"):
        write_pack(tmp_path / name, {**DESCRIPTION, "name": name}, WEIGHTS)
    (tmp_path / "notes").mkdir()

    assert [pack.name for pack in discover_packs(tmp_path)] == ["a", "b"]
    assert discover_packs(tmp_path / "absent") == ()


def test_the_digest_follows_weights_and_version(tmp_path: Path) -> None:
    """Packs that may answer differently have different digests; a new name alone changes nothing."""
    base = write_pack(tmp_path / "1", DESCRIPTION, WEIGHTS)
    renamed = write_pack(tmp_path / "2", {**DESCRIPTION, "name": "other"}, WEIGHTS)
    newer = write_pack(tmp_path / "3", {**DESCRIPTION, "version": "1.2.1"}, WEIGHTS)
    retrained = write_pack(tmp_path / "4", DESCRIPTION, {"segmenter": {"a.weight": torch.zeros(2)}})

    assert renamed.digest == base.digest
    assert len({base.digest, newer.digest, retrained.digest}) == 3


def test_listing_packs_loads_no_torch(tmp_path: Path) -> None:
    """The gateway and `spondyl models list` stay quick."""
    write_pack(tmp_path / "made", DESCRIPTION, WEIGHTS)
    code = (
        "import sys, pathlib, models.packs as packs;"
        "packs.discover_packs(pathlib.Path(sys.argv[1])); print('torch' in sys.modules)"
    )

    out = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "False"
