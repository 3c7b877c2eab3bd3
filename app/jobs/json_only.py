"""What the queue keeps is JSON: whoever may write its database must not be able to run code here.

DBOS keeps step outputs and faults as pickles unless its `serializer` is set, and whatever is set, it opens as a pickle
each value whose row says so. So its reader of pickles is replaced as well, by one that builds plain values alone and
calls nothing: rows of earlier versions hold nothing else.
"""

import base64
import functools
import io
import pickle  # noqa: TID251  only a reader that looks up no name is made of it
import traceback
from collections.abc import Callable
from pathlib import PurePath
from typing import Any, NoReturn, ParamSpec, TypeVar

from dbos import DBOSClient
from dbos._serialization import DBOSPortableJSON, DefaultSerializer, PortableWorkflowError

from app.jobs.job import MalformedJob
from app.logs import get_logger
from models.errors import SpondylError

SERIALIZER = DBOSPortableJSON
LONGEST_PICKLE = 1 << 20  # characters; rows of earlier versions take some thousands
LONGEST_TEXT = 500
PICKLED = "gA"  # Base64 of 0x80, with which pickles begin since protocol 2, and no JSON
FAULT = "fault"

Arguments = ParamSpec("Arguments")
Answer = TypeVar("Answer")

log = get_logger()


class NotPlainData(SpondylError):
    """A value in the queue is a pickle of more than plain values: it was not opened."""


class StepBroke(Exception):
    """A step or workflow of a job ended with a fault that it has no answer for; told by type and place alone."""


class _PlainUnpickler(pickle.Unpickler):
    """Builds what pickle has opcodes for (numbers, texts, lists, tuples, dicts, sets) and looks up no name."""

    def find_class(self, _module: str, _name: str) -> NoReturn:
        raise NotPlainData("a value in the queue's database is a pickle of more than plain values; it was not opened")


def read_old_value(encoded: str) -> Any:
    """Return a value that an earlier version kept as a pickle.

    Args:
        encoded: Base64 of the pickle.

    Raises:
        NotPlainData: it is longer than any of ours, broken, or names a class or function.
    """
    if len(encoded) > LONGEST_PICKLE:
        raise NotPlainData("a value in the queue's database is a pickle longer than any of ours; it was not opened")
    try:
        return _PlainUnpickler(io.BytesIO(base64.b64decode(encoded, validate=True))).load()
    except NotPlainData:
        raise
    except Exception as fault:  # pickle raises what it likes on broken input
        raise NotPlainData("a value in the queue's database is a broken pickle; it was not opened") from fault


def close_pickles() -> None:
    """Keep DBOS in this process from opening pickles, and from making new ones; doing it twice is as once."""
    DefaultSerializer.deserialize = _deserialize  # type: ignore[assignment, method-assign]
    DefaultSerializer.serialize = _serialize  # type: ignore[assignment, method-assign]


def _serialize(_serializer: DefaultSerializer, data: Any) -> str:
    """Return JSON also where the row says pickle, as those do that an earlier version began."""
    return SERIALIZER.serialize({FAULT: str(plain_fault(data))} if isinstance(data, Exception) else data)


def _deserialize(_serializer: DefaultSerializer, serialized_data: str) -> Any:
    if serialized_data.startswith(PICKLED):
        return read_old_value(serialized_data)
    value = SERIALIZER.deserialize(serialized_data)
    return StepBroke(value[FAULT]) if isinstance(value, dict) and set(value) == {FAULT} else value


def queue_client(url: str) -> DBOSClient:
    """Return a client of the queue that reads and writes JSON alone.

    Args:
        url: SQLAlchemy URL of the database.
    """
    close_pickles()
    return DBOSClient(system_database_url=url, retry_connection_errors=False, serializer=SERIALIZER)


def told_plainly(function: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
    """Make an unforeseen fault of a step one that may be kept: others' words may quote the header of a patient."""

    @functools.wraps(function)
    def told(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
        try:
            return function(*args, **kwargs)
        except Exception as fault:
            raise plain_fault(fault) from fault

    return told


def plain_fault(fault: Exception) -> StepBroke:
    """Return a fault told by its type and place, and log it so."""
    if isinstance(fault, StepBroke):
        return fault
    if isinstance(fault, PortableWorkflowError):  # of an earlier execution, read back
        return StepBroke(bounded(fault.message if fault.name == StepBroke.__name__ else fault.name))
    if isinstance(fault, NotPlainData | MalformedJob):
        return StepBroke(str(fault))
    frames = traceback.extract_tb(fault.__traceback__)
    places = [f"{PurePath(frame.filename).name}:{frame.lineno}" for frame in frames]
    log.error("step_broke", fault=type(fault).__name__, places=places)
    return StepBroke(bounded(f"{type(fault).__name__} in {places[-1]}"))


def name_of_fault(fault: object) -> str:
    """Return in a few words what a row of the queue has as its fault."""
    if isinstance(fault, PortableWorkflowError):
        return bounded(fault.message if fault.name == StepBroke.__name__ else fault.name)
    if isinstance(fault, StepBroke):
        return bounded(fault)
    return type(fault).__name__ if isinstance(fault, BaseException) else "a fault that was not read: it is not JSON"


def bounded(text: object, longest: int = LONGEST_TEXT) -> str:
    """Return a text from outside, cut where it is longer than anybody reads."""
    words = str(text)
    return words if len(words) <= longest else f"{words[: longest - 1]}…"
