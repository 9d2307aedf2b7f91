"""Runs of up to a million items through the local runtime: time, CPU and memory by process, bytes a result, pages.

The graders are deterministic, so all that is measured is Knudge and its store; ``--model-items`` adds a run with a judge, the
simulator at a latency of 20 ms. A *result* is one item's outcome with all of its verdicts.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from bench.rig.table import show
from bench.scale.meter import Meter
from bench.scale.reads import Finished, export, reads
from bench.scale.system import CHECKS, JUDGE, running

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from bench.scale.system import System

_WARM_ITEMS = 500
_BY_SIZE = ("seconds", "page_p95_ms", "items_page_p95_ms", "summary_p95_ms", "cpu_ms_per_item")
_LATENCY = {"KNUDGE_SIMULATOR_LATENCY_MS": "20"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of this bench."""
    parser.add_argument("--items", type=_numbers, default=(10_000,), metavar="N,...", help="sizes of runs (default 10000)")
    parser.add_argument("--evaluate", type=_numbers, default=(1,), metavar="K,...", help="processes of evaluate (default 1)")
    parser.add_argument("--model-items", type=int, default=0, metavar="N", help="also a run of N items with a judge")
    parser.add_argument("--window", type=int, default=0, metavar="N", help="KNUDGE_RUN_WINDOW (default: its own default)")
    parser.add_argument("--limit-s", type=float, default=3600.0, help="give up after so many seconds (default 3600)")


def run(
    *, rounds: int, items: tuple[int, ...], evaluate: tuple[int, ...], model_items: int, window: int, limit_s: float
) -> dict[str, float]:
    """Figures of the largest of `items` under their plain names; where there are several, some of each with ``_<n>``."""
    del rounds  # one run is long enough
    environment = {"KNUDGE_RUN_WINDOW": str(window)} if window else {}
    figures = {"load_before": os.getloadavg()[0]}
    until_s = time.monotonic() + limit_s
    for number, processes in enumerate(evaluate):
        with running(limit_s=until_s - time.monotonic(), evaluate=processes, environment=environment) as system:
            _measured(system, _WARM_ITEMS, CHECKS)  # imports, connections, compiled scripts
            if number == 0:
                figures |= _sizes(system, items)
                rate = figures["items_per_s"]
            else:
                rate = _measured(system, max(items), CHECKS)[0]["items_per_s"]
        figures[f"items_per_s_evaluate_{processes}"] = rate
    if model_items:
        with running(limit_s=until_s - time.monotonic(), environment={**environment, **_LATENCY}) as system:
            _measured(system, _WARM_ITEMS, JUDGE)
            found, _ = _measured(system, model_items, JUDGE)
            figures |= {
                f"model_{name}": value for name, value in found.items() if name.startswith(("items_", "seconds", "cpu_"))
            }
    _report(figures)
    return figures


def _sizes(system: System, sizes: tuple[int, ...]) -> dict[str, float]:
    measured = {items: _measured(system, items, CHECKS) for items in sorted(sizes)}
    seen = reads(system, [run for _, run in measured.values()])
    by_size = {items: figures | seen[items] for items, (figures, _) in measured.items()}
    largest = max(sizes)
    figures = by_size[largest] | export(system, measured[largest][1].run_id)
    if len(sizes) > 1:
        figures |= {f"{name}_{items}": found[name] for items, found in by_size.items() for name in _BY_SIZE}
    return figures


def _measured(system: System, items: int, graders: list[dict[str, Any]]) -> tuple[dict[str, float], Finished]:
    """Upload and run."""
    empty, began = system.used_bytes(), time.perf_counter()
    with Meter(system.pids()) as uploading:
        file_id = system.upload(items)
    figures = {"upload_seconds": time.perf_counter() - began}
    figures |= {f"upload_rss_max_mib_{name}": uploading.rss_max()[name] for name in ("tasks",)}
    stored = system.used_bytes()
    figures["dataset_bytes_per_item"] = (stored - empty) / items
    eval_id, began = system.create_eval(graders), time.perf_counter()
    with Meter(system.pids()) as meter:
        run_id = system.start(eval_id, file_id)
        figures["create_seconds"] = time.perf_counter() - began
        summary = system.wait(run_id)
    seconds = time.perf_counter() - began
    if summary["status"] != "completed" or summary["done"] != items:
        raise RuntimeError(f"the run is {summary['status']} with {summary['done']} of {items} items done")
    figures |= {"seconds": seconds, "items_per_s": items / seconds}
    figures["bytes_per_result"] = (system.used_bytes() - stored) / items
    figures |= _metered(meter, items)
    print(f"{items} items: {seconds:.1f} s, {figures['items_per_cpu_s']:.0f} items per CPU second", flush=True)
    return figures, Finished(eval_id, run_id, items)


def _report(figures: dict[str, float]) -> None:
    """By program what the largest run took, and all that is no program's."""
    parts = ("cpu_ms_per_item", "rss_max_mib", "rss_growth_mib")
    programs = [name.removeprefix("rss_max_mib_") for name in figures if name.startswith("rss_max_mib_")]
    show(["program", *parts], [[name, *(figures.get(f"{part}_{name}", "") for part in parts)] for name in programs])
    print()
    by_program = {f"{part}_{program}" for part in parts for program in programs}
    show(["figure", "value"], sorted((name, value) for name, value in figures.items() if name not in by_program))


def _metered(meter: Meter, items: int) -> dict[str, float]:
    figures = {f"cpu_ms_per_item_{name}": cpu / items for name, cpu in meter.cpu.items()}
    figures["cpu_ms_per_item"] = sum(figures.values())
    figures["items_per_cpu_s"] = 1000 / figures["cpu_ms_per_item"]
    figures |= {f"rss_max_mib_{name}": value for name, value in meter.rss_max().items()}
    return figures | {f"rss_growth_mib_{name}": value for name, value in meter.rss_growth().items()}


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))
