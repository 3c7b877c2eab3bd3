"""What fits: smaller batches, and at last the CPU, where the GPU is full."""

from collections.abc import Callable

import torch
from torch import Tensor

GPU_BATCH = 4  # windows or cutouts at once
CPU_BATCH = 1  # more would only cost memory
Compute = Callable[[range, torch.device], None]


class Fitting:
    """Runs over items in batches that fit; halves a batch that does not, and ends on the CPU.

    device: where the next batch runs. notes: what was done about a full memory, a sentence each.
    """

    def __init__(self, device: torch.device, what: str, *, batch: int | None = None) -> None:
        """Start with whole batches on a device; what: the network, as the notes call it."""
        self.device, self.what = device, what
        self.batch = batch or (CPU_BATCH if device.type == "cpu" else GPU_BATCH)
        self.notes: list[str] = []

    def run(self, count: int, compute: Compute) -> None:
        """Compute the items 0…count − 1, batch by batch.

        compute: computes the items of a range on a device. It is asked for the same items again after it raised
        torch.OutOfMemoryError, so it keeps results only when nothing more can run out of memory.

        Raises: torch.OutOfMemoryError when the CPU has no room for a single item either.
        """
        at = 0
        while at < count:
            items = range(at, min(at + self.batch, count))
            try:
                compute(items, self.device)
            except torch.OutOfMemoryError:
                if self.device.type == "cpu" and self.batch == 1:
                    raise
                self._give_way()
            else:
                at = items.stop

    def _give_way(self) -> None:
        full = f"the {'GPU' if self.device.type == 'cuda' else self.device.type.upper()} ran out of memory"
        if self.batch > 1:
            self.batch //= 2
            self.notes.append(f"{full} under {self.what}: batches of {self.batch} from here on")
        else:
            self.device = torch.device("cpu")
            self.notes.append(f"{full}: {self.what} went on on the CPU")
        torch.cuda.empty_cache()


def in_batches(
    count: int, device: torch.device, run: Compute, *, batch: int | None = None, what: str = "the instance network"
) -> tuple[str, ...]:
    """Run over items once, as Fitting does.

    Returns:
        What was done about a full GPU, a sentence each.
    """
    fitting = Fitting(device, what, batch=batch)
    fitting.run(count, run)
    return tuple(fitting.notes)


def zeros_where_they_fit(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Zeros in single precision on a device, on the CPU when that is full."""
    try:
        return torch.zeros(shape, device=device)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return torch.zeros(shape)
