"""Settings of the work: when a series is complete, who works on it, how long what is kept, where the queue is."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from app.setting_types import Frozen

MEBIBYTE = 1 << 20


class Assembly(Frozen):
    """When a series counts as complete where nothing tells that it is whole.

    quiet_s: so many seconds after its last instance, on any association.
    """

    quiet_s: Annotated[float, Field(ge=0, le=3600)] = 10.0


class Retention(Frozen):
    """How long instances and results stay in the storage folder; None keeps them for good.

    delivered_hours: after a job ended well: delivered and, where a destination proves it, proven.
    failed_hours: after a job failed. By default somebody has to decide.
    """

    delivered_hours: Annotated[float, Field(ge=0)] | None = 24.0
    failed_hours: Annotated[float, Field(ge=0)] | None = None


class Workers(Frozen):
    """The workers of this node; each holds its networks and segments one series at a time.

    count: how many; `auto` takes one per GPU, and one where there is none.
    threads: of each, where it runs on the processor; None shares the cores among them.
    time_limit_s: how long a series may take before the engine is ended and tried afresh.
    attempts: after so many engines that died or hung, a series is set aside.
    memory_mib: what an engine may take; None shares four fifths of the machine's memory among the workers.
    gpu_memory_mib: what an engine takes of its GPU before its first series, so that none fails in the middle.
    """

    count: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = "auto"
    threads: Annotated[int, Field(ge=1, le=256)] | None = None
    time_limit_s: Annotated[float, Field(gt=0)] = 1800.0
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    memory_mib: Annotated[int, Field(ge=256)] | None = None
    gpu_memory_mib: Annotated[int, Field(ge=0)] = 4096


def spread(value: object) -> object:
    """A number of workers alone stands for workers of that count."""
    return {"count": value} if isinstance(value, (int, str)) else value


def _known_database(value: str) -> str:
    if not value.startswith(("postgresql://", "postgresql+psycopg://")):
        raise ValueError("the queue is a PostgreSQL, postgresql://user@example.org/name; left out, embedded")
    from sqlalchemy.engine import make_url  # noqa: PLC0415  only where there is such a queue
    from sqlalchemy.exc import ArgumentError  # noqa: PLC0415  likewise

    try:
        make_url(value)
    except (ArgumentError, ValueError):  # its words may quote the password
        raise ValueError("the address cannot be read: postgresql://user@example.org:5432/name") from None
    return value


QueueUrl = Annotated[str, AfterValidator(_known_database)]
NodeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]{0,32}$")]
