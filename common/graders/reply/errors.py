"""How reading fails."""

from __future__ import annotations


class ReplyError(Exception):
    """A reply without a valid verdict. ``message`` says why, in words that may be shown to the judge.

    ``repairable``: asking again may help.
    """

    def __init__(self, code: str, message: str, *, repairable: bool = True) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.repairable = repairable
