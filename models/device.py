"""Where networks run."""

import torch


def choose_device(device: str) -> torch.device:
    """Turn `auto` into the GPU where there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)
