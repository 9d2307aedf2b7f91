"""One model's limit, shared: single evaluations beside a bulk run, and the bulk runs of two projects.

The whole local runtime with two processes of `evaluate`, one judge at 200 ms with a limit of 40 calls a second, a call an item.
In this order, in less than a minute:

* ``interactive_idle_p95_ms``: evaluations by ``POST /``, one after the other, while nothing else goes on.
* ``interactive_busy_p95_ms``: the same while a run has used up the limit for seconds.
* ``interactive_model_ms``: a call to the model itself, median. The aim is busy <= 1.1 * idle + one model call.
* ``fair_share_a``, ``fair_share_b``: of what was judged for the runs of two projects, from the moment when both were running.
  The run of project a has more items, and five seconds' lead. ``fair_share_late_b`` is that of the second half of the time.
* ``bulk_use``: calls that the model answered in that time / what the limit allows.
"""

from __future__ import annotations

import os
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson
import redis

from bench.chaos.system import Times, running
from bench.rig.programs import ended_by_signals
from bench.rig.table import show
from common.store.apikeys import ApiKeyStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.chaos.system import System

_PER_S = 40
_LATENCY_MS = 200
_MODEL = "simulator:judge"
_TIMES = Times(model_s=5, deadline_s=60, delivery_s=90, lease_s=120, tick_s=10)  # as they are without a bench
_ASKED = 30
_LEAD_S, _TOGETHER_S = 5.0, 20.0
_ITEMS = {"a": 3000, "b": 1500}  # more than are judged before the bench ends
_WAIT_S = 30.0
_GRADER = {
    "type": "score_model",
    "name": "judged",
    "model": _MODEL,
    "input": [{"role": "user", "content": "{{item.question}} Reference: {{item.expected}} Answer: {{sample.output_text}}"}],
    "pass_threshold": 0.5,
}
_SCHEMA = {"type": "object", "properties": {"question": {"type": "string"}, "expected": {"type": "string"}}}


def run(*, rounds: int) -> dict[str, float]:
    """Figures as above, and the load average before."""
    del rounds  # what is seen lasts long enough
    figures = {"load_before": os.getloadavg()[0]}
    limits = {_MODEL: {"rpm": 60 * _PER_S, "timeout_s": _TIMES.model_s}}
    provider = {"latency_ms": _LATENCY_MS}
    with (
        ended_by_signals(),
        running(provider=provider, times=_TIMES, scale={"evaluate": 2}, gateway={"models": limits}, KNUDGE_AUTH="on") as system,
    ):
        figures |= _interactive(system)
        figures |= _fair(system)
    show(["figure", "value"], [[name, value] for name, value in figures.items()])
    return figures


@dataclass(frozen=True, slots=True)
class _Project:
    """A project and how it asks."""

    system: System
    headers: dict[str, str]

    def post(self, name: str, path: str, **content: Any) -> Any:
        return self.system.post(name, path, headers=self.headers, **content)

    def evaluate(self, number: int) -> float:
        """Milliseconds that a single evaluation takes."""
        body = {**_line(number), "graders": [_GRADER]}
        began_s = time.perf_counter()
        verdict = self.post("evaluate", "/", json=body)["verdicts"][0]
        if verdict["score"] is None:
            raise RuntimeError(f"an evaluation was not scored: {verdict['unscored']}")
        return (time.perf_counter() - began_s) * 1000

    def start(self, items: int) -> _Run:
        """A run over so many items."""
        config = {"type": "custom", "item_schema": _SCHEMA, "include_sample_schema": True}
        eval_id = self.post("tasks", "/v1/evals", json={"data_source_config": config, "testing_criteria": [_GRADER]})["id"]
        upload = {"file": ("items.jsonl", b"\n".join(orjson.dumps(_line(number)) for number in range(items)))}
        file_id = self.post("tasks", "/v1/files", data={"purpose": "evals"}, files=upload)["id"]
        source = {"type": "jsonl", "source": {"type": "file_id", "id": file_id}}
        path = f"/v1/evals/{eval_id}/runs"
        return _Run(self, path, self.post("tasks", path, json={"data_source": source})["id"])


@dataclass(frozen=True, slots=True)
class _Run:
    """A run under way."""

    project: _Project
    path: str
    run_id: str

    def done(self) -> int:
        """Items judged so far."""
        http, url = self.project.system.http, self.project.system.url("aggregate")
        answer = http.get(f"{url}/runs/{self.run_id}", headers=self.project.headers).raise_for_status()
        return int(answer.json()["done"])

    def cancel(self) -> None:
        """Judge no more of it."""
        self.project.post("tasks", f"{self.path}/{self.run_id}/cancel")


def _project(system: System, name: str) -> _Project:
    with redis.Redis(port=system.settings.port("redis")) as client:
        _, secret = ApiKeyStore(client).create(name, project=name)
    return _Project(system, {"authorization": f"Bearer {secret}"})


def _interactive(system: System) -> dict[str, float]:
    """Single evaluations alone, and beside a run that has the limit's use for itself."""
    someone = _project(system, "someone")
    model_ms = statistics.median(_ask_model(system) for _ in range(5))
    someone.evaluate(-1)  # connections and imports
    idle = [someone.evaluate(number) for number in range(_ASKED)]
    bulk = _project(system, "bulk").start(_ITEMS["a"])
    _until(lambda: bulk.done() >= 3 * _PER_S)
    busy = [someone.evaluate(number) for number in range(_ASKED, 2 * _ASKED)]
    bulk.cancel()
    return {"interactive_idle_p95_ms": _p95(idle), "interactive_busy_p95_ms": _p95(busy), "interactive_model_ms": model_ms}


def _fair(system: System) -> dict[str, float]:
    """Two projects' runs, looked at half-way and in the end."""
    runs = [_project(system, "a").start(_ITEMS["a"])]
    _until(lambda: runs[0].done() > 0)
    time.sleep(_LEAD_S)
    runs.append(_project(system, "b").start(_ITEMS["b"]))
    _until(lambda: runs[1].done() > 0)
    seen = [[run.done() for run in runs]]
    began_s, before = time.monotonic(), _calls(system)
    for half in (1, 2):
        time.sleep(began_s + half * _TOGETHER_S / 2 - time.monotonic())
        seen.append([run.done() for run in runs])
    calls, took_s = _calls(system) - before, time.monotonic() - began_s
    for run in runs:
        run.cancel()
    a, b = (last - first for first, last in zip(seen[0], seen[2], strict=True))
    late_a, late_b = (last - half for half, last in zip(seen[1], seen[2], strict=True))
    return {
        "fair_share_a": a / (a + b),
        "fair_share_b": b / (a + b),
        "fair_share_late_b": late_b / (late_a + late_b),
        "bulk_use": calls / (_PER_S * took_s),
    }


def _line(number: int) -> dict[str, Any]:
    item = {"question": f"What is the number of this row, {number}?", "expected": str(number)}
    return {"item": item, "sample": {"output_text": str(number)}}


def _calls(system: System) -> int:
    return len(system.get("simulator", "/calls"))


def _ask_model(system: System) -> float:
    body = {"model": "judge", "messages": [{"role": "user", "content": "Hello"}]}
    began_s = time.perf_counter()
    system.post("simulator", "/v1/chat/completions", json=body)
    return (time.perf_counter() - began_s) * 1000


def _until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + _WAIT_S
    while not holds():
        if time.monotonic() > deadline_s:
            raise RuntimeError("a run does not get on")
        time.sleep(0.1)


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20, method="inclusive")[-1]
