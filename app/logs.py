"""Logging of the node: an event word and ids, a line each, never patient data.

Foreign libraries are kept below their own chatter: pydicom and pynetdicom quote element values in
their warnings, and an element value may name a patient.
"""

import logging
import sys
import warnings
from functools import partial
from typing import cast

import structlog

from app.shown_text import shown

# pydicom and pynetdicom quote values of the data set; dbos and uvicorn tell each poll and request.
FOREIGN_LEVELS = {
    "pydicom": logging.CRITICAL,
    "pynetdicom": logging.CRITICAL,
    "dbos": logging.ERROR,
    "uvicorn": logging.ERROR,
    "uvicorn.access": logging.CRITICAL,
}


def configure_logging(level: str, *, process: str) -> None:
    """Send the log to standard error: coloured lines on a terminal, JSON elsewhere.

    Args:
        level: the lowest level shown: debug, info, warning or error.
        process: the name of this process, in each line.
    """
    terminal = sys.stderr.isatty()
    renderer: structlog.types.Processor
    renderer = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            partial(_add_process, process),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _bound_texts,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    for name, floor in FOREIGN_LEVELS.items():
        logging.getLogger(name).setLevel(floor)
    warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")


def _add_process(
    process: str, _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    event["process"] = process
    return event


def _bound_texts(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Cut long texts and take control characters out: headers and peers, who are strangers, have their say in some."""
    return {key: shown(value) if isinstance(value, str) else value for key, value in event.items()}


def get_logger() -> structlog.typing.FilteringBoundLogger:
    """Return the logger of the node; the first argument of each call is the event word."""
    return cast(structlog.typing.FilteringBoundLogger, structlog.get_logger())
