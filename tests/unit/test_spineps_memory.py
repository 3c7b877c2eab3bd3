"""A full GPU: smaller batches, then the CPU, and a sentence about it."""

import pytest
import torch

from models.device import runs_half
from models.spineps.memory import Fitting, in_batches


def test_batches_that_do_not_fit_are_halved_then_the_cpu_takes_over() -> None:
    """Each item is computed once; what was done is said."""
    done: list[tuple[int, str]] = []

    def compute(items: range, device: torch.device) -> None:
        if device.type == "cuda" and (len(items) > 1 or items.start == 2):
            raise torch.OutOfMemoryError("out of memory")
        done.extend((item, device.type) for item in items)

    notes = in_batches(4, torch.device("cuda"), compute, batch=4, what="the network")

    assert done == [(0, "cuda"), (1, "cuda"), (2, "cpu"), (3, "cpu")]
    assert notes == (
        "the GPU ran out of memory under the network: batches of 2 from here on",
        "the GPU ran out of memory under the network: batches of 1 from here on",
        "the GPU ran out of memory: the network went on on the CPU",
    )


def test_what_fitted_once_is_kept_for_the_next_run() -> None:
    """The next run begins with the batch that fits."""
    sizes: list[int] = []

    def compute(items: range, _device: torch.device) -> None:
        sizes.append(len(items))
        if len(items) > 2:
            raise torch.OutOfMemoryError("out of memory")

    fitting = Fitting(torch.device("cuda"), "the network", batch=4)
    fitting.run(4, compute)
    fitting.run(3, compute)

    assert sizes == [4, 2, 2, 2, 1]
    assert len(fitting.notes) == 1


def test_a_full_cpu_is_not_hidden() -> None:
    """There is nothing left to fall back to."""

    def compute(items: range, device: torch.device) -> None:
        raise torch.OutOfMemoryError(f"{items} on {device}")

    with pytest.raises(torch.OutOfMemoryError, match="on cpu"):
        in_batches(1, torch.device("cpu"), compute)


def test_a_cpu_takes_one_at_a_time_and_a_gpu_computes_in_half_precision() -> None:
    """More at once only costs memory on a CPU."""
    assert Fitting(torch.device("cpu"), "the network").batch == 1
    assert runs_half(torch.device("cuda"))
