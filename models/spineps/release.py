"""What a release of SPINEPS says of its networks: its JSON files, and the shapes of its weights."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor

from models.errors import PackError
from models.spineps.clean import voxels_of
from models.spineps.cutouts import CLASS_OF

# Names that a release may use for a label instead of its number.
LABEL_OF: Mapping[str, int] = MappingProxyType(
    {
        "Arcus_Vertebrae": 41,
        "Spinosus_Process": 42,
        "Costal_Process_Left": 43,
        "Costal_Process_Right": 44,
        "Superior_Articular_Left": 45,
        "Superior_Articular_Right": 46,
        "Inferior_Articular_Left": 47,
        "Inferior_Articular_Right": 48,
        "Vertebra_Corpus_border": 49,
        "Vertebra_Corpus": 50,
        "Dens_axis": 51,
        "Vertebral_Body_Endplate_Superior": 52,
        "Vertebral_Body_Endplate_Inferior": 53,
        "Spinal_Cord": 60,
        "Spinal_Canal": 61,
        "Endplate": 62,
        "Vertebra_Disc": 100,
        "S1": 26,
    }
)
CUTOUT_SIZE = (248, 304, 64)  # (P, I, R) voxels, unless the release says otherwise
LABELLING_SIZE = (152, 168, 32)
# Networks are built by the dotted names in plans.json; these are the roots from which nnU-Net's own are taken.
NETWORK_ROOTS = ("dynamic_network_architectures.", "torch.nn.")
DENSENET_OF_BLOCKS: Mapping[int, str] = MappingProxyType({24: "densenet121", 32: "densenet169"})  # layers of block 3
# What a release may ask of the original that this engine does not do, or does in one way: key → the values that mean
# the way it does it (absent counts too), and why another is refused. Source: the defaults of spineps 2.1.3.
ONE_WAY: Mapping[str, tuple[tuple[Any, ...], str]] = MappingProxyType(
    {
        "has_c1": ((False,), "vertebrae are counted from C2; a network that segments C1 would be named one too high"),
        "needs_corp": ((False,), "the crop by a second network (VIBESegmentator) that it asks for is not made"),
        "sacrum_ids": (([26],), "the sacrum is structure 26"),
        "metal": (([80],), "metal is not told apart in MR"),
        "corpus_size_cleaning": ((100,), "specks of bodies are cleaned below 100 voxels"),
        "corpus_border_threshold": ((10,), "bodies count as touching the border within 10"),
        "vert_size_threshold": ((250,), "specks of vertebrae are cleaned below 250 voxels"),
    }
)
# What goes into a cutout: SPINEPS' structure → class; a release may state the same in `mapping`.
CUTOUT_MAPPING: Mapping[int, int] = MappingProxyType({**CLASS_OF, 26: 0})


def refuse_other_ways(config: Mapping[str, Any], path: Path, also: Mapping[str, object] = MappingProxyType({})) -> None:
    """Refuse settings of an inference_config.json that this engine does not honour.

    also: key → one more value that means the way this engine does it.

    Raises: PackError naming the key, its value and why.
    """
    for key, (defaults, why) in ONE_WAY.items():
        honoured = (*defaults, also.get(key, defaults[0]))
        value = config.get(key, defaults[0])
        if (list(value) if isinstance(value, list | tuple) else value) not in honoured:
            raise PackError(f"{path}: {key} is {value!r}: {why}")
    mapping = config.get("mapping")
    if mapping is not None and {int(key): int(value) for key, value in mapping.items()} != dict(CUTOUT_MAPPING):
        raise PackError(f"{path}: mapping is not SPINEPS' own (41 to 50 as 1 to 9), which is the one that is used")


def refuse_several_inputs(config: Mapping[str, Any], dataset: Mapping[str, Any], path: Path) -> None:
    """Refuse a semantic network that wants several images at once (in-phase and out-of-phase, say).

    Raises: PackError naming the inputs.
    """
    inputs = list(config.get("expected_inputs", ["img"]))
    channels = [str(name) for name in dataset.get("channel_names", {"0": ""}).values()]
    several = next((names for names in (inputs, channels) if len(names) > 1), None)
    if several is not None:
        named = ", ".join(map(str, several))
        raise PackError(f"{path} is a network of {len(several)} inputs ({named}); the engine gives it one image")


def is_for_ct(config: Mapping[str, Any], path: Path) -> bool:
    """Say whether a network is for CT: by its modality, or by the name of its folder as the release unpacks."""
    modality = config.get("modality", [])
    modalities = [modality] if isinstance(modality, str) else list(modality)
    names = (path.parent.name, path.parent.parent.name)
    return "CT" in modalities or any(name.upper().startswith("CT_") for name in names)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises: PackError where the file is none.
    """
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise PackError(f"{path} cannot be read ({error}): unpack the release again") from error
    if not isinstance(body, dict):
        raise PackError(f"{path} holds no JSON object: unpack the release again")
    return body


def refuse_foreign_names(plans: Mapping[str, Any], path: Path) -> None:
    """Hold what nnU-Net would import by name to its own networks and torch's layers."""
    for name, configuration in plans.get("configurations", {}).items():
        architecture = configuration.get("architecture", {})
        arguments = architecture.get("arch_kwargs", {})
        named = [arguments.get(key) for key in architecture.get("_kw_requires_import", [])]
        for dotted in [architecture.get("network_class_name"), *named]:
            if dotted is not None and not str(dotted).startswith(NETWORK_ROOTS):
                raise PackError(f"{path}: configuration {name} wants {dotted!r}; only nnU-Net's own networks are built")


def labels_of(config: Mapping[str, Any], path: Path) -> dict[str, int]:
    """Labels of the network → SPINEPS' labels, which a release gives as numbers or names."""
    labels = {}
    for key, value in config.get("labels", {}).items():
        known = LABEL_OF.get(str(value), value)
        if not str(known).isdecimal() or not str(key).isdecimal():
            raise PackError(f"{path}: label {key} is {value!r}; expected a number or one of {', '.join(LABEL_OF)}")
        labels[str(key)] = int(known)
    if not labels:
        raise PackError(f"{path} has no labels")
    return labels


def resolution_of(config: Mapping[str, Any], path: Path) -> list[Any]:
    """(P, I, R) spacing in mm, or the least and the greatest such; only networks that see P-I-R volumes are taken."""
    orientation = list(config.get("model_expected_orientation", []))
    if orientation != ["P", "I", "R"]:
        raise PackError(f"{path} expects volumes oriented {'-'.join(map(str, orientation)) or 'nohow'}; expected P-I-R")
    resolution = config.get("resolution_range")
    triples: list[Any] = resolution if isinstance(resolution, list) and len(resolution) == 2 else [resolution]
    for triple in triples:
        if not isinstance(triple, list) or len(triple) != 3 or not all(isinstance(mm, int | float) for mm in triple):
            raise PackError(f"{path}: resolution_range is {resolution!r}; expected three spacings, or two such triples")
    floats = [[float(mm) for mm in triple] for triple in triples]
    return floats if len(floats) == 2 else floats[0]


def numbers_of(config: Mapping[str, Any], key: str, default: tuple[int, ...], path: Path) -> list[int]:
    """As many positive whole numbers as the default has."""
    value = config.get(key, default)
    if (
        not isinstance(value, list | tuple)
        or len(value) != len(default)
        or not all(isinstance(number, int) and number > 0 for number in value)
    ):
        raise PackError(f"{path}: {key} is {value!r}; expected {len(default)} whole numbers")
    return list(value)


def unet_of(weights: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Tell the instance network's build from its shapes."""
    try:
        dim, channels = weights["init_conv.weight"].shape[:2]
        stages = len({key.split(".")[1] for key in weights if key.startswith("downs.")})
        widths = [weights[f"downs.{stage}.0.block1.proj.weight"].shape[0] for stage in range(stages)]
        classes = weights["final_conv.weight"].shape[0]
    except KeyError as error:
        raise PackError(f"{path} is no instance network of SPINEPS: {error} is missing") from error
    return {"dim": dim, "dim_mults": [width // dim for width in widths], "channels": channels, "classes": classes}


def classifier_of(weights: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """Tell the labelling network's build from its keys and shapes."""
    third = "net.features.denseblock3.denselayer"
    layers = len({key.split(".")[3] for key in weights if key.startswith(third)})
    heads: dict[str, int] = {}
    for key, value in weights.items():
        if key.startswith("classification_heads.") and key.endswith(".weight"):
            heads[key.split(".")[1]] = value.shape[0]  # a head's last layer comes last
    if layers not in DENSENET_OF_BLOCKS or not heads:
        raise PackError(
            f"{path} is no labelling network of SPINEPS: {layers} layers in the third block and {len(heads)} heads; "
            f"expected {' or '.join(DENSENET_OF_BLOCKS.values())} with its classification_heads"
        )
    first = [value for key, value in weights.items() if key.startswith(f"classification_heads.{next(iter(heads))}.")]
    return {
        "kind": DENSENET_OF_BLOCKS[layers],
        "heads": heads,
        "head_conv": first[0].ndim == 5,
        "head_hidden": sum(value.ndim == 2 for value in first) == 2,
    }


def network_voxels(volume_mm3: float, resolution: Sequence[Any]) -> int:
    """Return a volume in voxels of a network's grid; of the finest, where it takes a range of spacings."""
    return voxels_of(volume_mm3, tuple(resolution[0] if isinstance(resolution[0], Sequence) else resolution))
