"""The dashboard's HTTP answers: known host names only, and security headers on every one of them."""

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.dashboard.http_security import SECURITY_HEADERS
from app.dashboard.process import run_dashboard
from app.jobs.layout import StorageLayout
from app.jobs.process import process_name, read_sign
from app.settings import Dashboard, Settings
from tests.node import wait_for

PATHS = ("/", "/healthz", "/readyz", "/metrics", "/dashboard.css", "/nothing")


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run a dashboard that is also known as spine.example.org, and return its port."""
    storage: Path = tmp_path_factory.mktemp("storage")
    settings = Settings(storage=storage, dashboard=Dashboard(port=0, host_names=("Spine.example.org",)))
    stop = threading.Event()
    thread = threading.Thread(target=run_dashboard, args=(settings, stop))
    thread.start()
    layout, name = StorageLayout(storage.resolve()), process_name(settings, "dashboard")
    wait_for(lambda: read_sign(layout, name) is not None, "the dashboard's sign of life")
    sign = read_sign(layout, name)
    assert sign is not None and sign.port is not None
    yield sign.port
    stop.set()
    thread.join()


def _get(port: int, path: str, *, host: str | None = None) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={} if host is None else {"Host": host})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_has_the_security_headers(port: int, path: str) -> None:
    """Content Security Policy, no framing, no sniffing, no caching; on errors too."""
    answer = _get(port, path)

    assert {name: answer.getheader(name) for name in SECURITY_HEADERS} == dict(SECURITY_HEADERS)


def test_the_page_needs_nothing_that_its_policy_forbids(port: int) -> None:
    """No inline style or script: the policy allows the style sheet only."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/")
    page = connection.getresponse().read().decode()
    connection.close()

    assert '<link rel="stylesheet" href="/dashboard.css">' in page
    assert "<style" not in page and "<script" not in page and "style=" not in page
    assert _get(port, "/dashboard.css").getheader("Content-Type") == "text/css; charset=utf-8"


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz"])
@pytest.mark.parametrize(
    "host", ["evil.example.net", "evil.example.net:8080", "localhost.evil.example.net", "[::x]", ""]
)
def test_a_foreign_host_name_is_not_answered(port: int, path: str, host: str) -> None:
    """DNS rebinding: a foreign domain that was given this node's address reads nothing, and is told so."""
    answer = _get(port, path, host=host)

    assert answer.status == 421
    assert answer.getheader("X-Frame-Options") == "DENY"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8080", "[::1]:8080", "localhost", "LOCALHOST:80", "spine.example.org:8080", "10.1.2.3"],
)
def test_addresses_and_known_names_are_answered(port: int, host: str) -> None:
    """An address cannot be rebound; names of the settings count in upper and lower case alike."""
    assert _get(port, "/", host=host).status == 200
