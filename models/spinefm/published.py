"""The published weights of SpineFM, turned once into a pack: the only place here that opens a pickle.

The folder holds four files, those of one data set:

=================  =================================  =============================================
network            CSXA                               in general
=================  =================================  =============================================
detector           mask_rcnn_csxa.pth                 mask_rcnn*.pth
segmenter          MSA_300b_CSXA.pth                  MSA*.pth, the network under `state_dict`
point_predictor    point_predictor.pth                point_predictor*.pth
classifier         resnet50_2_class_224px_csxa.pth    resnet*_class*.pth
=================  =================================  =============================================

A classifier of two classes makes it CSXA (patches of 300 and 256 px), one of four NHANES II (600 and 512 px).

Source: Simons & Papież, "SpineFM" (2024), and the weights released with it.
"""

import pickle  # noqa: TID251  # its errors only: what torch.load(weights_only=True) raises at a foreign pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import PackError
from models.packs import ModelPack, write_pack
from models.spinefm.medsam import build_medsam
from models.spinefm.networks import build_maskrcnn, build_point_predictor, build_resnet
from models.state_dicts import check_state_dict, shapes_of

# network → (pattern of its file's name, the name as published for CSXA)
FILES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "detector": ("mask_rcnn*.pth", "mask_rcnn_csxa.pth"),
        "segmenter": ("MSA*.pth", "MSA_300b_CSXA.pth"),
        "point_predictor": ("point_predictor*.pth", "point_predictor.pth"),
        "classifier": ("resnet*_class*.pth", "resnet50_2_class_224px_csxa.pth"),
    }
)
WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys under which training scripts put the network
RESNET_OF_DEPTH = {6: "resnet50", 23: "resnet101", 36: "resnet152"}  # by the blocks of the third layer
# The published walk follows its predictor, sees 8-bit images and fills the outside from the smallest logit.
LITERAL_WALK: Mapping[str, Any] = MappingProxyType(
    {
        "outside": "smallest_logit",
        "resampling": "uint8",
        "step_ratio": None,
        "snap_body_sizes": None,
        "nearer_step": None,
    }
)
MASK_PROBABILITY = 0.622  # sigmoid of logit 0.5, from which the walk counts a pixel as part of a mask


@dataclass(frozen=True)
class DataSet:
    """What the published weights of one data set were trained for."""

    name: str
    body_regions: tuple[str, ...]
    segmenter_px: int
    classifier_px: int
    classes: tuple[str, ...]
    walk: Mapping[str, Any]


DATA_SETS: Mapping[int, DataSet] = MappingProxyType(
    {
        2: DataSet("csxa", ("cervical",), 300, 256, ("background", "vertebra"), {"final": MASK_PROBABILITY}),
        4: DataSet(
            "nhanes-ii",
            ("cervical", "lumbar"),
            600,
            512,
            ("background", "vertebra", "C2", "S1"),
            {"final": 0.9, "smoothing": {"kernel": 15, "sigma": 20.0}},
        ),
    }
)


def import_published(folder: Path, packs: Path, *, version: str = "1.0.0") -> ModelPack:
    """Turn the published files in `folder` into a pack, in a folder of its name below `packs`.

    Raises: PackError naming a file that is missing or foreign, and what was expected.
    """
    paths = {network: _find(folder, network) for network in FILES}
    point_predictor = _checked(_read(paths["point_predictor"]), build_point_predictor, paths["point_predictor"])
    classifier = _read(paths["classifier"])
    kind, classes = _resnet(classifier, paths["classifier"])
    weights = {
        "point_predictor": point_predictor,
        "classifier": _checked(classifier, lambda: build_resnet(kind, classes), paths["classifier"]),
        "detector": _checked(_read(paths["detector"]), build_maskrcnn, paths["detector"]),
        "segmenter": _checked(_read(paths["segmenter"]), build_medsam, paths["segmenter"]),
    }
    description = describe(DATA_SETS[classes], kind, version)
    return write_pack(packs / description["name"], description, weights)


def describe(data_set: DataSet, resnet: str, version: str) -> dict[str, Any]:
    """pack.json of one data set's weights, without the hashes."""
    return {
        "name": f"spinefm-{data_set.name}",
        "version": version,
        "engine": "spinefm",
        "accepts": {"modality": ["CR", "DX"], "view": ["lateral"], "body_region": list(data_set.body_regions)},
        "networks": {
            "detector": {"kind": "maskrcnn_resnet50_fpn"},
            "segmenter": {
                "kind": "medsam",
                "variant": "vit_b",
                "input_px": 1024,
                "patch_edge": {"px": data_set.segmenter_px},
                "mask_upsampling": "nearest",
            },
            "point_predictor": {"kind": "mlp"},
            "classifier": {
                "kind": resnet,
                "input_px": 224,
                "via_px": 1024,
                "patch_edge": {"px": data_set.classifier_px},
                "classes": list(data_set.classes),
            },
        },
        "walk": {**LITERAL_WALK, **data_set.walk},
        "provenance": f"The weights published with SpineFM (Simons and Papież, 2024) for {data_set.name}, converted.",
        "licence": "As its authors published it (their code is GPL-3.0): ask them before other uses than research.",
        "intended_use": "Research; not a medical device, not for diagnosis.",
    }


def _find(folder: Path, network: str) -> Path:
    pattern, example = FILES[network]
    found = sorted(folder.glob(pattern))
    if not found:
        raise PackError(f"{folder}: no file for the {network}; expected {example} (or any {pattern})")
    if len(found) > 1:
        names = ", ".join(path.name for path in found)
        raise PackError(f"{folder}: several files for the {network} ({names}); keep those of one data set")
    return found[0]


def _read(path: Path) -> dict[str, Tensor]:
    """Read a state dict, bare or wrapped, without the prefix of training on many GPUs."""
    try:
        # weights_only builds tensors and plain containers, nothing else; the file is from outside.
        body = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first = str(error).partition("\n")[0]
        raise PackError(
            f"{path} holds no state dict that can be opened safely ({first}); expected tensors only"
        ) from error
    for key in WRAPPERS:
        if isinstance(body, Mapping) and isinstance(body.get(key), Mapping):
            body = body[key]
    if not isinstance(body, Mapping) or not all(isinstance(value, Tensor) for value in body.values()):
        raise PackError(
            f"{path} holds no state dict; expected a mapping of names to tensors, or one under 'state_dict'"
        )
    return {str(key).removeprefix("module."): value for key, value in body.items()}


def _resnet(weights: Mapping[str, Tensor], path: Path) -> tuple[str, int]:
    """Tell a classifier's depth and number of classes from its keys."""
    blocks = len({key.split(".")[1] for key in weights if key.startswith("layer3.")})
    classes = len(weights.get("fc.weight", ()))
    if blocks not in RESNET_OF_DEPTH or classes not in DATA_SETS:
        raise PackError(
            f"{path} is no classifier of SpineFM: {blocks} blocks in layer3 and {classes} classes found; "
            f"expected {' or '.join(RESNET_OF_DEPTH.values())} with {' or '.join(map(str, DATA_SETS))} classes"
        )
    return RESNET_OF_DEPTH[blocks], classes


def _checked(weights: dict[str, Tensor], build: Callable[[], nn.Module], path: Path) -> dict[str, Tensor]:
    """Hold a state dict against the network it is for."""
    check_state_dict(weights, shapes_of(build), path)
    return weights
