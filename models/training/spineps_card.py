"""The model card beside a SPINEPS pack: what was trained on what, how it went, what it is not for."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from models.packs import ModelPack
from models.training.spineps_scenes import SPACING_MM

if TYPE_CHECKING:
    from models.training.spineps import SpinepsRecipe

CARD = """# Model card: {name} {version}

**Use.** {intended_use} Sagittal MR of the spine (T2w, T1w, STIR): vertebrae, discs and SPINEPS' 14 structures.

**Training data.** {provenance} The phantoms are drawn by `models/phantom`: the parametric spine of the radiographs laid
into an MR scanner, with contrasts, slices, shading, noise and fields of view drawn at random. Seeds from 1,000,000 on
are held back for docs/accuracy.md.

**Networks.** An nnU-Net (nnU-Net's own plan format, so that SPINEPS itself loads it) at {spacing} mm for the
structures; SPINEPS' three-vertebra U-Net at {instance_spacing} mm, trained on spoilt truth, for the instances. No
labelling network: levels come from the dens and the sacrum.

**Training.** {semantic_minutes:.0f} minutes for the structures ({semantic_steps} steps), {instance_minutes:.0f} for the
instances ({instance_steps} steps), {history}. The weights are averages over the last steps, stored in half precision.

**Last figures of training** (fresh scans of training scenes; held-back ones are in docs/accuracy.md): soft Dice of the
structures {semantic_dice:.3f} (the mean over 14, absent ones included), of the three vertebrae {instance_dice:.3f}.

**Limits.** These weights have never seen a patient. Expect less on implants, tumours, infections, children and anything
the phantoms do not draw. The bias field is not corrected before (`preparation` in pack.json): training varied it. A
radiologist must look at every result.

Digest (SHA-256 over version, settings and weights): {digest}
"""


def write_spineps_card(
    folder: Path,
    pack: ModelPack,
    recipe: "SpinepsRecipe",
    logs: dict[str, list[dict[str, float]]],
    *,
    history: str = "in one run",
) -> None:
    """Write MODEL_CARD.md and training.json (recipe and log) into the pack's folder; `history`: in how many runs."""
    semantic, instance = logs["semantic"][-1], logs["instance"][-1]

    (folder / "MODEL_CARD.md").write_text(
        CARD.format(
            name=pack.name,
            version=pack.version,
            intended_use=pack.intended_use,
            provenance=pack.provenance,
            spacing=_listed(SPACING_MM[::-1]),
            instance_spacing=_listed(pack.networks["instance"]["resolution"]),
            semantic_minutes=semantic["minutes"],
            semantic_steps=int(semantic["step"]),
            instance_minutes=instance["minutes"],
            instance_steps=int(instance["step"]),
            history=history,
            semantic_dice=1 - semantic["dice"],
            instance_dice=instance["dice"],
            digest=pack.digest,
        ),
        encoding="utf-8",
    )
    (folder / "training.json").write_text(json.dumps({"recipe": asdict(recipe), "logs": logs}, indent=1))


def _listed(spacing_mm: Sequence[float]) -> str:
    return " × ".join(f"{mm:g}" for mm in spacing_mm)
