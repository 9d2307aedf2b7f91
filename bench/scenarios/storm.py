"""Everything comes several times: events from the broker, and one evaluation from an impatient client.

Load: a run of 200 items while the broker delivers every event seven times, in any order; then the same evaluation, with its
``evaluation_id``, 100 times at once. Criteria: the run is exact, each judge was asked once an item, and once for the 100.
"""

from __future__ import annotations

from bench.rig.arrivals import Arrivals
from bench.scenarios.asking import RIGHT, evaluation, explain, outcome
from bench.scenarios.running import Run, is_exact
from bench.scenarios.stage import Seen, stage

_ITEMS, _JUDGES = 200, 2
_BROKER = "duplicate=1,copies=7,reorder=1,late_s=0.1"
_AT_ONCE = 100
_LIMIT_S = 120.0


def play() -> Seen:
    """Figures: ``calls`` for each that the run needs, ``run_seconds``, ``duplicates``, ``same_calls`` for the 100."""
    with stage(provider={"latency_ms": 50}, broker_faults=_BROKER, scale={"evaluate": 2}) as scene:
        run = Run(scene, _ITEMS)
        found = run.finish(limit_s=_LIMIT_S)
        before = _calls(scene.system.get("simulator", "/stats"))
        wanted = Arrivals(scene.url("evaluate"), evaluation("same", evaluation_id="storm-1"), _AT_ONCE, 0, RIGHT)
        load = scene.begin(wanted)
        scene.watch(load.is_over, limit_s=_LIMIT_S)
        answers, after = load.answers(), _calls(scene.system.get("simulator", "/stats"))
        told = scene.system.get("broker", "/stats")["triggers"].values()
        memory_mib = scene.memory_max_mib()
    asked = before / (_ITEMS * _JUDGES)
    found_once = outcome(answers)
    figures = {
        "calls": asked,
        "run_seconds": run.seconds,
        "duplicates": found["duplicates"],
        "deliveries": sum(trigger.get("delivered", 0) for trigger in told),
        "same_calls": after - before,
        "same_judged": found_once.judged,
        "rss_max_mib": memory_mib,
    }
    criteria = {
        "the run is exact": is_exact(found),
        "each judge is asked once an item": asked == 1,
        "100 equal evaluations ask once": after - before == 1,
        f"each of the 100 is judged {explain(answers)}": found_once.judged == _AT_ONCE,
    }
    return Seen(figures, criteria)


def _calls(stats: dict[str, int]) -> int:
    return stats["calls"]
