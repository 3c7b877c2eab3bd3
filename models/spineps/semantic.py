"""The semantic phase: nnU-Net over sliding windows, from a pack instead of an nnU-Net folder.

Source: Möller et al., "SPINEPS" (European Radiology 2024), first phase; Isensee et al., "nnU-Net" (Nature Methods
2021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import PackError
from models.spineps.frame import Spacing
from models.spineps.memory import Fitting
from models.spineps.native import NativeNetwork
from models.spineps.plans import Prepared, SemanticPlans
from models.spineps.resampling import resample_planes
from models.spineps.windows import Windows, padded, stream_logits

CLASSES_AT_ONCE = 3  # brought back to the image's grid


def build_semantic_network(settings: Mapping[str, Any]) -> nn.Module:
    """Build the network that `plans` and `dataset` of a pack's `semantic` entry describe, without deep supervision."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans  # noqa: PLC0415 - seconds of import

    architecture = settings["plans"]["configurations"][settings["configuration"]]["architecture"]
    return get_network_from_plans(  # type: ignore[no-any-return]
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        len(settings["dataset"]["channel_names"]),
        len(settings["dataset"]["labels"]),
        deep_supervision=False,
    )


@dataclass(frozen=True)
class FoundSubregions:
    """labels: (P, I, R) uint8 on the grid it was asked for, in SPINEPS' labels; notes: about a full GPU."""

    labels: NDArray[np.uint8]
    notes: tuple[str, ...] = ()


class SemanticPhase:
    """The networks of a pack, one per fold, between nnU-Net's preparation and its way back to the grid."""

    def __init__(
        self, settings: Mapping[str, Any], folds: Sequence[Mapping[str, Tensor]], device: torch.device
    ) -> None:
        """Build the networks.

        settings: the pack's `semantic` entry; folds: a state dict each.

        Raises: PackError where plans, labels or weights do not fit together.
        """
        self.device, self.step = device, float(settings["tile_step_size"])
        try:
            self.plans = SemanticPlans(settings["plans"], settings["configuration"])
            self.dataset = settings["dataset"]
            self.classes = len(self.dataset["labels"])
            self.networks = [NativeNetwork(_loaded(settings, fold)) for fold in folds]
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise PackError(f"the semantic network does not fit its plans: {error}") from error
        if not all(isinstance(value, int) for value in self.dataset["labels"].values()):
            raise PackError("the semantic network was trained on regions that overlap; a class per structure is needed")
        self.mirrored = _mirrorings(settings.get("mirror_axes"))
        self.table = _label_table(settings["labels"])

    def predict(self, image: NDArray[np.float32], spacing: Spacing) -> FoundSubregions:
        """Segment a prepared image.

        image: (P, I, R) at the pack's resolution; spacing: mm, in that order.
        """
        # The original hands over half-precision values with the axes reversed: (R, I, P).
        turned = image.astype(np.float16).astype(np.float32).transpose(2, 1, 0)
        prepared = self.plans.prepare(turned, spacing[::-1])
        fitting = Fitting(self.device, "the semantic network")
        classes = np.zeros(prepared.shape, np.uint8)
        classes[prepared.box] = self._classes(prepared, fitting)
        classes = classes.transpose(self.plans.backward)
        return FoundSubregions(self.table[classes.transpose(2, 1, 0)], tuple(fitting.notes))

    def _classes(self, prepared: Prepared, fitting: Fitting) -> NDArray[np.uint8]:
        """Run the windows → classes on the box of what is not zero, at the image's spacing."""
        volume, inside = padded(prepared.data, self.plans.patch_size)
        windows = Windows.over(volume.shape[1:], self.plans.patch_size, self.step)
        finished = stream_logits(volume, windows, self._answer, classes=self.classes, fitting=fitting)
        if self.plans.comes_back_linearly(prepared):
            classes = np.empty(prepared.cropped, np.uint8)
            for number, logits in resample_planes(finished, inside, prepared.cropped, windows.axis):
                np.moveaxis(classes, windows.axis, 0)[number] = logits.argmax(0).cpu().numpy()
            return classes
        kept = np.empty((self.classes, *windows.shape), np.float16)
        for planes, logits in finished:
            np.moveaxis(kept, windows.axis + 1, 0)[planes] = logits.movedim(windows.axis + 1, 0).cpu().numpy()
        return self._resampled(kept[(slice(None), *inside)], prepared)

    def _resampled(self, logits: NDArray[np.float16], prepared: Prepared) -> NDArray[np.uint8]:
        """Classes on a grid of another spacing; a few classes at a time, as all of them would not fit."""
        classes = torch.zeros(prepared.cropped, dtype=torch.uint8)
        best = torch.full(prepared.cropped, -torch.inf)
        for first in range(0, self.classes, CLASSES_AT_ONCE):
            found, numbers = self.plans.resample_back(logits[first : first + CLASSES_AT_ONCE], prepared).max(0)
            classes = torch.where(found > best, (numbers + first).to(torch.uint8), classes)
            best = torch.maximum(best, found)
        return classes.numpy()

    def _answer(self, x: Tensor) -> Tensor:
        """(B, channels, …) → logits, the mean over folds and mirrorings."""
        answers = [network(x.flip(axes)).flip(axes) for network in self.networks for axes in self.mirrored]
        return answers[0] if len(answers) == 1 else sum(answers[1:], answers[0]) / len(answers)


def _loaded(settings: Mapping[str, Any], fold: Mapping[str, Tensor]) -> nn.Module:
    network = build_semantic_network(settings)
    network.load_state_dict(fold)
    return network


def _mirrorings(axes: Sequence[int] | None) -> tuple[tuple[int, ...], ...]:
    """Every set of axes of (B, channels, …) to mirror along, the empty one first."""
    known = [axis + 2 for axis in axes or ()]
    return tuple(chosen for count in range(len(known) + 1) for chosen in combinations(known, count))


def _label_table(labels: Mapping[str, int]) -> NDArray[np.uint8]:
    """SPINEPS' label by the network's class."""
    table = np.zeros(256, np.uint8)
    for network_class, label in labels.items():
        table[int(network_class)] = label
    return table
