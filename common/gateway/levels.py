"""How full the shared limits are right now, for `health`. Reads what ``admission.lua`` and ``settle.lua`` write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.gateway import keys
from common.store.connect import store_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

_FIELDS = ("paid_requests", "paid_tokens", "blocked_until")  # points in time, in milliseconds


@dataclass(frozen=True, slots=True)
class ModelLevel:
    """A model's limits at one moment.

    ``in_flight`` calls hold a permit; always 0 for a model without a concurrency limit. The ``*_debt_s`` say how far ahead
    the requests and tokens of a limit are taken, by bulk calls for two seconds at most. ``paused_s`` is how long the provider
    asked for a pause. All are 0 for an idle model.
    """

    model: str
    in_flight: int
    requests_debt_s: float
    tokens_debt_s: float
    paused_s: float


def read_levels(client: redis.Redis, models: Sequence[str]) -> list[ModelLevel]:
    """One for each of `models`, in their order. One round trip, by the server's clock.

    Raises:
        StoreUnavailable: the store is away.
    """
    with store_errors():
        pipeline = client.pipeline(transaction=False)
        pipeline.execute_command("TIME")  # type: ignore[no-untyped-call]  # a cluster's pipeline has it by this way only
        for model in models:
            pipeline.hmget(keys.state(model), _FIELDS)
            pipeline.zrange(keys.permits(model), 0, -1, withscores=True)
        (seconds, microseconds), *rows = pipeline.execute()
    now_ms = seconds * 1000 + microseconds / 1000
    return [_level(model, now_ms, *rows[2 * i : 2 * i + 2]) for i, model in enumerate(models)]


def _level(model: str, now_ms: float, state: list[bytes | None], permits: list[tuple[bytes, float]]) -> ModelLevel:
    ahead_s = [max(0.0, float(moment or 0) - now_ms) / 1000 for moment in state]
    return ModelLevel(model, sum(expiry > now_ms for _, expiry in permits), *ahead_s)
