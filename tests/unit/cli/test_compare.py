from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.gates import PairGate, check_pair, parse_pair
from cli.main import outcome
from common.schemas.comparison import Comparison
from common.schemas.evaluation import Usage
from tests.unit.cli.loopback import Answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.cli.loopback import Asked, Loopback


def _run(name: str, **changes: Any) -> dict[str, Any]:
    run = {
        "run_id": f"run_{name}",
        "name": f"\x1b[31m{name}",
        "eval_id": "eval_1",
        "eval_version": 1,
        "status": "completed",
        "complete": True,
        "simulated": False,
        "total": 100,
        "done": 100,
        "usage": Usage(prompt_tokens=1000, completion_tokens=200).model_dump(),
        "cost_microusd": None,
        "cost_usd": None,
        "report_url": "",
    }
    return {**run, **changes}


def _measured(mean: float, se: float, *, n: int = 100) -> dict[str, Any]:
    return {"n": n, "mean": mean, "se": se, "interval": [mean - 2 * se, mean + 2 * se], "p": 0.5, "df": n - 1}


def comparison(
    *,
    mean: float = 0.0,
    se: float = 0.01,
    unscored: int = 0,
    differs: bool = False,
    a: Any = None,
    b: Any = None,
    **changes: Any,
) -> dict[str, Any]:
    """What a server answers, with one grader, whose pass rates differ by ten times as much as its means."""
    side = {
        "scored": 100 - unscored,
        "unscored": unscored,
        "pending": 0,
        "mean": _measured(0.5, 0.1),
        "pass_rate": _measured(0.5, 0.1),
    }
    grader = {
        "name": "correct: ness",
        "type": "score_model",
        "range": [0, 1],
        "a": {**side, "scored": 100, "unscored": 0},
        "b": side,
        "paired": 100,
        "unpaired_a": 0,
        "unpaired_b": 0,
        "difference": _measured(mean, se),
        "p_holm": 0.0001,
        "passes": {"both": 90, "only_a": 5, "only_b": 5, "neither": 0, "difference": _measured(10 * mean, 10 * se), "p": 1.0},
        "unscored_differs": differs,
    }
    answer = {
        "a": a or _run("tern"),
        "b": b or _run("plover"),
        "simulated": False,
        "complete": True,
        "level": 0.95,
        "margin": None,
        "cluster": None,
        "clusters": None,
        "slicing": None,
        "pairing": {"method": "index", "items": 100, "only_a": 0, "only_b": 0},
        "tests": 1,
        "graders": [grader],
        "not_compared": [{"name": "other", "reason": "only the baseline has it"}],
        "warnings": ["mind \x1b[2J this"],
        "of_a_newer_server": 1,
    }
    return {**answer, **changes}


def _found(**changes: Any) -> Comparison:
    return Comparison.model_validate(comparison(**changes), extra="ignore")


@pytest.fixture
def serve(loopback: Loopback) -> Callable[..., list[str]]:
    """Makes the server answer so, and gives the arguments that ask it."""

    def served(**changes: Any) -> list[str]:
        loopback.answer = lambda _: Answer(comparison(**changes))
        return ["compare", "run_tern", "run_plover", "--base-url", loopback.url]

    return served


@pytest.mark.parametrize(
    ("text", "gate"),
    [
        ("correctness: not worse than 0.02", ("correctness", "mean", "not worse than", 0.02)),
        (" a: b :better than 1 ", ("a: b", "mean", "better than", 1.0)),
        ("correctness: better", ("correctness", "mean", "better than", 0.0)),
        ("correctness pass rate: not worse than 2%", ("correctness", "pass", "not worse than", 0.02)),
        ("unscored: at most 1.5%", ("unscored", "mean", "at most", 0.015)),
        ("unscored: at most 0.015", ("unscored", "mean", "at most", 0.015)),
        ("unscored: not worse than 0", ("unscored", "mean", "not worse than", 0.0)),
    ],
)
def test_gates_are_read_as_written(text: str, gate: tuple[Any, ...]) -> None:
    """A gate names a grader, what of it is compared, and what must hold."""
    assert parse_pair(text) == PairGate(text.strip(), *gate)


@pytest.mark.parametrize(
    "text",
    [
        "correctness",
        "correctness=0.8",
        ": better",
        "correctness: worse than 1",
        "correctness: not worse than",
        "correctness: not worse than -1",
        "correctness: not worse than 2%",
        "correctness: not worse than nan",
        "correctness pass rate: not worse than 2",
        "correctness: at most 2%",
        "unscored: at most 200%",
    ],
)
def test_what_is_no_gate_is_refused(text: str) -> None:
    """What is no gate, or has a number that does not suit it, is an error of usage."""
    with pytest.raises(click.BadParameter):
        parse_pair(text)


@given(st.text(max_size=60))
def test_any_text_is_a_gate_or_an_error_of_usage(text: str) -> None:
    """Nothing else is raised, whatever is typed."""
    with suppress(click.BadParameter):
        assert parse_pair(text).text == text.strip()


@pytest.mark.parametrize(
    ("mean", "gate", "passed", "undecided"),
    [
        (0.0, "not worse than 0.02", True, False),
        (0.0, "not worse than 0.01", False, True),
        (-0.05, "not worse than 0.02", False, False),
        (0.02, "better", True, False),
        (0.01, "better", False, True),
        (0.0, "better", False, True),
        (-0.02, "better", False, False),
    ],
)
def test_a_gate_is_decided_by_the_one_sided_interval(mean: float, gate: str, *, passed: bool, undecided: bool) -> None:
    """With a standard error of 0.01 over 100 pairs the bound lies 0.0166 below the difference; what is between is undecided."""
    (result,) = check_pair(_found(mean=mean), [parse_pair(f"correct: ness: {gate}")])
    assert (result.passed, result.undecided) == (passed, undecided)
    assert (result.needed is not None and result.needed > 100) == (undecided and not (mean == 0 and gate == "better"))


def test_a_pass_rate_has_its_own_difference() -> None:
    """Ten times the standard error is too much for the margin that the mean keeps."""
    gates = [parse_pair("correct: ness: not worse than 2e-2"), parse_pair("correct: ness pass rate: not worse than 2%")]
    assert [result.passed for result in check_pair(_found(), gates)] == [True, False]


def test_no_pair_is_no_pass() -> None:
    """A gate over nothing fails."""
    found = comparison()
    found["graders"][0] |= {"paired": 0, "difference": {"n": 0}}
    (result,) = check_pair(Comparison.model_validate(found, extra="ignore"), [parse_pair("correct: ness: not worse than 9")])
    assert (result.passed, result.value) == (False, None)


def test_unscored_are_watched_by_a_gate_of_their_own() -> None:
    """Where unscored verdicts differ much no other gate holds, unless one has said how many may be unscored."""
    gate, few, many = (
        parse_pair(text) for text in ("correct: ness: not worse than 0.02", "unscored: at most 5%", "unscored: at most 10%")
    )
    found = _found(unscored=10, differs=True)
    assert [result.passed for result in check_pair(found, [gate])] == [False]
    assert [result.passed for result in check_pair(found, [gate, few])] == [True, False]
    assert [result.passed for result in check_pair(found, [gate, many])] == [True, True]


def test_the_comparison_is_a_table(serve: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """Direction, both runs, intervals and warnings are shown, and nothing in them steers the terminal."""
    assert outcome(serve(mean=0.03)) == 0
    out = capsys.readouterr().out
    for part in (
        "Differences are b - a: a is the baseline",
        "+0.030 [+0.010, +0.050]",
        "+30.0 [+10.0, +50.0]",
        "<0.001",
        "run_tern · completed · 100 of 100 items · 1,200 tokens · cost unknown",
        "warning  mind [2J this",
        "warning  other is not compared: only the baseline has it",
    ):
        assert part in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("gate", "code", "line"),
    [
        (
            "correct: ness: not worse than 0.02",
            0,
            "gate passed  correct: ness: not worse than 0.02: shown; b - a +0, at least -0.0166",
        ),
        (
            "correct: ness: better than 0.005",
            1,
            "gate FAILED  correct: ness: better than 0.005: undecided: 100 items, about 2,475 needed",
        ),
        ("unscored: at most 0%", 0, "gate passed  unscored: at most 0%: 0 % of the candidate"),
    ],
)
def test_gates_make_the_exit_code(
    serve: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], gate: str, code: int, line: str
) -> None:
    """A gate that holds is 0, one that does not or is undecided is 1, and the line says what decided."""
    assert outcome([*serve(), "--gate", gate]) == code
    out = capsys.readouterr().out
    assert line in out
    assert out.splitlines()[-1] == ("PASSED: every gate held", "FAILED: 1 of 1 gates did not hold")[code]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"status": "in_progress", "complete": False, "done": 4}, "the candidate is in_progress, with 4 of 100 items"),
        ({"status": "canceled", "complete": True}, "the candidate is canceled"),
        ({"suspect": True}, "the candidate is suspect: a canary failed"),
        ({"stopped": True, "complete": False}, "the candidate stopped early"),
    ],
)
def test_no_gate_is_decided_over_a_run_that_is_not_fit_for_it(
    serve: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], change: dict[str, Any], words: str
) -> None:
    """A gate that would hold is no pass while a run goes on, has not completed, or has a judge in doubt; a look is free."""
    arguments = serve(b=_run("plover", **change))
    assert outcome([*arguments, "--gate", "correct: ness: not worse than 0.02"]) == 2
    out = capsys.readouterr().out
    assert "gate not decided  correct: ness: not worse than 0.02: the candidate " in out
    assert "gate passed" not in out
    assert out.splitlines()[-1].startswith(f"NOT DECIDED: {words}")
    assert outcome([*arguments, "--json", "--gate", "correct: ness: not worse than 0.02"]) == 2
    (gate,) = json.loads(capsys.readouterr().out)["gates"]
    assert (gate["passed"], gate["undecided"]) == (False, True)
    assert outcome(arguments) == 0


def test_a_grader_that_is_not_there_is_no_pass(serve: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """A misspelt grader, and one that cannot be compared, are told with exit code 2."""
    assert outcome([*serve(), "--gate", "correct: nes: better"]) == 2
    assert "no grader named 'correct: nes' is compared" in capsys.readouterr().err
    assert outcome([*serve(), "--gate", "other: better"]) == 2
    assert "(only the baseline has it)" in capsys.readouterr().err


def test_json_is_all_of_stdout(serve: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    """With --json stdout is one object: the comparison, the gates and the exit code."""
    arguments = [*serve(), "--json", "--gate", "correct: ness: better", "--gate", "unscored: at most 1%"]
    assert outcome(arguments) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 1
    assert [(gate["passed"], gate["undecided"]) for gate in told["gates"]] == [(False, True), (True, False)]
    assert told["graders"][0]["difference"]["mean"] == 0
    assert told["gates"][0]["reason"] == "undecided: 100 items, no number would settle it as things stand"


def test_what_is_asked_reaches_the_server(loopback: Loopback, capsys: pytest.CaptureFixture[str]) -> None:
    """Options become the query, the baseline first; an answer that is no comparison is told."""
    loopback.answer = lambda _: Answer({"runs": []})
    options = [
        "--cluster",
        "item.doc",
        "--slice",
        "item.topic",
        "--level",
        "0.9",
        "--margin",
        "0.5",
        "--bootstrap",
        "--grader",
        "x",
    ]
    assert outcome(["compare", "run_a", "run_b", "--base-url", loopback.url, *options]) == 2
    asked: Asked = loopback.asked[0]
    assert (asked.path, asked.query) == (
        "/compare",
        {
            "runs": "run_a,run_b",
            "graders": "x",
            "cluster": "item.doc",
            "slice": "item.topic",
            "level": "0.9",
            "margin": "0.5",
            "bootstrap": "true",
        },
    )
    assert "not a comparison: /a" in capsys.readouterr().err
