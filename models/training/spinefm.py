"""`spondyl train spinefm`: from nothing to a SpineFM pack, on phantoms alone."""

import json
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.packs import ModelPack, write_pack
from models.phantom.anatomy import LEVELS
from models.spinefm.compact import DETECTOR_CLASSES, CompactClassifier, CompactDetector, CompactSegmenter
from models.spinefm.networks import build_point_predictor
from models.training.loop import Plan, Trainee, train
from models.training.model_card import write_model_card
from models.training.scenes import SceneStore
from models.training.spinefm_detector import DetectorStep
from models.training.spinefm_patches import CLASSIFIER_EDGE, CLASSIFIER_SIZE, SEGMENTER_EDGE, SEGMENTER_SIZE, PatchStep
from models.training.spinefm_points import train_point_predictor

Report = Callable[[str], None]
CLASSIFIER_ZOOMS = [0.85, 1.0, 1.18]


@dataclass(frozen=True)
class Recipe:
    """What decides the weights.

    scenes: phantoms drawn for the networks that see images; spines: for the point predictor, which sees geometry.
    minutes: limit for each of the two network trainings, which run side by side.
    """

    seed: int = 1
    scenes: int = 4000
    detector_steps: int = 8000
    patch_steps: int = 9000
    spines: int = 6000
    point_steps: int = 6000
    minutes: float | None = None
    device: str = "cpu"


def _say(line: str) -> None:
    print(line, flush=True)


def _build(part: str, recipe: Recipe, work: Path) -> tuple[Trainee, Any, Plan]:
    torch.manual_seed(recipe.seed)
    store = SceneStore(work / "scenes", recipe.scenes)
    if part == "detector":
        detector = CompactDetector().to(recipe.device).to(memory_format=torch.channels_last)
        trainee = Trainee(part, {"detector": detector}, work)
        return (
            trainee,
            DetectorStep(detector, store, device=recipe.device),
            Plan(recipe.detector_steps, recipe.minutes, seed=recipe.seed),
        )
    segmenter = CompactSegmenter().to(recipe.device).to(memory_format=torch.channels_last)
    classifier = CompactClassifier().to(recipe.device)
    trainee = Trainee(part, {"segmenter": segmenter, "classifier": classifier}, work)
    step = PatchStep(segmenter, classifier, store, device=recipe.device)
    return trainee, step, Plan(recipe.patch_steps, recipe.minutes, seed=recipe.seed)


def _train_part(part: str, recipe: Recipe, work: Path) -> None:
    """Train one of the two groups of networks in a process of its own; its state stays in `work`."""
    torch.set_num_threads(1 if recipe.device == "cpu" else 8)
    trainee, step, plan = _build(part, recipe, work)
    log = train(trainee, step, plan, report=_say)
    torch.save(trainee.averages, work / f"{part}.weights.pt")
    (work / f"{part}.log.json").write_text(json.dumps(log, indent=1))


def train_spinefm(out: Path, *, work: Path, recipe: Recipe, version: str, report: Report = _say) -> ModelPack:
    """Train every network of the compact SpineFM and write the pack.

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
    work.mkdir(parents=True, exist_ok=True)
    context = multiprocessing.get_context("spawn")
    parts = [context.Process(target=_train_part, args=(part, recipe, work)) for part in ("detector", "patches")]
    for process in parts:
        process.start()
    torch.manual_seed(recipe.seed)
    points = build_point_predictor()
    error = train_point_predictor(
        points, seed=recipe.seed, spines=recipe.spines, steps=recipe.point_steps, report=report
    )
    for process in parts:
        process.join()
        if process.exitcode:
            raise RuntimeError(
                f"a training process ended with {process.exitcode}; see its output above, then call again to go on"
            )
    weights: dict[str, dict[str, torch.Tensor]] = {}
    for part in ("detector", "patches"):
        weights |= torch.load(work / f"{part}.weights.pt", weights_only=True)
    weights["point_predictor"] = points.state_dict()
    logs = {part: json.loads((work / f"{part}.log.json").read_text()) for part in ("detector", "patches")}
    pack = write_pack(out, describe_pack(recipe, version), weights, dtype="float16")
    write_model_card(out, pack, recipe, logs, point_error=error)
    report(f"wrote {pack.name} {pack.version} after {(time.monotonic() - began) / 60:.0f} min")
    return pack


def describe_pack(recipe: Recipe, version: str) -> dict[str, Any]:
    """pack.json without the weights' hashes: what the networks are and how the walk uses them."""
    return {
        "name": "spinefm-phantom",
        "version": version,
        "engine": "spinefm",
        "accepts": {"modality": ["CR", "DX"], "view": ["lateral"], "body_region": ["cervical", "lumbar"]},
        "networks": {
            "detector": {"kind": "compact"},
            "segmenter": {
                "kind": "compact",
                "input_px": SEGMENTER_SIZE,
                "patch_edge": {"body_sizes": SEGMENTER_EDGE},
                "mask_upsampling": "bilinear",
            },
            "point_predictor": {"kind": "mlp"},
            "classifier": {
                "kind": "compact",
                "input_px": CLASSIFIER_SIZE,
                "patch_edge": {"body_sizes": CLASSIFIER_EDGE},
                "classes": list(DETECTOR_CLASSES),
                "zooms": CLASSIFIER_ZOOMS,
            },
        },
        "walk": {"detector": 0.5, "second_opinion": True},
        "label_table": {"levels": list(LEVELS)},
        "provenance": (
            f"Trained by `spondyl train spinefm` with seed {recipe.seed} on {recipe.scenes} synthetic phantoms; "
            "no patient's image was used."
        ),
        "licence": "Apache-2.0",
        "intended_use": "Research; not a medical device, not for diagnosis.",
    }
