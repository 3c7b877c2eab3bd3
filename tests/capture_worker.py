"""A worker whose runner captures in its own process: `python -m tests.capture_worker`; see `tests.captures`."""

from app.jobs.process import name_of_this_process, stop_event
from app.jobs.worker import FIRST_WORKER, leave, run_worker
from app.logs import configure_logging
from app.settings import load_settings
from tests.captures import run_capture


def main() -> int:
    """Run a worker with the capturing runner."""
    stop = stop_event()
    settings = load_settings()
    name = name_of_this_process(FIRST_WORKER)
    configure_logging(settings.log_level, process=name)
    run_worker(settings, run_capture, stop, name=name)
    return 0


if __name__ == "__main__":
    leave(main())
