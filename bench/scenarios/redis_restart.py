"""The store goes away under load, once as a restart does it and once as a crash does.

Load: 20 evaluations a second for 30 s, and a run of 600 items, each item with two judges (50 ms); SIGTERM to the store after
5 s, SIGKILL after 15 s, each time started again at once. Criteria: each evaluation is judged, or a grader is unscored for a
reason, or it is refused with ``Retry-After``; none waits longer than 10 s, all are judged in full from 5 s after a restart on;
the run ends, and is exact.
"""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

from bench.rig.arrivals import Arrivals
from bench.scenarios.asking import RIGHT, evaluation, explain, outcome
from bench.scenarios.running import Run, is_exact
from bench.scenarios.stage import Seen, stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.rig.arrivals import Answer

_PER_S, _SECONDS = 20, 30
_KILLS = ((5.0, signal.SIGTERM), (15.0, signal.SIGKILL))
_PATIENCE_S = 10.0
_RECOVERY_S = 5.0
_ITEMS = 600
_LIMIT_S = 120.0


def play() -> Seen:
    """Figures: ``refused``, ``partly``, ``errors`` (all others), ``max_ms``, ``recovery_s``, ``lost``, ``run_seconds``."""
    with stage(provider={"latency_ms": 50}) as scene:
        wanted = Arrivals(scene.url("evaluate"), evaluation(), _PER_S * _SECONDS, _PER_S, RIGHT, limit_s=_PATIENCE_S)
        load = scene.begin(wanted)
        began_s, run, killed = time.monotonic(), Run(scene, _ITEMS), []
        for after_s, number in _KILLS:
            scene.wait(began_s + after_s - time.monotonic())
            scene.kill("redis", number)
            killed.append(time.monotonic())
        scene.watch(lambda: run.is_over() and load.is_over(), limit_s=_LIMIT_S)
        found = run.finish(limit_s=_LIMIT_S)
        answers, memory_mib = load.answers(), scene.memory_max_mib()
    all_of_them = outcome(answers)
    recovery = max(_recovery_s(answers, killed))
    figures = {
        "judged": all_of_them.judged,
        "refused": all_of_them.refused,
        "partly": all_of_them.partly,
        "errors": all_of_them.wrong,
        "max_ms": max(answer.ms for answer in answers),
        "recovery_s": recovery,
        "lost": found["lost"],
        "run_seconds": run.seconds,
        "calls_needless_share": found["calls_needless_share"],
        "rss_max_mib": memory_mib,
    }
    criteria = {
        f"each is judged, in part or in full, or properly refused, within 10 s {explain(answers)}": not all_of_them.wrong,
        "all are judged from 5 s after a restart on": recovery <= _RECOVERY_S,
        "the run is exact": is_exact(found),
    }
    return Seen(figures, criteria)


def _recovery_s(answers: Sequence[Answer], killed_s: Sequence[float]) -> list[float]:
    """For each kill, until the last request before the next one was due that was not judged."""
    until_s = [*killed_s[1:], float("inf")]
    return [
        max([0.0, *(answer.at_s - at_s for answer in answers if not answer.right and at_s <= answer.at_s < end_s)])
        for at_s, end_s in zip(killed_s, until_s, strict=True)
    ]
