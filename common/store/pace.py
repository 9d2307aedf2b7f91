"""How a run gets on, as its scripts keep it: read in one trip, whatever the size of the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from common.schemas.progress import WAIT_REASONS
from common.store import keys
from common.store.connect import script, store_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    import redis

STRETCH_S, STRETCHES = 10, 12  # as in fold.lua
_TOLD_MS = 3_000  # a process that said nothing for longer works on nothing
_MODEL_CHARS = 200


@dataclass(frozen=True, slots=True)
class Waited:
    """Something that is waited for. Times in unix seconds; ``items``: see `common.schemas.progress.WaitingFor`."""

    reason: str
    model: str
    since_s: float
    until_s: float
    items: int


@dataclass(frozen=True, slots=True)
class PaceReading:
    """Times in unix seconds by the server's clock.

    ``stretches`` are positions counted by stretch of `STRETCH_S`, numbered from 1970; ``total`` and ``done`` are positions too.
    ``calls`` wait for leave right now; ``backs`` is why items were handed back, the latest of each reason and model.
    """

    now_s: float
    total: int
    done: int
    window: int
    started_s: float | None
    paused_s: float | None = None
    asked_s: float | None = None
    folded_s: float | None = None
    outstanding: int = 0
    expired: int = 0
    handed_back: int = 0
    under_way: int = 0
    stretches: Mapping[int, int] = field(default_factory=dict)
    calls: tuple[Waited, ...] = ()
    backs: tuple[Waited, ...] = ()


class PaceStore:
    """Reads alone: what is read here is written by the scripts that change a run."""

    def __init__(self, client: redis.Redis) -> None:
        self._read = client.register_script(script("common.store", "pace.lua"))

    def read(self, run_id: str) -> PaceReading | None:
        """None for a run that is not there. One trip."""
        names = [keys.run(run_id, part) for part in ("state", "leases", "waiting", "pace")]
        with store_errors():
            now_ms, outstanding, expired, handed_back, state, told = self._read(keys=names)
        known = _by_name(state)
        if "status" not in known:
            return None
        pace = _by_name(told)
        work = [_work(value, now_ms) for name, value in pace.items() if name.startswith("work:")]
        backs = (_back(name.removeprefix("back:"), value) for name, value in pace.items() if name.startswith("back:"))
        return PaceReading(
            now_s=now_ms / 1000,
            total=int(known["total"]),
            done=int(known["done"]),
            window=int(known.get("share", known["window"])),
            started_s=_seconds(known.get("again_at", known.get("started_at"))),
            paused_s=_seconds(known.get("paused")),
            asked_s=_seconds(known.get("advance_pending"), unit=1000),
            folded_s=_seconds(pace.get("folded_at")),
            outstanding=outstanding,
            expired=expired,
            handed_back=handed_back,
            under_way=sum(items for items, _ in work),
            stretches=dict(_stretch(value) for name, value in pace.items() if name.startswith("done:")),
            calls=tuple(wait for _, waits in work for wait in waits),
            backs=tuple(wait for wait in backs if wait.reason in WAIT_REASONS),
        )


def _by_name(flat: list[bytes]) -> dict[str, str]:
    words = [word.decode() for word in flat]
    return dict(zip(words[::2], words[1::2], strict=True))


def _seconds(text: str | None, *, unit: int = 1) -> float | None:
    return None if text is None else float(text) / unit


def _stretch(value: str) -> tuple[int, int]:
    number, _, count = value.partition(" ")
    return int(number), int(count)


def _back(why: str, value: str) -> Waited:
    reason, _, model = why.partition(" ")
    since, until, times = (int(number) for number in value.split())
    return Waited(reason, model[:_MODEL_CHARS], since / 1000, until / 1000, times)


def _work(value: str, now_ms: int) -> tuple[int, list[Waited]]:
    told_ms, items, waits = value.split(" ", 2)
    if now_ms - int(told_ms) > _TOLD_MS:
        return 0, []
    found: list[Any] = orjson.loads(waits)
    now_s = now_ms / 1000
    return int(items), [Waited(why, model[:_MODEL_CHARS], now_s - age_s, now_s, calls) for why, model, calls, age_s in found]
