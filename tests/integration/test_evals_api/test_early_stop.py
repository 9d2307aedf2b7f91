"""Runs that end as soon as their stop rule has decided, through the official ``openai`` package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

from common.schemas.events import RUN_COMPLETED
from tests.integration.test_evals_api.test_canaries import KNOWN_RIGHT, upload
from tests.integration.test_evals_api.test_runs import EQUAL, RIGHT, SILENT, WRONG, make_eval, start

if TYPE_CHECKING:
    from tests.integration.test_evals_api.conftest import World

ITEMS = 400


def rows(*, right: int) -> list[dict[str, Any]]:
    """Sorted, wrong ones first: only a random order can judge these fairly."""
    return [WRONG] * (ITEMS - right) + [RIGHT] * right


def ended(world: World, data: list[dict[str, Any]], rule: str, **metadata: str) -> Any:
    eval_id = make_eval(world, testing_criteria=[EQUAL])
    begun = start(world, eval_id, data, metadata={"knudge_stop": rule, **metadata})
    return world.finish(eval_id, begun.id)


@pytest.mark.parametrize(("right", "decision"), [(360, "above"), (40, "below")])
def test_a_clear_run_stops_early_and_is_right(world: World, right: int, decision: str) -> None:
    """With 90 % on one side half of the items settle it: the run ends, completed, its decision and its interval right."""
    run = ended(world, rows(right=right), "equal: mean 0.5")
    stopped = run.knudge["stopped"]
    assert (run.status, stopped["decision"], stopped["rule"]) == ("completed", decision, "equal: mean 0.5")
    assert stopped["at_items"] <= ITEMS / 2
    assert stopped["at_items"] <= run.result_counts.total < ITEMS
    assert stopped["interval"][0] <= right / ITEMS <= stopped["interval"][1]
    assert run.knudge["items"] == ITEMS
    assert run.knudge["outstanding"] == 0
    lines = [item.datasource_item_id for item in world.client.evals.runs.output_items.list(run.id, eval_id=run.eval_id)]
    assert len(set(lines)) == run.result_counts.total
    assert lines != sorted(lines)


def test_the_end_is_announced_although_items_are_left(world: World) -> None:
    """`run.completed` is sent for a run that stopped, as for any other, and the reconciler forgets it."""
    run = ended(world, rows(right=400), "equal: mean above 0.5")
    world.tick()
    world.until(lambda: world.broker.of(RUN_COMPLETED))
    world.until(lambda: run.id not in world.runs.active())
    assert world.runs.state(run.id).done < ITEMS


def test_a_run_at_the_threshold_goes_to_the_end(world: World) -> None:
    """Where the mean is the threshold itself nothing is decided, and every item is judged."""
    run = ended(world, rows(right=ITEMS // 2), "equal: mean 0.5, alpha 0.000001")
    assert (run.result_counts.total, run.result_counts.passed, run.knudge["stopped"]) == (ITEMS, ITEMS // 2, None)


def test_a_rule_for_one_side_ignores_the_other(world: World) -> None:
    """A run that is to find out whether a mean lies above goes to the end when it lies below."""
    run = ended(world, rows(right=40)[:100], "equal: mean above 0.5")
    assert (run.result_counts.total, run.knudge["stopped"]) == (100, None)


def test_what_is_unscored_keeps_a_run_from_stopping(world: World) -> None:
    """Items without a score count as the worst they could be: all passed but too few of them decide nothing."""
    data = [SILENT] * 80 + [RIGHT] * 70
    run = ended(world, data, "equal: mean above 0.5")
    assert (run.result_counts.total, run.result_counts.errored, run.knudge["stopped"]) == (150, 80, None)


def test_canaries_have_no_say_in_the_decision(world: World) -> None:
    """A hundred right canaries between wrong items do not lift their mean."""
    canaries = upload(world, [{**KNOWN_RIGHT, "expected": {"equal": {"passed": True}}}] * 100)
    run = ended(world, rows(right=40), "equal: mean 0.5", knudge_canaries=canaries)
    assert run.knudge["stopped"]["decision"] == "below"
    assert run.knudge["canaries"]["done"] < 100
    assert run.knudge["suspect"] is False


def test_a_run_is_compared_with_another_line_by_line(world: World) -> None:
    """Over the same file, in another order, an equal run is soon known to be not worse, and one with a worse grader worse."""
    data = [{"item": {"q": "no", "a": "cat"}, "sample": {"output_text": "cat"}}] * 80
    data += [{"item": {"q": "cat", "a": "dog"}, "sample": {"output_text": "cat"}}] * 80
    source = {"type": "jsonl", "source": {"type": "file_id", "id": upload(world, data)}}
    eval_id = make_eval(world, testing_criteria=[EQUAL])
    base = start(world, eval_id, [], data_source=source)
    assert world.finish(eval_id, base.id).result_counts.passed == 80
    metadata = {"knudge_stop": f"equal: not worse than {base.id} by 0.2"}
    same = start(world, eval_id, [], data_source=source, metadata=metadata)
    stopped = world.finish(eval_id, same.id).knudge["stopped"]
    assert stopped["decision"] == "not worse"
    assert stopped["interval"][0] <= 0 <= stopped["interval"][1]
    never = make_eval(world, testing_criteria=[{**EQUAL, "reference": "nothing is like this"}])
    worse = start(world, never, [], data_source=source, metadata=metadata)
    found = world.finish(never, worse.id)
    assert found.knudge["stopped"]["decision"] == "worse"
    assert found.result_counts.total < 160


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("equal", "expected 'GRADER: mean above"),
        ("equal: mean above", "expected 'GRADER"),
        ("other: mean 0.5", "no grader 'other'"),
        ("equal: mean 1", "lie between 0 and 1"),
        ("equal: mean 0.5 alpha 1", "alpha"),
        ("equal: not worse than run_x by -1", "margin"),
        ("equal: not worse than run_x by 0.1", "no such run"),
    ],
)
def test_a_rule_is_checked_before_the_run(world: World, rule: str, message: str) -> None:
    """What means nothing is refused, with the forms that are understood, and no run is started."""
    eval_id = make_eval(world, testing_criteria=[EQUAL])
    with pytest.raises(openai.BadRequestError, match=message):
        start(world, eval_id, [RIGHT], metadata={"knudge_stop": rule})
    assert not list(world.client.evals.runs.list(eval_id))


def test_runs_over_other_data_are_not_compared(world: World) -> None:
    """The other run must have completed, over the same file, in the same project; what is refused leaves nothing behind."""
    eval_id = make_eval(world, testing_criteria=[EQUAL])
    other = start(world, eval_id, [RIGHT])
    rule = {"knudge_stop": f"equal: not worse than {other.id} by 0.1"}
    with pytest.raises(openai.BadRequestError, match="in_progress, not completed"):
        start(world, eval_id, [RIGHT], metadata=rule)
    world.finish(eval_id, other.id)
    kept = set(world.store.scan_iter("kn:ds:*"))
    with pytest.raises(openai.BadRequestError, match="same uploaded file"):
        start(world, eval_id, [RIGHT], metadata=rule)
    assert set(world.store.scan_iter("kn:ds:*")) == kept
    stranger = world.new_client("other")
    config = {"type": "custom", "item_schema": {"type": "object"}, "include_sample_schema": True}
    theirs = stranger.evals.create(name="e", data_source_config=config, testing_criteria=[EQUAL | {"reference": "x"}])  # type: ignore[arg-type, list-item]
    source = {"type": "jsonl", "source": {"type": "file_content", "content": [json.loads(json.dumps(RIGHT))]}}
    with pytest.raises(openai.BadRequestError, match="no such run"):
        stranger.evals.runs.create(theirs.id, name="r", data_source=source, metadata=rule)  # type: ignore[arg-type]
    stranger.close()
