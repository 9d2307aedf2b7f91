"""What is to be known of runs and comparisons before their figures are believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from common.schemas.comparison import ComparedRun, GraderComparison, PairedItems
    from common.schemas.runs import RunPlan


def warnings(
    plans: tuple[RunPlan, RunPlan],
    runs: tuple[ComparedRun, ComparedRun],
    pairing: PairedItems,
    graders: Sequence[GraderComparison],
    *,
    level: float,
) -> Iterator[str]:
    """What is to be known before a comparison is believed, a sentence each."""
    for side, run in zip(("baseline", "candidate"), runs, strict=True):
        yield from run_warnings(run, f"the {side}")
    versions = [f"{plan.eval_id} version {plan.eval_version}" for plan in plans]
    if versions[0] != versions[1]:
        yield f"the runs are of different evals or versions: {versions[0]}, {versions[1]}"
    if pairing.only_a or pairing.only_b:
        yield f"{pairing.only_a} items are only in the baseline and {pairing.only_b} only in the candidate; they are left out"
    for grader in graders:
        if grader.changed:
            yield f"{grader.name}: its definition differs between the runs in {', '.join(grader.changed)}"
        if grader.unscored_differs:
            yield _unscored_words(grader)
        if grader.difference.se == 0:
            yield _no_width_words(grader, level=level)


def run_warnings(run: ComparedRun, name: str) -> Iterator[str]:
    """What is to be known of a run before its figures are believed."""
    if run.suspect:
        yield f"{name} is SUSPECT: a canary failed, so its scores are not to be believed"
    if run.stopped:
        yield f"{name} stopped early, at {run.done} of {run.total} items: intervals that assume a fixed number are too narrow"
    elif not run.complete:
        yield f"{name} is not complete: {run.done} of {run.total} items are counted ({run.status})"
    if run.simulated:
        yield f"a simulator took part in {name}: its scores say nothing about a real model"


def _unscored_words(grader: GraderComparison) -> str:
    """What is to be said of a grader whose unscored verdicts are far more in one run."""
    return (
        f"{grader.name}: UNSCORED DIFFERS: {grader.a.unscored} of {grader.a.scored + grader.a.unscored} in the baseline, "
        f"{grader.b.unscored} of {grader.b.scored + grader.b.unscored} in the candidate; "
        "the pairs that are left may not be a fair picture of either"
    )


def _no_width_words(grader: GraderComparison, *, level: float) -> str:
    """What an interval without width leaves open: the exact one-sided bound for a share of which none of n was seen.

    Source: Clopper and Pearson 1934, https://doi.org/10.1093/biomet/26.4.404, for 0 of n: ``1 - (1 - level) ** (1 / n)``.
    """
    share = 1 - (1 - level) ** (1 / grader.paired)
    return (
        f"{grader.name}: all {grader.paired} pairs differ by the same ({grader.difference.mean:g}); "
        "their interval has no width, "
        f"and up to {share:.1%} of all items like these may still differ otherwise"
    )
