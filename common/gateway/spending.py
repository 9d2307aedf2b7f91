"""What budgets have spent, for `health`. Reads what ``admission.lua`` and ``settle.lua`` write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.gateway import keys
from common.store.connect import store_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

_FIELDS = ("spent", "reserved", "assumed", "unpriced", "limit", "soft")


@dataclass(frozen=True, slots=True)
class Spending:
    """A budget in micro-dollars.

    ``reserved`` is held by calls under way. ``assumed`` is the part of ``spent`` that nobody saw a bill for, because a process
    was killed or an answer never came. ``unpriced_calls`` had no known cost. ``hard`` and ``soft`` are the limits of the last
    call, None without.
    """

    scope: str
    spent: int
    reserved: int
    assumed: int
    unpriced_calls: int
    hard: int | None
    soft: int | None


def read_budgets(client: redis.Redis, scopes: Sequence[str]) -> list[Spending]:
    """One for each of `scopes`, in their order, all 0 where nothing was spent. One round trip.

    Args:
        scopes: ``run:<id>``, ``key:<id>``, ``project:<name>``; with ``:<YYYY-MM>`` or ``:<YYYY-MM-DD>`` where the budget is
            a month's or a day's. See `common.gateway.budgets`.

    Raises:
        StoreUnavailable: the store is away.
    """
    with store_errors():
        pipeline = client.pipeline(transaction=False)
        for scope in scopes:
            pipeline.hmget(keys.budget(scope), _FIELDS)
        rows = pipeline.execute()
    return [_spending(scope, row) for scope, row in zip(scopes, rows, strict=True)]


def forget_budgets(client: redis.Redis, scopes: Sequence[str]) -> None:
    """Leave nothing of the budgets of `scopes`. One round trip. Raises `StoreUnavailable`."""
    names = [name for scope in scopes for name in (keys.budget(scope), keys.reservations(scope))]
    with store_errors():
        client.unlink(*names)


def _spending(scope: str, row: list[bytes | None]) -> Spending:
    sums, limits = [int(value or 0) for value in row[:4]], [int(-1 if value is None else value) for value in row[4:]]
    return Spending(scope, *sums, *(None if limit < 0 else limit for limit in limits))
