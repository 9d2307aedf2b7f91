"""Keeping a run's answers for another while, so that a later run over the same samples finds them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.gateway import cache_keys
from common.store.connect import store_errors
from common.store.results import ResultStore
from common.store.runs import RunStore

if TYPE_CHECKING:
    import redis

    from common.store.results import Loaded

_ITEMS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Warmed:
    """``renewed`` answers are kept for their whole time again; ``lapsed`` ones were kept once and are gone."""

    renewed: int
    lapsed: int


def warm(client: redis.Redis, run_id: str, *, ttl_s: int) -> Warmed:
    """Start the time of every answer anew that `run_id` took from the cache or put into it. Two trips for 500 items.

    An answer that is gone cannot be brought back: a verdict is not the reply it was read from. What was invalidated stays so.

    Raises:
        NotFound: no such run.
        StoreUnavailable: the store is away.
    """
    plan = RunStore(client).plan(run_id)
    results = ResultStore(client)
    told: list[int] = []
    for start in range(0, plan.position_count, _ITEMS_AT_ONCE):
        items = range(start, min(plan.position_count, start + _ITEMS_AT_ONCE))
        with store_errors():
            pipe = client.pipeline(transaction=False)
            for digest in _digests(results.load(plan, items, lines=False)):
                pipe.expire(cache_keys.answer(digest), ttl_s)
            told += pipe.execute()
    renewed = sum(map(bool, told))
    return Warmed(renewed, len(told) - renewed)


def _digests(loaded: Loaded) -> set[str]:
    calls = [call.cache_key for verdict in loaded.verdicts.values() for call in verdict.calls]
    return {key for key in (*calls, *(sample.cache_key for sample in loaded.samples.values())) if key}
