"""What fits: half precision where the hardware has it, smaller batches and at last the CPU where the GPU is full."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

BATCH = 4  # cutouts at once on a GPU; on a CPU more than one at a time only costs memory


def runs_half(device: torch.device) -> bool:
    """Whether bfloat16 is computed natively: by tensor cores, or by a CPU with AVX-512 BF16."""
    if device.type == "cuda":
        return True
    return bool(torch.cpu._is_avx512_bf16_supported())


class FittingNetwork(nn.Module):
    """A network that runs in half precision where that is native, and on the CPU once the GPU has no room for it.

    fell_back: what was done about a full GPU, a sentence, or None.
    """

    def __init__(self, inner: nn.Module, *, half_precision: bool) -> None:
        super().__init__()
        self.inner, self.half_precision = inner, half_precision
        self.fell_back: str | None = None

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load the inner network's weights."""
        return self.inner.load_state_dict(state_dict, strict=strict, assign=assign)

    def forward(self, x: Tensor) -> Tensor:
        """(B, …) → the inner network's answer in single precision, on the device of the input."""
        if self.fell_back is None:
            try:
                return self._run(x)
            except torch.OutOfMemoryError:
                self._fall_back(x)
        return self._run(x.cpu()).to(x.device)

    def _run(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.float16 if x.is_cuda else torch.bfloat16, enabled=self.half_precision):
            answer = self.inner(x)
        return answer.float()  # type: ignore[no-any-return]

    def _fall_back(self, x: Tensor) -> None:
        self.fell_back = f"{x.device.type} ran out of memory: the semantic network went on on the CPU"
        self.inner.cpu()
        self.half_precision = runs_half(torch.device("cpu"))
        torch.cuda.empty_cache()


def in_batches(
    count: int, device: torch.device, run: Callable[[range, torch.device], None], *, batch: int = BATCH
) -> tuple[str, ...]:
    """Run over items 0…count − 1 in batches that fit; halve a batch that does not, and end on the CPU.

    run: computes the items of a range on a device and keeps the results.

    Returns:
        What was done about a full GPU, a sentence each.
    """
    size, at, notes = (batch if device.type == "cuda" else 1), 0, list[str]()
    while at < count:
        items = range(at, min(at + size, count))
        try:
            run(items, device)
        except torch.OutOfMemoryError:
            if device.type == "cpu":
                raise
            torch.cuda.empty_cache()
            if size > 1:
                size //= 2
                notes.append(f"the GPU ran out of memory: batches of {size} from here on")
            else:
                device = torch.device("cpu")
                notes.append("the GPU ran out of memory: the instance network went on on the CPU")
            continue
        at = items.stop
    return tuple(notes)
