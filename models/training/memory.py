"""Freed memory that a training keeps: else every step fetches the same pages from the system anew, a quarter of it."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

# mallopt(3) of glibc: names, and its values while training and by default.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8
KEEPING = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: 2**31 - 1, M_TOP_PAD: 2**28, M_ARENA_MAX: 1}
DEFAULT = {M_MMAP_MAX: 65536, M_TRIM_THRESHOLD: 2**17, M_TOP_PAD: 2**17}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep what is freed for the next allocation, and give it back at the end; where there is no glibc, do nothing.

    Threads that begin within share one heap, since one of their own is too small for large arrays; that stays so.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        yield
        return
    for name, value in KEEPING.items():
        libc.mallopt(name, value)
    try:
        yield
    finally:
        for name, value in DEFAULT.items():
            libc.mallopt(name, value)
        libc.malloc_trim(0)
