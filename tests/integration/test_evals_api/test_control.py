"""Runs that are paused, canceled, retried, forked and ended by their deadline, with the real `tasks` before it all."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai.types.evals import RunRetrieveResponse

from common.errors import NoLongerWanted, ProviderRejected
from common.gateway.gateway import Gateway
from common.schemas.cloudevent import Event
from common.schemas.completion import Completion, CompletionRequest
from common.schemas.config import GatewayConfig
from common.schemas.evaluation import ModelCall, Usage
from common.schemas.events import EVALUATION_COMPLETED, EVALUATION_REQUESTED, RUN_COMPLETED, RunItems
from common.store import keys
from common.store.connect import async_client
from common.store.runcontrol import RunControl
from common.store.verdicts import RedisRunReader
from functions.evaluate.items import evaluate_items
from functions.evaluate.single import Judging
from tests.integration.test_evals_api.conftest import WINDOW
from tests.integration.test_evals_api.test_canaries import upload
from tests.integration.test_evals_api.test_idempotency import Caller
from tests.integration.test_evals_api.test_runs import EQUAL, RIGHT, SILENT, WRONG, dead_letter, make_eval, start
from tests.support.providers import simulating

if TYPE_CHECKING:
    from tests.integration.test_evals_api.conftest import World

QUALITY = {
    "type": "score_model",
    "name": "quality",
    "model": "lab:judge-1",
    "input": [{"role": "user", "content": "{{item.a}}: {{sample.output_text}}"}],
    "range": [0, 10],
    "pass_threshold": 5,
}


class Judge:
    """A judge in this process: it scores 8, refuses what `refusing` says, and counts its calls by model."""

    def __init__(self, world: World) -> None:
        self.calls: list[str] = []
        self.refusing = ""
        self._world = world
        world.evaluate = self.evaluate

    async def __call__(self, request: CompletionRequest, /) -> Completion:
        if request.still_wanted is not None and not request.still_wanted():
            raise NoLongerWanted("the run wants no more")
        self.calls.append(request.model)
        asked = str(request.messages[-1].content)
        if self.refusing and self.refusing in asked:
            raise ProviderRejected("no")
        text = asked.upper() if request.model == "lab:target" else json.dumps({"reason": "so", "score": 8})
        call = ModelCall(model=request.model, usage=Usage(prompt_tokens=10, completion_tokens=1), cost_microusd=7)
        return Completion(text, "stop", call)

    async def evaluate(self, wanted: RunItems) -> RunItems | None:
        client = async_client(self._world.settings)
        try:
            judging = Judging(complete=self, marker=lambda: "m")
            return await evaluate_items(wanted, judging, RedisRunReader(client), deadline_s=time.monotonic() + 20)
        finally:
            await client.aclose()


def act(world: World, run: Any, what: str, body: Any = None) -> Any:
    return world.client.post(f"/evals/{run.eval_id}/runs/{run.id}/{what}", body=body, cast_to=object)


def refused(world: World, run: Any, what: str, body: Any = None) -> Any:
    with pytest.raises(openai.BadRequestError) as error:
        act(world, run, what, body)
    return error.value


def rows(*answers: str) -> list[dict[str, Any]]:
    return [{"item": {"a": answer}, "sample": {"output_text": answer}} for answer in answers]


def test_pause_and_resume(world: World) -> None:
    """A paused run says so, starts nothing and comes to its end after it is resumed; both calls can be repeated."""
    judge = Judge(world)
    world.broker.holding = True
    run = start(world, make_eval(world, testing_criteria=[QUALITY]), rows(*map(str, range(40))))
    world.until(lambda: len(world.broker.of(EVALUATION_REQUESTED)) == WINDOW)
    for _ in range(2):
        paused = act(world, run, "pause")
    assert (paused["status"], paused["knudge"]["paused"]) == ("in_progress", True)
    RunRetrieveResponse.model_validate(paused)
    for event in world.broker.seen[:]:
        world.handle(event)
    world.tick()
    assert (judge.calls, world.runs.state(run.id).done) == ([], 0), "what was under way was handed back"
    assert len(world.broker.of(EVALUATION_REQUESTED)) == WINDOW
    world.broker.holding = False
    assert act(world, run, "resume")["knudge"]["paused"] is False
    act(world, run, "resume")
    assert world.finish(run.eval_id, run.id).result_counts.passed == 40
    assert len(judge.calls) == 40
    for what in ("pause", "resume"):
        assert "completed already" in str(refused(world, run, what))


@pytest.mark.parametrize("what", ["pause", "resume", "cancel", "retry", "dead_letters/redrive"])
def test_a_field_that_is_not_known_is_refused(world: World, what: str) -> None:
    """A misspelt option is told and nothing is done; no body and an empty one are both nothing to say."""
    world.broker.holding = True
    run = start(world, make_eval(world, testing_criteria=[EQUAL]), rows("x"))
    assert refused(world, run, what, {"resson": "x"}).param == "resson"
    assert world.client.evals.runs.retrieve(run.id, eval_id=run.eval_id).status == "in_progress"
    if what != "retry":
        act(world, run, what, {})
        act(world, run, what)


def test_somebody_elses_run_is_not_there(world: World) -> None:
    """Another project's runs, or those of another eval, cannot be paused, retried or forked."""
    run = start(world, make_eval(world), [RIGHT])
    other = world.new_client("p2")
    for what in ("pause", "resume", "retry", "fork", "dead_letters/redrive"):
        for client, eval_id in ((other, run.eval_id), (world.client, make_eval(world))):
            with pytest.raises(openai.NotFoundError):
                client.post(f"/evals/{eval_id}/runs/{run.id}/{what}", body={}, cast_to=object)


def test_after_a_cancel_no_call_starts(world: World) -> None:
    """Calls that wait for a limit when their run is canceled are never made; those under way are counted as facts."""
    with simulating(latency_ms=500) as (url, simulator):
        world.evaluate = partial(through_gateway, world, url)
        world.broker.holding = True
        run = start(world, make_eval(world, testing_criteria=[QUALITY]), rows(*"abcdefghijklmnop"))
        events = world.until(lambda: len(world.broker.of(EVALUATION_REQUESTED)) == 16 and world.broker.seen[:])
        workers = [threading.Thread(target=world.handle, args=(event,)) for event in events]
        for worker in workers:
            worker.start()
        world.until(lambda: simulator.stats["calls"] >= 2)
        world.client.evals.runs.cancel(run.id, eval_id=run.eval_id)
        for worker in workers:
            worker.join()
    assert simulator.stats["calls"] < 8, "two a second may start, and the watch sees it within one"
    state = world.runs.state(run.id)
    assert (state.status, state.outstanding) == ("canceled", 0)
    assert state.done <= simulator.stats["calls"]


async def through_gateway(world: World, url: str, wanted: RunItems) -> RunItems | None:
    """What an `evaluate` pod does, one call at a time over all of them."""
    client = async_client(world.settings)
    provider = {"kind": "openai", "base_url": url}
    config = {"providers": {"lab": provider}, "models": {"lab:judge-1": {"max_concurrency": 1}}}
    gateway = Gateway(GatewayConfig.model_validate(config), client, settings=world.settings)
    try:
        judging = Judging(complete=gateway.complete, marker=lambda: "m")
        return await evaluate_items(wanted, judging, RedisRunReader(client), deadline_s=time.monotonic() + 30)
    finally:
        await gateway.aclose()
        await client.aclose()


def test_retry_asks_only_for_what_has_no_score(world: World) -> None:
    """Errored items are judged again, their good verdicts are kept and not paid twice, and the run ends once more."""
    judge = Judge(world)
    judge.refusing = "bad"
    eval_id = make_eval(world, testing_criteria=[EQUAL, QUALITY])
    run = start(world, eval_id, rows("good", "bad", "fine", "bad too"))
    ended = world.finish(eval_id, run.id)
    assert ended.result_counts.to_dict() == {"total": 4, "passed": 2, "failed": 0, "errored": 2}
    world.tick()
    world.until(lambda: world.runs.active() == [])
    assert "provider_rejected" in str(refused(world, run, "retry", {"codes": ["other"]}))
    assert refused(world, run, "retry", {"codes": []}).param == "codes"
    judge.refusing, judge.calls = "bad too", []
    again = act(world, run, "retry", {"codes": ["provider_rejected"]})
    assert (again["status"], again["knudge"]["generation"], again["knudge"]["ended_at"]) == ("in_progress", 1, None)
    ended = world.finish(eval_id, run.id)
    assert ended.result_counts.to_dict() == {"total": 4, "passed": 3, "failed": 0, "errored": 1}
    assert len(judge.calls) == 2
    (usage,) = ended.per_model_usage
    assert (usage.invocation_count, usage.cost_usd) == (3, 21e-6), "each call that was answered, once"
    judge.refusing = ""
    act(world, run, "retry")
    ended = world.finish(eval_id, run.id)
    assert (ended.result_counts.passed, ended.knudge["generation"], ended.knudge["unscored"]) == (4, 2, 0)
    assert "nothing to retry" in str(refused(world, run, "retry"))
    world.tick()
    world.until(lambda: world.runs.active() == [])
    told = {event.id: event.data["generation"] for event in world.broker.of(RUN_COMPLETED)}
    assert told[f"{run.id}/completed/2"] == 2
    assert set(told) <= {f"{run.id}/completed", f"{run.id}/completed/1", f"{run.id}/completed/2"}


def test_a_running_run_is_not_retried(world: World) -> None:
    """A retry is for a run that has ended, however it did; a canceled one goes on where it was."""
    world.broker.holding = True
    eval_id = make_eval(world)
    run = start(world, eval_id, [RIGHT, SILENT] * 20)
    assert "has ended" in str(refused(world, run, "retry"))
    world.client.evals.runs.cancel(run.id, eval_id=eval_id)
    world.broker.holding = False
    act(world, run, "retry")
    ended = world.finish(eval_id, run.id)
    assert ended.result_counts.to_dict() == {"total": 40, "passed": 20, "failed": 0, "errored": 20}


def test_a_killed_retry_is_finished_by_the_tick(world: World) -> None:
    """A retry that was opened by a process that died at once is carried on by the reconciler."""
    eval_id = make_eval(world, testing_criteria=[EQUAL, QUALITY])
    judge = Judge(world)
    judge.refusing = "bad"
    run = start(world, eval_id, rows("bad", "good"))
    world.finish(eval_id, run.id)
    world.tick()
    world.until(lambda: world.runs.active() == [])
    judge.refusing = ""
    RunControl(world.store).begin_retry(run.id, ())
    world.tick()
    assert world.finish(eval_id, run.id).result_counts.passed == 2


def test_fork_takes_over_what_is_unchanged(world: World) -> None:
    """With another judge only the judge is asked; samples and other verdicts are the first run's, and cost nothing."""
    judge = Judge(world)
    eval_id = make_eval(world, testing_criteria=[EQUAL, QUALITY])
    source = {
        "type": "completions",
        "model": "lab:target",
        "source": {"type": "file_content", "content": [{"item": {"a": "CAT"}}, {"item": {"a": "dog"}}]},
        "input_messages": {"type": "template", "template": [{"role": "user", "content": "{{item.a}}"}]},
    }
    canaries = upload(world, [{**RIGHT, "expected": {"equal": {"passed": True}}}])
    begun = world.client.evals.runs.create(
        eval_id, name="first", data_source=source, metadata={"knudge_canaries": canaries, "team": "a"}
    )
    first = world.finish(eval_id, begun.id)
    judge.calls = []
    made = act(world, first, "fork", {"judge": "lab:judge-2", "metadata": {"team": "b"}})
    assert (made["name"], made["metadata"]["team"]) == ("first", "b")
    world.client.evals.runs.delete(first.id, eval_id=eval_id)
    second = world.finish(eval_id, made["id"])
    assert judge.calls == ["lab:judge-2"] * 3, "two items and a canary"
    assert second.result_counts.to_dict() == first.result_counts.to_dict()
    usage = {used.model_name: used for used in second.per_model_usage}
    assert (usage["lab:judge-2"].invocation_count, usage["lab:judge-2"].cost_usd) == (3, 21e-6)
    assert (usage["lab:target"].invocation_count, usage["lab:target"].cost_usd) == (0, 0.0)
    assert (second.knudge["forked_from"], second.knudge["canaries"]["passed"]) == (first.id, 1)
    items = world.client.evals.runs.output_items.list(second.id, eval_id=eval_id).data
    assert [item.sample.output[0].content for item in items] == ["CAT", "DOG"]


def test_fork_of_a_run_that_is_gone_judges_afresh(world: World) -> None:
    """What was not taken over when the first run is deleted is judged, and the data is still there."""
    judge = Judge(world)
    eval_id = make_eval(world, testing_criteria=[EQUAL, QUALITY])
    first = world.finish(eval_id, start(world, eval_id, rows(*map(str, range(40)))).id)
    world.broker.holding = True
    made = act(world, first, "fork", {"graders": {"equal": {"operation": "ne"}}})
    world.client.evals.runs.delete(first.id, eval_id=eval_id)
    judge.calls, world.broker.holding = [], False
    for event in world.broker.of(EVALUATION_REQUESTED):
        if event.data["run_id"] == made["id"]:
            world.handle(event)
    second = world.finish(eval_id, made["id"])
    assert second.result_counts.failed == 40
    assert 0 < len(judge.calls) < 40, "the first window was taken over"


def test_a_fork_is_made_once_under_a_key(world: World) -> None:
    """The same fork sent twice under one idempotency key is one run."""
    Judge(world)
    eval_id = make_eval(world, testing_criteria=[QUALITY])
    first = world.finish(eval_id, start(world, eval_id, rows("a")).id)
    path = f"/v1/evals/{eval_id}/runs/{first.id}/fork"
    answers = [Caller(world).post(path, "k", json={"judge": "lab:judge-2"}) for _ in range(2)]
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, ""),
        ({"judge": "lab:judge-1"}, ""),
        ({"graders": {"nope": {}}}, "graders.nope"),
        ({"graders": {"quality": {"nope": 1}}}, "graders.quality"),
        ({"graders": {"quality": {"name": "q"}}}, "graders.quality.name"),
        ({"graders": {"quality": {"type": "python"}}}, "graders.quality.type"),
        ({"graders": {"quality": {"range": [3, 1]}}}, "graders.quality"),
        ({"graders": {"quality": {"input": [{"role": "user", "content": "{{item.zzz}}"}]}}}, "graders.quality.input"),
        ({"graders": {"equal": {"operation": "ne"}}, "metadata": {"knudge_budget_usd": "x"}}, "metadata.knudge_budget_usd"),
        ({"graders": {"equal": {"operation": "ne"}}, "metadata": {"knudge_deadline_s": "0"}}, "metadata.knudge_deadline_s"),
        ({"graders": {"equal": {"operation": "ne"}}, "metadata": {"knudge_stop": "x"}}, "metadata.knudge_stop"),
        ({"graderz": {}}, "graderz"),
        ({"judge": "lap:judge-1"}, "judge"),
        ({"judge": "lab:j", "metadata": {"knudge_budget": "3"}}, "metadata.knudge_budget"),
        ({"graders": {"quality": {"range": [0, 4]}}}, "graders.quality.pass_threshold"),
        ({"graders": {"quality": {"model": "lap:judge-1"}}}, "graders.quality.model"),
    ],
)
def test_a_fork_that_makes_no_sense_is_refused(world: World, body: Any, param: str) -> None:
    """Each mistake is a 400 that points at it, and no run is made."""
    Judge(world)
    eval_id = make_eval(world, testing_criteria=[EQUAL, QUALITY])
    first = world.finish(eval_id, start(world, eval_id, rows("a")).id)
    assert (refused(world, first, "fork", body).param or "").startswith(param)
    assert len(world.client.evals.runs.list(eval_id).data) == 1


def test_a_judge_is_replaced_wherever_it_judges(world: World) -> None:
    """Members of panels and what formulas are over get the other judge, too; without any judge it is an error."""
    judge = Judge(world)
    member = {key: value for key, value in QUALITY.items() if key != "name"}
    members = [{**member, "name": name, "input": [{"role": "user", "content": name}]} for name in "xy"]
    panel = {"type": "panel", "name": "panel", "combine": "mean", "graders": members}
    eval_id = make_eval(world, testing_criteria=[panel])
    first = world.finish(eval_id, start(world, eval_id, rows("a")).id)
    judge.calls = []
    world.finish(eval_id, act(world, first, "fork", {"judge": "lab:judge-2"})["id"])
    assert judge.calls == ["lab:judge-2"] * 2
    plain = make_eval(world)
    first = world.finish(plain, start(world, plain, [WRONG]).id)
    assert refused(world, first, "fork", {"judge": "lab:judge-2"}).param == "judge"


def test_a_running_run_is_not_forked(world: World) -> None:
    """A fork of a run that is still judging would judge some of it twice."""
    world.broker.holding = True
    run = start(world, make_eval(world), [RIGHT])
    assert "when it has ended" in str(refused(world, run, "fork", {"graders": {"equal": {"operation": "ne"}}}))


def test_a_run_ends_at_its_deadline(world: World) -> None:
    """Past its deadline a run fails at the next tick, says how far it came, and is announced; a retry finishes it."""
    world.broker.holding = True
    eval_id = make_eval(world)
    run = start(world, eval_id, [RIGHT] * 30, metadata={"knudge_deadline_s": "3600"})
    world.handle(world.until(lambda: world.broker.of(EVALUATION_REQUESTED))[0])
    world.store.hincrby(keys.run(run.id, "state"), "created_at", -4000)
    world.tick()
    ended = world.client.evals.runs.retrieve(run.id, eval_id=eval_id)
    assert (ended.status, ended.error.code) == ("failed", "run_deadline")
    assert "1 of 30 items" in ended.error.message
    world.until(lambda: world.broker.of(RUN_COMPLETED))
    world.broker.holding = False
    act(world, run, "retry")
    assert world.finish(eval_id, run.id).result_counts.passed == 30
    with pytest.raises(openai.BadRequestError) as error:
        start(world, eval_id, [RIGHT], metadata={"knudge_deadline_s": "soon"})
    assert error.value.param == "metadata.knudge_deadline_s"


def test_dead_letters_are_redriven(world: World) -> None:
    """Items of letters are issued with all their attempts again; results that were never counted are counted."""
    world.broker.holding = True
    eval_id = make_eval(world)
    run = start(world, eval_id, [RIGHT, WRONG])
    first, second = world.until(lambda: len(world.broker.of(EVALUATION_REQUESTED)) == 2 and world.broker.seen[:])
    dead_letter(world, first)
    done = asyncio.run(world.evaluate(RunItems.model_validate(second.data)))
    assert done is not None
    lost = Event(id="lost", type=EVALUATION_COMPLETED, source="/knudge/evaluate", data=done.model_dump())
    dead_letter(world, lost)
    error = refused(world, run, "dead_letters/redrive", {"ids": ["lost", "nope"]})
    assert error.param == "ids[1]"
    world.broker.holding = False
    assert act(world, run, "dead_letters/redrive") == {"letters": 2, "items": 2}
    ended = world.finish(eval_id, run.id)
    assert ended.result_counts.to_dict() == {"total": 2, "passed": 1, "failed": 1, "errored": 0}
    letters = world.client.get(f"/evals/{eval_id}/runs/{run.id}/dead_letters", cast_to=object)
    assert all(letter["redriven_at"] for letter in letters["data"])
    assert "the run has ended" in str(refused(world, run, "dead_letters/redrive", {"ids": [first.id]}))
