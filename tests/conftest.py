"""What every test may use: shared reference data, programs of other makers, and how both may be absent."""

import contextlib
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from pynetdicom.transport import AssociationSocket

ROOT = Path(__file__).resolve().parent.parent
# Reference data that are too large or not ours to ship lie beside the checkout.
SHARED = ROOT.parent / "shared"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose peers are not installed; with CI=true their absence is a failure."""
    programs = [str(program) for mark in item.iter_markers("peers") for program in mark.args]
    missing = [program for program in programs if shutil.which(program) is None]
    if not missing:
        return
    reason = f"not on the PATH: {', '.join(missing)} (`bash .ci/run` installs the peers)"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave benchmarks out unless they are asked for: a busy machine would make their numbers wrong."""
    if "benchmark" in config.getoption("markexpr"):
        return
    kept = [item for item in items if item.get_closest_marker("benchmark") is None]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


@pytest.fixture(autouse=True)
def log_as_before() -> Iterator[None]:
    """Verbs and runs send the log to the standard error of this test, which the next test no longer has."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(autouse=True, scope="session")
def refused_connections_closed() -> Iterator[None]:
    """Close the socket of a refused connection, which pynetdicom leaves to the garbage collector and any test."""

    def shut_down(transport: AssociationSocket) -> None:
        assert transport.socket is not None
        with contextlib.closing(transport.socket) as refused, contextlib.suppress(OSError):
            refused.shutdown(socket.SHUT_RDWR)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AssociationSocket, "_shutdown_socket", shut_down)
        yield


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of shared reference data beside the checkout, or skip."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside the checkout: the reference data are not here")
    return SHARED


@pytest.fixture(scope="session")
def npm_modules() -> Path:
    """Return the folder of npm modules that `.ci/run` fills (OHIF, playwright-core), or skip; with CI=true fail."""
    folder = ROOT / "node_modules"  # here, because scripts below the checkout find their imports in no other place
    if not folder.is_dir():
        reason = f"{folder.name} is not there: `CI=true bash .ci/run` fills it"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(reason)
    return folder
