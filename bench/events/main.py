"""What an item costs on the whole event path, by how many items an event carries.

From `tasks` over the broker to `evaluate`, back to the broker and on to `aggregate`, through the local runtime with everything
on: leases, claims, verdicts kept, results folded. Graders are two checks, or one judge whose model is a stand-in that answers
after 10 ms; the stand-in's CPU is not in the figures. Every size has a system of its own, warmed up before it is measured.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.rig.programs import ended_by_signals, load_average, provider, url
from bench.rig.programs import running as programs
from bench.rig.table import show
from bench.scale.meter import Meter
from bench.scale.system import CHECKS, running

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from bench.scale.system import System

SIZES = (1, 10, 50)
_WINDOW = 1600  # what fills events of 50: a sixteenth of half of it
_LATENCY_MS = 10
_LIMIT_S = 120.0  # of a system
_LOOK_S = 0.2  # a look costs `aggregate` some two ms
_SHOWN = ("evaluate", "aggregate", "tasks", "broker", "redis")
_JUDGE: list[dict[str, Any]] = [
    {
        "type": "score_model",
        "name": "judged",
        "model": "simulator:judge",
        "input": [{"role": "user", "content": "{{item.question}} Reference: {{item.expected}} Answer: {{sample.output_text}}"}],
        "range": [1, 5],
        "pass_threshold": 3,
    }
]


@dataclass(frozen=True, slots=True)
class Work:
    """Graders, and by size of the events the items of a run: as many as take some seconds."""

    prefix: str
    graders: list[dict[str, Any]]
    items: Mapping[int, int]


WORK = (Work("event", CHECKS, {1: 1500, 10: 5000, 50: 10_000}), Work("event_model", _JUDGE, {1: 600, 10: 1500, 50: 2000}))


@dataclass(frozen=True, slots=True)
class Sample:
    """One run: items a second, and CPU ms an item by program."""

    per_s: float
    cpu_ms: Mapping[str, float]


Samples = defaultdict[tuple[str, int], list[Sample]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("--sizes", type=_numbers, default=SIZES, metavar="N,...", help="items an event (default 1,10,50)")


def run(*, rounds: int, sizes: Sequence[int]) -> dict[str, float]:
    """Figures ``event_items_per_cpu_s_<n>``, ``event_items_per_s_<n>``, ``event_cpu_ms_<program>_<n>``, ``event_model_…``."""
    samples: Samples = defaultdict(list)
    model = provider("model", "bench.rig.model_server")
    with ended_by_signals(), TemporaryDirectory(prefix="knudge-events-") as folder, programs([model], Path(folder)):
        for size in sizes:
            print(f"  {size} an event, load average {load_average():.2f}", flush=True)
            environment = {
                "KNUDGE_RUN_BATCH": str(size),
                "KNUDGE_RUN_WINDOW": str(_WINDOW),
                "KNUDGE_SIMULATOR_URL": f"{url(model)}/knudge/{_LATENCY_MS}",
            }
            with running(limit_s=_LIMIT_S, environment=environment) as system:
                for work in WORK:
                    taken = [_measured(system, work, work.items[size] // share) for share in (4, *[1] * rounds)]
                    samples[work.prefix, size] = taken[1:]
    return _report(samples)


def _measured(system: System, work: Work, items: int) -> Sample:
    eval_id, file_id = system.create_eval(work.graders), system.upload(items)
    began = time.perf_counter()
    with Meter(system.pids()) as meter:
        summary = system.wait(system.start(eval_id, file_id), look_s=_LOOK_S)
        seconds = time.perf_counter() - began
    if summary["passed"] + summary["failed"] != items:
        raise RuntimeError(f"the run is {summary['status']} with {summary['errored']} of {items} items unscored")
    return Sample(items / seconds, {name: cpu / items for name, cpu in meter.cpu.items()})


def _report(samples: Samples) -> dict[str, float]:
    figures: dict[str, float] = {}
    for work in WORK:
        rows: list[list[object]] = []
        for size, taken in ((size, taken) for (prefix, size), taken in samples.items() if prefix == work.prefix):
            found = _medians(taken)
            figures |= {f"{work.prefix}_{name}_{size}": value for name, value in found.items()}
            parts = [f"{found[name]:.3f}" for name in ("cpu_ms", *(f"cpu_ms_{program}" for program in _SHOWN))]
            rows.append([size, found["items_per_cpu_s"], found["items_per_s"], *parts])
        print(f"\n{' and '.join(grader['type'] for grader in work.graders)}; CPU ms an item")
        show(["items an event", "items/CPU s", "items/s", "all", *_SHOWN], rows)
    return figures


def _medians(taken: Sequence[Sample]) -> dict[str, float]:
    cpu_ms = statistics.median(sum(sample.cpu_ms.values()) for sample in taken)
    found = {f"cpu_ms_{name}": statistics.median(sample.cpu_ms[name] for sample in taken) for name in taken[0].cpu_ms}
    per_s = statistics.median(sample.per_s for sample in taken)
    return {**found, "cpu_ms": cpu_ms, "items_per_cpu_s": 1000 / cpu_ms, "items_per_s": per_s}


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))
