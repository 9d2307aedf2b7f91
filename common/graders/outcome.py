"""How a grader ends: with a score, or without one and a reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from common.schemas.evaluation import Ballot, ModelCall, Unscored

RAW_LIMIT = 2_000  # characters of a judge's unusable reply that are kept
REASON_LIMIT = 4_000
MESSAGE_LIMIT = 500


@dataclass(frozen=True, slots=True)
class Score:
    """A finite ``value`` and whether it passes, with what led to it."""

    value: float
    passed: bool
    label: str | None = None
    reason: str | None = None
    judge: str | None = None
    prompt_version: str | None = None
    ballots: tuple[Ballot, ...] = ()
    calls: tuple[ModelCall, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


class UnscoredError(Exception):
    """There is no score. Never leaves this package: `common.graders.registry.grade` makes it an unscored verdict."""

    def __init__(  # the same evidence as a score's
        self,
        code: str,
        message: str,
        *,
        raw: str | None = None,
        judge: str | None = None,
        prompt_version: str | None = None,
        ballots: tuple[Ballot, ...] = (),
        calls: tuple[ModelCall, ...] = (),
        details: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.unscored = Unscored(
            code=code,
            message=bounded(message, MESSAGE_LIMIT),
            raw=None if raw is None else bounded(raw, RAW_LIMIT),
        )
        self.judge = judge
        self.prompt_version = prompt_version
        self.ballots = ballots
        self.calls = calls
        self.details = details or {}


def bounded(text: str, limit: int) -> str:
    """`text` cut to `limit` characters, lone surrogates (which no UTF-8 store accepts) replaced."""
    cut = text if len(text) <= limit else text[: limit - 1] + "…"
    return well_formed(cut)


def well_formed(text: str) -> str:
    """`text` with lone surrogates replaced, which JSON can carry and UTF-8 cannot."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text
