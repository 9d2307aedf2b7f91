"""How long a page and a summary of a run take, and its whole export."""

from __future__ import annotations

import random
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bench.rig.processes import rss_mib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.scale.system import System

_REQUESTS = 100
_WARM = 5
_PAGE = 50


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that has ended, over so many items."""

    eval_id: str
    run_id: str
    items: int


def reads(system: System, runs: Sequence[Finished]) -> dict[int, dict[str, float]]:
    """``page_p95_ms`` and ``items_page_p95_ms`` at random places, and ``summary_p95_ms``, by size of the run.

    One request at a time, to each run in turn, so that whatever else the machine does falls on all of them alike.
    """
    rng = random.Random(7)
    taken: dict[tuple[int, str], list[float]] = defaultdict(list)
    for _ in range(_REQUESTS + _WARM):
        for run in runs:
            for name, url in _urls(system, run, rng.randrange(max(1, run.items - _PAGE))).items():
                began = time.perf_counter()
                system.http.get(url).raise_for_status()
                taken[run.items, name].append((time.perf_counter() - began) * 1000)
    figures: dict[int, dict[str, float]] = defaultdict(dict)
    for (items, name), times in taken.items():
        figures[items][f"{name}_p95_ms"] = statistics.quantiles(times[_WARM:], n=20)[-1]
        figures[items][f"{name}_p50_ms"] = statistics.median(times[_WARM:])
    return figures


def _urls(system: System, run: Finished, after: int) -> dict[str, str]:
    aggregate = f"{system.url('aggregate')}/runs/{run.run_id}"
    rows = f"{system.url('tasks')}/v1/evals/{run.eval_id}/runs/{run.run_id}/output_items"
    item = f"outputitem_{run.run_id.partition('_')[2]}_{after}"
    return {
        "page": f"{aggregate}/results?limit={_PAGE}&after={after}",
        "items_page": f"{rows}?limit={_PAGE}&after={item}",
        "summary": aggregate,
    }


def export(system: System, run_id: str) -> dict[str, float]:
    """The run streamed whole as NDJSON: seconds, rows, and how much larger `aggregate` got on the way at most, in MiB."""
    pid = system.pids()["aggregate"]
    before, largest, rows, began = rss_mib(pid), 0.0, 0, time.perf_counter()
    with system.http.stream("GET", f"{system.url('aggregate')}/runs/{run_id}/results?format=ndjson") as answer:
        looked = began
        for chunk in answer.iter_raw():
            rows += chunk.count(b"\n")
            if time.perf_counter() - looked > 0.2:  # noqa: PLR2004 - a look at the process now and then
                largest, looked = max(largest, rss_mib(pid)), time.perf_counter()
    seconds = time.perf_counter() - began
    return {"export_seconds": seconds, "export_rows": rows, "export_rss_growth_mib": max(0.0, largest - before)}
