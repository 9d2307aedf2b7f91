"""Two runs, grader by grader: what the candidate has over the baseline on the items that both have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from common.errors import InvalidInput
from common.schemas.comparison import (
    MAX_SLICES,
    ComparedRun,
    Comparison,
    GraderComparison,
    NotCompared,
    PairedItems,
    SliceComparison,
    Slicing,
)
from common.schemas.runs import ENDED
from common.stats.multiple import benjamini_hochberg, holm
from functions.aggregate.comparing.cautions import warnings
from functions.aggregate.comparing.contrast import Asked, Sides, contrast
from functions.aggregate.comparing.pairing import Pairings, grouped, texts
from functions.aggregate.comparing.vectors import judged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from common.schemas.comparison import CompareQuery, Figures
    from common.schemas.graders import Grader
    from common.schemas.runs import RunPlan, RunSummary
    from functions.aggregate.comparing.pairing import Groups, Pairing
    from functions.aggregate.comparing.vectors import Judged
    from functions.aggregate.records import Records

_SLICE_CHARACTERS = 200
_PAIR = 2


@dataclass(frozen=True, slots=True)
class Common:
    """The graders that two runs share, as (index in a, index in b), and those that cannot be compared."""

    pairs: tuple[tuple[int, int], ...]
    rest: tuple[NotCompared, ...]


@dataclass(frozen=True, slots=True)
class Sliced:
    """The slices that are shown: (value, which of the pairs are in it), the most frequent first, and what was left out."""

    told: Slicing
    parts: tuple[tuple[str | None, NDArray[Any]], ...]


def compare(query: CompareQuery, records: Records, *, project: str) -> Comparison:
    """The answer to `query`.

    Costs a few trips and 18 bytes an item and grader; where items are paired by content, clustered or sliced, the datasets
    are read as well.

    Raises:
        NotFound: a run is not the project's.
        InvalidInput: not two runs, a grader that neither has, or a path that no item has.
    """
    ids = names_in(query.runs)
    if len(ids) != _PAIR:
        raise InvalidInput("runs: expected two different run ids with a comma between, the baseline first", pointer="/runs")
    a, b = (records.owned(run_id, project=project) for run_id in ids)
    summaries = records.summary(a), records.summary(b)
    common = common_graders(a.graders, b.graders, wanted=None if query.graders is None else names_in(query.graders))
    pairing = Pairings(records).of(a, b)
    sliced = None if query.slice is None else _sliced(query.slice, a, pairing, records)
    clusters = None if query.cluster is None else _clusters(grouped(a, query.cluster, records), pairing)
    asked = Asked(level=query.level, margin=query.margin, seed=query.seed if query.bootstrap else None)
    judgements = (
        judged(a, summaries[0], records, graders=[pair[0] for pair in common.pairs]),
        judged(b, summaries[1], records, graders=[pair[1] for pair in common.pairs]),
    )
    compared = []
    for left, right in common.pairs:
        sides = _aligned(judgements, pairing, graders=(left, right), clusters=clusters)
        compared.append(_grader((a.graders[left], b.graders[right]), sides, asked=asked, sliced=sliced))
    told = PairedItems(method=pairing.method, items=len(pairing.a), only_a=pairing.only_a, only_b=pairing.only_b)
    return _answer(
        query,
        (a, b),
        (compared_run(summaries[0]), compared_run(summaries[1])),
        compared=compared,
        pairing=told,
        clusters=None if clusters is None else len(np.unique(clusters)),
        slicing=None if sliced is None else sliced.told,
        not_compared=list(common.rest),
    )


def _answer(
    query: CompareQuery,
    plans: tuple[RunPlan, RunPlan],
    runs: tuple[ComparedRun, ComparedRun],
    *,
    compared: Sequence[GraderComparison],
    pairing: PairedItems,
    clusters: int | None,
    slicing: Slicing | None,
    not_compared: list[NotCompared],
) -> Comparison:
    graders, tests = _adjusted(compared)
    return Comparison(
        a=runs[0],
        b=runs[1],
        simulated=any(run.simulated for run in runs),
        complete=all(run.complete for run in runs),
        level=query.level,
        margin=query.margin,
        cluster=query.cluster,
        clusters=clusters,
        slicing=slicing,
        pairing=pairing,
        tests=tests,
        graders=graders,
        not_compared=not_compared,
        warnings=list(warnings(plans, runs, pairing, graders, level=query.level)),
    )


def names_in(text: str) -> list[str]:
    """Names between commas, each once."""
    return list(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))


def compared_run(summary: RunSummary) -> ComparedRun:
    """What a comparison says of a run itself."""
    return ComparedRun(
        run_id=summary.run_id,
        name=summary.name,
        eval_id=summary.eval_id,
        eval_version=summary.eval_version,
        status=summary.status,
        complete=summary.status in ENDED and summary.done == summary.total,
        simulated=summary.simulated,
        suspect=summary.suspect,
        stopped=summary.stopped is not None,
        total=summary.total,
        done=summary.done,
        usage=summary.usage,
        cost_microusd=summary.cost_microusd,
        cost_usd=summary.cost_usd,
        report_url=summary.report_url,
    )


def common_graders(a: Sequence[Grader], b: Sequence[Grader], *, wanted: Sequence[str] | None = None) -> Common:
    """Graders of one name and one scale; the rest with what keeps them apart.

    Raises:
        InvalidInput: `wanted` has a name that neither has.
    """
    left = {grader.name: number for number, grader in enumerate(a)}
    right = {grader.name: number for number, grader in enumerate(b)}
    names = list(dict.fromkeys([*left, *right]))
    if unknown := [name for name in wanted or () if name not in names]:
        raise InvalidInput(f"graders: neither run has a grader named {unknown[0][:60]!r}", pointer="/graders")
    pairs, rest = [], []
    for name in names if wanted is None else wanted:
        if name not in left or name not in right:
            rest.append(NotCompared(name=name, reason=f"only the {'candidate' if name in right else 'baseline'} has it"))
        elif (scales := (a[left[name]].scale, b[right[name]].scale))[0] != scales[1]:
            rest.append(
                NotCompared(name=name, reason="its scales differ: {} to {}, and {} to {}".format(*scales[0], *scales[1]))
            )
        else:
            pairs.append((left[name], right[name]))
    return Common(tuple(pairs), tuple(rest))


def changed_fields(a: Grader, b: Grader) -> list[str]:
    """The fields in which two definitions of a grader differ."""
    left, right = a.model_dump(mode="json"), b.model_dump(mode="json")
    return [name for name in dict.fromkeys([*left, *right]) if left.get(name) != right.get(name)]


def _aligned(
    judgements: tuple[Judged, Judged], pairing: Pairing, *, graders: tuple[int, int], clusters: NDArray[Any] | None
) -> Sides:
    left, right = judgements
    a, b = left.graders[graders[0]], right.graders[graders[1]]
    return Sides(
        scores=(a.scores[pairing.a], b.scores[pairing.b]),
        passed=(a.passed[pairing.a], b.passed[pairing.b]),
        done=(left.done[pairing.a], right.done[pairing.b]),
        clusters=clusters,
    )


def _grader(graders: tuple[Grader, Grader], sides: Sides, *, asked: Asked, sliced: Sliced | None) -> GraderComparison:
    slices = [
        SliceComparison(slice=value, items=int(part.sum()), **contrast(sides.within(part), asked.quick()))
        for value, part in (() if sliced is None else sliced.parts)
    ]
    first = graders[0]
    return GraderComparison(
        name=first.name,
        type=first.type,
        range=first.scale,
        changed=changed_fields(*graders),
        slices=slices,
        **contrast(sides, asked),
    )


def _clusters(groups: Groups, pairing: Pairing) -> NDArray[Any]:
    """Each pair's cluster; an item without a value is a cluster of its own."""
    numbers = groups.numbers[pairing.a]
    return np.where(numbers >= 0, numbers, len(groups.firsts) + np.arange(len(numbers)))


def _sliced(path: str, a: RunPlan, pairing: Pairing, records: Records) -> Sliced:
    groups = grouped(a, path, records)
    numbers = groups.numbers[pairing.a]
    kinds, seen_at, counts = np.unique(numbers, return_index=True, return_counts=True)
    order = np.lexsort((seen_at, -counts))[:MAX_SLICES]
    shown = kinds[order]
    firsts = [int(groups.firsts[number]) for number in shown if number >= 0]
    named = texts(a, path, records, indexes=firsts)
    parts = tuple((_named(next(named)) if number >= 0 else None, numbers == number) for number in shown)
    hidden = len(numbers) - int(counts[order].sum())
    return Sliced(Slicing(path=path, values=len(kinds), shown=len(shown), hidden_items=hidden), parts)


def _named(text: str | None) -> str | None:
    return text if text is None or len(text) <= _SLICE_CHARACTERS else text[: _SLICE_CHARACTERS - 1] + "…"


def _adjusted(compared: Sequence[GraderComparison]) -> tuple[list[GraderComparison], int]:
    """Every p-value adjusted for all that were tested, graders and slices alike."""
    rows: list[Figures] = [row for grader in compared for row in (grader, *grader.slices)]
    ps = [p for row in rows if (p := tested(row)) is not None]
    found = iter(zip(holm(ps), benjamini_hochberg(ps), strict=True))
    told = []
    for row in rows:
        p_holm, p_bh = (None, None) if tested(row) is None else next(found)
        told.append({"p_holm": p_holm, "p_bh": p_bh})
    updates = iter(told)
    graders = []
    for grader in compared:
        own = next(updates)
        slices = [part.model_copy(update=next(updates)) for part in grader.slices]
        graders.append(grader.model_copy(update={**own, "slices": slices}))
    return graders, len(ps)


def tested(row: Figures) -> float | None:
    """The p-value that is adjusted: Student's, or Wilcoxon's where all pairs differ by the same and Student's is undefined."""
    return row.wilcoxon_p if row.difference.p is None else row.difference.p
