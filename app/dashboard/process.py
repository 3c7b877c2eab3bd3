"""The dashboard process."""

import socket
import threading

import uvicorn

from app.dashboard.page import build_page
from app.jobs.layout import StorageLayout
from app.jobs.process import Heartbeat, process_name, stop_event
from app.logs import configure_logging, get_logger
from app.settings import Settings, load_settings

log = get_logger()


def run_dashboard(settings: Settings, stop: threading.Event) -> None:
    """Serve the page until `stop` is set.

    Raises:
        OSError: the port is taken or may not be bound.
    """
    layout = StorageLayout(settings.storage.resolve())
    layout.create()
    listener = socket.create_server((settings.dashboard.host, settings.dashboard.port))
    host, port = listener.getsockname()[:2]
    server = uvicorn.Server(uvicorn.Config(build_page(settings), log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="page", daemon=True)
    thread.start()
    heartbeat = Heartbeat(layout, process_name(settings, "dashboard"), host=host, port=port)
    heartbeat.start()
    log.info("dashboard_listening", host=host, port=port)
    stop.wait()
    server.should_exit = True
    thread.join(timeout=5)
    heartbeat.stop()
    log.info("dashboard_stopped")


def main() -> int:
    """Run the dashboard with the settings in force."""
    stop = stop_event()
    settings = load_settings()
    configure_logging(settings.log_level, process=process_name(settings, "dashboard"))
    try:
        run_dashboard(settings, stop)
    except OSError as fault:
        log.error("dashboard_failed", reason=str(fault))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
