"""What is asked of the shared limits before a call, and told after it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from common.gateway.budgets import NO_BUDGETS

if TYPE_CHECKING:
    from common.errors import RateHints
    from common.gateway.budgets import Reservation
    from common.schemas.completion import BudgetLevel
    from common.schemas.config import ModelConfig
    from common.schemas.evaluation import Usage

Result = Literal["success", "failure", "limited", "rejected", "cancelled", "unsent"]


@dataclass(slots=True)
class Ticket:
    """A reservation for one call. ``wait_s`` is to be slept before it; ``tokens`` is the estimate, ``taken`` what was reserved.

    ``request_ms`` and ``token_ms`` are what a request and a token cost of the shared pace when it was granted (0: no limit),
    ``microusd`` what budgets hold for it. An ``urgent`` call waits for other urgent ones only; ``pushed_ms`` is what urgent
    calls had taken of the pace, ever, when the place of this one was last asked about.
    """

    model: str
    config: ModelConfig
    tokens: int
    call_id: str = field(default_factory=lambda: secrets.token_hex(8))
    wait_s: float = 0.0
    granted: bool = False
    reservation: Reservation = NO_BUDGETS
    urgent: bool = True
    request_ms: float = 0.0
    token_ms: float = 0.0
    taken: int = 0
    microusd: int = 0
    pushed_ms: float = 0.0

    @property
    def max_tokens(self) -> int | None:
        """The longest answer that the reservation pays for; None where no hard budget applies."""
        return self.reservation.max_tokens_for(self.microusd)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a call. ``code`` is the error's, ``""`` on success; ``retry_after_s`` the provider's wish.

    ``billed`` says of a call without known cost whether the provider may have charged for it.
    """

    result: Result
    code: str = ""
    usage: Usage | None = None
    cost_microusd: int | None = None
    latency_ms: float = 0.0
    retry_after_s: float = 0.0
    hints: RateHints | None = None
    billed: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """Not now: ask again after this many seconds."""

    wait_s: float
    reason: Literal["concurrency", "budget", "rate_limit"]


@dataclass(frozen=True, slots=True)
class Settled:
    """The call's budgets after it."""

    budgets: tuple[BudgetLevel, ...] = ()
