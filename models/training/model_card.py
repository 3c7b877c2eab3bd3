"""The model card beside a pack: what was trained on what, how it went, what it is not for."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from models.packs import ModelPack

if TYPE_CHECKING:
    from models.training.spinefm import Recipe

CARD = """# Model card: {name} {version}

**Use.** {intended_use} Lateral cervical and lumbar radiographs (CR, DX): vertebral bodies C2 to S1 as they are in view.

**Training data.** {provenance} The phantoms are drawn by `models/phantom`: a parametric spine in three dimensions,
projected through soft tissue, exposed and processed at random. Seeds from 1,000,000 on are held back for
docs/accuracy.md.

**Networks.** A U-Net on the whole image (detector), a U-Net on patches with the point as a second channel (segmenter),
a narrow ResNet (classifier: background, vertebra, C2, S1) and the published point predictor (6–50–2).
All but the last remove brightness and contrast locally before anything else.

**Training.** {minutes:.0f} minutes for the detector ({detector_steps} steps), {patch_minutes:.0f} for the patch
networks ({patch_steps} steps), side by side, {history}. The weights are averages over the last steps.
Median error of the point predictor: {point_error:.2f} of the distance between neighbours.

**Last figures of training** (fresh exposures of training scenes; held-back ones are in docs/accuracy.md):
segmenter Dice {dice:.3f}, classifier right in {right:.1%}.

**Limits.** These weights have never seen a patient. Expect less on implants, fractures, growing spines, the thoracic
spine, flexion and extension views and anything the phantoms do not draw. A radiologist must look at every result.

Digest (SHA-256 over version, settings and weights): {digest}
"""


def write_model_card(
    folder: Path,
    pack: ModelPack,
    recipe: "Recipe",
    logs: dict[str, list[dict[str, float]]],
    *,
    point_error: float,
    history: str = "in one run",
) -> None:
    """Write MODEL_CARD.md and training.json (recipe and log) into the pack's folder; `history`: in how many runs."""
    detector, patches = logs["detector"][-1], logs["patches"][-1]
    (folder / "MODEL_CARD.md").write_text(
        CARD.format(
            name=pack.name,
            version=pack.version,
            intended_use=pack.intended_use,
            provenance=pack.provenance,
            minutes=detector["minutes"],
            detector_steps=int(detector["step"]),
            patch_minutes=patches["minutes"],
            patch_steps=int(patches["step"]),
            point_error=point_error,
            history=history,
            dice=patches["dice"],
            right=patches["right"],
            digest=pack.digest,
        )
    )
    (folder / "training.json").write_text(json.dumps({"recipe": asdict(recipe), "logs": logs}, indent=1))
