"""Where networks run."""

import torch


def choose_device(device: str) -> torch.device:
    """Turn `auto` into the GPU where there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def runs_half(device: torch.device) -> bool:
    """Whether half precision is computed natively: by tensor cores, or by a CPU with AVX-512 BF16."""
    if device.type == "cuda":
        return True
    return bool(torch.cpu._is_avx512_bf16_supported())


def reserve_memory(device: str, mebibytes: int) -> bool:
    """Take GPU memory for the networks of this process, and say whether there was enough; without a GPU there is.

    The allocator keeps what it once had, so that what is reserved now cannot be missing in the middle of a series.
    """
    place = choose_device(device)
    if place.type != "cuda":
        return True
    try:
        torch.empty(mebibytes << 20, dtype=torch.uint8, device=place)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return False
    return True
