"""The family of errors; every message names the thing at fault and what to do.

SpondylError
├── PackError           a model pack is missing, broken or foreign: install or import it again
└── EngineRefusal       the engine looked and will not answer: the reason is the result
    └── NoSpineFound    no run of three vertebrae is in view
"""


class SpondylError(Exception):
    """Base of every error that Spondyl raises on purpose."""


class PackError(SpondylError):
    """A model pack cannot be used; the message names the file and what was expected."""


class EngineRefusal(SpondylError):
    """The engine declines to answer; no result is sent, the reason is reported."""


class NoSpineFound(EngineRefusal):
    """No run of three neighbouring vertebrae was found: an AP view, a chest, a hand."""
