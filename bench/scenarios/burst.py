"""From nothing to 500 requests at once, on one process of `evaluate`: is whatever is not judged refused properly, and quickly?

Load: 500 evaluations due at the same moment, with a judge that takes 200 ms; then, as a client that obeys ``Retry-After`` would
see it a second later, 50 a second for 2 s. Criteria: each of the 500 is judged or refused with 429 or 503 and ``Retry-After``,
as many are judged as the process has places, and those that come after it are all judged.
"""

from __future__ import annotations

from bench.rig.arrivals import NUMBER, Arrivals, percentile
from bench.scenarios.asking import RIGHT, evaluation, explain, outcome
from bench.scenarios.stage import Seen, stage

_AT_ONCE = 500
_AFTER_S, _AFTER = 1.0, 100
_LIMIT_S = 60.0


def play() -> Seen:
    """Figures: ``judged``, ``shed_share``, ``shed_p99_ms``, ``judged_p99_ms``, ``wrong``, ``after_judged_share``."""
    with stage(provider={"latency_ms": 200}) as scene:
        burst = scene.begin(Arrivals(scene.url("evaluate"), evaluation(), _AT_ONCE, 0, RIGHT))
        scene.watch(burst.is_over, limit_s=_LIMIT_S)
        scene.wait(_AFTER_S)
        rest = scene.begin(Arrivals(scene.url("evaluate"), evaluation(f"later-{NUMBER}"), _AFTER, 50, RIGHT))
        scene.watch(rest.is_over, limit_s=_LIMIT_S)
        places = int(scene.program("evaluate").env["KNUDGE_MAX_CONCURRENCY"])
        answers, later, memory_mib = burst.answers(), rest.answers(), scene.memory_max_mib()
    found = outcome(answers)
    figures = {
        "judged": found.judged,
        "shed_share": found.refused / _AT_ONCE,
        "shed_p99_ms": percentile([answer for answer in answers if answer.refused], 99),
        "judged_p99_ms": percentile([answer for answer in answers if answer.right], 99),
        "wrong": found.wrong + found.partly,
        "after_judged_share": outcome(later).judged / _AFTER,
        "rss_max_mib": memory_mib,
    }
    criteria = {
        f"each is judged or properly refused {explain(answers)}": found.judged + found.refused == _AT_ONCE,
        f"as many are judged as there are places ({places})": found.judged >= min(places, _AT_ONCE),
        "those after it are all judged": outcome(later).judged == _AFTER,
    }
    return Seen(figures, criteria)
