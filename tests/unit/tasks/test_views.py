"""Identifiers and pass marks in OpenAI's objects."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.schemas.evaluation import Unscored, Verdict
from common.schemas.graders import InputMessage, MultiGrader, ScoreModelGrader, StringCheckGrader
from common.schemas.runs import ItemResult, RunPlan, StoredSample
from functions.tasks.evals.versions import with_pass_mark
from functions.tasks.views import index_of, output_item, output_item_id

RUN = "run_00064b9f00000012345678"
EQUAL = StringCheckGrader(type="string_check", name="a", input="", reference="", operation="eq")
PLAN = RunPlan(
    run_id=RUN,
    eval_id="e",
    eval_version=1,
    name="r",
    created_at=1,
    dataset_id="d",
    item_count=1,
    graders=[EQUAL],
    data_source={},
    window_items=1,
)


@given(st.integers(0, 10**9))
def test_item_ids_lead_back_to_their_item(index: int) -> None:
    """An output item's id names its run and item, and is good for no other run."""
    item_id = output_item_id(RUN, index)
    assert index_of(item_id, RUN) == index
    assert index_of(item_id, RUN + "0") is None


@pytest.mark.parametrize("wrong", ["", "outputitem_", "outputitem_x_1", f"outputitem_{RUN[4:]}_01", f"outputitem_{RUN[4:]}_-1"])
def test_what_is_no_item_id_finds_nothing(wrong: str) -> None:
    """Anything but the one way to write an id is refused."""
    assert index_of(wrong, RUN) is None


def test_pass_marks_are_written_down_at_every_depth() -> None:
    """A score grader's mark is filled in, also inside a formula; a mark that was given stays."""
    score = ScoreModelGrader(
        type="score_model", name="s", model="m", range=(1, 5), input=[InputMessage(role="user", content="x")]
    )
    multi = MultiGrader(type="multi", name="m", graders={"s": score}, calculate_output="s / 5")
    assert with_pass_mark(score) == score.model_copy(update={"pass_threshold": 3.0})
    assert with_pass_mark(score.model_copy(update={"pass_threshold": 1.0})).threshold == 1.0
    inner = with_pass_mark(multi)
    assert isinstance(inner, MultiGrader)
    assert inner.graders["s"].threshold == 3.0
    assert with_pass_mark(EQUAL) == EQUAL


def test_an_unscored_verdict_is_an_error_without_a_score() -> None:
    """One unscored verdict makes the item an error; its result has no score, and no sample has no output."""
    reason = Unscored(code="no_verdict", message="?")
    verdict = Verdict(name="a", type="string_check", unscored=reason)
    shown = output_item(PLAN, ItemResult(index=0, item={"q": 1}, sample=StoredSample(unscored=reason), verdicts=[verdict]))
    assert shown.status == "error"
    assert (shown.results[0].score, shown.results[0].passed, shown.results[0].unscored) == (None, False, reason)
    assert (shown.sample.output, shown.sample.error.code) == ([], "no_verdict")


def test_messages_that_are_no_text_are_shown_as_json() -> None:
    """OpenAI's type wants text: content parts and empty contents become JSON."""
    parts = [{"type": "text", "text": "hi"}]
    sample = StoredSample(output_text="x", input=[{"role": "user", "content": parts}, {"role": "tool", "content": None}])
    shown = output_item(PLAN, ItemResult(index=0, item={}, sample=sample, verdicts=[]))
    assert [message.content for message in shown.sample.input] == ['[{"type":"text","text":"hi"}]', "null"]
