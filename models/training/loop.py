"""One training loop for every small network: fixed seed, averaged weights, checkpoints, resume, a log.

A run is given a number of steps and may be given a time limit; the learning rate follows whichever is nearer its end.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from models.training.memory import freed_memory_kept

Step = Callable[[np.random.Generator], tuple[Tensor, dict[str, float]]]


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    steps: optimiser steps; minutes: wall time after which the run ends early, None for none.
    average: decay of the averaged weights, which are the ones that count.
    workers: batches drawn and differentiated side by side for each step, a thread each; their gradients are averaged.
    """

    steps: int
    minutes: float | None = None
    rate: float = 2e-3
    decay: float = 1e-2
    average: float = 0.998
    save_every: int = 100
    seed: int = 1
    workers: int = 1


@dataclass
class Trainee:
    """Networks that are trained together, and where their state is kept."""

    name: str
    networks: dict[str, nn.Module]
    folder: Path
    averages: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def _rate(progress: float, peak: float) -> float:
    warm = 0.03
    if progress < warm:
        return peak * (0.05 + 0.95 * progress / warm)
    return peak * (0.005 + 0.995 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm) / (1 - warm)))))


def _update_averages(trainee: Trainee, decay: float) -> None:
    for name, network in trainee.networks.items():
        average = trainee.averages.setdefault(
            name, {k: v.detach().clone().float() for k, v in network.state_dict().items()}
        )
        for key, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                average[key].lerp_(value.float(), 1 - decay)
            else:
                average[key].copy_(value)


def train(trainee: Trainee, step: Step, plan: Plan, *, report: Callable[[str], None] = print) -> list[dict[str, float]]:
    """Train until the plan is done; continue from the last checkpoint where there is one.

    Args:
        trainee: the networks; their averaged weights are in `trainee.averages` afterwards.
        step: draws a batch with the given generator and returns the loss and what to log.
        plan: length and rate.
        report: receives a line of progress now and then.

    Returns:
        The log, one entry per `save_every` steps.
    """
    trainee.folder.mkdir(parents=True, exist_ok=True)
    checkpoint = trainee.folder / f"{trainee.name}.pt"
    parameters = [p for n in trainee.networks.values() for p in n.parameters()]
    optimiser = torch.optim.AdamW(parameters, plan.rate, weight_decay=plan.decay, betas=(0.9, 0.99))
    at = _load(checkpoint, trainee, optimiser) if checkpoint.exists() else Position(0, 0.0, [])
    log = at.log
    began, sums, done, noted = time.monotonic() - at.spent, dict[str, float](), at.step, at.step

    def note() -> None:
        nonlocal sums, noted
        minutes = (time.monotonic() - began) / 60
        entry = {"step": done, "minutes": minutes, **{k: v / (done - noted) for k, v in sums.items()}}
        log.append(entry)
        sums, noted = {}, done
        _save(checkpoint, trainee, optimiser, Position(done, 60 * minutes, log))
        report(
            f"{trainee.name} {_progress(plan, done, minutes):4.0%} "
            + " ".join(f"{k}={v:.4g}" for k, v in entry.items())
        )

    with freed_memory_kept(), _side_by_side(plan.workers) as workers:
        while (progress := _progress(plan, done, (time.monotonic() - began) / 60)) < 1:
            for group in optimiser.param_groups:
                group["lr"] = _rate(progress, plan.rate)
            seeds = [[plan.seed, done, worker] for worker in range(plan.workers)]
            shares = list(
                workers.map(lambda seed: _differentiate(step, np.random.default_rng(seed), parameters), seeds)
            )
            _descend(optimiser, [share.gradients for share in shares], parameters)
            _update_averages(trainee, min(plan.average, (1 + done) / (10 + done)))
            _add(sums, shares)
            done += 1
            if done % plan.save_every == 0:
                note()
    if done > noted:
        note()
    return log


@contextmanager
def _side_by_side(workers: int) -> Iterator[ThreadPoolExecutor]:
    """Threads with a core each; one alone keeps all the cores that torch has."""
    threads = torch.get_num_threads()
    try:
        if workers > 1:
            torch.set_num_threads(max(1, threads // workers))
        with ThreadPoolExecutor(workers) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Share:
    """What one worker adds to a step: a gradient per parameter (None where it has no part), and what to log."""

    gradients: Sequence[Tensor | None]
    values: dict[str, float]


def _differentiate(step: Step, rng: np.random.Generator, parameters: Sequence[nn.Parameter]) -> Share:
    loss, values = step(rng)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    return Share(gradients, {"loss": loss.item(), **values})


def _add(sums: dict[str, float], shares: Sequence[Share]) -> None:
    for share in shares:
        for key, value in share.values.items():
            sums[key] = sums.get(key, 0.0) + value / len(shares)


def _descend(
    optimiser: torch.optim.Optimizer, gradients: Sequence[Sequence[Tensor | None]], parameters: Sequence[nn.Parameter]
) -> None:
    for parameter, shares in zip(parameters, zip(*gradients, strict=True), strict=True):
        known = [share for share in shares if share is not None]
        parameter.grad = torch.stack(known).mean(0) if known else None
    nn.utils.clip_grad_norm_(parameters, 2.0)
    optimiser.step()


def _progress(plan: Plan, steps: int, minutes: float) -> float:
    """How much of the plan is done, by steps or by time, whichever is further."""
    return max(steps / plan.steps, minutes / plan.minutes if plan.minutes else 0.0)


@dataclass(frozen=True)
class Position:
    """How far a training is: steps done, seconds spent, what was logged."""

    step: int
    spent: float
    log: list[dict[str, float]]


def _save(path: Path, trainee: Trainee, optimiser: torch.optim.Optimizer, at: Position) -> None:
    state = {
        "networks": {name: network.state_dict() for name, network in trainee.networks.items()},
        "averages": trainee.averages,
        "optimiser": optimiser.state_dict(),
        "step": at.step,
        "spent": at.spent,
        "log": json.dumps(at.log),
    }
    part = path.with_suffix(".part")
    torch.save(state, part)
    part.replace(path)


def _load(path: Path, trainee: Trainee, optimiser: torch.optim.Optimizer) -> Position:
    saved = torch.load(path, weights_only=True)
    for name, network in trainee.networks.items():
        network.load_state_dict(saved["networks"][name])
    trainee.averages = saved["averages"]
    optimiser.load_state_dict(saved["optimiser"])
    return Position(saved["step"], saved["spent"], json.loads(saved["log"]))
