"""What can be wrong with a result.

SpondylError
└── ResultError     a result cannot be built, or what was written is not what was meant: it is not sent
"""

from models.errors import SpondylError


class ResultError(SpondylError):
    """A result is not fit to be sent; the message names the instance and the disagreement. Keep it and report it."""
