"""Does it keep up with 100 evaluations of 1 MB a second, for as long as one looks?

Load: 100 requests a second, each with a sample of 1 MB, a judge (50 ms) that is shown the item and a check over all of the
text; 30 s after 5 s of warming up. Criteria: all are judged, the 99th percentile from the moment a request was due is at most
500 ms, and everything together stays within 2 GiB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bench.rig.arrivals import NUMBER, Arrivals, percentile
from bench.rig.processes import cpu_ms, rss_mib
from bench.scenarios.asking import RIGHT, evaluation, explain, outcome
from bench.scenarios.stage import Seen, stage

if TYPE_CHECKING:
    from bench.rig.arrivals import Answer
    from bench.scenarios.stage import Stage

PER_S = 100
TEXT_BYTES = 1024 * 1024
_WARM_UP_S, _SECONDS = 5, 30
_P99_MS = 500.0


def play() -> Seen:
    """Figures: ``rps`` answered, ``p50_ms``, ``p99_ms``, ``wrong``, ``evaluate_cpu_ms`` a request, ``evaluate_rss_mib``."""
    with stage(provider={"latency_ms": 50}) as scene:
        _load(scene, "warm", _WARM_UP_S)
        pid = scene.system.supervisor.child("evaluate").process.pid
        before_ms = cpu_ms(pid)
        answers = _load(scene, "steady", _SECONDS)
        used_ms = cpu_ms(pid) - before_ms
        found, p99_ms = outcome(answers), percentile(answers, 99)
        took_s = max(answer.at_s + answer.ms / 1000 for answer in answers) - answers[0].at_s
        figures = {
            "rps": found.judged / max(took_s, _SECONDS),
            "p50_ms": percentile(answers, 50),
            "p99_ms": p99_ms,
            "wrong": len(answers) - found.judged,
            "evaluate_cpu_ms": used_ms / len(answers),
            "evaluate_rss_mib": rss_mib(pid),
            "rss_max_mib": scene.memory_max_mib(),
        }
    all_judged = f"all are judged{f' (not: {explain(answers)})' if found.wrong else ''}"
    return Seen(figures, {all_judged: found.judged == len(answers), "p99 is at most 500 ms": p99_ms <= _P99_MS})


def _load(scene: Stage, series: str, seconds: int) -> list[Answer]:
    body = evaluation(f"{series}-{NUMBER}", text_bytes=TEXT_BYTES)
    load = scene.begin(Arrivals(scene.url("evaluate"), body, PER_S * seconds, PER_S, RIGHT))
    scene.watch(load.is_over, limit_s=seconds + 60)
    return load.answers()
