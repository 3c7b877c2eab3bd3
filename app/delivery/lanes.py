"""A lane per destination: a few threads of its own, so that one that hangs takes nobody else's."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Answer = TypeVar("Answer")

THREADS = 4


class Lanes:
    """Runs blocking functions for coroutines, at most `THREADS` at a time per destination."""

    def __init__(self) -> None:
        self._pools: dict[str, ThreadPoolExecutor] = {}

    async def run(self, name: str, function: Callable[..., Answer], *args: Any) -> Answer:
        """Run a function in the lane of a destination and return its answer.

        Args:
            name: of the destination.
            function: what to run.
            *args: its arguments.
        """
        if name not in self._pools:
            self._pools[name] = ThreadPoolExecutor(THREADS, thread_name_prefix=f"deliver-{name}")
        return await asyncio.get_running_loop().run_in_executor(self._pools[name], function, *args)


async def aside(function: Callable[..., Answer], *args: Any) -> Answer:
    """Run a blocking function in a thread of its own, outside of the context of whoever asks, and return its answer."""
    return await asyncio.get_running_loop().run_in_executor(None, function, *args)


async def pause(seconds: float) -> None:
    """Wait by the monotonic clock: setting the clock of the machine delays nothing."""
    await asyncio.sleep(seconds)


async def together(coroutines: Sequence[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """Run coroutines at the same time and return their answers in order; where one raises, the others are cancelled."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
