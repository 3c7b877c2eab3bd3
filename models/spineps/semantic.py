"""The semantic phase: nnU-Net over sliding windows, from a pack instead of an nnU-Net folder.

Source: Möller et al., "SPINEPS" (European Radiology 2024), first phase; Isensee et al., "nnU-Net" (Nature Methods
2021).
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.errors import PackError
from models.spineps.frame import Spacing
from models.spineps.memory import FittingNetwork, runs_half


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


class SemanticPhase:
    """nnU-Net's own predictor around the networks of a pack, one per fold."""

    def __init__(
        self, settings: Mapping[str, Any], folds: Sequence[Mapping[str, Tensor]], device: torch.device
    ) -> None:
        """Build the predictor.

        settings: the pack's `semantic` entry; folds: a state dict each.

        Raises: PackError where plans, labels or weights do not fit together.
        """
        self.settings = settings
        self.network = FittingNetwork(build_semantic_network(settings), half_precision=runs_half(device))
        try:
            self.predictor = self._predictor(folds, device)
            self.network.load_state_dict(folds[0])
        except (KeyError, RuntimeError, ValueError, TypeError) as error:
            raise PackError(f"the semantic network does not fit its plans: {error}") from error
        self.table = _label_table(settings["labels"])

    def _predictor(self, folds: Sequence[Mapping[str, Tensor]], device: torch.device) -> Any:
        settings, mirror_axes = self.settings, self.settings.get("mirror_axes")
        with contextlib.redirect_stdout(io.StringIO()):  # it says what only those who train with it need to know
            from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # noqa: PLC0415
            from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: PLC0415

            predictor = nnUNetPredictor(
                tile_step_size=settings["tile_step_size"],
                use_mirroring=mirror_axes is not None,
                perform_everything_on_device=device.type == "cuda",
                device=device,
                allow_tqdm=False,
            )
        plans = PlansManager(settings["plans"])
        predictor.manual_initialization(
            self.network,
            plans,
            plans.get_configuration(settings["configuration"]),
            [dict(fold) for fold in folds],
            settings["dataset"],
            settings["trainer"],
            mirror_axes,
        )
        return predictor

    def predict(self, image: NDArray[np.float32], spacing: Spacing) -> NDArray[np.uint8]:
        """Segment a prepared image.

        image: (P, I, R) at the pack's resolution; spacing: mm, in that order.

        Returns:
            The same grid in SPINEPS' labels.
        """
        from nnunetv2.inference.export_prediction import (  # noqa: PLC0415
            convert_predicted_logits_to_segmentation_with_correct_shape as to_segmentation,
        )

        predictor = self.predictor
        plans, configuration = predictor.plans_manager, predictor.configuration_manager
        properties: dict[str, Any] = {"spacing": list(spacing[::-1])}
        # The original hands over half-precision values with the axes reversed: (R, I, P).
        turned = image.astype(np.float16).astype(np.float32).transpose(2, 1, 0)[None]
        preprocessor = configuration.preprocessor_class(verbose=False)
        data, _, properties = preprocessor.run_case_npy(
            turned, None, properties, plans, configuration, predictor.dataset_json
        )
        with contextlib.redirect_stdout(io.StringIO()):
            logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
        threads = torch.get_num_threads()
        classes = to_segmentation(
            logits, plans, configuration, predictor.label_manager, properties, num_threads_torch=threads
        )
        return np.asarray(self.table[np.asarray(classes).transpose(2, 1, 0)], np.uint8)


def _label_table(labels: Mapping[str, int]) -> NDArray[np.uint8]:
    """SPINEPS' label by the network's class."""
    table = np.zeros(256, np.uint8)
    for network_class, label in labels.items():
        table[int(network_class)] = label
    return table
