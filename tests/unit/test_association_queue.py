"""The messages of an association that this node asked for: an answer reaches the one who asked."""

import queue

import pytest
from pynetdicom.dimse_primitives import C_STORE, N_EVENT_REPORT

from app.delivery.association import AnswersKept


def answer() -> tuple[int, C_STORE]:
    """Return a response to a C-STORE request."""
    primitive = C_STORE()
    primitive.MessageIDBeingRespondedTo, primitive.Status = 1, 0x0000
    return 1, primitive


def request() -> tuple[int, N_EVENT_REPORT]:
    """Return a request of the peer."""
    primitive = N_EVENT_REPORT()
    primitive.MessageID = 7
    return 1, primitive


def test_an_answer_is_left_by_one_who_does_not_wait_for_it() -> None:
    """Pynetdicom's own thread takes what is there without waiting, and would drop it."""
    messages = AnswersKept()
    kept = answer()
    messages.put(kept)

    for _ in range(3):
        with pytest.raises(queue.Empty):
            messages.get(block=False)

    assert messages.get(block=True, timeout=1) is kept


def test_a_request_is_taken_without_waiting() -> None:
    """A peer may report a Storage Commitment on the association that asked for it."""
    messages = AnswersKept()
    wanted = request()
    messages.put(wanted)

    assert messages.get(block=False) is wanted


def test_the_end_of_an_association_wakes_who_waits() -> None:
    """Pynetdicom puts a pair of nothings there."""
    messages = AnswersKept()
    messages.put((None, None))

    assert messages.get(block=True, timeout=1) == (None, None)
