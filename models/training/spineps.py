"""`spondyl train spineps`: from nothing to a SPINEPS pack, on phantoms alone."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.packs import ModelPack, write_pack
from models.spineps.instance_network import build_instance_network
from models.spineps.semantic import build_semantic_network
from models.state_dicts import without_aliases
from models.training import spineps_instances, spineps_semantic
from models.training.loop import Plan, Step, Trainee, train
from models.training.spineps_card import write_spineps_card
from models.training.spineps_instances import InstanceStep
from models.training.spineps_scenes import STRUCTURES, MrSceneStore
from models.training.spineps_semantic import SemanticStep, build_for_training

# (P, I, R), least and greatest: a volume between is segmented on its own grid. nnU-Net goes to the network's spacing
# from there and brings the logits back, which keeps more of thin structures than to resample their labels.
GRID_MM = ((0.6, 0.6, 2.0), (1.2, 1.2, 6.0))
LOGIT_SHARE = 1 / 8  # of the logits that training ends with; a power of two loses nothing
Report = Callable[[str], None]
Log = list[dict[str, float]]


@dataclass(frozen=True)
class SpinepsRecipe:
    """What decides the weights.

    scenes: phantoms drawn; every visit scans them anew. workers: batches of a step, side by side, a core each.
    minutes: limit for both trainings together; a GPU has taken all steps before, two cores have not.
    """

    seed: int = 1
    scenes: int = 700
    semantic_steps: int = 4200
    instance_steps: int = 800
    workers: int = 2
    minutes: float | None = 180.0
    device: str = "cpu"


def _say(line: str) -> None:
    print(line, flush=True)


def train_spineps(out: Path, *, work: Path, recipe: SpinepsRecipe, version: str, report: Report = _say) -> ModelPack:
    """Train both networks of SPINEPS, one after the other, and write the pack.

    Args:
        out: folder of the pack, made new.
        work: folder for scenes, checkpoints and logs; a second call goes on where the first stopped.
        recipe: seeds, lengths, device.
        version: of the pack.
        report: receives lines of progress.

    Returns:
        The pack as written; a model card and the training log lie beside its weights.
    """
    began = time.monotonic()
    store = MrSceneStore(work / "scenes", recipe.scenes)
    torch.manual_seed(recipe.seed)
    semantic = build_for_training().to(recipe.device)
    instance = build_instance_network(spineps_instances.settings()).to(recipe.device)
    instance.to(memory_format=torch.channels_last_3d)  # half as long on a CPU
    logs: dict[str, Log] = {}
    weights: dict[str, dict[str, Tensor]] = {}
    for place, (name, part) in enumerate(_parts(recipe, store, semantic, instance).items()):
        trainee = Trainee(name, {name: part.network}, work)
        minutes = recipe.minutes * part.share if recipe.minutes else None
        plan = Plan(part.steps, minutes, seed=recipe.seed + place, workers=recipe.workers)
        logs[name] = train(trainee, part.step, plan, report=report)
        weights[name] = trainee.averages[name]
    pack = write_spineps_pack(out, weights, recipe, version)
    write_spineps_card(out, pack, recipe, logs)
    report(f"wrote {pack.name} {pack.version} after {(time.monotonic() - began) / 60:.0f} min")
    return pack


@dataclass(frozen=True)
class _Part:
    """A part of the training; share: of the minutes."""

    network: nn.Module
    step: Step
    steps: int
    share: float


def _parts(recipe: SpinepsRecipe, store: MrSceneStore, semantic: nn.Module, instance: nn.Module) -> Mapping[str, _Part]:
    """In the order in which they are trained."""
    structures = SemanticStep(semantic, store, device=recipe.device)
    apart = InstanceStep(instance, store, device=recipe.device)
    return {
        "semantic": _Part(semantic, structures, recipe.semantic_steps, 0.67),
        "instance": _Part(instance, apart, recipe.instance_steps, 0.33),
    }


def write_spineps_pack(
    out: Path, weights: Mapping[str, Mapping[str, Tensor]], recipe: SpinepsRecipe, version: str
) -> ModelPack:
    """Write the trained weights as a pack; what only training needs (deep supervision) stays behind."""
    description = describe_pack(recipe, version)
    semantic = build_semantic_network(description["networks"]["semantic"])
    kept = {
        "semantic": _fitting(_quieter(weights["semantic"]), semantic),
        "instance": dict(weights["instance"]),
    }
    return write_pack(out, description, kept, dtype="float16")


def _quieter(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Smaller logits, the same classes: SPINEPS sums those of overlapping windows, times 1000, in half precision."""
    return {key: value * LOGIT_SHARE if ".seg_layers." in key else value for key, value in weights.items()}


def _fitting(weights: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    wanted = network.state_dict()
    return without_aliases({key: value for key, value in weights.items() if key in wanted}, network)


def describe_pack(recipe: SpinepsRecipe, version: str) -> dict[str, Any]:
    """pack.json without the weights' hashes: what the networks are and how the engine uses them."""
    return {
        "name": "spineps-phantom",
        "version": version,
        "engine": "spineps",
        "accepts": {"modality": ["MR"], "plane": ["sagittal"], "contrast": ["T2w", "T1w", "STIR"]},
        "networks": {
            "semantic": {
                "kind": "nnunet",
                "plans": spineps_semantic.plans(),
                "dataset": spineps_semantic.dataset(),
                "configuration": spineps_semantic.CONFIGURATION,
                "trainer": "nnUNetTrainer",
                "mirror_axes": None,
                "tile_step_size": 0.5,
                "labels": {str(index): structure for index, structure in enumerate(STRUCTURES, start=1)},
                "resolution": [list(bound) for bound in GRID_MM],
                "folds": 1,
                "preparation": {"normalise": True, "bias_correction": False, "padding": 4},
            },
            "instance": spineps_instances.settings(),
        },
        "provenance": (
            f"Trained by `spondyl train spineps` with seed {recipe.seed} on {recipe.scenes} synthetic phantoms; "
            "no patient's image was used."
        ),
        "licence": "Apache-2.0",
        "intended_use": "Research; not a medical device, not for diagnosis.",
    }
