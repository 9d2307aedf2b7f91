from __future__ import annotations

import statistics
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from common.schemas.evaluation import ModelCall, Unscored, Usage, Verdict, total_cost
from common.schemas.graders import Grader
from common.schemas.runs import RunPlan, RunStatus, StoredSample, WorstItem
from common.stats.fixed import SCALE, to_units
from common.stats.intervals import wilson
from common.stats.summary import BIN_COUNT, TEXT_LIMIT, bin_of, counters, summarise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from common.schemas.runs import RunSummary
    from common.schemas.stopping import Stopped

MESSAGES = [{"role": "user", "content": "{{item.q}}"}]
GRADERS: list[Grader] = TypeAdapter(list[Grader]).validate_python(
    [
        {"type": "score_model", "name": "score", "model": "m", "input": MESSAGES, "range": [-2, 7], "pass_threshold": 3},
        {
            "type": "label_model",
            "name": "label",
            "model": "m",
            "input": MESSAGES,
            "labels": ["a", "b.c"],
            "passing_labels": ["a"],
        },
    ]
)
PLAN = RunPlan(
    run_id="run_1",
    eval_id="eval_1",
    eval_version=3,
    name="nightly",
    metadata={"k": "v"},
    created_at=1,
    dataset_id="ds_1",
    item_count=500,
    graders=GRADERS,
    data_source={},
    window_items=10,
)


@dataclass(frozen=True)
class State:
    status: RunStatus = "in_progress"
    outstanding: int = 4
    started_at: int | None = 2
    ended_at: int | None = None
    error: Unscored | None = None
    stopped: Stopped | None = None
    paused: bool = False
    generation: int = 1


Item = tuple[StoredSample | None, list[Verdict]]

TEXTS = st.text(max_size=8) | st.sampled_from(
    ["lab:judge-1", "gpt.4.1", "x.calls", "%2E", "judge.", "ü", "\ud800", "a" * 300, "a" * 301]
)
COSTS = st.none() | st.integers(0, 10**6)
USAGES = st.builds(
    Usage,
    prompt_tokens=st.integers(0, 10**6),
    completion_tokens=st.integers(0, 10**6),
    cached_tokens=st.integers(0, 100),
    reasoning_tokens=st.integers(0, 100),
)
CALLS = st.builds(ModelCall, model=TEXTS, usage=USAGES, cost_microusd=COSTS, simulated=st.booleans())


def verdicts(grader: Grader) -> st.SearchStrategy[Verdict]:
    common: dict[str, Any] = {"name": st.just(grader.name), "type": st.just(grader.type), "calls": st.lists(CALLS, max_size=2)}
    scored = st.builds(
        Verdict,
        score=st.floats(-2, 7),
        passed=st.booleans(),
        label=st.none() | TEXTS if grader.type == "label_model" else st.none(),
        **common,
    )
    unscored = st.builds(Verdict, unscored=st.builds(Unscored, code=TEXTS, message=st.just("m")), **common)
    return scored | unscored


SAMPLES = st.none() | st.builds(
    StoredSample, model=st.none() | TEXTS, usage=USAGES, cost_microusd=COSTS, simulated=st.booleans()
)
ITEMS = st.tuples(SAMPLES, st.tuples(*map(verdicts, GRADERS)).map(list))


def summary(counts: Mapping[str, int], **changes: Any) -> RunSummary:
    return summarise(PLAN, State(**changes), counts, {})


def added(items: Iterable[Item]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for sample, found in items:
        counts.update(counters(GRADERS, sample, found))
    return counts


def verdict(score: float | None = None, *, passed: bool | None = None, **fields: Any) -> Verdict:
    return Verdict(name="n", type="t", score=score, passed=passed, **fields)


MISSING = verdict(unscored=Unscored(code="no_verdict", message="m"))


@given(st.lists(ITEMS, max_size=12), st.randoms(use_true_random=False), st.integers(0, 12))
def test_a_summary_is_what_the_verdicts_say(items: list[Item], random: Any, cut: int) -> None:
    """Counted in any order and in any parts, the summary equals a recomputation from all verdicts."""
    shuffled = list(items)
    random.shuffle(shuffled)
    counts = added(shuffled[:cut])
    counts.update(added(shuffled[cut:]))
    assert counts == added(items)
    found = summary(counts)
    outcomes = [None if any(v.passed is None for v in vs) else all(v.passed for v in vs) for _, vs in items]
    assert (found.passed, found.failed, found.errored) == (outcomes.count(True), outcomes.count(False), outcomes.count(None))
    assert found.done == len(items)
    for index, grader in enumerate(found.graders):
        _check_grader(grader, [vs[index] for _, vs in items])
    calls = [call for _, vs in items for v in vs for call in v.calls]
    targets = [sample for sample, _ in items if sample is not None and sample.model is not None]
    paid: list[ModelCall | StoredSample] = [*calls, *targets]
    assert found.usage == sum((call.usage for call in paid), Usage())
    assert found.cost_microusd == total_cost([call.cost_microusd for call in paid])
    assert found.simulated == any(call.simulated for call in paid)
    assert sum(model.calls for model in found.models) == len(paid)
    short = {call.model for call in calls if len(call.model) <= TEXT_LIMIT}
    assert {m.model for m in found.models if m.role == "judge" and len(m.model) <= TEXT_LIMIT} == {
        t.replace("\ud800", "?") for t in short
    }


def _check_grader(grader: Any, found: list[Verdict]) -> None:
    scores = [to_units(v.score) for v in found if v.score is not None]
    passed = sum(v.passed is True for v in found)
    assert (grader.scored, grader.passed, grader.failed) == (len(scores), passed, len(scores) - passed)
    assert grader.unscored == len(found) - len(scores) == sum(grader.unscored_reasons.values())
    assert grader.mean == (pytest.approx(statistics.fmean(scores) / SCALE, abs=1e-12) if scores else None)
    assert grader.stdev == (pytest.approx(statistics.stdev(scores) / SCALE, abs=1e-12) if len(scores) > 1 else None)
    assert (grader.interval is None) == (len(scores) < 2)
    assert grader.pass_rate == (passed / len(scores) if scores else None)
    assert grader.pass_interval == wilson(passed, len(scores))
    assert sum(grader.bins) == len(scores)
    assert sum(grader.labels.values()) == sum(v.label is not None for v in found)


def test_an_empty_run_has_no_figures() -> None:
    """Nothing counted: no mean, no rate, no interval, and a cost of nothing at all."""
    found = summary({})
    assert (found.done, found.total, found.cost_microusd, found.cost_usd, found.models) == (0, 500, 0, 0.0, [])
    grader = found.graders[0]
    assert (grader.mean, grader.stdev, grader.interval, grader.pass_rate, grader.pass_interval) == (None,) * 5
    assert (grader.range, grader.pass_threshold, grader.bins) == ((-2.0, 7.0), 3.0, [0] * BIN_COUNT)
    assert found.graders[1].pass_threshold is None


def test_a_summary_carries_the_plan_the_state_and_the_worst() -> None:
    """What is known of the run stands beside the figures; worst items are found by their grader's name."""
    error = Unscored(code="budget_exhausted", message="spent")
    state = State(status="failed", ended_at=9, error=error)
    found = summarise(PLAN, state, {}, {1: [WorstItem(index=4, score=0.0)]})
    assert (found.run_id, found.eval_id, found.eval_version, found.name, found.metadata) == (
        "run_1",
        "eval_1",
        3,
        "nightly",
        {"k": "v"},
    )
    assert (found.status, found.error, found.created_at, found.started_at, found.ended_at) == ("failed", error, 1, 2, 9)
    assert found.outstanding == 4
    assert found.worst == {"score": [], "label": [WorstItem(index=4, score=0.0, line=4)]}


@pytest.mark.parametrize(
    ("found", "outcome"),
    [
        ([verdict(1, passed=True), verdict(1, passed=True)], "passed"),
        ([verdict(1, passed=True), verdict(0, passed=False)], "failed"),
        ([verdict(0, passed=False), MISSING], "errored"),
    ],
)
def test_an_unscored_verdict_makes_an_item_errored(found: list[Verdict], outcome: str) -> None:
    """An item passes with all verdicts, fails with one, and is errored as soon as one is missing."""
    assert counters(GRADERS, None, found)[f"items.{outcome}"] == 1


def test_every_grader_needs_a_verdict() -> None:
    """Verdicts that do not match the graders are a mistake, not a half-counted item."""
    with pytest.raises(ValueError, match="zip"):
        counters(GRADERS, None, [MISSING])


def test_equal_scores_have_an_interval_without_width() -> None:
    """A third, which has no exact form, three times over: deviation exactly 0."""
    third = verdict(1 / 3, passed=True)
    grader = summary(added([(None, [third, third])] * 3)).graders[0]
    assert grader.stdev == 0.0
    assert grader.interval == (grader.mean, grader.mean)


def test_one_unknown_price_makes_the_cost_unknown() -> None:
    """Unknown is its own state: the known part stays visible with its model, the total is None."""
    priced, unpriced = ModelCall(model="a:b", cost_microusd=5), ModelCall(model="a:c")
    found = summary(added([(None, [verdict(1, passed=True, calls=[priced, priced, unpriced]), MISSING])]))
    assert (found.cost_microusd, found.cost_usd) == (None, None)
    assert [(m.model, m.calls, m.cost_microusd, m.unpriced_calls) for m in found.models] == [
        ("a:b", 2, 10, 0),
        ("a:c", 1, 0, 1),
    ]


def test_only_generated_samples_cost() -> None:
    """A sample that came with its item has no model and adds nothing; a generated one is the target's call."""
    generated = StoredSample(output_text="x", model="lab:target", usage=Usage(prompt_tokens=3), cost_microusd=4, simulated=True)
    given_, made = (counters(GRADERS, sample, [MISSING, MISSING]) for sample in (StoredSample(output_text="x"), generated))
    assert not any(field.startswith("m.") for field in given_)
    found = summary(made)
    assert [(m.role, m.model, m.calls, m.usage.prompt_tokens, m.cost_microusd) for m in found.models] == [
        ("target", "lab:target", 1, 3, 4)
    ]
    assert found.simulated


def test_counters_that_ran_over_tell_nothing() -> None:
    """Where the store noticed an overflow the mean is withheld, and the counts of verdicts remain."""
    counts = added([(None, [verdict(1, passed=True)] * 2)] * 2)
    grader = summary({**counts, "overflow": 1}).graders[0]
    assert (grader.mean, grader.stdev, grader.interval, grader.scored, grader.pass_rate) == (None, None, None, 2, 1.0)


@pytest.mark.parametrize(
    ("score", "number"), [(0, 0), (0.049, 0), (0.05, 1), (0.5, 10), (0.999, 19), (1, 19), (1.5, 19), (-3, 0), (1e7, 19)]
)
def test_slices_are_half_open_and_the_last_one_is_closed(score: float, number: int) -> None:
    """A score lies in the slice that begins with it; what is outside the scale counts to the nearest slice."""
    assert bin_of(score, (0, 1)) == number


@given(TEXTS | st.text(max_size=400))
def test_foreign_text_makes_no_other_field(text: str) -> None:
    """Whatever a label or a model is called, its field is bounded, and is read back as that one label or model."""
    call = ModelCall(model=text, cost_microusd=1)
    counts = counters(GRADERS, None, [MISSING, verdict(1, passed=True, label=text, calls=[call])])
    assert all(field.isascii() and len(field) < 13 * TEXT_LIMIT for field in counts)
    found = summary(counts)
    assert (len(found.models), sum(found.graders[1].labels.values()), sum(found.graders[0].unscored_reasons.values())) == (
        1,
        1,
        1,
    )
    if len(text) <= TEXT_LIMIT:
        readable = text.encode("utf-8", "replace").decode()
        assert list(found.graders[1].labels) == [readable]
        assert found.models[0].model == readable


def test_long_names_stay_apart() -> None:
    """Two labels that differ only beyond the limit are counted apart."""
    labels = ["a" * 300, "a" * 301]
    counts = added([(None, [MISSING, verdict(1, passed=True, label=label)]) for label in labels])
    assert sorted(summary(counts).graders[1].labels.values()) == [1, 1]
