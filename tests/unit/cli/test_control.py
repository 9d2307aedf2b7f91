"""`knudge pause`, `resume`, `cancel`, `retry`, `fork` and `deadletters` against a server on loopback."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cli.main import outcome
from common.settings import Settings
from common.store.connect import sync_client
from common.store.deadletters import DeadLetterStore
from tests.unit.cli.loopback import Answer, Asked, Loopback

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = "/evals/eval_1/runs/run_1"
LETTER = {
    "received_at": 1795229378,
    "event_id": "run_1/0/1",
    "event_type": "dev.knudge.evaluation.requested.v1",
    "items": [0, 1, 2, 3, 4, 5],
    "code": "500",
    "detail": "boom\x1b[31m",
    "redriven_at": None,
}


def run_object(**notes: Any) -> dict[str, Any]:
    counts = {"total": 3, "passed": 2, "failed": 0, "errored": 1}
    return {
        "id": "run_1",
        "status": "in_progress",
        "result_counts": counts,
        "knudge": {"items": 9, "outstanding": 4, "paused": False, **notes},
    }


@pytest.fixture
def answering(loopback: Loopback) -> Callable[[dict[tuple[str, str], Answer]], list[str]]:
    """A server that knows run_1 and these answers; the options that lead to it."""

    def set_up(answers: dict[tuple[str, str], Answer]) -> list[str]:
        known = {("GET", "/manifests/run_1"): Answer({"eval": {"eval_id": "eval_1"}}), **answers}

        def answer(asked: Asked) -> Answer:
            return known.get((asked.method, asked.path), Answer({"error": {"message": "no such run"}}, status=404))

        loopback.answer = answer
        return ["--base-url", loopback.url]

    return set_up


@pytest.mark.parametrize("what", ["pause", "resume", "cancel", "retry"])
def test_a_run_is_acted_on_by_its_id_alone(
    what: str, loopback: Loopback, answering: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """The run's eval is found out, the action is sent to it, and where the run stands is told on stderr."""
    options = answering({("POST", f"{RUN}/{what}"): Answer(run_object(paused=what == "pause"))})
    assert outcome([what, "run_1", *options]) == 0
    (asked,) = loopback.asked_for("POST", f"{RUN}/{what}")
    assert asked.json == {}
    told = capsys.readouterr()
    status = "paused" if what == "pause" else "in_progress"
    assert (told.out, told.err) == ("", f"run_1: {status}, 3 of 9 items done, 1 unscored, 4 under way\n")
    assert outcome([what, "run_9", *options]) == 2


def test_a_refusal_is_one_line(loopback: Loopback, answering: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """What the server has against it is told with its words, and the exit code is 2."""
    no = Answer({"error": {"message": "the run has completed already"}}, status=400)
    assert outcome(["pause", "run_1", *answering({("POST", f"{RUN}/pause"): no})]) == 2
    assert "completed already" in capsys.readouterr().err
    assert outcome(["pause", "run_1", *answering({("POST", f"{RUN}/pause"): Answer([])})]) == 2
    assert outcome(["pause", "run_1", *answering({("GET", "/manifests/run_1"): Answer({})})]) == 2
    assert len(loopback.asked_for("POST", f"{RUN}/pause")) == 2


def test_a_retry_names_codes(loopback: Loopback, answering: Any) -> None:
    """Codes are passed on."""
    options = answering({("POST", f"{RUN}/retry"): Answer(run_object())})
    assert outcome(["retry", "run_1", "--code", "a", "--code", "b", *options]) == 0
    assert loopback.asked_for("POST", f"{RUN}/retry")[0].json == {"codes": ["a", "b"]}


def test_a_fork_prints_the_new_run(loopback: Loopback, answering: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Judge, graders, name and metadata are passed on under an idempotency key, and stdout has the new id alone."""
    options = answering({("POST", f"{RUN}/fork"): Answer({**run_object(), "id": "run_2"}, status=201)})
    given = ["--judge", "lab:x", "--graders", '{"q": {"pass_threshold": 5}}', "--name", "n", "--metadata", "a=b=c"]
    assert outcome(["fork", "run_1", *given, *options]) == 0
    (asked,) = loopback.asked_for("POST", f"{RUN}/fork")
    assert asked.json == {"judge": "lab:x", "graders": {"q": {"pass_threshold": 5}}, "name": "n", "metadata": {"a": "b=c"}}
    assert asked.headers["idempotency-key"]
    assert capsys.readouterr().out == "run_2\n"
    for wrong in (["--graders", "{"], ["--graders", "[]"], ["--metadata", "a"]):
        assert outcome(["fork", "run_1", *wrong, *options]) == 2


def test_dead_letters_are_listed_and_redriven(loopback: Loopback, answering: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Letters are printed as a table or JSON with nothing in them that a terminal obeys, and taken up again by their ids."""
    options = answering(
        {
            ("GET", f"{RUN}/dead_letters"): Answer({"object": "list", "data": [LETTER]}),
            ("POST", f"{RUN}/dead_letters/redrive"): Answer({"letters": 1, "items": 6}),
        }
    )
    assert outcome(["deadletters", "list", "run_1", *options]) == 0
    told = capsys.readouterr().out
    assert "\x1b[31m" not in told
    assert "0, 1, 2, 3, 4, …" in told
    assert outcome(["deadletters", "list", "run_1", "--json", *options]) == 0
    assert json.loads(capsys.readouterr().out) == [LETTER]
    assert outcome(["deadletters", "redrive", "run_1", "--id", "run_1/0/1", *options]) == 0
    assert loopback.asked_for("POST", f"{RUN}/dead_letters/redrive")[0].json == {"ids": ["run_1/0/1"]}
    assert "1 letters taken up, 6 items" in capsys.readouterr().err


def test_letters_of_no_run_are_read_from_the_store(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a run the letters of no known run are shown, which no key opens."""
    monkeypatch.setenv("KNUDGE_REDIS_URL", redis_url)
    with sync_client(Settings(redis_url=redis_url)) as client:
        DeadLetterStore(client).append(LETTER)
    assert outcome(["deadletters", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [LETTER]
