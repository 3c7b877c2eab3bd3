"""Plans of any nnU-Net 2 in the form that names the network's build; nnU-Net's own code translates the old one.

The weights that SPINEPS' authors published come with plans of nnU-Net 2.2: `UNet_class_name`, `UNet_base_num_features`,
`pool_op_kernel_sizes` and so on, where later plans have one entry `architecture`. A configuration may inherit from
another (`inherits_from`) in both forms.
"""

import warnings
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from models.errors import PackError

OLD_FORM = "UNet_class_name"
NEW_FORM = "architecture"


def resolved_plans(plans: Mapping[str, Any], configuration: str, path: Path) -> dict[str, Any]:
    """Return plans with one configuration, inheritance and old form resolved.

    Args:
        plans: of plans.json.
        configuration: the one that the weights were trained with.
        path: of plans.json, for messages.

    Raises:
        PackError: there is no such configuration, or it names no network that nnU-Net knows.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager  # noqa: PLC0415 - seconds of import

    known = plans.get("configurations")
    if not isinstance(known, Mapping) or configuration not in known:
        names = ", ".join(map(str, known or ())) if isinstance(known, Mapping) else "none"
        raise PackError(f"{path} does not describe the configuration {configuration!r}; it has {names}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Detected old nnU-Net plans")
            settings = PlansManager(deepcopy(dict(plans))).get_configuration(configuration).configuration
    except (KeyError, AssertionError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        lacking = f"it lacks both {NEW_FORM!r} and {OLD_FORM!r}" if not _names_network(plans) else repr(error)
        raise PackError(f"{path}: configuration {configuration} describes no network of nnU-Net: {lacking}") from error
    if NEW_FORM not in settings:
        raise PackError(f"{path}: configuration {configuration} lacks both {NEW_FORM!r} and {OLD_FORM!r}")
    settings.pop("inherits_from", None)
    architecture = settings[NEW_FORM]
    # nnU-Net 2.8.1 translates old residual plans to a module that its own architectures no longer have
    architecture["network_class_name"] = str(architecture["network_class_name"]).replace(".residual_unet.", ".unet.")
    return {**plans, "configurations": {configuration: settings}}


def _names_network(plans: Mapping[str, Any]) -> bool:
    configurations = plans.get("configurations", {}).values()
    return any(isinstance(each, Mapping) and (NEW_FORM in each or OLD_FORM in each) for each in configurations)
