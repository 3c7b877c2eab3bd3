"""What the gateway did not keep has a sentence on the page, as every job has."""

import http.client
import threading
from pathlib import Path

from app.dashboard.process import run_dashboard
from app.jobs.discarded import DiscardedSeries, DiscardRecords
from app.jobs.layout import StorageLayout
from app.jobs.process import process_name, read_sign
from app.jobs.queries import list_discarded
from app.settings import Dashboard, Settings
from tests.node import wait_for


def discarded(series: str, instances: int = 1) -> DiscardedSeries:
    """Return a report's series that was not kept."""
    return DiscardedSeries("1.2", series, "SR", "PACS", instances, "skipped: SR holds no image of the patient", 0.0)


def test_instances_are_added_up_over_associations_and_processes(tmp_path: Path) -> None:
    """The first writes the record, the end of the association the rest; another process goes on from there."""
    layout = StorageLayout(tmp_path)
    layout.create()
    first, second = DiscardRecords(layout, clock=lambda: 10.0), DiscardRecords(layout, clock=lambda: 20.0)

    news = [first.count(discarded("1.3")), first.count(discarded("1.3"))]
    kept_by_a_crash = second.recent()
    first.flush()
    second.count(discarded("1.3"))
    second.count(discarded("1.4"))

    assert news == [True, False]
    assert [one.instances for one in kept_by_a_crash] == [1]
    found = {one.series_instance_uid: (one.instances, one.last_at) for one in second.recent()}
    assert found == {"1.3": (3, 20.0), "1.4": (1, 20.0)}


def test_the_page_and_the_command_tell_of_it(tmp_path: Path) -> None:
    """With the sentence of the route, the sender and how many."""
    settings = Settings(storage=tmp_path, dashboard=Dashboard(port=0))
    layout, stop = StorageLayout(tmp_path.resolve()), threading.Event()
    layout.create()
    DiscardRecords(layout).count(discarded("1.3", instances=7))
    thread = threading.Thread(target=run_dashboard, args=(settings, stop))
    thread.start()
    try:
        name = process_name(settings, "dashboard")
        wait_for(lambda: read_sign(layout, name) is not None, "the dashboard's sign of life")
        sign = read_sign(layout, name)
        assert sign is not None and sign.port is not None
        connection = http.client.HTTPConnection("127.0.0.1", sign.port, timeout=10)
        connection.request("GET", "/")
        page = connection.getresponse().read().decode()
        connection.close()
    finally:
        stop.set()
        thread.join()

    assert "Acknowledged and not kept" in page and "skipped: SR holds no image of the patient" in page
    assert [one.instances for one in list_discarded(settings)] == [7]
