from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from cli.main import outcome
from cli.pacewords import pace_words
from cli.progress import shown_on
from cli.watch import Look, StartedRun
from common.schemas.progress import RunProgress, WaitingFor, WaitReason
from common.schemas.runs import RunSummary
from tests.unit.cli.loopback import Answer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.cli.loopback import Asked, Loopback

PROGRESS = RunProgress(items_per_s=12.5, eta_s=250, cost_projected_usd=1.4)


def summary(status: str = "in_progress", progress: RunProgress | None = PROGRESS, **fields: Any) -> RunSummary:
    known: dict[str, Any] = {
        "run_id": "run_1", "eval_id": "eval_1", "eval_version": 1, "name": "tern", "status": status, "created_at": 1,
        "total": 1000, "done": 100, "passed": 80, "failed": 15, "errored": 5, "graders": [], "models": [],
        "cost_microusd": 140_000, "progress": progress,
    }  # fmt: skip
    return RunSummary.model_validate(known | fields)


def waiting(*waits: tuple[WaitReason, str | None]) -> RunProgress:
    found = [WaitingFor(reason=reason, model=model, since=1, items=3) for reason, model in waits]
    return PROGRESS.model_copy(update={"waiting_for": found})


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_pace_end_cost_and_waits_are_words() -> None:
    """Everything that is known is said, each model's name made harmless, and nothing that is not known."""
    waits = waiting(("rate_limit", "lab:judge\x1b[2J"), ("breaker", "lab:b"), ("broker", None), ("provider", None))
    assert pace_words(summary(progress=waits)) == [
        "12.5 items/s",
        "about 4 min 10 s left",
        "$0.14 so far, about $1.40 in all",
        "waiting for the rate limit of lab:judge[2J, the breaker of lab:b, the broker and 1 more",
    ]
    assert pace_words(summary(progress=None, cost_microusd=None)) == []
    assert pace_words(summary(progress=None, cost_microusd=None), elapsed_s=50) == ["2.0 items/s", "about 7 min 30 s left"]


@pytest.mark.parametrize("status", ["canceled", "failed"])
def test_a_run_that_ended_early_has_no_time_left(status: str) -> None:
    """Items that nobody will judge are no reason to tell when they will be done."""
    assert pace_words(summary(status, progress=None, cost_microusd=None), elapsed_s=50) == ["2.0 items/s"]


@pytest.mark.parametrize("reason", ["rate_limit", "concurrency", "breaker", "budget", "provider", "broker", "store", "paused"])
def test_every_reason_has_its_words(reason: WaitReason) -> None:
    """Whatever a run waits for can be said."""
    assert pace_words(summary(progress=waiting((reason, None))))[-1].startswith("waiting for ")


def test_a_terminal_shows_bars_with_words_under_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """In 80 columns the bar, the counts, pace, cost and what is waited for are all there."""
    monkeypatch.setenv("COLUMNS", "80")
    stream, run = Terminal(), StartedRun("run_1", "eval_1", "tern", 1000, "")
    with shown_on(stream, [run], wanted=True, clock=lambda: 0.0) as shown:
        shown.update(Look(run, summary(progress=waiting(("rate_limit", "lab:judge"))), whole=True))
    text = " ".join(stream.getvalue().split())
    for words in ("100/1000", "80 passed, 15 failed, 5 unscored", "12.5 items/s", "waiting for the rate limit of lab:judge"):
        assert words in text


def _answering(loopback: Loopback, *states: RunSummary) -> None:
    left = list(states)

    def answer(asked: Asked) -> Answer:
        assert asked.path == "/runs/run_1"
        state = left.pop(0) if len(left) > 1 else left[0]
        return Answer(state.model_dump(mode="json"))

    loopback.answer = answer


def test_watch_follows_to_the_end(loopback: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    """A run under way is followed by its id alone; its results are printed when it has ended."""
    _answering(loopback, summary(), summary(), summary("completed", progress=None, done=1000))
    assert outcome(["watch", "run_1", "--base-url", loopback.url]) == 0
    captured = capsys.readouterr()
    assert "tern: in_progress 100/1000" in captured.err
    assert "12.5 items/s · about 4 min 10 s left" in captured.err
    assert "tern" in captured.out


def test_watch_says_once_how_a_run_stands(loopback: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    """--once prints a line and leaves, also for a run that is paused."""
    paused = summary(progress=waiting(("paused", None)), paused=True)
    _answering(loopback, paused)
    assert outcome(["watch", "run_1", "--base-url", loopback.url, "--once"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("tern: paused 100/1000")
    assert line.endswith("waiting for somebody to resume it\n")


@pytest.mark.parametrize(("status", "words"), [("canceled", "the run was canceled"), ("failed", "the run has failed")])
def test_a_run_that_did_not_complete_is_told(
    loopback: Loopback, capsys: pytest.CaptureFixture[str], status: str, words: str
) -> None:
    """Watching a run that was canceled or failed ends with 2, and the last line says so."""
    _answering(loopback, summary(status, progress=None))
    assert outcome(["watch", "run_1", "--base-url", loopback.url]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"knudge: {words}"


def _log(folder: Path, name: str, *lines: dict[str, Any] | str) -> None:
    written = [line if isinstance(line, str) else orjson.dumps(line).decode() for line in lines]
    (folder / f"{name}.log").write_text("\n".join(written) + "\n")


def test_logs_finds_an_item_and_what_went_on_around_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Lines that list the item, and others of the same requests, by time; other items, runs and broken lines are left out."""
    _log(
        tmp_path,
        "evaluate",
        "a traceback of somebody else, {run_1}",
        '{"broken run_1',
        {"time": "T2", "function": "evaluate", "event": "taken", "run_id": "run_1", "items": [1, 2], "request_id": "req_a"},
        {"time": "T3", "function": "evaluate", "event": "gateway.attempt.failed", "model": "m", "request_id": "req_a"},
        {"time": "T4", "function": "evaluate", "event": "handed", "run_id": "run_1", "items": [2], "request_id": "req_a"},
        {"time": "T5", "function": "evaluate", "event": "request", "event_id": "run_1/1/1", "request_id": "req_a"},
        {"time": "T6", "function": "evaluate", "event": "taken", "run_id": "run_2", "items": [1], "request_id": "req_b"},
    )
    _log(tmp_path, "tasks", {"time": "T1", "function": "tasks", "event": "issued", "run_id": "run_1", "items": [1]})
    assert outcome(["logs", "run_1", "1", "--folder", str(tmp_path)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split()[:3] for line in shown] == [
        ["T1", "tasks", "issued"],
        ["T2", "evaluate", "taken"],
        ["T3", "evaluate", "gateway.attempt.failed"],
        ["T5", "evaluate", "request"],
    ]
    assert outcome(["logs", "run_1", "--folder", str(tmp_path), "--json"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5
    assert outcome(["logs", "run_9", "--folder", str(tmp_path)]) == 2
    assert outcome(["logs", "run_1", "--folder", str(tmp_path / "none")]) == 2
