"""The published weights of SPINEPS, turned once into packs. Nothing of the release is imported or executed.

A release unpacks to folders, each with one `inference_config.json` whose `modeltype` says what it is:

=============  =========  ========================================================================================
network        modeltype  beside inference_config.json
=============  =========  ========================================================================================
semantic       nnunet     dataset.json, plans.json, fold_<n>/checkpoint_final.pth (or checkpoint_best.pth); these
                          may lie in a folder below
instance       unet       one `*weights*.ckpt` of PyTorch Lightning, at any depth
labelling      classifier `*val_f1=*valf1-weights.ckpt` of PyTorch Lightning, at any depth; the last by name counts
=============  =========  ========================================================================================

A semantic and an instance folder are needed; labelling is optional. Several semantic networks make a pack each. A
network's build is read from the shapes of its
weights rather than from stored options, which name classes of the training code.

Source: Möller et al., "SPINEPS" (European Radiology 2024), and its releases v1.0.9 (semantic networks), v1.2.0
(instance) and v1.4.0 (labelling).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import PackError
from models.packs import ModelPack, write_pack
from models.spineps.centres import SPECK_MM3 as BODY_SPECK_MM3
from models.spineps.checkpoint import attribute, read_checkpoint, state_dict_of
from models.spineps.instance_network import build_instance_network
from models.spineps.instances import SPECK_MM3 as VERTEBRA_SPECK_MM3
from models.spineps.labelling_network import build_labelling_network
from models.spineps.old_plans import resolved_plans
from models.spineps.release import (
    CUTOUT_SIZE,
    LABELLING_SIZE,
    classifier_of,
    is_for_ct,
    labels_of,
    network_voxels,
    numbers_of,
    read_json,
    refuse_foreign_names,
    refuse_other_ways,
    refuse_several_inputs,
    resolution_of,
    unet_of,
)
from models.spineps.semantic import build_semantic_network
from models.state_dicts import check_state_dict, without_aliases

CONFIG = "inference_config.json"
NETWORK_OF_TYPE: Mapping[str, str] = MappingProxyType(
    {"nnunet": "semantic", "unet": "instance", "classifier": "labelling"}
)
# modality of the release → contrast of ours; a release for CT has no series to work on here.
CONTRAST_OF: Mapping[str, str] = MappingProxyType(
    {"T2w": "T2w", "T1w": "T1w", "Vibe": "other", "MPR": "other", "PD": "other", "FLAIR": "other"}
)
PLANES_OF: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"sag": ("sagittal",), "cor": ("coronal",), "ax": ("axial",), "iso": ("sagittal", "coronal", "axial")}
)


@dataclass(frozen=True)
class PublishedNetwork:
    """One network of a release: its entry for pack.json and its weights, one state dict per fold."""

    settings: Mapping[str, Any]
    weights: Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True)
class ImportedRelease:
    """What was made of a release: packs, one per semantic network; notes: a sentence for what was left out."""

    packs: tuple[ModelPack, ...]
    notes: tuple[str, ...] = ()


def import_published(folders: Sequence[Path], packs: Path, *, version: str = "1.0.0") -> ImportedRelease:
    """Turn unpacked release folders into packs, each in a folder of its name below `packs`.

    Each semantic network (T2w, T1w, Vibe) becomes a pack with the instance network and, where there is one, the
    labelling network. Networks for CT are left out.

    folders: each is searched at any depth for inference_config.json; a whole folder of SPINEPS' models will do.

    Raises: PackError naming the folder or file at fault and what was expected.
    """
    found = find_networks(folders)
    shared = {network: READERS[network](path) for network, path in found.shared.items()}
    described = []
    for path in found.semantic:
        networks = {"semantic": read_semantic(path), **shared}
        settings = {network: read.settings for network, read in networks.items()}
        weights = {name: state for read in networks.values() for name, state in read.weights.items()}
        described.append((describe(read_json(path), path, settings, version), weights, path))
    names = [description["name"] for description, _, _ in described]
    for name in {name for name in names if names.count(name) > 1}:
        both = " and ".join(str(path.parent) for description, _, path in described if description["name"] == name)
        raise PackError(f"{both} both make the pack {name}; name one of them with --from")
    made = [write_pack(packs / description["name"], description, weights) for description, weights, _ in described]
    return ImportedRelease(tuple(made), found.notes)


@dataclass(frozen=True)
class FoundNetworks:
    """Where the inference_config.json of each network lies; shared: `instance`, and `labelling` where there is one."""

    semantic: tuple[Path, ...]
    shared: Mapping[str, Path]
    notes: tuple[str, ...] = ()


def find_networks(folders: Sequence[Path]) -> FoundNetworks:
    """Find the inference_config.json of each network for MR.

    Raises: PackError when the semantic or the instance network is missing, or a shared one is there twice.
    """
    found: dict[str, list[Path]] = {}
    notes = []
    for path in sorted({path.resolve() for folder in folders for path in folder.rglob(CONFIG)}):
        config = read_json(path)
        network = NETWORK_OF_TYPE.get(str(config.get("modeltype")))
        if network is None:
            expected = ", ".join(NETWORK_OF_TYPE)
            raise PackError(f"{path} has the modeltype {config.get('modeltype')!r}; expected one of {expected}")
        if is_for_ct(config, path):
            notes.append(f"{path.parent} is left out: its {network} network is for CT, which no engine here segments")
            continue
        found.setdefault(network, []).append(path)
    for network, kind in (("semantic", "nnunet"), ("instance", "unet")):
        if network not in found:
            looked = ", ".join(map(str, folders)) or "no folder"
            ct = "".join(f"; {note}" for note in notes)
            raise PackError(
                f"no {network} network in {looked}: expected a folder with {CONFIG} of modeltype {kind}{ct}"
            )
    for network, paths in found.items():
        if network != "semantic" and len(paths) > 1:
            raise PackError(f"{paths[0].parent} and {paths[1].parent} both hold a {network} network; name one")
    shared = {network: paths[0] for network, paths in found.items() if network != "semantic"}
    return FoundNetworks(tuple(found["semantic"]), shared, tuple(notes))


def describe(
    config: Mapping[str, Any], path: Path, networks: Mapping[str, Mapping[str, Any]], version: str
) -> dict[str, Any]:
    """pack.json of a release, without the hashes; `config` is that of the semantic network, read from `path`."""
    modality = config.get("modality", [])
    modalities = [modality] if isinstance(modality, str) else list(modality)
    foreign = [name for name in modalities if name not in CONTRAST_OF]
    if foreign or not modalities:
        wanted = ", ".join(foreign) or "nothing"
        raise PackError(f"{path} is made for {wanted}; there is use for {', '.join(CONTRAST_OF)}")
    acquisition = str(config.get("acquisition"))
    if acquisition not in PLANES_OF:
        raise PackError(f"{path} has the acquisition {acquisition!r}; expected one of {', '.join(PLANES_OF)}")
    return {
        "name": "-".join(["spineps", *(name.lower() for name in modalities)]),
        "version": version,
        "engine": "spineps",
        "accepts": {
            "modality": ["MR"],
            "plane": list(PLANES_OF[acquisition]),
            "contrast": sorted({CONTRAST_OF[name] for name in modalities}),
        },
        "networks": dict(networks),
        "provenance": f"Weights published with SPINEPS (Möller et al., 2024) for {', '.join(modalities)}, converted.",
        "licence": "As its authors published it (their code is Apache-2.0); they ask to be cited.",
        "intended_use": "Research; not a medical device, not for diagnosis.",
    }


def read_semantic(config_path: Path) -> PublishedNetwork:
    """Read an nnU-Net folder: all folds that the configuration names.

    Raises: PackError naming what is missing or foreign.
    """
    config = read_json(config_path)
    refuse_other_ways(config, config_path)
    folder = _folder_of_plans(config_path.parent)
    dataset = read_json(folder / "dataset.json")
    refuse_several_inputs(config, dataset, config_path)
    paths = [_checkpoint_of_fold(folder, fold) for fold in _folds(config, folder)]
    checkpoints = [read_checkpoint(path) for path in paths]
    first, path = checkpoints[0], paths[0]
    configuration = attribute(first.get("init_args"), "configuration", None)
    if not isinstance(configuration, str):
        raise PackError(f"{path} does not tell the configuration that it was trained as; unpack the release again")
    plans = resolved_plans(read_json(folder / "plans.json"), configuration, folder / "plans.json")
    refuse_foreign_names(plans, folder / "plans.json")
    mirror_axes = attribute(first, "inference_allowed_mirroring_axes", None)
    settings = {
        "kind": "nnunet",
        "plans": plans,
        "dataset": dataset,
        "configuration": configuration,
        "trainer": attribute(first, "trainer_name", "nnUNetTrainer"),
        "mirror_axes": list(mirror_axes) if config.get("inference_augmentation") and mirror_axes is not None else None,
        "tile_step_size": float(config.get("default_step_size", 0.5)),
        "labels": labels_of(config, config_path),
        "resolution": resolution_of(config, config_path),
        "folds": len(paths),
    }
    weights = {
        fold_name(number, len(paths)): _checked(
            state_dict_of(body, "network_weights", path), lambda: build_semantic_network(settings), path
        )
        for number, (body, path) in enumerate(zip(checkpoints, paths, strict=True))
    }
    return PublishedNetwork(settings, weights)


def fold_name(number: int, folds: int) -> str:
    """Name of a fold's weights in a pack: `semantic` where there is one, else `semantic_fold_<number>`."""
    return "semantic" if folds == 1 else f"semantic_fold_{number}"


def read_instance(config_path: Path) -> PublishedNetwork:
    """Read the checkpoint of the instance network, of either layout; the shapes tell its channels and width.

    Raises: PackError naming what is missing or foreign.
    """
    folder, config = config_path.parent, read_json(config_path)
    resolution = resolution_of(config, config_path)
    ours = {"corpus_size_cleaning": BODY_SPECK_MM3, "vert_size_threshold": VERTEBRA_SPECK_MM3}
    refuse_other_ways(config, config_path, {key: network_voxels(volume, resolution) for key, volume in ours.items()})
    found = sorted(folder.rglob("*weights*.ckpt"))
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise PackError(f"{folder}: expected one *weights*.ckpt, found {names}")
    path = found[0]
    weights = state_dict_of(read_checkpoint(path), "state_dict", path, prefix="network.")
    settings = {
        "kind": "unet3d",
        **unet_of(weights, path),
        "cutout_size": numbers_of(config, "cutout_size", CUTOUT_SIZE, config_path),
        "resolution": resolution_of(config, config_path),
    }
    return PublishedNetwork(settings, {"instance": _checked(weights, lambda: build_instance_network(settings), path)})


def read_labelling(config_path: Path) -> PublishedNetwork:
    """Read the checkpoint of the labelling network.

    Raises: PackError naming what is missing or foreign.
    """
    folder, config = config_path.parent, read_json(config_path)
    found = sorted(folder.rglob("*val_f1=*valf1-weights.ckpt"))
    if not found:
        raise PackError(f"{folder}: no *val_f1=*valf1-weights.ckpt for the labelling network")
    path = found[-1]
    checkpoint = read_checkpoint(path)
    weights = state_dict_of(checkpoint, "state_dict", path)
    hyper_parameters = checkpoint.get("hyper_parameters")
    options = hyper_parameters.get("opt") if isinstance(hyper_parameters, Mapping) else None
    settings = {
        **classifier_of(weights, path),
        "cutout_size": list(attribute(options, "final_size", LABELLING_SIZE)),
        # Only some trainings saw cutouts turned along the spine; the name of their data set tells which.
        "rotate": "v4corpus" in str(attribute(options, "ds_name", "")),
        "resolution": resolution_of(config, config_path),
    }
    return PublishedNetwork(settings, {"labelling": _checked(weights, lambda: build_labelling_network(settings), path)})


READERS = MappingProxyType({"semantic": read_semantic, "instance": read_instance, "labelling": read_labelling})


def _folder_of_plans(folder: Path) -> Path:
    """Return the nnU-Net folder of a release: the one with its configuration, or one below it.

    Raises: PackError where there are several, or none.
    """
    found = sorted(path.parent for path in folder.rglob("plans.json"))
    if folder in found or len(found) == 1:
        return folder if folder in found else found[0]
    if not found:
        raise PackError(f"plans.json cannot be read in {folder}, nor in a folder below: unpack the release again")
    raise PackError(f"{folder} holds several nnU-Net folders ({', '.join(path.name for path in found)}); keep one")


def _folds(config: Mapping[str, Any], folder: Path) -> list[str]:
    """Names of the folds to use: so many, or as the configuration names them; `all` where only that was trained."""
    available = config.get("available_folds", 1)
    if isinstance(available, int):
        names = [str(number) for number in range(available)]
    elif isinstance(available, str):
        names = [name.strip() for name in available.split(",")]
    else:
        names = [str(name) for name in available]
    if not names or not all(names):
        raise PackError(f"{folder}: available_folds is {available!r}; expected a number of folds, or their names")
    if not (folder / f"fold_{names[0]}").is_dir() and (folder / "fold_all").is_dir():
        return ["all"]
    return names


def _checkpoint_of_fold(folder: Path, fold: str) -> Path:
    candidates = [folder / f"fold_{fold}" / f"checkpoint_{which}.pth" for which in ("final", "best")]
    for path in candidates:
        if path.is_file():
            return path
    raise PackError(f"{candidates[0]} is missing, and so is {candidates[1].name}: unpack the release again")


def _checked(weights: dict[str, Tensor], build: Callable[[], nn.Module], path: Path) -> dict[str, Tensor]:
    """Hold a state dict against the network that its settings describe; each tensor comes back by one name."""
    try:
        with torch.device("meta"):  # shapes only
            network = build()
    except (KeyError, ValueError, TypeError, ImportError, RuntimeError, IndexError, AttributeError) as error:
        raise PackError(f"{path} describes no network that can be built ({error})") from error
    check_state_dict(weights, {key: tuple(value.shape) for key, value in network.state_dict().items()}, path)
    return without_aliases(weights, network)
