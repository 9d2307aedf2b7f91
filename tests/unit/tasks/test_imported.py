"""Translation of other servers' evals and results, with the shapes that OpenAI's reference shows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.schemas.graders import PythonGrader, StringCheckGrader
from common.schemas.imports import SourceItem, SourceModelUsage, SourceSample
from common.stats.summary import counters
from functions.tasks.moving import imported

STRING_CHECK = {"type": "string_check", "name": "exact", "input": "{{item.a}}", "reference": "b", "operation": "eq"}
SCORE_MODEL = {
    "id": "quality-a2486074-d803-4445-b431-ad2262e85d47",
    "type": "score_model",
    "name": "quality",
    "model": "gpt-5.6",
    "input": [{"type": "message", "role": "user", "content": {"type": "input_text", "text": "{{sample.output_text}}"}}],
    "range": [1, 10],
    "pass_threshold": None,
    "sampling_params": {"temperature": 1.0, "seed": None, "max_completions_tokens": 512, "new_option": 1},
}


def _item(*results: dict[str, Any], status: str = "pass", **rest: Any) -> SourceItem:
    return SourceItem.model_validate({"id": "outputitem_1", "status": status, "results": list(results), **rest})


def test_openais_answer_becomes_a_custom_configuration() -> None:
    """The item's schema is unwrapped from the schema over item and sample; one in our own form stays."""
    item = {"type": "object", "properties": {"a": {"type": "string"}}}
    wrapped = {"type": "custom", "schema": {"type": "object", "properties": {"item": item, "sample": {}}}}
    expected = {"type": "custom", "item_schema": item, "include_sample_schema": True}
    assert imported.data_source_config(wrapped) == expected
    assert imported.data_source_config({"item_schema": item, "include_sample_schema": True}) == expected


@pytest.mark.parametrize("config", [{}, {"type": "logs", "schema": None}, {"schema": {"properties": []}}, {"item_schema": 3}])
def test_a_configuration_without_a_schema_takes_any_item(config: dict[str, Any]) -> None:
    """Stored completions and broken configurations still give a schema that every object fits."""
    assert imported.data_source_config(config)["item_schema"] == {"type": "object"}


def test_graders_keep_what_is_known_here() -> None:
    """Ids, nulls and options from elsewhere do not hinder, and the pass mark in force is written down."""
    (grader,) = imported.graders([SCORE_MODEL])
    assert grader.type == "score_model"
    assert grader.threshold == 5.5
    assert grader.model_dump(exclude_none=True)["sampling_params"] == {"temperature": 1.0, "max_completions_tokens": 512}


@pytest.mark.parametrize(
    "criterion",
    [
        {
            "type": "label_model",
            "name": "x",
            "model": "m",
            "labels": ["a"],
            "passing_labels": ["a"],
            "input": [{"type": "input_image"}],
        },
        {"type": "endpoint", "name": "x", "url": "https://example.org"},
        {"type": "multi", "name": "x", "graders": {"a": STRING_CHECK}, "calculate_output": "a + ("},
        {"name": "x"},
    ],
)
def test_a_grader_without_a_form_here_is_kept_as_text(criterion: dict[str, Any]) -> None:
    """What cannot be run here can still be read: its JSON is the source of a python grader."""
    (grader,) = imported.graders([criterion])
    assert isinstance(grader, PythonGrader)
    assert all(str(key) in grader.source for key in criterion)


def test_graders_of_the_same_name_are_told_apart() -> None:
    """A second grader of a name gets a number, and the second result of that name is its."""
    found = imported.graders([STRING_CHECK, STRING_CHECK, {**STRING_CHECK, "name": "exact (2)"}])
    assert [grader.name for grader in found] == ["exact", "exact (2)", "exact (2) (2)"]
    item = _item({"name": "exact", "passed": True, "score": 1}, {"name": "exact", "passed": False, "score": 0})
    assert [verdict.score for verdict in imported.verdicts(item, found)] == [1.0, 0.0, None]


def test_results_are_found_by_criterion_id_too() -> None:
    """OpenAI names results by the criterion's id, the name with a UUID behind it."""
    found = imported.graders([STRING_CHECK, SCORE_MODEL])
    suffix = "-a2486074-d803-4445-b431-ad2262e85d47"
    item = _item(
        {"name": f"quality{suffix}", "passed": True, "score": 8}, {"name": f"exact{suffix}", "passed": False, "score": 0}
    )
    exact, quality = imported.verdicts(item, found)
    assert (exact.score, exact.passed) == (0.0, False)
    assert (quality.score, quality.passed, quality.judge) == (8.0, True, "gpt-5.6")


def test_results_with_strange_names_keep_their_order() -> None:
    """Where no name fits but the number does, results belong to the graders in order."""
    found = imported.graders([STRING_CHECK, SCORE_MODEL])
    item = _item({"name": "a", "passed": True, "score": 1}, {"name": "b", "passed": True, "score": 9})
    assert [verdict.score for verdict in imported.verdicts(item, found)] == [1.0, 9.0]


def test_what_was_not_said_is_unscored() -> None:
    """No result, no score, or a score beyond all bounds is unscored with a reason; never zero, never a pass."""
    found = imported.graders([SCORE_MODEL])
    for results in ([], [{"name": "quality", "passed": True}], [{"name": "quality", "passed": True, "score": 1e300}]):
        (verdict,) = imported.verdicts(_item(*results), found)
        assert (verdict.score, verdict.passed) == (None, None)
        assert verdict.unscored is not None
    (verdict,) = imported.verdicts(
        _item({"name": "quality", "passed": False, "score": None, "unscored": {"code": "refusal"}}), found
    )
    assert verdict.unscored is not None
    assert verdict.unscored.code == "refusal"


def test_a_pass_without_a_score_counts_where_the_scale_is_0_to_1() -> None:
    """A bare pass of a grader that knows only 0 and 1 has the score 1."""
    (verdict,) = imported.verdicts(_item({"name": "exact", "passed": True}), imported.graders([STRING_CHECK]))
    assert (verdict.score, verdict.passed) == (1.0, True)


def test_a_judges_words_tokens_and_unknown_price_are_kept() -> None:
    """The judge's own sample gives reason and tokens; what OpenAI's judge cost is unknown, not nought."""
    judged = {
        "output": [{"role": "assistant", "content": '{"result": 8}'}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2},
    }
    item = _item({"name": "quality", "passed": True, "score": 8, "sample": judged})
    (verdict,) = imported.verdicts(item, imported.graders([SCORE_MODEL]))
    assert verdict.reason == '{"result": 8}'
    assert verdict.usage.total_tokens == 7
    assert verdict.cost_microusd is None


def test_what_another_knudge_says_is_kept() -> None:
    """Label, reason, judge, price and simulated survive the way from one Knudge to the other."""
    said = {"label": "good", "reason": "because", "judge": "lab:j", "cost_usd": 0.25, "simulated": True, "unscored": None}
    item = _item({"name": "quality", "passed": True, "score": 8, **said})
    (verdict,) = imported.verdicts(item, imported.graders([SCORE_MODEL]))
    assert (verdict.label, verdict.reason, verdict.judge) == ("good", "because", "lab:j")
    assert (verdict.cost_microusd, verdict.simulated) == (250_000, True)


def test_samples_of_both_forms_have_their_text() -> None:
    """The sample's text is its last output message, in one piece or in parts."""
    plain = SourceSample.model_validate(
        {"output": [{"role": "assistant", "content": "hi"}], "model": "", "error": {"code": "", "message": ""}}
    )
    parts = SourceSample.model_validate(
        {"output": [{"content": [{"type": "output_text", "text": "a"}, {"text": "b"}]}], "model": "m"}
    )
    first, second = imported.sample(plain), imported.sample(parts)
    assert first is not None
    assert second is not None
    assert (first.output_text, first.model, first.cost_microusd, first.unscored) == ("hi", None, 0, None)
    assert (second.output_text, second.model, second.cost_microusd) == ("a\nb", "m", None)


def test_a_target_with_wrong_parameters_is_still_a_target() -> None:
    """Sampling parameters that do not fit are left out; a data source without a model has no target."""
    found = imported.target({"model": "m", "sampling_params": {"seed": "x", "temperature": 1}})
    assert found is not None
    assert found.sampling_params == {}
    assert imported.target({"type": "jsonl"}) is None


def test_rows_within_the_data_source_are_not_echoed() -> None:
    """Inline content comes as items, not with every look at the run."""
    source = {"type": "jsonl", "source": {"type": "file_content", "content": [{"item": {}}]}}
    assert imported.echo(source)["source"] == {"type": "file_content", "content": []}


def test_a_runs_usage_adds_up_as_its_items_would_have() -> None:
    """Usage told for a run gives the counters that as many calls would have given."""
    entry = SourceModelUsage(model_name="a.b", invocation_count=3, prompt_tokens=30, completion_tokens=6, cached_tokens=None)
    sums = imported.usage_sums([entry, entry], target_model="a.b", simulated=True)
    assert sums == {
        "m.target.a%2Eb.calls": 6,
        "m.target.a%2Eb.prompt": 60,
        "m.target.a%2Eb.completion": 12,
        "m.target.a%2Eb.unpriced": 6,
        "m.target.a%2Eb.simulated": 6,
    }
    priced = SourceModelUsage(model_name="j", invocation_count=1, role="judge", cost_usd=0.5)
    assert imported.usage_sums([priced], target_model="j", simulated=False) == {
        "m.judge.j.calls": 1,
        "m.judge.j.microusd": 500_000,
    }


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.sampled_from(["type", "name", "model", "input", "labels", "x"]), _json), max_size=4))
def test_any_criteria_make_graders_with_different_names(criteria: list[dict[str, Any]]) -> None:
    """Whatever a server sends as graders, there is one for each, and their names differ."""
    found = imported.graders(criteria)
    assert len({grader.name for grader in found}) == len(criteria)


@given(
    st.lists(
        st.fixed_dictionaries(
            {"name": st.sampled_from(["exact", "quality", "", "x"])},
            optional={"passed": st.booleans(), "score": st.floats(), "sample": st.none(), "label": st.text(max_size=5)},
        ),
        max_size=4,
    )
)
def test_any_results_can_be_counted(results: list[dict[str, Any]]) -> None:
    """Whatever the results, there is one verdict for each grader, and the counters take it."""
    found = imported.graders([STRING_CHECK, SCORE_MODEL])
    verdicts = imported.verdicts(_item(*results), found)
    assert [verdict.name for verdict in verdicts] == [grader.name for grader in found]
    assert all((verdict.score is None) == (verdict.unscored is not None) for verdict in verdicts)
    assert counters(found, None, verdicts)


def test_string_check_stays_itself() -> None:
    """A grader in our own form is the same afterwards."""
    assert imported.graders([STRING_CHECK]) == [StringCheckGrader.model_validate(STRING_CHECK)]
