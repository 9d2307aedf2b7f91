"""A run's summary for people: tables and lines. Unknown is written as unknown, missing as missing; neither is ever 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cli.errors import COULD_NOT_RUN, GATE_FAILED, PASSED
from cli.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from rich.console import Console
    from rich.table import Table

    from cli.gates import GateResult
    from common.schemas.runs import GraderSummary, RunSummary

NONE = "-"
SIMULATED = "SIMULATED: a simulator stood in for a model. These numbers show how things work, not how good an answer is."
_WIDTH = 132  # where the output is no terminal that has a width of its own
_WIDE = 114  # narrower terminals get fewer columns, rather than cut ones
_FIGURES = ("mean [95 %]", "pass rate [95 %]")
_CENT = 0.01
_ENDS = {PASSED: ("PASSED", "green"), GATE_FAILED: ("FAILED", "bold red"), COULD_NOT_RUN: ("NOT DECIDED", "bold red")}


def console_on(stream: TextIO) -> Console:
    """A console for `stream`: colours on terminals only, and no line shorter than a table needs elsewhere."""
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else _WIDTH, highlight=False, markup=False, emoji=False)


def mean(grader: GraderSummary) -> str:
    """``4.42 [4.20, 4.63]``."""
    return _with_interval(grader.mean, grader.interval, factor=1)


def pass_rate(grader: GraderSummary) -> str:
    """``91.9 % [82.5, 96.5]``."""
    return _with_interval(grader.pass_rate, grader.pass_interval, factor=100, unit=" %")


def _with_interval(value: float | None, interval: tuple[float, float] | None, *, factor: int, unit: str = "") -> str:
    if value is None:
        return NONE
    digits = 1 if factor > 1 else 3
    shown = f"{value * factor:.{digits}f}{unit}"
    if interval is None:
        return shown
    return f"{shown} [{interval[0] * factor:.{digits}f}, {interval[1] * factor:.{digits}f}]"


def cost(summary: RunSummary) -> str:
    """Cost in dollars; unknown as soon as one call's price is unknown, with what is known beside it."""
    if summary.cost_microusd is not None:
        return _dollars(summary.cost_microusd)
    known = sum(model.cost_microusd for model in summary.models)
    unpriced = sum(model.unpriced_calls for model in summary.models)
    calls = f"; {unpriced:,} calls without a known price" if unpriced else ""
    return f"unknown ({_dollars(known)} known{calls})" if known else f"unknown{f' ({calls[2:]})' if calls else ''}"


def _dollars(microusd: int) -> str:
    dollars = microusd / 1_000_000
    return f"${dollars:,.6f}" if 0 < dollars < _CENT else f"${dollars:,.4f}"


def print_run(console: Console, summary: RunSummary) -> None:
    """One run: a table with a row for each grader, and under it what it took."""
    title = [plain(summary.name, limit=80), summary.status, plain(summary.run_id, limit=80)]
    if summary.simulated:
        title.append("SIMULATED")
    console.print(_grader_table(summary, title=" · ".join(title), wide=console.width >= _WIDE))
    for line in _lines(summary):
        console.print(line)
    if summary.simulated:
        console.print(SIMULATED, style="bold yellow")
    console.print()


def _grader_table(summary: RunSummary, *, title: str, wide: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, overflow="fold"), title_justify="left", title_style="bold")
    table.add_column("grader", overflow="fold", min_width=8)
    for heading in ("type", "n", *_FIGURES, "passed", "failed", "unscored") if wide else ("n", *_FIGURES, "unscored"):
        table.add_column(heading, justify="left" if heading == "type" else "right", no_wrap=True)
    for grader in summary.graders:
        counts = [f"{count:,}" for count in (grader.passed, grader.failed, grader.unscored)]
        cells = [f"{grader.scored + grader.unscored:,}", mean(grader), pass_rate(grader)]
        cells = [grader.type, *cells, *counts] if wide else [*cells, counts[-1]]
        table.add_row(*(Text(cell) for cell in (plain(grader.name, limit=60), *cells)))
    return table


def _lines(summary: RunSummary) -> list[str]:
    usage = summary.usage
    outcomes = f"{summary.passed:,} passed every grader, {summary.failed:,} did not, {summary.errored:,} unscored"
    lines = [
        f"items   {summary.done:,} of {summary.total:,}: {outcomes}",
        f"tokens  {usage.total_tokens:,} ({usage.prompt_tokens:,} in, {usage.completion_tokens:,} out)",
        f"cost    {cost(summary)}",
    ]
    if summary.suspect:
        lines.append(f"SUSPECT {plain(summary.suspect_reason or 'a canary did not pass')}")
    if summary.stopped is not None:
        stopped = summary.stopped
        lines.append(f"stopped after {stopped.at_items:,} items: {plain(stopped.rule)}, decided: {stopped.decision}")
    if summary.error is not None:
        lines.append(f"error   {plain(summary.error.code, limit=60)}: {plain(summary.error.message)}")
    for grader in summary.graders:
        if grader.unscored_reasons:
            reasons = ", ".join(f"{plain(reason, limit=60)} {count:,}" for reason, count in grader.unscored_reasons.items())
            lines.append(f"unscored by {plain(grader.name, limit=60)}: {reasons}")
    if summary.report_url:
        lines.append(f"report  {plain(summary.report_url, limit=500)}")
    return lines


def print_side_by_side(console: Console, summaries: Sequence[RunSummary]) -> None:
    """Runs of one eval in columns. Each interval is its own run's; overlapping intervals decide nothing."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title="side by side", title_justify="left", title_style="bold")
    table.add_column("grader", overflow="fold")
    table.add_column("")
    for summary in summaries:
        table.add_column(Text(plain(summary.name, limit=40)), justify="right", overflow="fold")
    names = dict.fromkeys(grader.name for summary in summaries for grader in summary.graders)
    by_run = [{grader.name: grader for grader in summary.graders} for summary in summaries]
    for name in names:
        graders = [run.get(name) for run in by_run]
        for label, shown in (("mean", mean), ("pass rate", pass_rate)):
            title = plain(name, limit=60) if label == "mean" else ""
            table.add_row(Text(title), label, *(Text(shown(grader) if grader else NONE) for grader in graders))
    table.add_row("all graders", "passed", *(f"{summary.passed:,} of {summary.total:,}" for summary in summaries))
    console.print(table)
    console.print()


def print_end(console: Console, code: int, why: str) -> None:
    """The last line of a command with gates; it says what the exit `code` says."""
    word, style = _ENDS[code]
    console.print(f"{word}: {plain(why, limit=500)}", style=style, soft_wrap=True)


def print_gates(console: Console, results: Sequence[GateResult], *, allow_unscored: bool) -> None:
    """One line a gate and run, with the figure that decided."""
    for result in results:
        verdict = "passed" if result.passed else "FAILED"
        line = f"gate {verdict}  {plain(result.run, limit=40)}: {plain(result.gate)}, {_decided_by(result, allow_unscored)}"
        console.print(line, style="green" if result.passed else "bold red")


def _decided_by(result: GateResult, allow_unscored: bool) -> str:  # noqa: FBT001  # private, named at its only call
    if result.value is None:
        return f"no figure to compare ({result.missing:,} unscored)"
    if not result.missing:
        return f"got {result.value:.4g}"
    if allow_unscored:
        return f"got {result.value:.4g} (of the scored ones; {result.missing:,} unscored left out)"
    return f"got {result.value:.4g}, at worst {result.bound:.4g} with {result.missing:,} unscored (this decides)"
