"""Progress of runs on stderr: bars on a terminal, now and then a line elsewhere, or nothing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from cli.pacewords import pace_words
from cli.text import plain
from common.schemas.runs import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TextIO

    from rich.console import RenderableType
    from rich.progress import Progress, TaskID

    from cli.watch import Look, Shown, StartedRun
    from common.schemas.runs import RunSummary

_LINE_EVERY_S = 10.0


class Silent:
    """Shows nothing."""

    def update(self, look: Look, /) -> None:
        """Take no notice."""


class Bars:
    """One live bar a run."""

    def __init__(self, progress: Progress, runs: Sequence[StartedRun]) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {
            run.run_id: progress.add_task(plain(run.name, limit=24), total=run.items, passed=0, failed=0, unscored=0, words="")
            for run in runs
        }

    def update(self, look: Look, /) -> None:
        """Move one bar."""
        summary = look.summary
        self._progress.update(
            self._tasks[look.run.run_id],
            total=summary.total or None,
            completed=summary.done,
            passed=summary.passed,
            failed=summary.failed,
            unscored=summary.errored,
            words="" if look.ended else " · ".join(pace_words(summary)),
        )


class Lines:
    """A line when a run starts, ends, or 10 s have gone by."""

    def __init__(self, stream: TextIO, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock
        self._started: dict[str, float] = {}
        self._written: dict[str, float] = {}

    def update(self, look: Look, /) -> None:
        """Write a line if it is time for one."""
        now = self._clock()
        started = self._started.setdefault(look.run.run_id, now)
        if look.ended or now - self._written.get(look.run.run_id, float("-inf")) >= _LINE_EVERY_S:
            self._written[look.run.run_id] = now
            print(_line(look.summary, elapsed_s=now - started), file=self._stream, flush=True)


def _line(summary: RunSummary, *, elapsed_s: float) -> str:
    status = "paused" if summary.paused and summary.status not in ENDED else summary.status
    parts = [
        f"{plain(summary.name, limit=40)}: {status} {summary.done}/{summary.total}",
        f"{summary.passed} passed",
        f"{summary.failed} failed",
        f"{summary.errored} unscored",
        *pace_words(summary, elapsed_s=elapsed_s),
    ]
    return " · ".join(parts)


@contextmanager
def shown_on(stream: TextIO, runs: Sequence[StartedRun], *, wanted: bool, clock: Callable[[], float]) -> Iterator[Shown]:
    """The way to show `runs` that suits `stream`; control codes go to terminals only."""
    if not wanted:
        yield Silent()
    elif stream.isatty():
        with bars_on(stream) as progress:
            yield Bars(progress, runs)
    else:
        yield Lines(stream, clock)


def bars_on(stream: TextIO) -> Progress:
    """The layout of live bars, and under each what else there is to say; every figure is there from 80 columns on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.text import Text

    class Explained(Progress):
        def get_renderables(self) -> Iterator[RenderableType]:
            for task in self.tasks:
                yield self.make_tasks_table([task])
                if task.fields.get("words"):
                    yield Text(f"  {task.fields['words']}")

    counts = "{task.fields[passed]} passed, {task.fields[failed]} failed, {task.fields[unscored]} unscored"
    return Explained(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=14),  # all columns fit a terminal of 80
        MofNCompleteColumn(),
        TextColumn(counts, markup=False),
        console=Console(file=stream),
    )
