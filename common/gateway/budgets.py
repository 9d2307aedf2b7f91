"""What a run, an API key or a project may spend: which budgets hold for a call, and how much to reserve of them.

A reservation is never smaller than the bill can be, so that a hard budget holds to the micro-dollar however many callers
there are: a token has at least one byte, and the answer is cut at ``max_tokens``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING

from common.errors import PriceUnknown
from common.gateway.cost import per_token, price_holds
from common.providers.wire import microusd, text_of, utf8_length

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common.schemas.completion import CompletionRequest, Origin
    from common.schemas.config import BudgetLimit, BudgetsConfig, ModelConfig

_DAY_MS = 24 * 3_600_000
_RUN_MS = 30 * _DAY_MS
_LIFETIME_MS = {"ever": 0, "month": 62 * _DAY_MS, "day": 2 * _DAY_MS}
_PERIOD = {"month": ":%Y-%m", "day": ":%Y-%m-%d"}
_SOFT_SHARE = 0.8
# What chat templates, tools and schemas add to the texts themselves.
_TOKENS_AROUND = 32
_TOKENS_PER_MESSAGE = 16
_TOKENS_FOR_TOOLS = 512
# The dearest vendor's count for a large picture; text inside a file is not known beforehand.
_TOKENS_PER_PART = 50_000
# An answer that is cut here is worth a try with the last of a budget; most answers are far shorter than they may be.
_LEAST_SHARE = 4


@dataclass(frozen=True, slots=True)
class Budget:
    """One budget, in micro-dollars. ``keep_ms`` is how long it is remembered after its last call, 0 for ever."""

    scope: str
    hard: int | None
    soft: int | None
    keep_ms: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What one call needs of its budgets: ``microusd`` is the most it can cost, ``least`` what makes a try worth while.

    ``prompt`` and ``output`` are the most the prompt, and a token of each of the answers, can cost, exactly.
    """

    budgets: tuple[Budget, ...] = ()
    microusd: int = 0
    least: int = 0
    longest: int | None = None
    prompt: Decimal = Decimal(0)
    output: Decimal = Decimal(0)

    def max_tokens_for(self, microusd: int) -> int | None:
        """The longest answer that so much pays for; None where no hard budget applies."""
        if self.longest is None or not self.output:
            return self.longest
        affordable = int(((microusd - self.prompt) / self.output).to_integral_value(ROUND_FLOOR))
        return min(self.longest, max(1, affordable))


NO_BUDGETS = Reservation()


def budgets_of(origin: Origin, config: BudgetsConfig, *, now_s: float) -> tuple[Budget, ...]:
    """The budgets that hold for a call; ``now_s`` is unix time."""
    return tuple(_applying(origin, config, now_s))


def scopes_of(config: BudgetsConfig, *, now_s: float) -> list[str]:
    """The budgets that the configuration names, as they are called now; runs have theirs besides. ``now_s`` is unix time."""
    named = {f"key:{name}": limit for name, limit in config.keys.items()}
    named |= {f"project:{name}": limit for name, limit in config.projects.items()}
    return [_limited(scope, limit, now_s).scope for scope, limit in named.items()]


def _applying(origin: Origin, config: BudgetsConfig, now_s: float) -> Iterator[Budget]:
    if origin.run_id is not None:
        hard = _microusd(config.runs.default_usd) if origin.budget_microusd is None else origin.budget_microusd
        soft = _microusd(config.runs.soft_usd)
        if hard is not None or soft is not None:
            yield Budget(f"run:{origin.run_id}", hard, _soft(hard, soft), _RUN_MS)
    if origin.key_id is not None and (limit := config.keys.get(origin.key_id)):
        yield _limited(f"key:{origin.key_id}", limit, now_s)
    if limit := config.projects.get(origin.project):
        yield _limited(f"project:{origin.project}", limit, now_s)


def _limited(scope: str, limit: BudgetLimit, now_s: float) -> Budget:
    hard, soft = _microusd(limit.hard_usd), _microusd(limit.soft_usd)
    period = datetime.fromtimestamp(now_s, UTC).strftime(_PERIOD[limit.per]) if limit.per in _PERIOD else ""
    return Budget(scope + period, hard, _soft(hard, soft), _LIFETIME_MS[limit.per])


_microusd = lru_cache(maxsize=256)(microusd)  # of the configuration's few amounts, at every call


def _soft(hard: int | None, soft: int | None) -> int | None:
    return soft if soft is not None or hard is None else int(hard * _SOFT_SHARE)


def reserve(request: CompletionRequest, config: ModelConfig, budgets: tuple[Budget, ...], *, model: str) -> Reservation:
    """What to reserve for `request`; nothing where no hard budget applies.

    Raises:
        PriceUnknown: a hard budget applies and the model has no price, or none for a prompt that may be so long.
    """
    hard = next((budget for budget in budgets if budget.hard is not None), None)
    if hard is None:
        return Reservation(budgets) if budgets else NO_BUDGETS
    price, most = config.price, _most_prompt_tokens(request)
    if price is None or not price_holds(price, most):
        raise PriceUnknown(
            f"{model} has no known price for this prompt, and {hard.scope} has a hard budget, which cannot be held without "
            f"one: set models.{model}.price in the file that KNUDGE_CONFIG names"
        )
    dearest = max(per_token(price.input_per_mtok_usd), per_token(price.cached_input_per_mtok_usd or 0.0))
    prompt, output = most * dearest, _answers(request) * per_token(price.output_per_mtok_usd)
    longest = request.max_tokens or config.max_output_tokens
    shortest = -(-longest // _LEAST_SHARE)
    return Reservation(budgets, _whole(prompt + longest * output), _whole(prompt + shortest * output), longest, prompt, output)


def _whole(amount: Decimal) -> int:
    return int(amount.to_integral_value(ROUND_CEILING))


def _answers(request: CompletionRequest) -> int:
    wanted = request.passthrough.get("n")
    return wanted if isinstance(wanted, int) and wanted > 1 else 1


def _most_prompt_tokens(request: CompletionRequest) -> int:
    """Not to be exceeded by any tokenizer: as many tokens as bytes."""
    tokens = _TOKENS_AROUND
    for message in request.messages:
        tokens += _TOKENS_PER_MESSAGE + utf8_length(text_of(message.content))
        if message.extra:
            tokens += len(repr(message.extra).encode())
        if isinstance(message.content, list):
            tokens += _TOKENS_PER_PART * sum(1 for part in message.content if part.get("type") != "text")
    if request.json_schema is not None:
        tokens += _TOKENS_FOR_TOOLS + len(repr(request.json_schema.schema).encode())
    if request.passthrough:
        tokens += _TOKENS_FOR_TOOLS + len(repr(request.passthrough).encode())
    return tokens
