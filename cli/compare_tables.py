"""A comparison for people: a row a grader and slice, what it took, and what is to be known before it is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cli.tables import NONE, SIMULATED
from cli.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console
    from rich.table import Table

    from cli.gates import PairGateResult
    from common.schemas.comparison import ComparedRun, Comparison, Figures, Measured

_WIDE = 114
_TINY_P = 0.001
_VERDICTS = {"not_worse": "not worse", "worse": "WORSE", "undecided": "undecided"}


@dataclass(frozen=True, slots=True)
class Column:
    """A heading and what stands under it; narrow terminals get fewer columns, rather than cut ones."""

    heading: str
    cell: Callable[[Figures], str]
    wide_only: bool = False


def print_comparison(console: Console, found: Comparison) -> None:
    """The table of means, that of passes, and the lines about the runs."""
    title = f"b {plain(found.b.name, limit=40)} against a {plain(found.a.name, limit=40)}"
    rows, wide = list(_rows(found)), console.width >= _WIDE
    console.print(_table(f"{title} · means", rows, _means(found), wide=wide))
    console.print(_table("pass rates", rows, _passes(found), wide=wide))
    for line in _lines(found):
        console.print(line)
    for warning in found.warnings:
        console.print(f"warning  {plain(warning, limit=500)}", style="bold yellow")
    for each in found.not_compared:
        console.print(f"warning  {plain(each.name, limit=60)} is not compared: {plain(each.reason)}", style="bold yellow")
    if found.simulated:
        console.print(SIMULATED, style="bold yellow")
    console.print()


def print_pair_gates(console: Console, results: Sequence[PairGateResult], *, decided: bool) -> None:
    """One line a gate, with what decided; not `decided` are those over runs that are not fit for it."""
    for result in results:
        verdict = "passed" if result.passed else "FAILED" if decided else "not decided"
        line = f"gate {verdict}  {plain(result.gate.text)}: {_decided_by(result)}"
        console.print(line, style="green" if result.passed else "bold red")


def _decided_by(result: PairGateResult) -> str:
    if result.gate.wish == "at most":
        return "nothing was counted" if result.value is None else f"{result.value * 100:.3g} % of the candidate"
    if result.value is None:
        return f"{result.reason}; no pair is scored on both sides"
    bound = "no bound" if result.bound is None else f"at least {result.bound:+.4g}"
    return f"{result.reason}; b - a {result.value:+.4g}, {bound}, {result.pairs:,} pairs"


def _table(title: str, rows: Sequence[tuple[str, Figures]], columns: Sequence[Column], *, wide: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, overflow="fold"), title_justify="left", title_style="bold")
    table.add_column("grader", overflow="fold", min_width=8)
    shown = [column for column in columns if wide or not column.wide_only]
    for column in shown:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for name, figures in rows:
        table.add_row(Text(name), *(Text(column.cell(figures)) for column in shown))
    return table


def _means(found: Comparison) -> list[Column]:
    columns = [
        Column("a", lambda row: _mean(row.a.mean.mean), wide_only=True),
        Column("b", lambda row: _mean(row.b.mean.mean), wide_only=True),
        Column(f"b - a [{found.level * 100:g} %]", lambda row: _gap(row.difference, factor=1)),
        Column("p, Holm", lambda row: _p(row.p_holm)),
        Column("pairs", lambda row: f"{row.paired:,}"),
        Column("unscored a, b", lambda row: f"{row.a.unscored:,}, {row.b.unscored:,}", wide_only=True),
    ]
    if found.margin is not None:
        columns.append(
            Column(
                f"margin {found.margin:g}", lambda row: _VERDICTS[row.non_inferiority.verdict] if row.non_inferiority else NONE
            )
        )
    return columns


def _passes(found: Comparison) -> list[Column]:
    return [
        Column("a", lambda row: _share(row.a.pass_rate.mean), wide_only=True),
        Column("b", lambda row: _share(row.b.pass_rate.mean), wide_only=True),
        Column(f"b - a [{found.level * 100:g} %]", lambda row: _gap(row.passes.difference, factor=100)),
        Column("only a", lambda row: f"{row.passes.only_a:,}"),
        Column("only b", lambda row: f"{row.passes.only_b:,}"),
        Column("McNemar p", lambda row: _p(row.passes.p)),
        Column("pairs", lambda row: f"{row.paired:,}", wide_only=True),
    ]


def _rows(found: Comparison) -> Iterator[tuple[str, Figures]]:
    for grader in found.graders:
        yield plain(grader.name, limit=60), grader
        for part in grader.slices:
            yield f"  {NONE if part.slice is None else plain(part.slice, limit=40)}", part


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
