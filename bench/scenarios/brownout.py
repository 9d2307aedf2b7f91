"""The provider browns out: for 20 s it is ten times as slow and fails 30 % of its calls. What do callers see, and a run?

Load: 20 evaluations a second for 50 s, each with a judge (50 ms, then 500); the brown-out begins after 10 s, and together with
it a run of 400 items. Criteria: each evaluation is judged, or a grader is unscored for a reason, or it is refused with
``Retry-After``; 5 s after the provider's recovery all are judged again; the run ends, and is exact.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from bench.rig.arrivals import Arrivals, percentile
from bench.scenarios.asking import RIGHT, evaluation, explain, outcome
from bench.scenarios.running import Run, is_exact
from bench.scenarios.stage import Seen, stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.rig.arrivals import Answer

_PER_S, _SECONDS = 20, 50
_BEFORE_S, _DURING_S = 10.0, 20.0
_WELL = {"latency_ms": 50, "server_error": 0}
_ILL = {"latency_ms": 500, "server_error": 0.3}
_ITEMS = 400
_RECOVERY_S = 5.0
_LIMIT_S = 120.0


def play() -> Seen:
    """Figures: ``refused``, ``partly`` (a grader unscored), ``p99_ms`` during, ``recovery_s``, ``lost``, ``run_seconds``."""
    with stage(provider=_WELL) as scene:
        load = scene.begin(Arrivals(scene.url("evaluate"), evaluation(), _PER_S * _SECONDS, _PER_S, RIGHT))
        scene.wait(_BEFORE_S)
        scene.system.post("simulator", "/faults", json=_ILL)
        ill_s = time.monotonic()
        run = Run(scene, _ITEMS)
        scene.wait(_DURING_S - (time.monotonic() - ill_s))
        scene.system.post("simulator", "/faults", json=_WELL)
        well_s = time.monotonic()
        scene.watch(lambda: run.is_over() and load.is_over(), limit_s=_LIMIT_S)
        found = run.finish(limit_s=_LIMIT_S)
        answers, memory_mib = load.answers(), scene.memory_max_mib()
    all_of_them = outcome(answers)
    recovery = recovery_s(answers, well_s)
    figures = {
        "judged": all_of_them.judged,
        "refused": all_of_them.refused,
        "partly": all_of_them.partly,
        "wrong": all_of_them.wrong,
        "p99_ms": percentile([answer for answer in answers if ill_s <= answer.at_s < well_s], 99),
        "recovery_s": recovery,
        "lost": found["lost"],
        "run_seconds": run.seconds,
        "calls_refused": found.get("calls_refused", 0),
        "rss_max_mib": memory_mib,
    }
    criteria = {
        f"each is judged, in part or in full, or properly refused {explain(answers)}": not all_of_them.wrong,
        "all are judged 5 s after the recovery": recovery <= _RECOVERY_S,
        "the run is exact": is_exact(found),
    }
    return Seen(figures, criteria)


def recovery_s(answers: Sequence[Answer], well_s: float) -> float:
    """From `well_s` to the moment when the last request was due that was not judged in full."""
    return max([0.0, *(answer.at_s - well_s for answer in answers if not answer.right)])
