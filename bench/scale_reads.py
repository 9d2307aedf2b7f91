"""How long a page and a summary of a run take, and its whole export."""

from __future__ import annotations

import random
import statistics
import time
from typing import TYPE_CHECKING

from bench.process import rss_mib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.scale_system import System

_REQUESTS = 100
_WARM = 5
_PAGE = 50


def reads(system: System, eval_id: str, run_id: str, items: int) -> dict[str, float]:
    """``page_p95_ms`` and ``items_page_p95_ms`` at random places in the run, and ``summary_p95_ms``; one request at a time."""
    rng = random.Random(7)
    after = [rng.randrange(max(1, items - _PAGE)) for _ in range(_REQUESTS + _WARM)]
    results, summary = f"{system.url('aggregate')}/runs/{run_id}/results", f"{system.url('aggregate')}/runs/{run_id}"
    rows = f"{system.url('tasks')}/v1/evals/{eval_id}/runs/{run_id}/output_items"
    some = system.http.get(rows, params={"limit": 1}).json()["data"][0]["id"]
    item_id = some.rpartition("_")[0]
    return {
        "page_p95_ms": _p95(system, (f"{results}?limit={_PAGE}&after={index}" for index in after)),
        "items_page_p95_ms": _p95(system, (f"{rows}?limit={_PAGE}&after={item_id}_{index}" for index in after)),
        "summary_p95_ms": _p95(system, (summary for _ in after)),
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


def _p95(system: System, urls: Iterator[str]) -> float:
    taken = []
    for url in urls:
        began = time.perf_counter()
        system.http.get(url).raise_for_status()
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.quantiles(taken[_WARM:], n=20)[-1]
