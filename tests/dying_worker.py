"""A worker that dies at its first starts, as on a machine that is short of memory: `python -m tests.dying_worker`.

The environment variable `DEATHS` names a file that holds how often it is still to die.
"""

import os
from pathlib import Path


def main() -> int:
    """Die, or run the capturing worker."""
    file = Path(os.environ["DEATHS"])
    left = int(file.read_text())
    if left > 0:
        file.write_text(str(left - 1))
        return 1
    from app.jobs.worker import leave  # noqa: PLC0415  to die needs no imports
    from tests import capture_worker  # noqa: PLC0415

    leave(capture_worker.main())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
