"""Runs through the official ``openai`` package, unmodified, with a broker behind `tasks`."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import openai
import pytest
from openai.types.evals import RunCancelResponse, RunCreateResponse, RunListResponse, RunRetrieveResponse
from openai.types.evals.runs import OutputItemListResponse

from common.events.publisher import new_event
from common.schemas.cloudevent import Event
from common.schemas.events import EVALUATION_COMPLETED, EVALUATION_REQUESTED, RUN_ADVANCE, RUN_COMPLETED
from common.store.keys import ACTIVE_RUNS

if TYPE_CHECKING:
    from tests.integration.test_evals_api.conftest import World

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}, "a": {"type": "string"}}, "required": ["a"]}
EQUAL = {
    "type": "string_check",
    "name": "equal",
    "input": "{{sample.output_text}}",
    "reference": "{{item.a}}",
    "operation": "eq",
}
ALIKE = {
    "type": "text_similarity",
    "name": "alike",
    "input": "{{sample.output_text}}",
    "reference": "{{item.a}}",
    "evaluation_metric": "fuzzy_match",
    "pass_threshold": 0.5,
}
RIGHT = {"item": {"a": "cat"}, "sample": {"output_text": "cat"}}
WRONG = {"item": {"a": "cat"}, "sample": {"output_text": "zzzzzz"}}
SILENT = {"item": {"a": "cat"}}


def make_eval(world: World, **changes: Any) -> str:
    config = {"type": "custom", "item_schema": SCHEMA, "include_sample_schema": True}
    made = world.client.evals.create(
        **{"name": "e", "data_source_config": config, "testing_criteria": [EQUAL, ALIKE], **changes}
    )
    return made.id


def start(world: World, eval_id: str, rows: list[dict[str, Any]], **changes: Any) -> Any:
    source = {"type": "jsonl", "source": {"type": "file_content", "content": rows}}
    return world.client.evals.runs.create(eval_id, **{"name": "r", "data_source": source, **changes})


def valid(answer: Any, kind: type[Any]) -> Any:
    kind.model_validate(json.loads(answer.to_json()))
    return answer


def test_a_run_over_rows_in_the_request(world: World) -> None:
    """Counts, criteria, items and statuses of a run are right, and the package's own types hold strictly."""
    eval_id = make_eval(world)
    begun = valid(start(world, eval_id, [RIGHT, WRONG, RIGHT], metadata={"k": "v"}), RunCreateResponse)
    assert (begun.object, begun.status, begun.name, begun.metadata) == ("eval.run", "in_progress", "r", {"k": "v"})
    assert begun.result_counts.total == 0
    run = valid(world.finish(eval_id, begun.id), RunRetrieveResponse)
    assert (run.status, run.model, run.error.code) == ("completed", "", "")
    assert run.result_counts.to_dict() == {"total": 3, "passed": 2, "failed": 1, "errored": 0}
    assert run.report_url == f"http://reports.test/runs/{run.id}/report"
    equal, alike = run.per_testing_criteria_results
    assert (equal.testing_criteria, equal.passed, equal.failed) == ("equal", 2, 1)
    assert equal.mean == pytest.approx(2 / 3)
    assert equal.interval[0] < equal.mean < equal.interval[1]
    assert (alike.testing_criteria, alike.unscored) == ("alike", 0)
    assert run.knudge["items"] == 3
    items = world.client.evals.runs.output_items
    listed = [valid(item, OutputItemListResponse) for item in items.list(run.id, eval_id=eval_id)]
    assert [(item.datasource_item_id, item.status) for item in listed] == [(0, "pass"), (1, "fail"), (2, "pass")]
    assert listed[1].datasource_item == {"a": "cat"}
    assert listed[1].sample.output[0].content == "zzzzzz"
    assert [(r.name, r.type, r.score, r.passed) for r in listed[0].results] == [
        ("equal", "string_check", 1.0, True),
        ("alike", "text_similarity", 1.0, True),
    ]
    assert items.retrieve(listed[1].id, eval_id=eval_id, run_id=run.id).to_dict() == listed[1].to_dict()
    assert valid(world.client.evals.runs.list(eval_id).data[0], RunListResponse).id == run.id


def test_unscored_is_errored_and_never_zero(world: World) -> None:
    """An item without a sample counts as errored; its results have no score, do not pass, and say why."""
    eval_id = make_eval(world)
    run = world.finish(eval_id, start(world, eval_id, [SILENT, RIGHT]).id)
    assert run.result_counts.to_dict() == {"total": 2, "passed": 1, "failed": 0, "errored": 1}
    equal = run.per_testing_criteria_results[0]
    assert (equal.passed, equal.failed, equal.unscored, equal.mean) == (1, 0, 1, 1.0)
    assert run.knudge["unscored"] == 2
    items = world.client.evals.runs.output_items
    (item,) = items.list(run.id, eval_id=eval_id, extra_query={"status": "error"}).data
    assert (item.status, item.datasource_item_id, item.sample.output) == ("error", 0, [])
    assert (item.results[0].score, item.results[0].passed) == (None, False)
    assert item.results[0].unscored["code"] == "unknown_variable"
    assert [i.datasource_item_id for i in items.list(run.id, eval_id=eval_id, status="pass")] == [1]
    assert items.list(run.id, eval_id=eval_id, status="fail").data == []


def test_a_large_run_over_a_file(world: World) -> None:
    """A run larger than its window finishes, pages in both orders, and outlives the file it reads."""
    rows = [RIGHT if number % 4 else WRONG for number in range(130)]
    content = "\n".join(json.dumps({**row, "item": {**row["item"], "q": str(n)}}) for n, row in enumerate(rows))
    file = world.client.files.create(file=("rows.jsonl", content.encode()), purpose="evals")
    eval_id = make_eval(world)
    source = {"type": "jsonl", "source": {"type": "file_id", "id": file.id}}
    begun = world.client.evals.runs.create(eval_id, data_source=source)
    world.client.files.delete(file.id)
    assert len(world.broker.of(EVALUATION_REQUESTED)) <= 16, "no more than the window"
    run = world.finish(eval_id, begun.id)
    assert (run.name, run.data_source.source.id) == ("e", file.id)
    assert run.result_counts.to_dict() == {"total": 130, "passed": 97, "failed": 33, "errored": 0}
    items = world.client.evals.runs.output_items
    assert [item.datasource_item["q"] for item in items.list(run.id, eval_id=eval_id, limit=50)] == [str(n) for n in range(130)]
    failed = [item.datasource_item_id for item in items.list(run.id, eval_id=eval_id, limit=10, status="fail", order="desc")]
    assert failed == list(range(128, -1, -4))
    requested = world.broker.of(EVALUATION_REQUESTED)
    assert len({event.id for event in requested}) == len(requested) == 130
    first = requested[0]
    assert (first.source, first.subject) == ("/knudge/tasks", f"{run.id}/{first.data['items'][0]}")
    assert first.data.keys() == {"run_id", "items", "lease"}, "references only"


def test_a_target_model_makes_the_samples(world: World) -> None:
    """With a completions source the target is asked with the template; its usage and samples are reported."""
    eval_id = make_eval(world)
    source = {
        "type": "completions",
        "model": "lab:echo",
        "source": {"type": "file_content", "content": [{"item": {"q": "dog", "a": "SAY DOG"}}, {"item": {"q": "x", "a": "y"}}]},
        "input_messages": {"type": "template", "template": [{"role": "user", "content": "say {{item.q}}"}]},
        "sampling_params": {"temperature": 0.0, "max_completion_tokens": 9, "seed": 4},
    }
    run = valid(world.finish(eval_id, world.client.evals.runs.create(eval_id, data_source=source).id), RunRetrieveResponse)
    assert (run.model, run.data_source.type, run.data_source.model) == ("lab:echo", "completions", "lab:echo")
    assert run.result_counts.to_dict() == {"total": 2, "passed": 1, "failed": 1, "errored": 0}
    (usage,) = run.per_model_usage
    assert (usage.run_model_name, usage.invocation_count, usage.prompt_tokens, usage.total_tokens) == ("lab:echo", 2, 14, 20)
    assert (usage.role, usage.cost_usd) == ("target", None), "an unknown price is not 0"
    assert run.knudge["simulated"]
    assert run.knudge["cost_usd"] is None
    item = valid(next(iter(world.client.evals.runs.output_items.list(run.id, eval_id=eval_id))), OutputItemListResponse)
    sample = item.sample
    assert (sample.input[0].content, sample.output[0].content, sample.model) == ("say dog", "SAY DOG", "lab:echo")
    assert (sample.temperature, sample.max_completion_tokens, sample.seed, sample.top_p) == (0.0, 9, 4, 1.0)
    assert (sample.finish_reason, sample.usage.total_tokens) == ("stop", 10)


def test_item_reference_takes_messages_from_the_item(world: World) -> None:
    """A ready list of messages inside the item is what the target is asked with."""
    schema = {"type": "object", "properties": {"chat": {"type": "array"}, "a": {"type": "string"}}}
    eval_id = make_eval(world, data_source_config={"type": "custom", "item_schema": schema})
    source = {
        "type": "completions",
        "model": "lab:echo",
        "source": {"type": "file_content", "content": [{"item": {"chat": [{"role": "user", "content": "hi"}], "a": "HI"}}]},
        "input_messages": {"type": "item_reference", "item_reference": "item.chat"},
    }
    run = world.finish(eval_id, world.client.evals.runs.create(eval_id, data_source=source).id)
    assert run.result_counts.passed == 1


def test_past_versions_stay_under_their_runs(world: World) -> None:
    """Renaming an eval changes no run that was started before."""
    eval_id = make_eval(world)
    before = start(world, eval_id, [RIGHT])
    world.client.evals.update(eval_id, name="renamed")
    after = start(world, eval_id, [RIGHT])
    assert (before.knudge["eval_version"], after.knudge["eval_version"]) == (1, 2)
    assert world.finish(eval_id, before.id).knudge["eval_version"] == 1


CONTENT = {"type": "file_content", "content": [RIGHT]}
TEMPLATE = {"type": "template", "template": [{"role": "user", "content": "{{item.q}}"}]}


@pytest.mark.parametrize(
    ("source", "param", "message"),
    [
        ({"type": "responses", "source": CONTENT}, "data_source.type", "'jsonl' or 'completions'"),
        (
            {"type": "completions", "model": "m", "source": {"type": "stored_completions"}},
            "data_source.source.type",
            "file_content",
        ),
        ({"type": "jsonl", "source": {"type": "file_id", "id": "file_no"}}, "data_source.source.id", "no such file"),
        (
            {"type": "jsonl", "source": {"type": "file_content", "content": [RIGHT, {"item": {"q": 3}}]}},
            None,
            "content[1]: item",
        ),
        ({"type": "completions", "source": CONTENT, "input_messages": TEMPLATE}, "data_source.model", "needs the model"),
        ({"type": "completions", "source": CONTENT, "model": "m"}, "data_source.input_messages", "input_messages"),
        (
            {
                "type": "completions",
                "source": CONTENT,
                "model": "m",
                "input_messages": {"type": "template", "template": [{"role": "user", "content": "{{sample.output_text}}"}]},
            },
            "data_source.input_messages.template[0].content",
            "sample.output_text",
        ),
        (
            {
                "type": "completions",
                "source": CONTENT,
                "model": "m",
                "input_messages": {"type": "item_reference", "item_reference": "item.no"},
            },
            "data_source.input_messages.item_reference",
            "item.no",
        ),
        (
            {"type": "completions", "source": CONTENT, "model": "lap:m", "input_messages": TEMPLATE},
            "data_source.model",
            "provider 'lap' is not configured",
        ),
    ],
)
def test_what_is_wrong_with_a_run_is_said(world: World, source: dict[str, Any], param: str | None, message: str) -> None:
    """A wrong data source is a BadRequestError that names row and field; no run and no data are left."""
    eval_id = make_eval(world)
    with pytest.raises(openai.BadRequestError) as caught:
        world.client.evals.runs.create(eval_id, data_source=source)
    assert message in caught.value.message
    if param is not None:
        assert caught.value.param == param
    assert world.client.evals.runs.list(eval_id).data == []
    assert not [key for key in world.store.keys("*") if key.startswith((b"kn:ds", b"kn:run"))]


def test_an_imported_eval_is_run_with_judges_that_are_there(world: World) -> None:
    """An eval of elsewhere is kept whatever its judge is; a run of it is refused, naming the eval's field, without one."""
    judge = {"type": "label_model", "name": "j", "labels": ["a"], "passing_labels": ["a"], "input": TEMPLATE["template"]}
    for number, model in enumerate(("lap:judge-1", "gpt-4o-mini")):
        given = {"id": f"eval_{number}", "created_at": 1, "data_source_config": {"type": "custom", "item_schema": {}}}
        body = {"source": "https://api.openai.com", "eval": {**given, "testing_criteria": [{**judge, "model": model}]}}
        made: Any = world.client.post("/import/evals", body=body, cast_to=object)
        start = partial(world.client.evals.runs.create, made["eval_id"], data_source={"type": "jsonl", "source": CONTENT})
        if number:
            assert start().status in {"queued", "in_progress"}
        else:
            with pytest.raises(
                openai.BadRequestError, match="the eval's /testing_criteria/0/model: model 'lap:judge-1'"
            ) as caught:
                start()
            assert caught.value.param == "testing_criteria[0].model"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("knudge_budget_usd", "a lot", "US dollars"),
        ("knudge_budget_usd", "1_0", "US dollars"),
        ("knudge_deadline_s", "0.5", "whole seconds"),
        ("knudge_budget", "3", "known: knudge_budget_usd, knudge_canaries"),
    ],
)
def test_metadata_that_asks_for_nothing_sensible_is_refused(world: World, name: str, text: str, message: str) -> None:
    """A budget or deadline nobody can reckon with, or one that is misspelt, is told before anything is spent."""
    eval_id = make_eval(world)
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        start(world, eval_id, [RIGHT], metadata={name: text})
    assert caught.value.param == f"metadata.{name}"
    assert world.client.evals.runs.list(eval_id).data == []


def test_a_files_rows_are_checked_and_named(world: World) -> None:
    """A row of a file that does not fit is named, and the file can still be used with an eval that it fits."""
    file = world.client.files.create(file=b'{"item":{"a":"x"}}\n{"item":{"b":"x"}}\n', purpose="evals")
    source = {"type": "jsonl", "source": {"type": "file_id", "id": file.id}}
    with pytest.raises(openai.BadRequestError, match="row 2 of the file: item: 'a' is a required property"):
        world.client.evals.runs.create(make_eval(world), data_source=source)
    loose = {"type": "custom", "item_schema": {"type": "object"}}
    eval_id = make_eval(world, data_source_config=loose)
    for _ in range(2):
        assert world.client.evals.runs.create(eval_id, data_source=source).status == "in_progress"
    with pytest.raises(openai.BadRequestError, match="expected an object under 'item'"):
        start_with_file(world, eval_id, b'{"a":"x"}\n')


def start_with_file(world: World, eval_id: str, content: bytes) -> Any:
    file = world.client.files.create(file=content, purpose="evals")
    source = {"type": "jsonl", "source": {"type": "file_id", "id": file.id}}
    return world.client.evals.runs.create(eval_id, data_source=source)


def test_cancel_list_and_delete(world: World) -> None:
    """A run can be canceled either way, listed by status, and deleted with all that belonged to it."""
    eval_id, runs = make_eval(world), world.client.evals.runs
    world.broker.holding = True
    ids = [start(world, eval_id, [RIGHT] * 40).id for _ in range(3)]
    canceled = valid(runs.cancel(ids[0], eval_id=eval_id), RunCancelResponse)
    assert canceled.status == "canceled"
    assert runs.cancel(ids[0], eval_id=eval_id).status == "canceled", "again is no error"
    world.client.post(f"/evals/{eval_id}/runs/{ids[1]}", cast_to=RunCancelResponse)
    assert [run.id for run in runs.list(eval_id, status="canceled", limit=1)] == ids[:2]
    assert [run.id for run in runs.list(eval_id, limit=2, order="desc")] == ids[::-1]
    assert runs.list(eval_id, status="failed").data == []
    world.until(lambda: len(world.broker.of(RUN_COMPLETED)) == 2 and len(world.runs.active()) == 1)
    assert {event.data["status"] for event in world.broker.of(RUN_COMPLETED)} == {"canceled"}
    deleted = runs.delete(ids[0], eval_id=eval_id)
    assert (deleted.deleted, deleted.run_id, deleted.object) == (True, ids[0], "eval.run.deleted")
    with pytest.raises(openai.NotFoundError):
        runs.retrieve(ids[0], eval_id=eval_id)
    world.client.evals.delete(eval_id)
    assert [key for key in world.store.keys("*") if not key.startswith((b"kn:apikey", b"kn:clock"))] == []


def test_a_completed_run_cannot_be_canceled(world: World) -> None:
    """Canceling what has completed is a BadRequestError and changes nothing."""
    eval_id = make_eval(world)
    run = world.finish(eval_id, start(world, eval_id, [RIGHT]).id)
    with pytest.raises(openai.BadRequestError, match="completed already"):
        world.client.evals.runs.cancel(run.id, eval_id=eval_id)
    assert world.client.evals.runs.retrieve(run.id, eval_id=eval_id).status == "completed"


def test_runs_and_items_of_others_are_not_there(world: World) -> None:
    """A run is found only under its own eval, an item only under its own run."""
    one, other = make_eval(world), make_eval(world)
    runs = world.client.evals.runs
    run = world.finish(one, start(world, one, [RIGHT]).id)
    twin = world.finish(one, start(world, one, [RIGHT]).id)
    (item,) = runs.output_items.list(run.id, eval_id=one).data
    for look in (
        lambda: runs.retrieve(run.id, eval_id=other),
        lambda: runs.retrieve("run_x}:{y", eval_id=one),
        lambda: runs.delete(run.id, eval_id=other),
        lambda: runs.output_items.retrieve(item.id, eval_id=one, run_id=twin.id),
        lambda: runs.output_items.retrieve(item.id[:-1] + "7", eval_id=one, run_id=run.id),
    ):
        with pytest.raises(openai.NotFoundError):
            look()
    with pytest.raises(openai.BadRequestError, match="after"):
        runs.output_items.list(twin.id, eval_id=one, after=item.id)


def test_an_empty_run_completes_and_says_so(world: World) -> None:
    """A run over no rows is complete at once, and its event goes out."""
    eval_id = make_eval(world)
    run = start(world, eval_id, [])
    assert (run.status, run.result_counts.total) == ("completed", 0)
    (event,) = world.until(lambda: world.broker.of(RUN_COMPLETED))
    assert (event.source, event.id) == ("/knudge/aggregate", f"{run.id}/completed")
    assert (event.data["status"], event.data["report_url"]) == ("completed", run.report_url)
    world.until(lambda: world.runs.active() == [])


def test_what_the_broker_refused_is_sent_again_without_losing_an_attempt(world: World) -> None:
    """While the broker is away a run waits; the next tick after its return sends events for the same first attempts."""
    eval_id = make_eval(world)
    world.broker.refusing = True
    run = start(world, eval_id, [RIGHT, WRONG])
    for _ in range(5):
        world.tick()
    world.until(lambda: world.runs.state(run.id).outstanding == 2)
    world.broker.refusing = False
    world.until(lambda: world.tick() or len(world.broker.of(EVALUATION_REQUESTED)) >= 2)
    sent = {event.id.rpartition("/")[0] for event in world.broker.of(EVALUATION_REQUESTED)}
    assert sent == {f"{run.id}/0/1", f"{run.id}/1/1"}
    assert world.finish(eval_id, run.id).result_counts.total == 2


def test_the_end_of_a_run_is_announced_until_the_broker_has_it(world: World) -> None:
    """A run stays on the reconciler's list until its event was accepted, and the event keeps its id."""
    eval_id = make_eval(world)
    world.broker.holding = True
    run = start(world, eval_id, [RIGHT])
    world.broker.refusing = True
    world.client.evals.runs.cancel(run.id, eval_id=eval_id)
    world.tick()
    assert world.runs.active() == [run.id]
    world.broker.refusing = False
    world.until(lambda: world.tick() or world.runs.active() == [])
    assert {event.id for event in world.broker.of(RUN_COMPLETED)} == {f"{run.id}/completed"}


def dead_letter(world: World, event: Event) -> None:
    said = {
        "knativeerrorcode": "500",
        "knativeerrordest": "http://evaluate/",
        "knativeerrordata": "Ym9vbSBrbi1hYmNkZWZnaGlqa2xtbm9wcQ==",
    }
    letter = Event(id=event.id, type=event.type, source=event.source, subject=event.subject, data=event.data, extensions=said)
    assert world.send(letter, "/dead-letters") == 202


def test_dead_letters_are_shown_and_their_items_tried_again_until_given_up(world: World) -> None:
    """An item whose events die is issued again under new attempt numbers, then given up as unscored with the reason."""
    eval_id = make_eval(world)
    world.broker.holding = True
    run = start(world, eval_id, [RIGHT])
    for attempt in (1, 2, 3):
        (event,) = world.until(lambda n=attempt: [e for e in world.broker.of(EVALUATION_REQUESTED) if f"/0/{n}/" in e.id])
        dead_letter(world, event)
        world.broker.holding = attempt < 3
        world.tick()
    ended = world.finish(eval_id, run.id)
    (given_up,) = world.broker.of(EVALUATION_COMPLETED)
    assert (given_up.id, given_up.data["items"]) == (f"{run.id}/0/given-up", [0])
    assert ended.result_counts.to_dict() == {"total": 1, "passed": 0, "failed": 0, "errored": 1}
    (item,) = world.client.evals.runs.output_items.list(run.id, eval_id=eval_id).data
    assert item.results[0].unscored["code"] == "attempts_exhausted"
    assert "500" in item.results[0].unscored["message"]
    letters = world.client.get(f"/evals/{eval_id}/runs/{run.id}/dead_letters", cast_to=object)
    tried = [letter["event_id"].rpartition("/")[0] for letter in letters["data"]]
    assert tried == [f"{run.id}/0/{n}" for n in (3, 2, 1)]
    assert (letters["data"][0]["code"], letters["data"][0]["detail"]) == ("500", "boom [redacted]")


def test_letters_of_no_known_run_are_kept_apart(world: World) -> None:
    """A dead letter that belongs nowhere is recorded all the same."""
    for data in ({"run_id": "run_gone", "items": [1]}, {"run_id": "a}b"}, "text", None):
        dead_letter(world, Event(id="x", type="some.type", source="/s", data=data))
    assert world.store.llen("kn:dead_letters") == 4


def test_events_that_make_no_sense_are_not_retried(world: World) -> None:
    """Unknown runs are taken and forgotten; a broken event or an unknown type is a 400, which brokers do not repeat."""
    assert world.send(new_event(RUN_ADVANCE, "/x", None, {"run_id": "run_gone"})) == 202
    assert world.send(new_event(RUN_ADVANCE, "/x", None, {"run": 1})) == 400
    assert world.send(new_event("dev.knudge.other.v1", "/x", None, {})) == 400


def test_a_deleted_run_leaves_the_reconcilers_list(world: World) -> None:
    """A tick clears runs that are gone, and a late advance for one does nothing."""
    eval_id = make_eval(world)
    world.broker.holding = True
    run = start(world, eval_id, [RIGHT])
    world.client.evals.runs.delete(run.id, eval_id=eval_id)
    world.store.zadd(ACTIVE_RUNS, {run.id: 1})
    world.tick()
    assert world.runs.active() == []
    assert world.send(new_event(RUN_ADVANCE, "/x", None, {"run_id": run.id})) == 202
