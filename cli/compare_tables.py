"""A comparison for people: a row a grader and slice, what it took, and what is to be known before it is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.tables import NONE, SIMULATED
from cli.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console
    from rich.table import Table

    from cli.gates import PairGateResult
    from common.schemas.comparison import ComparedRun, Comparison, Figures, Measured

_WIDE = 114
_TINY_P = 0.001
_VERDICTS = {"not_worse": "not worse", "worse": "WORSE", "undecided": "undecided"}


def print_comparison(console: Console, found: Comparison) -> None:
    """The table of means, that of passes, and the lines about the runs."""
    level = f"{found.level * 100:g} %"
    title = f"b {plain(found.b.name, limit=40)} against a {plain(found.a.name, limit=40)}"
    console.print(_table(found, title=f"{title} · means", level=level, shares=False, wide=console.width >= _WIDE))
    console.print(_table(found, title="pass rates", level=level, shares=True, wide=console.width >= _WIDE))
    for line in _lines(found):
        console.print(line)
    for warning in found.warnings:
        console.print(f"warning  {plain(warning, limit=500)}", style="bold yellow")
    for each in found.not_compared:
        console.print(f"warning  {plain(each.name, limit=60)} is not compared: {plain(each.reason)}", style="bold yellow")
    if found.simulated:
        console.print(SIMULATED, style="bold yellow")
    console.print()


def print_pair_gates(console: Console, results: Sequence[PairGateResult]) -> None:
    """One line a gate, with what decided."""
    for result in results:
        verdict = "passed" if result.passed else "FAILED"
        line = f"gate {verdict}  {plain(result.gate.text)}: {_decided_by(result)}"
        console.print(line, style="green" if result.passed else "bold red")


def _decided_by(result: PairGateResult) -> str:
    if result.gate.wish == "at most":
        return "nothing was counted" if result.value is None else f"{result.value * 100:.3g} % of the candidate"
    if result.value is None:
        return f"{result.reason}; no pair is scored on both sides"
    bound = "no bound" if result.bound is None else f"at least {result.bound:+.4g}"
    return f"{result.reason}; b - a {result.value:+.4g}, {bound}, {result.pairs:,} pairs"


def _table(found: Comparison, *, title: str, level: str, shares: bool, wide: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, overflow="fold"), title_justify="left", title_style="bold")
    table.add_column("grader", overflow="fold", min_width=8)
    headings = ["a", "b", f"b - a [{level}]", *_heads(found, shares=shares), "pairs"]
    for heading in [*headings, "unscored a, b"] if wide else headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for name, figures in _rows(found):
        cells = [name, *_cells(figures, shares=shares, margin=found.margin), f"{figures.paired:,}"]
        unscored = f"{figures.a.unscored:,}, {figures.b.unscored:,}"
        table.add_row(*(Text(cell) for cell in ([*cells, unscored] if wide else cells)))
    return table


def _heads(found: Comparison, *, shares: bool) -> list[str]:
    if shares:
        return ["only a", "only b", "McNemar p"]
    return ["p, Holm", f"margin {found.margin:g}"] if found.margin is not None else ["p, Holm"]


def _rows(found: Comparison) -> Iterator[tuple[str, Figures]]:
    for grader in found.graders:
        yield plain(grader.name, limit=60), grader
        for part in grader.slices:
            yield f"  {NONE if part.slice is None else plain(part.slice, limit=40)}", part


def _cells(figures: Figures, *, shares: bool, margin: float | None) -> list[str]:
    if shares:
        passes = figures.passes
        sides = [_share(figures.a.pass_rate.mean), _share(figures.b.pass_rate.mean)]
        return [*sides, _gap(passes.difference, factor=100), f"{passes.only_a:,}", f"{passes.only_b:,}", _p(passes.p)]
    cells = [_mean(figures.a.mean.mean), _mean(figures.b.mean.mean), _gap(figures.difference, factor=1), _p(figures.p_holm)]
    if margin is None or figures.non_inferiority is None:
        return cells
    return [*cells, _VERDICTS[figures.non_inferiority.verdict]]


def _mean(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value * 100:.1f} %"


def _gap(measured: Measured, *, factor: int) -> str:
    """``+0.031 [-0.012, +0.074]``; shares in percentage points."""
    if measured.mean is None:
        return NONE
    digits = 1 if factor > 1 else 3
    shown = f"{measured.mean * factor:+.{digits}f}"
    if measured.interval is None:
        return shown
    return f"{shown} [{measured.interval[0] * factor:+.{digits}f}, {measured.interval[1] * factor:+.{digits}f}]"


def _p(p: float | None) -> str:
    return NONE if p is None else "<0.001" if p < _TINY_P else f"{p:.3f}"


def _lines(found: Comparison) -> Iterator[str]:
    yield plain(found.direction)
    for letter, run in (("a", found.a), ("b", found.b)):
        yield f"{letter}        {_run(run)}"
    place = "their place in the dataset" if found.pairing.method == "index" else "their content"
    rest = f"{found.pairing.only_a:,} only in a, {found.pairing.only_b:,} only in b"
    yield f"items    {found.pairing.items:,} in both, paired by {place}; {rest}"
    if found.cluster is not None:
        yield f"cluster  {plain(found.cluster)}: {found.clusters or 0:,} clusters"
    for grader in found.graders:
        if grader.items_needed:
            about = f"about {grader.items_needed:,} pairs, if the difference stays as it is"
            yield f"settle   {plain(grader.name, limit=60)}: {about}"
        if grader.bootstrap is not None:
            yield f"bootstrap {plain(grader.name, limit=60)}: {_gap(grader.bootstrap, factor=1)}"
    if found.slicing is not None and found.slicing.hidden_items:
        hidden = f"{found.slicing.hidden_items:,} items have others"
        yield f"slices   the {found.slicing.shown:,} most frequent of {found.slicing.values:,} values; {hidden}"


def _run(run: ComparedRun) -> str:
    cost = "cost unknown" if run.cost_usd is None else f"${run.cost_usd:,.4f}"
    simulated = " · SIMULATED" if run.simulated else ""
    items = f"{run.done:,} of {run.total:,} items"
    return f"{plain(run.run_id, limit=80)} · {run.status} · {items} · {run.usage.total_tokens:,} tokens · {cost}{simulated}"
