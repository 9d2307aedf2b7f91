from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import pytest
import scipy.stats

from common.edge.http import Request
from common.errors import InvalidInput, NotFound, Overloaded
from common.schemas.comparison import MAX_SLICES, CompareQuery, Comparison
from common.store import keys
from functions.aggregate.comparing.compare import compare
from functions.aggregate.comparing.compare_page import render
from functions.aggregate.comparing.routes import Comparing
from tests.support.judged import EXACT, QUALITY, Bench
from tests.support.pages import HOSTILE, Page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common.schemas.runs import RunPlan

A = [4.0, 7.0, 8.0, 5.0, 9.0, 6.0, None, 7.0, 3.0, 8.0]
B = [6.0, 7.0, 9.0, 7.0, 9.0, None, 5.0, 8.0, 5.0, 8.0]
BOTH = [(a, b) for a, b in zip(A, B, strict=True) if a is not None and b is not None]


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    made = Bench.at(redis_url)
    yield made
    made.close()


@pytest.fixture
def dataset(bench: Bench) -> str:
    return bench.dataset([{"n": number, "kind": "even" if number % 2 == 0 else "odd"} for number in range(10)])


def compared(bench: Bench, a: RunPlan, b: RunPlan, **query: Any) -> Comparison:
    return compare(CompareQuery(runs=f"{a.run_id},{b.run_id}", **query), bench.records, project="default")


def test_a_difference_is_over_the_pairs_alone(bench: Bench, dataset: str) -> None:
    """Mean, p and interval are those of the paired t test over the items both scored; the others are counted, not filled in."""
    found = compared(bench, bench.run(dataset, {"quality": A}), bench.run(dataset, {"quality": B}))
    (quality,) = found.graders
    left, right = zip(*BOTH, strict=True)
    oracle = scipy.stats.ttest_rel(right, left)
    assert (quality.paired, quality.unpaired_a, quality.unpaired_b) == (8, 1, 1)
    assert quality.difference.mean == pytest.approx(sum(b - a for a, b in BOTH) / 8, abs=1e-12)
    assert quality.difference.p == pytest.approx(oracle.pvalue, rel=1e-9)
    assert quality.difference.interval == pytest.approx(oracle.confidence_interval(0.95), rel=1e-9)
    assert (quality.a.scored, quality.a.unscored, quality.a.pending) == (9, 1, 0)
    assert quality.a.mean.mean == pytest.approx(sum(a for a in A if a is not None) / 9)
    assert found.direction.startswith("Differences are b - a")
    assert (found.a.usage.total_tokens, found.a.cost_microusd) == (110, 70)


def test_passes_are_compared_by_the_pairs_on_which_they_part(bench: Bench, dataset: str) -> None:
    """McNemar's counts are of the pairs; the pass mark is the grader's own."""
    found = compared(bench, bench.run(dataset, {"quality": A}), bench.run(dataset, {"quality": B}))
    passes = found.graders[0].passes
    assert (passes.both, passes.only_a, passes.only_b, passes.neither) == (5, 0, 1, 2)
    assert passes.difference.mean == pytest.approx(1 / 8)
    assert passes.p == 1.0


def test_swapping_the_runs_swaps_the_sign(bench: Bench, dataset: str) -> None:
    """The first run is the baseline: the other way round every difference changes its sign and nothing else."""
    a, b = bench.run(dataset, {"quality": A}), bench.run(dataset, {"quality": B})
    there, back = compared(bench, a, b).graders[0], compared(bench, b, a).graders[0]
    assert there.difference.mean == -(back.difference.mean or math.nan)
    assert there.difference.p == back.difference.p
    assert (there.passes.only_a, there.passes.only_b) == (back.passes.only_b, back.passes.only_a)


def test_a_run_against_itself(bench: Bench, dataset: str) -> None:
    """A run is not worse than its copy by any margin; that so few pairs cannot tell much about others is said."""
    a, b = bench.run(dataset, {"quality": A}), bench.run(dataset, {"quality": A})
    found = compared(bench, a, b, margin=0.1)
    (quality,) = found.graders
    assert "all 9 pairs differ by the same (0)" in found.warnings[0]
    assert "up to 28.3% of all items" in found.warnings[0]
    assert (quality.difference.mean, quality.difference.p, quality.p_holm) == (0, 1, 1)
    assert quality.non_inferiority is not None
    assert quality.non_inferiority.verdict == "not_worse"


@pytest.mark.parametrize(
    ("shift", "verdict", "settled"), [(0.0, "undecided", False), (-2.0, "worse", True), (2.0, "not_worse", True)]
)
def test_a_margin_is_decided_one_sided(bench: Bench, shift: float, verdict: str, *, settled: bool) -> None:
    """Not worse, worse, or undecided with how many items would settle it."""
    dataset = bench.dataset([{"n": number} for number in range(20)])
    a = bench.run(dataset, {"quality": [5.0] * 20})
    b = bench.run(dataset, {"quality": [5.0 + shift + (1 if number % 2 else -1) for number in range(20)]})
    (quality,) = compared(bench, a, b, margin=0.2).graders
    assert quality.non_inferiority is not None
    assert quality.non_inferiority.verdict == verdict
    assert (quality.items_needed is None) == settled
    assert settled or (quality.items_needed or 0) > 20


def test_slices_have_rows_and_share_the_adjustment(bench: Bench, dataset: str) -> None:
    """Every slice is compared by itself, and p-values are adjusted over all rows together."""
    a, b = bench.run(dataset, {"quality": A}), bench.run(dataset, {"quality": B})
    found = compared(bench, a, b, slice="item.kind")
    (quality,) = found.graders
    assert [(part.slice, part.items, part.paired) for part in quality.slices] == [("even", 5, 4), ("odd", 5, 4)]
    assert found.tests == 3
    rows = [quality, *quality.slices]
    smallest = min(row.difference.p or 1 for row in rows)
    assert min(row.p_holm or 1 for row in rows) == pytest.approx(min(1, 3 * smallest))
    assert found.slicing is not None
    assert (found.slicing.values, found.slicing.hidden_items) == (2, 0)


def test_slices_are_bounded_and_the_rest_is_told(bench: Bench) -> None:
    """Of many values the most frequent have rows, and it is said how many items have others; no value is a slice too."""
    items: list[dict[str, Any]] = [{"k": "often"}, {"k": "often"}, {}] + [{"k": number} for number in range(MAX_SLICES + 5)]
    dataset = bench.dataset(items)
    a, b = (bench.run(dataset, {"exact": [1] * len(items)}) for _ in range(2))
    found = compared(bench, a, b, slice="item.k")
    shown = [part.slice for part in found.graders[0].slices]
    assert (len(shown), shown[0], shown[1]) == (MAX_SLICES, "often", None)
    assert found.slicing is not None
    assert found.slicing.hidden_items == 7


def test_clusters_widen_what_hangs_together(bench: Bench) -> None:
    """Items of a cluster that move together count as less than as many independent ones; items without a value stand alone."""
    dataset = bench.dataset([{"text": number // 10} if number < 40 else {} for number in range(42)])
    a = bench.run(dataset, {"quality": [5.0] * 42})
    b = bench.run(dataset, {"quality": [5.0 + (number // 10) % 2 for number in range(42)]})
    plain, clustered = compared(bench, a, b), compared(bench, a, b, cluster="item.text")
    assert clustered.clusters == 6
    assert (clustered.graders[0].difference.se or 0) > 2 * (plain.graders[0].difference.se or math.inf)


def test_what_cannot_be_compared_is_told(bench: Bench, dataset: str) -> None:
    """Graders of one side, of another scale, of another definition; versions, and simulators: all of it is said."""
    wider = QUALITY.model_copy(update={"name": "other", "range": (0.0, 100.0)})
    asked = QUALITY.model_copy(update={"model": "lab:judge-2", "name": "quality"})
    first = (QUALITY, EXACT, QUALITY.model_copy(update={"name": "other"}))
    a = bench.run(dataset, {"quality": A, "exact": [1] * 10, "other": A}, graders=first)
    b = bench.run(dataset, {"quality": B, "other": B}, graders=(asked, wider), eval_version=2, simulated=True)
    found = compared(bench, a, b)
    assert [(grader.name, grader.changed) for grader in found.graders] == [("quality", ["model"])]
    assert {each.name: each.reason for each in found.not_compared} == {
        "exact": "only the baseline has it",
        "other": "its scales differ: 1.0 to 10.0, and 0.0 to 100.0",
    }
    told = " ".join(found.warnings)
    for words in ("simulator took part in the candidate", "eval_1 version 2", "quality: its definition differs"):
        assert words in told
    assert found.simulated


def test_unscored_that_differ_are_told_loudly(bench: Bench) -> None:
    """A judge that fails in one run only is not a candidate that did well on the rest."""
    dataset = bench.dataset([{"n": number} for number in range(20)])
    a = bench.run(dataset, {"quality": [5.0] * 20})
    b = bench.run(dataset, {"quality": [5.0] * 14 + [None] * 6})
    found = compared(bench, a, b)
    assert found.graders[0].unscored_differs
    assert any("UNSCORED DIFFERS: 0 of 20 in the baseline, 6 of 20" in warning for warning in found.warnings)
    alike = bench.run(dataset, {"quality": [None] * 6 + [5.0] * 14})
    assert not compared(bench, b, alike).graders[0].unscored_differs


def test_a_run_that_goes_on_is_marked(bench: Bench, dataset: str) -> None:
    """Items that are not counted yet are neither scores nor unscored."""
    a, b = bench.run(dataset, {"exact": [0.0] * 10}), bench.run(dataset, {"exact": [0.0] * 10}, counted=4)
    found = compared(bench, a, b)
    (exact,) = found.graders
    assert not found.complete
    assert (exact.paired, exact.b.scored, exact.b.unscored, exact.b.pending) == (4, 4, 0, 6)
    assert "4 of 10 items are counted" in found.warnings[0]


def test_runs_without_vectors_are_read_from_their_verdicts(bench: Bench, dataset: str) -> None:
    """A run counted before vectors were kept, or only in part, compares as any other: a gap is never a score of 0."""
    a, b = bench.run(dataset, {"quality": A, "exact": [1] * 10}), bench.run(dataset, {"quality": B, "exact": [1] * 10})
    expected = compared(bench, a, b)
    client = bench.client
    client.delete(keys.run_scores(a.run_id, 0), keys.run_passed(a.run_id, 0))
    client.setrange(keys.run_scores(b.run_id, 0), 0, bytes(8 * 5))
    assert compared(bench, a, b) == expected


def test_runs_in_a_random_order_are_paired_line_by_line(bench: Bench, dataset: str) -> None:
    """A run whose items stand at other positions than their lines compares as if they stood there."""
    a, b = bench.run(dataset, {"quality": A}), bench.run(dataset, {"quality": B})
    mixed = bench.run(dataset, {"quality": B}, seed="any")
    expected, found = compared(bench, a, b, slice="item.kind"), compared(bench, a, mixed, slice="item.kind")
    assert found.graders == expected.graders


def test_a_bootstrap_is_made_on_demand_and_seeded(bench: Bench, dataset: str) -> None:
    """The same seed gives the same interval, and none is made unasked."""
    a, b = bench.run(dataset, {"quality": A}), bench.run(dataset, {"quality": B})
    once, again, other = (compared(bench, a, b, bootstrap=True, seed=seed).graders[0].bootstrap for seed in (1, 1, 2))
    assert once == again
    assert once is not None
    assert other is not None
    assert once.interval != other.interval
    assert compared(bench, a, b).graders[0].bootstrap is None


def test_what_is_asked_wrongly_is_refused(bench: Bench, dataset: str) -> None:
    """One run, three runs, an unknown grader, and another project's run."""
    plan, theirs = bench.run(dataset, {"exact": [1] * 10}), bench.run(dataset, {"exact": [1] * 10}, project="theirs")
    for runs in (plan.run_id, f"{plan.run_id},{plan.run_id}", f"{plan.run_id},x,y", ""):
        with pytest.raises(InvalidInput):
            compare(CompareQuery(runs=runs), bench.records, project="default")
    with pytest.raises(InvalidInput, match="nobody"):
        compared(bench, plan, bench.run(dataset, {"exact": [1] * 10}), graders="nobody")
    with pytest.raises(NotFound):
        compared(bench, plan, theirs)


def test_the_page_shows_what_the_answer_says(bench: Bench, dataset: str) -> None:
    """Direction, differences, verdicts and warnings are on the page, and every interval is drawn."""
    a, b = bench.run(dataset, {"quality": A, "exact": [1] * 10}), bench.run(dataset, {"quality": B, "exact": [1] * 10})
    found = compared(bench, a, b, margin=0.5, slice="item.kind", cluster="item.n", bootstrap=True)
    page = Page(render(found, rendered_at=0))
    for words in ("b - a", "+1.00", "the baseline", "clustered by item.n", "McNemar", "dashed: the margin", "even", "odd"):
        assert words in page.text
    assert sum(tag == "svg" for tag, _ in page.elements) == 3 * 3 + 3
    assert "a canary failed" not in page.text
    suspect = found.model_copy(update={"b": found.b.model_copy(update={"suspect": True})})
    assert "suspect: a canary failed" in Page(render(suspect, rendered_at=0)).text


def test_hostile_text_is_only_text(bench: Bench) -> None:
    """A page full of hostile text has the very elements and attributes of one full of harmless text."""
    dataset = bench.dataset([{"k": "v"}] * 4)
    a, b = (bench.run(dataset, {"exact": [1, 1, 0, None], "quality": [1.0, 2.0, 3.0, 4.0]}) for _ in range(2))
    found = compared(bench, a, b, slice="item.k")

    def shape(words: str) -> list[tuple[str, list[str]]]:
        grader = found.graders[0]
        hostile = grader.model_copy(
            update={"name": words, "type": words, "slices": [grader.slices[0].model_copy(update={"slice": words})]}
        )
        run = found.a.model_copy(update={"name": words, "eval_id": words, "report_url": words})
        return Page(
            render(
                found.model_copy(
                    update={"graders": [hostile], "a": run, "b": run, "warnings": [words], "cluster": words, "clusters": 1}
                ),
                rendered_at=0,
            )
        ).shape

    assert all(shape(text) == shape("harmless") for text in HOSTILE)


def test_few_comparisons_are_worked_out_at_a_time(bench: Bench, dataset: str) -> None:
    """One more than there is room for is told to come again, and gets its answer then."""
    a, b = (bench.run(dataset, {"exact": [1] * 10}) for _ in range(2))
    request = Request(
        method="GET",
        path="/compare",
        params={},
        query={"runs": f"{a.run_id},{b.run_id}"},
        headers={},
        body=b"",
        id="req_1",
        traceparent="",
        deadline_s=0.0,
    )
    serving = Comparing(bench.records, now=lambda: 0.0, working=threading.BoundedSemaphore(1))
    with serving.working, pytest.raises(Overloaded):
        serving.compare(request)
    assert serving.compare(request).status == 200
