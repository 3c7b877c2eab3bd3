"""What the engine's allocator keeps during a series and returns after it."""

import json
import os
import subprocess
import sys

from app.jobs.engine_process import MEMORY_KEPT

# In a thread, as Holoscan's are; 100 MiB are taken, written and freed twice.
PROGRAM = """
import ctypes, json, resource, threading
from pathlib import Path
from app.jobs.engine import give_memory_back

c = ctypes.CDLL(None)
c.malloc.restype = ctypes.c_void_p
c.malloc.argtypes, c.free.argtypes = (ctypes.c_size_t,), (ctypes.c_void_p,)
held = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() >> 20
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def series():
    before = faults()
    place = c.malloc(100 << 20)
    ctypes.memset(place, 1, 100 << 20)
    c.free(place)
    told.append(faults() - before)

told = []
for _ in range(2):
    thread = threading.Thread(target=series)
    thread.start()
    thread.join()
kept = held()
give_memory_back()
print(json.dumps([*told, kept, held()]))
"""


def test_memory_is_used_again_within_a_series_and_given_back_after_it() -> None:
    """The second time no page is fetched anew; then the machine has them back."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "GLIBC_TUNABLES": MEMORY_KEPT},
        capture_output=True,
        check=True,
    )
    first, second, kept, left = json.loads(ended.stdout)

    assert first >= 50  # pages, small or huge
    assert second < first / 10
    assert kept - left >= 90
