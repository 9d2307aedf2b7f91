"""The example eval through the whole system: CPU per judgement by process, and what a model call costs in Redis trips.

A *judgement* is one verdict of a model-based grader. CPU is the operating system's, over the whole runs: everything that
each process did for them, deterministic graders, events and pages included.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import redis

from bench.rig.ports import free_base
from bench.rig.processes import cpu_ms
from bench.rig.table import show
from common.settings import Settings
from local.judge import Judge, write_config
from local.manifests import read_wiring
from local.programs import ROOT, Options, plan
from local.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Iterator

_EVAL = "examples/assistants/eval.yaml"
_CALLS = 400
_CONNECTIONS = 8
_PORTS = 10


@dataclass(frozen=True, slots=True)
class Running:
    """The local runtime, started for this bench."""

    settings: Settings
    supervisor: Supervisor

    def cpu_ms(self) -> dict[str, float]:
        """CPU so far, by process."""
        return {child.name: cpu_ms(child.process.pid) for child in self.supervisor.children}

    def model_calls(self) -> int:
        """Calls that reached the simulator, by its own count."""
        stats = httpx.get(f"{self.settings.public_urls['simulator']}/stats").json()
        return int(stats.get("calls", 0))


def run(*, rounds: int) -> dict[str, float]:
    """Figures: ``cpu_ms_per_judgement_<process>``, ``model_calls``, ``judgements``, ``redis_trips_per_call`` and others."""
    with tempfile.TemporaryDirectory(prefix="knudge-bench-") as folder:
        settings = Settings.from_env({**os.environ, "KNUDGE_PORT_BASE": str(free_base(_PORTS)), "KNUDGE_DATA_DIR": folder})
        config = Path(folder) / "gateway.json"
        write_config(Judge("simulator:judge", "simulated"), settings, config)
        supervisor = Supervisor(plan(settings, read_wiring(), Options(config, Path(folder) / "homes")), Path(folder))
        with supervisor.running():
            running = Running(settings, supervisor)
            _example(running)  # imports, connections, compiled scripts
            figures = _judgements(running, rounds)
            figures |= _trips(running)
    _report(figures)
    return figures


def _judgements(running: Running, rounds: int) -> dict[str, float]:
    samples = [dict(_round(running)) for _ in range(rounds)]
    return {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}


def _round(running: Running) -> Iterator[tuple[str, float]]:
    cpu, calls, began = running.cpu_ms(), running.model_calls(), time.perf_counter()
    judgements = _example(running)
    yield "seconds", time.perf_counter() - began
    yield "judgements", judgements
    yield "model_calls", running.model_calls() - calls
    for name, now in running.cpu_ms().items():
        yield f"cpu_ms_per_judgement_{name}", (now - cpu[name]) / judgements


def _example(running: Running) -> int:
    """Run the example once, as a user does; the number of judgements in it."""
    url = f"{running.settings.public_urls['tasks']}/v1"
    command = [str(Path(sys.executable).with_name("knudge")), "run", _EVAL, "--base-url", url, "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    summaries = json.loads(done.stdout)["runs"]
    graders = [grader for summary in summaries for grader in summary["graders"] if grader["type"].endswith("_model")]
    return sum(grader["scored"] + grader["unscored"] for grader in graders)


def _trips(running: Running) -> dict[str, float]:
    """Store commands per model call through `completions`, where nothing but the gateway speaks to the store."""
    url = f"{running.settings.public_urls['completions']}/v1/chat/completions"
    body = {"model": "simulator:judge", "messages": [{"role": "user", "content": "Say hello."}]}
    with httpx.Client(timeout=30) as client, redis.Redis.from_url(running.settings.redis_url) as store:
        client.post(url, json=body).raise_for_status()
        cpu, before = running.cpu_ms(), _commands(store)
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            statuses = list(pool.map(lambda _: client.post(url, json=body).status_code, range(_CALLS)))
        spent = {name: after - before.get(name, 0) for name, after in _commands(store).items()}
        used = running.cpu_ms()["completions"] - cpu["completions"]
    if set(statuses) != {httpx.codes.OK}:
        raise RuntimeError(f"completions answered {sorted(set(statuses))}")
    return {
        "redis_trips_per_call": sum(count for name, count in spent.items() if name.startswith("evalsha")) / _CALLS,
        "redis_other_commands_per_call": sum(n for name, n in spent.items() if not name.startswith("evalsha")) / _CALLS,
        "cpu_ms_per_call_completions": used / _CALLS,
    }


def _commands(store: redis.Redis) -> dict[str, int]:
    """Calls of each command that clients sent so far; what scripts call inside the server is not counted."""
    sent = {"evalsha", "eval", "ping", "hello", "client|setinfo", "script|load", "get", "mget"}
    stats = store.info("commandstats")
    counts = {name.removeprefix("cmdstat_"): int(entry["calls"]) for name, entry in stats.items()}
    return {name: count for name, count in counts.items() if name in sent}


def _report(figures: dict[str, float]) -> None:
    prefix = "cpu_ms_per_judgement_"
    cpu = {name.removeprefix(prefix): value for name, value in figures.items() if name.startswith(prefix)}
    show(["process", "CPU ms per judgement"], [*cpu.items(), ("all", sum(cpu.values()))])
    print()
    show(["figure", "value"], [[name, value] for name, value in figures.items() if not name.startswith(prefix)])
