"""A function dies at every point where one can, in the midst of a run, and the run comes out as if nobody had died.

The whole local runtime is started once. For each point the function concerned is started again with the point armed, and a
fresh run makes it die there; started once more, as a cluster does, it is armed no longer. Nobody helps the run along.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import httpx
import orjson
import pytest

from bench.chaos.main import ends_told, is_quiet, rows_of
from bench.chaos.oracle import Delivery, delivered, differences, shown, summarised
from bench.chaos.system import Times, running
from common.crashpoints import POINTS
from common.settings import Settings
from common.store.connect import sync_client
from common.store.results import ResultStore
from common.store.runs import RunStore
from local.supervisor import is_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis

    from bench.chaos.system import System
    from common.schemas.runs import RunPlan

    Pair = tuple[str, str]  # an item's id, and who asked the model about it: the target, or a grader

ITEMS, WINDOW = 12, 6
STRETCH = 100  # `Retrier.stretch`
TIMES = Times(model_s=1, deadline_s=2, delivery_s=2, lease_s=2, overtaken_s=1, tick_s=1)
PASS = {"evaluate.sampled": 4, "evaluate.judged": 9}  # others die at the first: here something is kept before
CALM = {"latency_ms": 30}
PATIENT = {"breaker": {"min_calls": 1000}, "retry": {"attempts": 1}}  # a call is made once, and failures count for the item
PAID = ("calls", "prompt_tokens", "completion_tokens", "cost_microusd")
ELSEWHERE = ("tasks.given_up", "tasks.unfolded", "tasks.announced")  # no ordinary run comes by there
PATIENCE_S = 20.0

INPUT = [{"role": "user", "content": "Grader: quality\nItem:\n{{item.id}}\nAnswer:\n{{sample.output_text}}"}]
ASKED = [{"role": "user", "content": 'Grader: target\nItem name="item.id">\n{{item.id}}\nWhat do you say?'}]
EVAL = {
    "data_source_config": {
        "type": "custom",
        "item_schema": {"type": "object", "properties": {"id": {"type": "string"}}},
        "include_sample_schema": True,
    },
    "testing_criteria": [
        {"type": "score_model", "name": "quality", "model": "judge", "range": [0, 10], "pass_threshold": 5, "input": INPUT},
        {
            "type": "string_check",
            "name": "exact",
            "input": "{{sample.output_text}}",
            "operation": "ilike",
            "reference": "a",
        },
    ],
}


@dataclass(frozen=True, slots=True)
class World:
    """The system, and its store as nobody but a test reads it."""

    system: System
    runs: RunStore
    results: ResultStore

    def until(self, holds: Callable[[], Any]) -> None:
        """Watch over the processes, and start again those that were killed."""
        ends_s = time.monotonic() + PATIENCE_S

        def over() -> bool:
            if holds():
                return True
            assert time.monotonic() < ends_s
            return False

        self.system.supervisor.watch(until=over)

    def restart(self, name: str, **environment: str) -> None:
        """Start a function again with `environment`; what is started in its place later is not armed."""
        supervisor = self.system.supervisor
        programs = {program.name: program for program in supervisor.programs}
        before, program = supervisor.child(name), programs[name]
        armed = replace(program, env={**program.env, **environment})
        supervisor.programs = list((programs | {name: armed}).values())
        os.killpg(before.process.pid, signal.SIGKILL)  # nothing is under way
        self.until(lambda: supervisor.child(name) is not before and is_ready(armed))
        supervisor.programs = list(programs.values())

    def die(self, name: str) -> None:
        """Wait until a function's process has been killed; nobody has taken its place yet."""
        child = self.system.supervisor.child(name)
        self.until(lambda: child.exit_code is not None)
        assert child.exit_code == -signal.SIGKILL

    def begin(self, items: list[str]) -> RunPlan:
        """Start a run over `items`, whatever becomes of the answer."""
        system = self.system
        lines = b"\n".join(orjson.dumps({"item": {"id": item}}) for item in items)
        made = system.post("tasks", "/v1/evals", json=EVAL)
        file = system.post("tasks", "/v1/files", data={"purpose": "evals"}, files={"file": ("items.jsonl", lines)})
        source = {
            "type": "completions",
            "model": "judge",
            "source": {"type": "file_id", "id": file["id"]},
            "input_messages": {"type": "template", "template": ASKED},
        }
        self.ask(f"/v1/evals/{made['id']}/runs", {"data_source": source})
        (run_id,) = self.runs.active()
        return self.runs.plan(run_id)

    def ask(self, path: str, body: dict[str, Any]) -> None:
        """Post to `tasks`, which may die over it."""
        try:
            self.system.post("tasks", path, json=body)
        except httpx.TransportError:
            assert self.system.supervisor.child("tasks").process.wait(5) == -signal.SIGKILL

    def behave(self, **behaviour: float) -> None:
        """Have the provider do something from now on."""
        self.system.post("simulator", "/faults", json={**CALM, **behaviour})

    def finish(self, plan: RunPlan) -> None:
        """Wait until the run has ended, the broker knows, and nothing is on its way."""
        self.until(lambda: self.runs.state(plan.run_id).completed_event == "sent" and not self.runs.active())
        self.until(lambda: is_quiet(self.system))

    def kept(self, plan: RunPlan, items: list[str]) -> set[Pair]:
        """What has been asked of a model, and its outcome is stored."""
        loaded = self.results.load(plan, range(plan.item_count), lines=False)
        named = {index: items[plan.arrangement.place(index).line] for index in range(plan.item_count)}
        judged = {(named[index], plan.graders[grader].name) for index, grader in loaded.verdicts}
        return {(named[index], "target") for index in loaded.samples} | {pair for pair in judged if pair[1] == "quality"}

    def check(self, plan: RunPlan, items: list[str], *, ends: int = 1) -> dict[str, Any]:
        """See that each item has one result, that the summary is what they make, and tells of `ends` ends; the summary."""
        summary: dict[str, Any] = self.system.get("aggregate", f"/runs/{plan.run_id}")
        rows = list(rows_of(self.system, plan.run_id))
        assert delivered(rows, items) == Delivery(len(items), duplicates=0, lost=0)
        assert [len(row["verdicts"]) for row in rows] == [len(plan.graders)] * len(items)
        made, said = summarised(rows, summary["graders"]), shown(summary)
        if ends > 1:  # what was judged anew was paid for, too
            made |= {name: said[name] for name in PAID}
        assert differences(made, said) == []
        assert summary["status"] == "completed"
        assert len(set(ends_told(self.system, plan.run_id))) == ends
        return summary

    def calls(self, items: list[str]) -> Counter[Pair]:
        """By the provider's account."""
        made = self.system.get("simulator", "/calls")
        return Counter((item, asker) for item, asker, outcome, *_ in made if item in items and outcome != "refused")


def named(point: str, count: int = ITEMS) -> list[str]:
    return [f"{point}-{number}" for number in range(count)]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with running(provider=CALM, times=TIMES, scale={}, gateway=PATIENT, KNUDGE_RUN_WINDOW=str(WINDOW)) as system:
        client: redis.Redis
        with sync_client(Settings(redis_url=system.settings.redis_url)) as client:
            yield World(system, RunStore(client), ResultStore(client))


@pytest.mark.parametrize("point", [point for point in POINTS if point not in ELSEWHERE])
def test_a_death_changes_nothing(world: World, point: str) -> None:
    """A run comes out whole and ends once; only what was under way in the dead, and is not kept, is asked a second time."""
    name, items = point.partition(".")[0], named(point)
    world.restart(name, KNUDGE_CRASH_AT=f"{point}:{PASS.get(point, 1)}")
    plan = world.begin(items)
    world.die(name)
    kept = world.kept(plan, items)
    world.finish(plan)
    assert world.check(plan, items)["errored"] == 0
    calls = world.calls(items)
    assert calls.keys() == {(item, asker) for item in items for asker in ("target", "quality")}
    again = {pair: count for pair, count in calls.items() if count > 1}
    assert set(again.values()) <= {2}
    assert len(again) <= WINDOW
    assert not kept & again.keys()
    if name != "evaluate":
        assert not again


def test_a_death_over_items_given_up(world: World) -> None:
    """Items that were given up stay so and are counted, though nobody was told; the others are judged."""
    items = named("tasks.given_up")
    world.behave(server_error=1)
    world.restart("tasks", KNUDGE_CRASH_AT="tasks.given_up", KNUDGE_ITEM_ATTEMPTS="1")
    plan = world.begin(items)
    world.die("tasks")
    world.behave(server_error=0)
    given_up = {item for item, _ in world.kept(plan, items)}
    world.finish(plan)
    assert 0 < len(given_up) == world.check(plan, items)["errored"]
    assert world.calls(items) == {(item, asker): 1 for item in set(items) - given_up for asker in ("target", "quality")}


def test_a_death_while_a_retry_is_prepared(world: World) -> None:
    """A retry that died after its first stretch goes on with the rest: what had no score is asked once more, nothing else."""
    items = named("tasks.unfolded", STRETCH + 4)
    world.restart("tasks", KNUDGE_RUN_WINDOW=str(STRETCH))
    world.behave(refusal=1)
    plan = world.begin(items)
    world.finish(plan)
    assert world.check(plan, items)["errored"] == len(items)
    world.behave(refusal=0)
    world.restart("tasks", KNUDGE_CRASH_AT="tasks.unfolded")
    world.ask(f"/v1/evals/{plan.eval_id}/runs/{plan.run_id}/retry", {})
    world.die("tasks")
    retry = world.runs.state(plan.run_id).retry
    assert retry is not None
    assert retry.start == STRETCH
    world.finish(plan)
    summary, calls = world.check(plan, items, ends=2), world.calls(items)
    assert (summary["errored"], shown(summary)["calls"]) == (0, calls.total())
    assert calls == {(item, asker): n for item in items for asker, n in (("target", 1), ("quality", 2))}


def test_a_death_over_the_end_of_a_run(world: World) -> None:
    """An end that `tasks` had told, and could not note, is told again as the same one."""
    items = named("tasks.announced")
    world.restart("tasks", KNUDGE_CRASH_AT="tasks.announced")
    plan = world.begin(items)
    world.ask(f"/v1/evals/{plan.eval_id}/runs/{plan.run_id}/cancel", {})
    world.die("tasks")
    world.finish(plan)
    told = ends_told(world.system, plan.run_id)
    assert len(told) > len(set(told)) == 1
    assert world.runs.state(plan.run_id).status == "canceled"
    assert set(world.calls(items).values()) <= {1}
