"""What nnU-Net's plans say of an image's way to the network and back: axes, cropping, intensities, spacing.

nnU-Net's own classes do the same and bring file readers and training along, more memory than both networks need. What
computes is nnU-Net's: its normalisations, and where spacings differ its resampling, which is loaded only then.

Source: Isensee et al., "nnU-Net" (Nature Methods 2021).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from models.errors import PackError
from models.spineps.clean import Box
from models.spineps.resampling import resample_slices, thick_axis

PREPROCESSOR = "DefaultPreprocessor"
NNUNET_RESAMPLING = "resample_data_or_seg_to_shape"
NO_RESAMPLING = "no_resampling_hack"  # nnU-Net's function for networks that take every grid as it is
Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Prepared:
    """What the network sees, and where it comes from.

    data: (channels, X, Y, Z), axes in the plans' order; shape: in that order, before cropping; box: what is not zero,
    in that shape; spacing: in mm along the same axes, before resampling.
    """

    data: Tensor
    shape: Shape
    box: Box
    spacing: tuple[float, float, float]

    @property
    def cropped(self) -> Shape:
        """Voxels of the box."""
        x, y, z = (along.stop - along.start for along in self.box)
        return x, y, z


class SemanticPlans:
    """One configuration of an nnU-Net's plans.json."""

    def __init__(self, plans: Mapping[str, Any], configuration: str) -> None:
        """Read what inference needs.

        Raises: PackError where the plans ask for a preparation that is not nnU-Net's default; KeyError where
        something is missing.
        """
        self.settings = _inherited(plans["configurations"], configuration)
        self.forward, self.backward = plans["transpose_forward"], plans["transpose_backward"]
        self.spacing: Sequence[float] = self.settings["spacing"]
        self.patch_size: Sequence[int] = self.settings["patch_size"]
        self.intensities = plans["foreground_intensity_properties_per_channel"]
        if self.settings["preprocessor_name"] != PREPROCESSOR or len(self.spacing) != 3:
            raise PackError(
                f"the semantic network's plans ask for {self.settings['preprocessor_name']} at {len(self.spacing)} "
                f"spacings; {PREPROCESSOR} in three dimensions is needed"
            )

    def prepare(self, image: NDArray[np.float32], spacing: Sequence[float]) -> Prepared:
        """(X, Y, Z) with its spacing in mm → what the network sees."""
        volume = image.transpose(self.forward)
        along = [spacing[axis] for axis in self.forward]
        box = _nonzero(volume)
        seen = np.ascontiguousarray(volume[box], np.float32)[None]
        for channel, values in enumerate(seen):
            seen[channel] = self._normalised(values, channel)
        shape = [round(mm / target * n) for mm, target, n in zip(along, self.spacing, seen.shape[1:], strict=True)]
        if self.settings["resampling_fn_data"] != NO_RESAMPLING and list(seen.shape[1:]) != shape:
            seen = self._resample(seen, shape, along)
        return Prepared(torch.from_numpy(seen), _three(volume.shape), box, (along[0], along[1], along[2]))

    def comes_back_linearly(self, prepared: Prepared) -> bool:
        """Whether logits are brought to the image's grid by linear interpolation, or lie on it already."""
        same = tuple(prepared.data.shape[1:]) == prepared.cropped
        return same or self._interpolates("resampling_fn_probabilities", order=1, between_slices=1)

    def resample_back(self, values: NDArray[np.float16], prepared: Prepared) -> Tensor:
        """(channels, …) at the plans' spacing → at the image's, on the box, where that is more than linear."""
        resample = self._resampling("resampling_fn_probabilities")
        return torch.from_numpy(resample(values, prepared.cropped, self.spacing, prepared.spacing))

    def _resample(self, image: NDArray[np.float32], shape: Sequence[int], along: Sequence[float]) -> Any:
        settings = self.settings["resampling_fn_data_kwargs"]
        axis = thick_axis(along, self.spacing) if settings.get("force_separate_z") is None else None
        if axis is None or not self._interpolates("resampling_fn_data", order=3, between_slices=1):
            return self._resampling("resampling_fn_data")(image, shape, along, self.spacing)
        return np.stack([resample_slices(channel, shape, axis) for channel in image])

    def _interpolates(self, name: str, *, order: int, between_slices: int) -> bool:
        """Whether a resampling is nnU-Net's own, by splines of these orders."""
        settings = self.settings[f"{name}_kwargs"]
        orders = (settings["is_seg"], settings["order"], settings.get("order_z"))
        return self.settings[name] == NNUNET_RESAMPLING and orders == (False, order, between_slices)

    def _normalised(self, values: NDArray[np.float32], channel: int) -> NDArray[np.float32]:
        from nnunetv2.preprocessing.normalization import default_normalization_schemes  # noqa: PLC0415 - first use

        scheme = getattr(default_normalization_schemes, self.settings["normalization_schemes"][channel])
        masked = self.settings["use_mask_for_norm"][channel]
        normalise = scheme(use_mask_for_norm=masked, intensityproperties=self.intensities[str(channel)])
        outside = np.where(ndimage.binary_fill_holes(values != 0), 0, -1) if masked else None
        return cast("NDArray[np.float32]", normalise.run(values, outside))

    def _resampling(self, name: str) -> Any:
        from nnunetv2.preprocessing.resampling.utils import (  # noqa: PLC0415 - seconds of import, for few
            recursive_find_resampling_fn_by_name,
        )

        return partial(recursive_find_resampling_fn_by_name(self.settings[name]), **self.settings[f"{name}_kwargs"])


def _inherited(configurations: Mapping[str, Any], name: str) -> dict[str, Any]:
    settings = configurations[name]
    parent = settings.get("inherits_from")
    return {**(_inherited(configurations, parent) if parent else {}), **settings}


def _nonzero(volume: NDArray[np.float32]) -> Box:
    """The box around what is not zero; the whole volume where all of it is."""
    box = next(iter(ndimage.find_objects((volume != 0).astype(np.uint8))), None)
    x, y, z = box or (slice(0, n) for n in volume.shape)
    return x, y, z


def _three(values: Sequence[int]) -> Shape:
    x, y, z = (int(value) for value in values)
    return x, y, z
