"""Canaries in runs, through the official ``openai`` package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

from common.store import keys
from common.store.results import ResultStore
from common.store.scores import ScoreStore
from tests.integration.test_evals_api.test_runs import EQUAL, RIGHT, SILENT, WRONG, make_eval, start

if TYPE_CHECKING:
    from tests.integration.test_evals_api.conftest import World

KNOWN_RIGHT = {**RIGHT, "expected": {"equal": {"passed": True}, "alike": {"score": [0.9, 1]}}}
KNOWN_WRONG = {**WRONG, "expected": {"equal": {"passed": False}}}
MISJUDGED = {**WRONG, "expected": {"alike": {"passed": False}, "equal": {"passed": True}}}


def upload(world: World, lines: list[dict[str, Any]]) -> str:
    content = "\n".join(map(json.dumps, lines)).encode()
    return world.client.files.create(file=("canaries.jsonl", content), purpose="evals").id


def judged(world: World, rows: list[dict[str, Any]], canaries: list[dict[str, Any]], **changes: Any) -> Any:
    eval_id = make_eval(world)
    begun = start(world, eval_id, rows, metadata={"knudge_canaries": upload(world, canaries)}, **changes)
    return world.finish(eval_id, begun.id)


def test_canaries_count_in_nothing_but_their_own_figures(world: World) -> None:
    """Items, criteria, score vectors, results and output items are as without canaries; the lines keep their numbers."""
    run = judged(world, [RIGHT, WRONG, RIGHT, WRONG], [KNOWN_RIGHT, KNOWN_WRONG])
    assert run.result_counts.to_dict() == {"total": 4, "passed": 2, "failed": 2, "errored": 0}
    assert [criterion.passed for criterion in run.per_testing_criteria_results] == [2, 2]
    assert (run.knudge["suspect"], run.knudge["items"]) == (False, 4)
    assert run.knudge["canaries"] == {"total": 2, "done": 2, "passed": 2, "failed": 0, "unscored": 0, "failing": []}
    listed = list(world.client.evals.runs.output_items.list(run.id, eval_id=run.eval_id))
    assert [(item.datasource_item_id, item.status) for item in listed] == [(0, "pass"), (1, "fail"), (2, "pass"), (3, "fail")]
    assert [int(item.id.rpartition("_")[2]) for item in listed] == [0, 2, 3, 5]
    plan = world.runs.plan(run.id)
    assert plan.arrangement.canary_positions() == [1, 4]
    assert len(ScoreStore(world.store).scores(plan, 0)) == 8 * 6
    assert ResultStore(world.store).finished(plan) == bytes([0b10110100])
    assert {worst.index for worst in world.records.summary(plan).worst["equal"]} == {0, 2, 3, 5}
    with pytest.raises(openai.NotFoundError):
        world.client.evals.runs.output_items.retrieve(
            f"{listed[0].id.rpartition('_')[0]}_1", eval_id=run.eval_id, run_id=run.id
        )


def test_a_failing_canary_marks_the_run(world: World) -> None:
    """One wrong verdict on a canary makes the whole run suspect, and names the canary and the grader."""
    run = judged(world, [RIGHT], [KNOWN_RIGHT, MISJUDGED])
    assert run.result_counts.passed == 1
    assert run.knudge["suspect"] is True
    assert run.knudge["suspect_reason"] == "1 of 2 canaries failed, 0 have no score"
    assert run.knudge["canaries"]["failing"] == [{"line": 1, "grader": "equal", "outcome": "failed"}]


def test_a_canary_without_a_score_marks_the_run(world: World) -> None:
    """A grader that has no verdict on a canary cannot be believed either."""
    silent = {**SILENT, "sample": {"output_text": None}, "expected": {"equal": {"passed": False}}}
    run = judged(world, [RIGHT], [silent])
    assert run.knudge["suspect"] is True
    assert run.knudge["canaries"]["failing"] == [{"line": 0, "grader": "equal", "outcome": "unscored"}]


def test_a_canary_brings_its_own_sample_where_a_model_generates_the_others(world: World) -> None:
    """The target is asked about the items alone; the canary is judged as it was given."""
    source = {
        "type": "completions",
        "source": {"type": "file_content", "content": [{"item": {"a": "CAT"}}] * 3},
        "model": "echo",
        "input_messages": {"type": "template", "template": [{"role": "user", "content": "{{item.a}}"}]},
    }
    eval_id = make_eval(world)
    canaries = upload(world, [KNOWN_RIGHT, KNOWN_WRONG])
    begun = world.client.evals.runs.create(
        eval_id,
        name="r",
        data_source=source,  # type: ignore[arg-type]
        metadata={"knudge_canaries": canaries},
    )
    run = world.finish(eval_id, begun.id)
    assert run.result_counts.to_dict() == {"total": 3, "passed": 3, "failed": 0, "errored": 0}
    assert run.knudge["canaries"]["passed"] == 2
    assert [usage.invocation_count for usage in run.per_model_usage] == [3]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "expected 1 to 1000 canaries"),
        (
            [KNOWN_RIGHT, {**RIGHT, "expected": {"equals": {"passed": True}}}],
            "line 2 of the canaries: the eval has no grader 'eq",
        ),
        ([{**RIGHT, "expected": {}}], "line 1 of the canaries"),
        ([{**RIGHT, "expected": {"equal": {}}}], "expected one of 'passed', 'label' and 'score'"),
        ([{**RIGHT, "expected": {"equal": {"passed": True, "label": "x"}}}], "expected one of"),
        ([{**RIGHT, "expected": {"equal": {"score": [1, 0]}}}], "lowest, highest"),
        ([{"item": RIGHT["item"], "expected": {"equal": {"passed": True}}}], "sample"),
        ([{**KNOWN_RIGHT, "item": {"b": 1}}], "line 1 of the canaries: item"),
        ([RIGHT], "expected"),
    ],
)
def test_canaries_are_checked_before_the_run(world: World, lines: list[dict[str, Any]], message: str) -> None:
    """What could not be judged, or compared with a verdict, is refused with the line's number, and no run is started."""
    eval_id = make_eval(world)
    file_id = upload(world, lines)
    with pytest.raises(openai.BadRequestError, match=message):
        start(world, eval_id, [RIGHT], metadata={"knudge_canaries": file_id})
    assert not list(world.client.evals.runs.list(eval_id))


def test_canaries_of_another_project_are_not_there(world: World) -> None:
    """Only files of the eval's own project can be canaries."""
    stranger = world.new_client("other")
    file_id = stranger.files.create(file=("c.jsonl", json.dumps(KNOWN_RIGHT).encode()), purpose="evals").id
    stranger.close()
    with pytest.raises(openai.BadRequestError, match="no such file"):
        start(world, make_eval(world), [RIGHT], metadata={"knudge_canaries": file_id})


def test_a_run_keeps_its_canaries_and_leaves_nothing(world: World) -> None:
    """Canaries outlive their file as long as the run needs them; without run and file nothing of either stays."""
    eval_id = make_eval(world, testing_criteria=[EQUAL])
    world.broker.holding = True
    file_id = upload(world, [{**RIGHT, "expected": {"equal": {"passed": True}}}])
    begun = start(world, eval_id, [RIGHT], metadata={"knudge_canaries": file_id})
    world.client.files.delete(file_id)
    for event in world.broker.seen:
        world.handle(event)
    plan = world.runs.plan(begun.id)
    assert plan.canary_dataset_id is not None
    assert world.store.exists(keys.dataset(plan.canary_dataset_id))
    world.client.evals.runs.delete(begun.id, eval_id=eval_id)
    names = (begun.id.encode(), plan.canary_dataset_id.encode())
    left = [key for key in world.store.scan_iter() if any(name in key for name in names)]
    assert [key for key in left if world.store.ttl(key) == -1] == []
