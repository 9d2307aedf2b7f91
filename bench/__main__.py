"""``bin/bench NAME``: a folder a bench; prints a table and, with ``--json FILE``, flat figures."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

BENCHES = {
    "start": "process start to first 200 on /readyz, for each function beside a functions-framework hello",
    "demo": "model calls, Redis trips and CPU per judgement of the example eval through the whole system",
    "grade": "CPU of one judgement within the process, by kind of grader and size of text, the model's answer aside",
    "replies": "a judge's damaged replies: the share that is read, and whether anything is made up",
    "scale": "runs of up to a million items: time, CPU, memory, bytes a result, pages and summaries",
    "events": "items a CPU second through tasks, broker, evaluate, broker, aggregate, by items an event",
    "stats": "coverage of intervals, false alarms and savings of the sequential test, corrections, a judge that errs",
    "capacity": "a model of a run on a cluster: time, pods, Redis, the first bottleneck, checked against measured runs",
    "peers": "programs to measure beside: whether they are there; --setup: install them below .knudge/bench",
    "judge": "judgements through a model server at 50 and 0 ms: CPU, rate, memory; --peers: beside other evaluation tools",
    "payload": "evaluations of 1 MB of text in one process and two, beside an echo and nginx",
    "density": "1,000 evaluations in flight in one process: all answered, memory, lag of the event loop, beside Flask threads",
    "scenarios": "smoke, 100 x 1 MB a second, burst, cold start, brown-out, store restarts, duplicates, soak: passed or failed",
    "chaos": "a run while processes and the store are killed and events lost: results, costs and repeated calls by oracles",
    "sharing": "single evaluations beside a bulk run, and the shares of two projects whose runs use one limit",
    "gateway": "shared limits, a dead provider, a budget, single flight, the cost of a call; --peers: beside other gateways",
}


def main() -> None:
    """Run one bench."""
    arguments = _arguments()
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(f"{arguments.name}: commit {_commit()}, {machine}")
    options = {name: value for name, value in vars(arguments).items() if name not in ("name", "json")}
    figures = _bench(arguments.name).run(**options)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    """The common options and those of the bench that is named."""
    named = argparse.ArgumentParser(add_help=False)
    named.add_argument("name", nargs="?")
    name = named.parse_known_args()[0].name
    listing = "\n".join(f"  {bench:8} {what}" for bench, what in BENCHES.items())
    parser = argparse.ArgumentParser(
        prog="bin/bench", description=f"benches:\n{listing}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=BENCHES, metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures, name to number")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions; figures are medians (default 5)")
    if name in BENCHES and hasattr(_bench(name), "add_options"):
        _bench(name).add_options(parser)
    return parser.parse_args()


def _bench(name: str) -> Any:
    return importlib.import_module(f"bench.{name}.main")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


if __name__ == "__main__":
    main()
