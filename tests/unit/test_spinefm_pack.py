"""A pack chooses the networks and the way they are used; what does not fit is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.contracts import RadiographImage
from models.errors import NoSpineFound, PackError
from models.packs import ModelPack, write_pack
from models.spinefm import SpineFM, build_medsam
from models.spinefm.compact import CompactClassifier, CompactDetector, CompactSegmenter
from models.spinefm.config import Smoothing, read_config
from models.spinefm.medsam import MedsamConfig
from models.spinefm.networks import MaskRcnnDetector, build_maskrcnn, build_point_predictor, build_resnet

SMALL_MEDSAM = {"image_size": 32, "embed_dim": 16, "depth": 1, "heads": 2, "global_attention": [0], "prompt_dim": 16}
WIDTHS = [8, 8, 8, 8, 8]


def description() -> dict[str, Any]:
    """pack.json of small networks of every compact kind."""
    return {
        "name": "made",
        "version": "1",
        "engine": "spinefm",
        "accepts": {"modality": ["DX"], "body_region": ["cervical"]},
        "networks": {
            "detector": {"kind": "compact", "hyper": {"size": 64, "widths": WIDTHS}},
            "segmenter": {
                "kind": "compact",
                "hyper": {"widths": WIDTHS},
                "input_px": 64,
                "patch_edge": {"body_sizes": 3.2},
                "mask_upsampling": "bilinear",
            },
            "point_predictor": {"kind": "mlp"},
            "classifier": {
                "kind": "compact",
                "hyper": {"width": 8},
                "input_px": 32,
                "patch_edge": {"body_sizes": 2.0},
                "classes": ["background", "vertebra", "C2", "S1"],
            },
        },
        "walk": {"final": 0.7, "smoothing": {"kernel": 5, "sigma": 2.0}, "area_ratio": [0.5, 2]},
        "provenance": "random",
        "licence": "Apache-2.0",
        "intended_use": "tests",
    }


def write(folder: Path, change: Callable[[dict[str, Any]], object] = lambda _: None) -> ModelPack:
    """Write a pack of random weights whose description was changed."""
    body = description()
    change(body)
    weights = {
        "detector": CompactDetector(size=64, widths=WIDTHS).state_dict(),
        "segmenter": CompactSegmenter(widths=WIDTHS).state_dict(),
        "point_predictor": build_point_predictor().state_dict(),
        "classifier": CompactClassifier(width=8).state_dict(),
    }
    return write_pack(folder, body, weights, dtype="float16")


def test_a_compact_pack_is_loaded_and_answers(tmp_path: Path) -> None:
    """Random weights see no spine in an empty image, and say so."""
    engine = SpineFM(write(tmp_path), device="cpu")

    with pytest.raises(NoSpineFound, match="vertebrae"):
        engine.segment(RadiographImage(np.zeros((90, 70), dtype=np.float32)))


def test_the_walk_is_read_from_the_pack_and_else_by_default(tmp_path: Path) -> None:
    """What pack.json leaves out keeps its default."""
    settings = read_config(write(tmp_path))

    assert settings.walk.final == 0.7
    assert settings.walk.smoothing == Smoothing(5, 2.0)
    assert settings.walk.area_ratio == (0.5, 2.0)
    assert settings.walk.iou == 0.1
    assert settings.regions == ("cervical",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body["networks"].pop("classifier"), "no entry for classifier"),
        (lambda body: body["networks"]["segmenter"].pop("patch_edge"), "'patch_edge' is missing"),
        (lambda body: body["networks"]["segmenter"].update(patch_edge={"mm": 3}), "patch_edge .* is neither 'px'"),
        (lambda body: body["networks"]["segmenter"].update(mask_upsampling="cubic"), "'cubic' is none of nearest"),
        (lambda body: body["networks"]["classifier"].update(classes=["vertebra"]), "classes .* are not background"),
        (lambda body: body["walk"].update(iuo=0.2), "walk iuo means nothing"),
        (lambda body: body["walk"].update(outside="zero"), "'zero' is none of smallest_logit"),
        (lambda body: body["accepts"].update(body_region=["hand"]), "'hand' is none of cervical"),
    ],
)
def test_a_faulty_entry_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    """The message names the pack and the entry."""
    pack = write(tmp_path, change)

    with pytest.raises(PackError, match=f"pack made: {message}"):
        read_config(pack)


@pytest.mark.parametrize("network", ["detector", "segmenter", "point_predictor", "classifier"])
def test_an_unknown_kind_is_named(tmp_path: Path, network: str) -> None:
    """The message names the network and the kind."""
    pack = write(tmp_path, lambda body: body["networks"][network].update(kind="magic"))

    with pytest.raises(PackError, match=f"network '{network}' cannot be built: kind 'magic' is unknown"):
        SpineFM(pack, device="cpu")


def test_weights_of_other_hyper_parameters_are_refused(tmp_path: Path) -> None:
    """The file and the network are named."""
    pack = write(tmp_path, lambda body: body["networks"]["classifier"].update(hyper={"width": 12}))

    with pytest.raises(PackError, match=r"classifier.safetensors does not fit network 'classifier'"):
        SpineFM(pack, device="cpu")


def test_networks_of_the_published_kinds_come_in_any_size(tmp_path: Path) -> None:
    """Medical-SAM-Adapter by hyper-parameters, ResNet by name."""
    body = description()
    body["networks"]["segmenter"].update(kind="medsam", hyper=SMALL_MEDSAM, input_px=32)
    body["networks"]["classifier"].update(kind="resnet18", input_px=32)
    hyper = {**SMALL_MEDSAM, "global_attention": (0,)}
    weights = {
        "detector": CompactDetector(size=64, widths=WIDTHS).state_dict(),
        "segmenter": build_medsam(MedsamConfig(**hyper)).state_dict(),  # type: ignore[arg-type]
        "point_predictor": build_point_predictor().state_dict(),
        "classifier": build_resnet("resnet18", 4).state_dict(),
    }

    engine = SpineFM(write_pack(tmp_path, body, weights), device="cpu")

    with pytest.raises(NoSpineFound, match="vertebrae"):
        engine.segment(RadiographImage(np.zeros((90, 70), dtype=np.float32)))


@pytest.mark.slow
def test_mask_rcnn_answers_with_detections_above_its_score() -> None:
    """Random weights, so only the form counts: scores above the limit, centroids in whole pixels."""
    detector = MaskRcnnDetector(min_score=0.3)
    detector.network.load_state_dict(build_maskrcnn().state_dict())
    pixels = np.random.default_rng(0).random((200, 160), dtype=np.float32)

    found = detector.eval().detect(pixels)

    assert all(detection.score > 0.3 and detection.kind == "vertebra" for detection in found)
    assert all(value == int(value) for detection in found for value in detection.centroid_px)
