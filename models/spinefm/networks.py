"""The four networks of SpineFM behind small interfaces, and how a pack chooses them.

Kinds: detector `maskrcnn_resnet50_fpn` | `compact`; segmenter `medsam` | `compact`; point predictor `mlp`; classifier
`resnet50`, `resnet101`, … of torchvision | `compact`. Hyper-parameters stand under `hyper`; `medsam` also takes
`variant`.

Sources: Simons & Papież, "SpineFM" (2024); He et al., "Mask R-CNN" (2017), through torchvision.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn

from models.errors import PackError
from models.packs import ModelPack, read_weights
from models.spinefm.detection import Detection

SOFT_MASK = 0.9  # a pixel of Mask R-CNN's soft mask belongs to the body above this
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


class Detector(Protocol):
    """Sees vertebrae on a whole radiograph."""

    def detect(self, pixels: NDArray[np.float32]) -> Sequence[Detection]:
        """Find vertebrae in (rows, columns) of values in 0–1, in any order."""


class Segmenter(Protocol):
    """Segments what lies under one point of each patch."""

    def __call__(self, image: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (batch, 3, s, s) in 0–1, points (batch, 1, 2) xy to logits (batch, 1, h, w), scores (batch, 1)."""


class PointPredictor(Protocol):
    """Guesses the next centroid."""

    def __call__(self, centroids: Tensor) -> Tensor:
        """Map (batch, 6), three points (x, y) over image width and height, nearest last, to the next one (batch, 2)."""


class Classifier(Protocol):
    """Tells what a patch shows in its middle."""

    def __call__(self, patches: Tensor) -> Tensor:
        """Map (batch, 3, size, size) in 0–1 to class logits (batch, classes)."""


@dataclass(frozen=True)
class Networks:
    """The four, ready to use on one device.

    detector_tells_landmarks: whether the `kind` of its detections means anything. half_on_cpu: whether the segmenter
    gains by half precision there: what multiplies large matrices does, small convolutions do not.
    """

    detector: Detector
    segmenter: Segmenter
    point_predictor: PointPredictor
    classifier: Classifier
    detector_tells_landmarks: bool = False
    half_on_cpu: bool = False


class MaskRcnnDetector(nn.Module):
    """torchvision's Mask R-CNN for two classes, background and vertebra."""

    def __init__(self, *, min_score: float) -> None:
        """Make the network; what scores no more than `min_score` is not pasted into the image at all."""
        super().__init__()
        self.network = build_maskrcnn(box_score_thresh=min_score)

    @torch.inference_mode()
    def detect(self, pixels: NDArray[np.float32]) -> tuple[Detection, ...]:
        """Find vertebrae: of each soft mask the first connected region, its centroid truncated to whole pixels."""
        image = torch.from_numpy(np.ascontiguousarray(pixels)).to(next(self.parameters()).device).expand(3, -1, -1)
        answer = self.network([image])[0]
        scores, masks = answer["scores"].tolist(), (answer["masks"][:, 0] > SOFT_MASK).cpu().numpy()
        found = (_first_region(score, mask) for score, mask in zip(scores, masks, strict=True))
        return tuple(detection for detection in found if detection is not None)


def _first_region(score: float, mask: NDArray[np.bool_]) -> Detection | None:
    labels, count = ndimage.label(mask, structure=EIGHT_NEIGHBOURS)
    if not count:
        return None
    rows, columns = np.nonzero(labels == 1)
    centroid = (float(int(columns.mean())), float(int(rows.mean())))
    return Detection(score=float(score), centroid_px=centroid, size_px=float(np.sqrt(rows.size)))


def build_maskrcnn(**options: Any) -> nn.Module:
    """Build torchvision's Mask R-CNN with the published heads, with random weights."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn  # noqa: PLC0415 - seconds of import

    network: nn.Module = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=2, **options)
    return network


def build_resnet(kind: str, classes: int) -> nn.Module:
    """Build a classifier of torchvision with random weights."""
    from torchvision import models as torchvision_models  # noqa: PLC0415 - seconds of import

    network: nn.Module = getattr(torchvision_models, kind)(weights=None, num_classes=classes)
    return network


def build_point_predictor() -> nn.Module:
    """Build the published point predictor, (batch, 6) → (batch, 2), with random weights."""
    return nn.Sequential(nn.Linear(6, 50), nn.ReLU(), nn.Linear(50, 2))


def build_networks(pack: ModelPack, device: torch.device, *, min_score: float) -> Networks:
    """Build the networks that a pack chooses and load their weights.

    min_score: detections up to this score may be left out.

    Raises: PackError for an unknown kind, wrong hyper-parameters or weights that do not fit.
    """
    entries = pack.networks
    detector = _loaded(pack, "detector", lambda: _detector(entries["detector"], min_score), device)
    segmenter = _loaded(pack, "segmenter", lambda: _segmenter(entries["segmenter"]), device)
    point_predictor = _loaded(pack, "point_predictor", lambda: _point_predictor(entries["point_predictor"]), device)
    classifier = _loaded(pack, "classifier", lambda: _classifier(entries["classifier"]), device)
    return Networks(
        detector,
        segmenter,
        point_predictor,
        classifier,
        detector_tells_landmarks=entries["detector"]["kind"] == "compact",
        half_on_cpu=entries["segmenter"]["kind"] == "medsam",
    )


def _loaded(pack: ModelPack, name: str, build: Callable[[], Any], device: torch.device) -> Any:
    try:
        network = build()
    except (TypeError, ValueError) as error:
        raise PackError(f"pack {pack.name}: network {name!r} cannot be built: {error}") from error
    target = network.network if isinstance(network, MaskRcnnDetector) else network
    try:
        target.load_state_dict(read_weights(pack, name))
    except RuntimeError as error:
        raise PackError(f"{pack.weights_path(name)} does not fit network {name!r} of pack.json: {error}") from error
    return network.to(device).eval().requires_grad_(False)


def _detector(entry: Mapping[str, Any], min_score: float) -> Any:
    if entry["kind"] == "maskrcnn_resnet50_fpn":
        return MaskRcnnDetector(min_score=min_score)
    return _compact(entry, "CompactDetector")


def _segmenter(entry: Mapping[str, Any]) -> Any:
    if entry["kind"] != "medsam":
        return _compact(entry, "CompactSegmenter")
    from models.spinefm.medsam import MedsamConfig, build_medsam  # noqa: PLC0415 - imports torchvision

    if "variant" in entry:
        return build_medsam(entry["variant"])
    hyper = dict(entry.get("hyper", {}))
    if "global_attention" in hyper:
        hyper["global_attention"] = tuple(hyper["global_attention"])
    return build_medsam(MedsamConfig(**hyper))


def _point_predictor(entry: Mapping[str, Any]) -> Any:
    if entry["kind"] != "mlp":
        raise ValueError(f"kind {entry['kind']!r} is unknown")
    return build_point_predictor()


def _classifier(entry: Mapping[str, Any]) -> Any:
    if entry["kind"] in RESNETS:
        return build_resnet(entry["kind"], len(entry["classes"]))
    return _compact(entry, "CompactClassifier")


def _compact(entry: Mapping[str, Any], name: str) -> Any:
    if entry["kind"] != "compact":
        raise ValueError(f"kind {entry['kind']!r} is unknown")
    # Only packs with compact networks need what these are made of.
    return getattr(import_module("models.spinefm.compact"), name)(**entry.get("hyper", {}))
