"""A broker that loses events: the run does not wait for leases, which would outlast any test here."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import orjson

from bench.chaos.main import is_quiet, rows_of, start
from bench.chaos.oracle import Delivery, delivered
from bench.chaos.system import Times, running

if TYPE_CHECKING:
    from bench.chaos.system import System

ITEMS = 80
TIMES = Times(lease_s=60, overtaken_s=0.5, tick_s=1)
GONE = "lose=0.1,reorder=1,late_s=0.05,seed=3"


def history(system: System) -> dict[int, list[str]]:
    """What became of each item, by the logs of `tasks` and `evaluate`, in the order in which it did."""
    lines = [
        orjson.loads(line)
        for name in ("tasks", "evaluate")
        for line in system.log(name).read_bytes().splitlines()
        if line[:1] == b"{"
    ]
    found: dict[int, list[str]] = {}
    for line in sorted(lines, key=lambda line: str(line["time"])):
        for item in line.get("items", []):
            found.setdefault(item, []).append(line["event"])
    return found


def test_lost_events_are_noticed_by_those_that_overtake_them() -> None:
    """Items whose event never came to `evaluate`, and those whose result never came to `aggregate`, go out again in time."""
    environment = {"KNUDGE_RUN_WINDOW": "16", "KNUDGE_LOG_FORMAT": "json"}
    with running(provider={"latency_ms": 5}, broker_faults=GONE, times=TIMES, scale={}, **environment) as system:
        names = [f"lost-{number}" for number in range(ITEMS)]
        run_id = start(system, names, Random(0))
        system.supervisor.watch(until=lambda: system.get("aggregate", f"/runs/{run_id}")["status"] == "completed")
        system.supervisor.watch(until=lambda: is_quiet(system))
        assert delivered(list(rows_of(system, run_id)), names) == Delivery(ITEMS, 0, 0)
        lost = [
            events[: events.index("tasks.items_overtaken")]
            for events in history(system).values()
            if "tasks.items_overtaken" in events
        ]
    assert any("evaluate.items_taken" not in before for before in lost)
    assert any("evaluate.items_judged" in before for before in lost)
