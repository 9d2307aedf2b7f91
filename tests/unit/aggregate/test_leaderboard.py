from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import scipy.stats

from common.errors import InvalidInput, NotFound
from common.schemas.comparison import Leaderboard, LeaderboardQuery
from functions.aggregate.comparing.leaderboard import leaderboard
from functions.aggregate.comparing.leaderboard_page import render
from tests.support.judged import QUALITY, Bench
from tests.support.pages import HOSTILE, Page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common.schemas.runs import RunPlan

N = 12
LOW = [2.0 + number % 3 for number in range(N)]
MIDDLE = [3.0 + number % 4 for number in range(N)]
HIGH = [4.0 + number % 5 for number in range(N)]


@pytest.fixture
def bench(redis_url: str) -> Iterator[Bench]:
    made = Bench.at(redis_url)
    yield made
    made.close()


@pytest.fixture
def dataset(bench: Bench) -> str:
    return bench.dataset([{"n": number} for number in range(N)])


def ranked(bench: Bench, *plans: RunPlan, **query: Any) -> Leaderboard:
    asked = LeaderboardQuery(runs=",".join(plan.run_id for plan in plans), **query)
    return leaderboard(asked, bench.records, project="default")


def test_runs_are_ranked_and_tested_against_the_leader(bench: Bench, dataset: str) -> None:
    """Best mean first; each difference to the leader is the paired one, and p-values are adjusted by Holm."""
    low, middle, high = (bench.run(dataset, {"quality": scores}) for scores in (LOW, MIDDLE, HIGH))
    found = ranked(bench, low, middle, high)
    (quality,) = found.graders
    assert [(each.run_id, each.rank) for each in quality.standings] == [
        (high.run_id, 1),
        (middle.run_id, 2),
        (low.run_id, 3),
    ]
    assert quality.standings[0].behind is None
    ps = [scipy.stats.ttest_rel(scores, HIGH).pvalue for scores in (MIDDLE, LOW)]
    assert [each.behind and each.behind.p for each in quality.standings[1:]] == pytest.approx(ps, rel=1e-9)
    smaller, larger = sorted(ps)
    assert sorted(each.p_holm or 0 for each in quality.standings[1:]) == pytest.approx(
        [2 * smaller, max(2 * smaller, larger)], rel=1e-9
    )
    assert [each.significant for each in quality.standings] == [False, (quality.standings[1].p_holm or 1) < 0.05, True]
    assert found.tests == 2


def test_equal_means_share_a_rank_and_no_mean_has_none(bench: Bench, dataset: str) -> None:
    """A run whose verdicts are all unscored comes last and is no zero."""
    first, second, nothing = (bench.run(dataset, {"quality": scores}) for scores in (LOW, LOW, [None] * N))
    standings = ranked(bench, nothing, first, second).graders[0].standings
    assert [(each.run_id, each.rank) for each in standings] == [(first.run_id, 1), (second.run_id, 1), (nothing.run_id, None)]
    assert (standings[2].unscored, standings[2].mean.mean, standings[2].behind) == (N, None, None)


def test_other_datasets_are_paired_where_items_match(bench: Bench, dataset: str) -> None:
    """A difference to the leader is over common items; a run that shares none has no test, and the page says so."""
    shifted = bench.dataset([{"n": number} for number in range(4, 4 + N)])
    strange = bench.dataset([{"m": 1}])
    leader = bench.run(dataset, {"quality": HIGH})
    near, far = bench.run(shifted, {"quality": LOW}), bench.run(strange, {"quality": [2.0]})
    found = ranked(bench, leader, near, far)
    behind = {each.run_id: each.behind for each in found.graders[0].standings}
    assert (behind[near.run_id] and behind[near.run_id].n, behind[far.run_id]) == (N - 4, None)
    assert any("different datasets" in warning for warning in found.warnings)
    assert "no common items" in Page(render(found, rendered_at=0)).text


def test_an_evals_runs_are_found(bench: Bench, dataset: str) -> None:
    """With an eval its latest runs are ranked; another project's eval, or none, is not there."""
    plans = [bench.run(dataset, {"quality": scores}) for scores in (LOW, HIGH)]
    bench.run(dataset, {"quality": LOW}, project="theirs", eval_id="eval_2")
    found = leaderboard(LeaderboardQuery(eval_id="eval_1"), bench.records, project="default")
    assert {run.run_id for run in found.runs} == {plan.run_id for plan in plans}
    for eval_id in ("eval_2", "eval_3"):
        with pytest.raises(NotFound):
            leaderboard(LeaderboardQuery(eval_id=eval_id), bench.records, project="default")


def test_what_is_asked_wrongly_is_refused(bench: Bench, dataset: str) -> None:
    """Neither or both of runs and eval, too many runs, an unknown grader."""
    plan = bench.run(dataset, {"quality": LOW})
    wrong = [
        LeaderboardQuery(),
        LeaderboardQuery(runs=plan.run_id, eval_id="eval_1"),
        LeaderboardQuery(runs=","),
        LeaderboardQuery(runs=",".join(f"r{number}" for number in range(21))),
        LeaderboardQuery(runs=plan.run_id, graders="nobody"),
    ]
    for query in wrong:
        with pytest.raises(InvalidInput):
            leaderboard(query, bench.records, project="default")


def test_runs_without_the_grader_are_told(bench: Bench, dataset: str) -> None:
    """A run that lacks a grader, or has it on another scale, is in that ranking's list of absentees."""
    wider = QUALITY.model_copy(update={"range": (0.0, 100.0)})
    plain, wide = bench.run(dataset, {"quality": LOW}), bench.run(dataset, {"quality": LOW}, graders=(wider,))
    lacking = bench.run(dataset, {"exact": [1] * N})
    reasons = [each.reason for each in ranked(bench, plain, wide, lacking, graders="quality").not_compared]
    assert reasons == [f"run {wide.run_id} has it on another scale", f"run {lacking.run_id} does not have it"]


def test_a_suspect_run_is_marked_in_its_row(bench: Bench, dataset: str) -> None:
    """A run whose canaries failed can be told from the others of its name, in every ranking."""
    good, bad = (bench.run(dataset, {"quality": LOW, "exact": [1] * N}) for _ in range(2))
    found = ranked(bench, good, bad)
    runs = [run.model_copy(update={"suspect": run.run_id == bad.run_id}) for run in found.runs]
    page = Page(render(found.model_copy(update={"runs": runs}), rendered_at=0))
    assert page.text.count("suspect: a canary failed") == len(found.graders) == 2


def test_hostile_text_is_only_text(bench: Bench, dataset: str) -> None:
    """A page full of hostile text has the very elements and attributes of one full of harmless text."""
    found = ranked(bench, *(bench.run(dataset, {"quality": scores}) for scores in (LOW, HIGH)))

    def shape(words: str) -> list[tuple[str, list[str]]]:
        runs = [run.model_copy(update={"name": words, "report_url": words}) for run in found.runs]
        grader = found.graders[0].model_copy(update={"name": words, "type": words})
        return Page(
            render(found.model_copy(update={"runs": runs, "graders": [grader], "warnings": [words]}), rendered_at=0)
        ).shape

    assert all(shape(text) == shape("harmless") for text in HOSTILE)
