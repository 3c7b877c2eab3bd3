"""What the tests of faults share."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def no_socket_left() -> Iterator[None]:
    """Collect the sockets of refused connections, which pynetdicom leaves open, before another test is blamed."""
    yield
    gc.collect()
