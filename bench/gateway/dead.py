"""Figure 2: a provider dies for 60 s while 16 gateway processes call it, and comes back.

It answers 503 from one moment to the next. `calls after open` are those that reached it between the moment the breaker opened,
by the store's clock, and its return: probes, and calls that were on their way. It comes back after 60 s, and then right after
a probe has failed: the worst moment, because nobody asks again before the reset time is over. `recovery` is the time from
there until each of the processes has had an answer again. A refused call's time is measured from the call to its error, in
the process that makes it.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import redis

from bench.gateway.fleet import behave, fleet, seen_by
from bench.gateway.member import Job
from bench.rig.programs import load_average, provider, running, url, valkey
from bench.rig.table import show
from common.errors import BreakerOpen
from common.gateway import keys
from common.schemas.config import BreakerConfig

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bench.gateway.fleet import Fleet, Seen
    from bench.gateway.member import Made

_PROCESSES, _CALLERS = 16, 2
_PAUSE_S = 0.2
_HEALTHY_S, _DEAD_S, _AFTER_S = 3.0, 60.0, 3.0
_OPEN_WITHIN_S = 60.0
_MODEL = "lab:judge"
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Outage:
    """Unix times: the provider died, the breaker opened, the provider was well again."""

    died_s: float
    opened_s: float
    back_s: float


def run() -> dict[str, float]:
    """Figures ``dead_...``. About 100 s."""
    load = load_average()
    with TemporaryDirectory(prefix="knudge-bench-") as name:
        folder = Path(name)
        store, model = valkey(folder), provider("model")
        config = {
            "providers": {"lab": {"kind": "simulator", "base_url": f"{url(model)}/v1"}},
            "models": {_MODEL: {"timeout_s": 5.0}},
        }
        redis_url = f"redis://127.0.0.1:{store.port}/0"
        job = Job(redis_url, config, [_MODEL], callers=_CALLERS, deadline_s=20.0, pause_s=_PAUSE_S)
        with running([store, model], folder), fleet(job, _PROCESSES) as members, redis.Redis(port=store.port) as client:
            outage, made = _kill_and_revive(members, client, url(model))
            return _report(outage, made, seen_by(url(model)), load)


def _kill_and_revive(members: Fleet, client: redis.Redis, provider_url: str) -> tuple[Outage, list[Made]]:
    reset_s = BreakerConfig().reset_s
    members.go()
    time.sleep(_HEALTHY_S)
    died_s = time.time()
    behave(provider_url, server_error=1.0, status=503)
    opened_s = _changed(client, 0.0, within_s=_OPEN_WITHIN_S)
    time.sleep(max(0.0, died_s + _DEAD_S - time.time()))
    _changed(client, _opened_s(client), within_s=2 * reset_s)
    back_s = time.time()
    behave(provider_url, server_error=0.0)
    _until(lambda: client.hget(keys.state(_MODEL), "breaker") == b"closed", within_s=3 * reset_s)
    time.sleep(_AFTER_S)
    return Outage(died_s, opened_s, back_s), members.finish(within_s=60.0)


def _changed(client: redis.Redis, opened_s: float, *, within_s: float) -> float:
    """When the breaker opened next after `opened_s`."""
    _until(lambda: _opened_s(client) > opened_s, within_s=within_s)
    return _opened_s(client)


def _opened_s(client: redis.Redis) -> float:
    return float(client.hget(keys.state(_MODEL), "opened_at") or 0) / 1000


def _until(holds: Callable[[], bool], *, within_s: float) -> None:
    deadline_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"the breaker did not change within {within_s:.0f} s")
        time.sleep(_POLL_S)


def _report(outage: Outage, made: list[Made], seen: list[Seen], load: float) -> dict[str, float]:
    refused = sorted(call.latency_ms for call in made if call.code == BreakerOpen.code) or [0.0]
    recovery_s = recovered_s(made, outage.back_s, processes=_PROCESSES) - outage.back_s
    figures = {
        "dead_calls_after_open": sum(outage.opened_s < call.at_s < outage.back_s for call in seen),
        "dead_recovery_s": recovery_s,
        "dead_recovery_resets": recovery_s / BreakerConfig().reset_s,
        "dead_open_after_s": outage.opened_s - outage.died_s,
        "dead_s": outage.back_s - outage.died_s,
        "dead_refused_calls": len(refused),
        "dead_refused_p50_ms": refused[len(refused) // 2],
        "dead_refused_p99_ms": refused[len(refused) * 99 // 100],
    }
    show([f"dead provider, {_PROCESSES} processes, load {load:.2f}", "value"], [[name, figures[name]] for name in figures])
    print(f"  {dict(Counter(call.code for call in made))}")
    return figures


def recovered_s(made: Sequence[Made], back_s: float, *, processes: int) -> float:
    """When the last of the processes had its first answer to a call begun after `back_s`; infinitely late if one never had."""
    first: dict[int, float] = {}
    for call in sorted(made, key=lambda call: call.ended_s):
        if call.code == "ok" and call.ended_s - call.latency_ms / 1000 > back_s:
            first.setdefault(call.process, call.ended_s)
    return max(first.values()) if len(first) == processes else float("inf")
