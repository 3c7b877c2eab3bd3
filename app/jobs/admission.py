"""Whether an engine may use its GPU: its memory is taken before the first series, not hoped for in the middle."""

from collections.abc import Callable

from app.logs import get_logger

WAIT_S = 5.0
TRIES = 12  # another engine that ends gives its memory back within a minute, or keeps it

log = get_logger()


def admitted_device(
    device: str, need_mib: int, *, reserve: Callable[[str, int], bool], wait: Callable[[float], None]
) -> str:
    """Return the device on which an engine may work: the wanted one, or `cpu` where its memory is not to be had.

    Args:
        device: as the settings have it.
        need_mib: what the engine takes of a GPU; 0 takes what comes.
        reserve: takes the memory, or says that there is not enough; see `models.device.reserve_memory`.
        wait: lets so many seconds pass.
    """
    for _ in range(TRIES if need_mib else 0):
        if reserve(device, need_mib):
            return device
        log.warning("gpu_memory_awaited", device=device, need_mib=need_mib)
        wait(WAIT_S)
    if need_mib:
        log.error("gpu_memory_refused", device=device, need_mib=need_mib, instead="cpu")
        return "cpu"
    return device
