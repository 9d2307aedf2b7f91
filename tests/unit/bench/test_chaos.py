"""What the oracles of the chaos bench see, and what its provider keeps in mind."""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

from bench.chaos.oracle import account, delivered, differences, shown, summarised
from bench.chaos.provider import LIVED_S, Witness, identity
from tests.support.providers import serving

GRADERS = [{"name": "accuracy"}]
PROMPT = 'Grader: accuracy\n<data-ab name="item.id">\nitem-7\n</data-ab>'
CHAT = {"model": "m", "messages": [{"role": "user", "content": PROMPT}]}


def row(number: int, score: float | None, *, cost: int = 5) -> dict[str, Any]:
    passed = None if score is None else score >= 0.5
    unscored = {"code": "refusal"} if score is None else None
    call = {"usage": {"prompt_tokens": 1, "completion_tokens": 1}, "cost_microusd": cost}
    verdict = {"name": "accuracy", "score": score, "passed": passed, "label": None, "unscored": unscored, "calls": [call]}
    outcome = "errored" if passed is None else "passed" if passed else "failed"
    return {"item": {"id": f"item-{number}"}, "outcome": outcome, "verdicts": [verdict]}


def test_a_lost_and_a_doubled_result_are_seen() -> None:
    """An item without a row is lost; one with two, a row of no item, and a grader that spoke twice are duplicates."""
    rows = [row(1, 1.0), row(1, 1.0), row(9, 0.0)]
    rows[2]["verdicts"] *= 2
    found = delivered(rows, ["item-1", "item-2"])
    assert (found.results, found.duplicates, found.lost) == (3, 3, 1)


def test_sums_are_exact() -> None:
    """Scores that floats cannot add without rounding give the mean of the exact sum, whatever their order."""
    scores = [0.1, 1e16, -1e16, 0.2]
    means = {
        summarised([row(n, score) for n, score in enumerate(order)], GRADERS)["graders"]["accuracy"]["mean"]
        for order in (scores, scores[::-1], sorted(scores))
    }
    assert len(means) == 1
    assert means.pop() == pytest.approx(0.075)


def test_a_score_counts_in_billionths() -> None:
    """As the service has it: what lies beyond the ninth digit is in no sum."""
    assert summarised([row(1, 1 / 3)], GRADERS)["graders"]["accuracy"]["mean"] == 0.333333333


def test_a_target_is_paid_for() -> None:
    """A sample that a model gave is a call; one that came with its item is none."""
    asked = {"model": "lab:a", "usage": {"prompt_tokens": 3, "completion_tokens": 4}, "cost_microusd": 7}
    rows = [row(1, 1.0) | {"sample": asked}, row(2, 1.0) | {"sample": {"model": None}}]
    made = summarised(rows, GRADERS)
    assert (made["calls"], made["prompt_tokens"], made["cost_microusd"]) == (3, 5, 17)


def test_unscored_is_no_score() -> None:
    """A verdict without a score is counted apart, with its reason, and is in no mean; its calls were paid all the same."""
    made = summarised([row(1, 1.0), row(2, None)], GRADERS)
    grader = made["graders"]["accuracy"]
    assert (grader["mean"], grader["unscored"], grader["unscored_reasons"]) == (1.0, 1, {"refusal": 1})
    assert (made["passed"], made["errored"], made["cost_microusd"]) == (1, 1, 10)


def test_the_least_difference_is_named() -> None:
    """One bit more in a mean is a difference, and its path says where."""
    expected = summarised([row(1, 0.1)], GRADERS)
    found = summarised([row(1, 0.1)], GRADERS)
    found["graders"]["accuracy"]["mean"] = math.nextafter(0.1, 1)
    assert differences(expected, expected) == []
    assert any(path.startswith("graders.accuracy.mean: ") for path in differences(expected, found))


def test_the_service_s_summary_is_compared_field_by_field() -> None:
    """What the service shows is brought into the oracle's form, so that equal summaries have no difference."""
    rows = [row(number, number / 7) for number in range(8)]
    made = summarised(rows, GRADERS)
    grader = {"name": "accuracy", **made["graders"]["accuracy"]}
    service = {
        **{name: made[name] for name in ("done", "passed", "failed", "errored", "cost_microusd")},
        "models": [{"calls": 8}],
        "usage": {"prompt_tokens": 8, "completion_tokens": 8},
        "graders": [grader],
        "worst": {"accuracy": [{"score": score} for score in grader["worst"]]},
    }
    assert differences(made, shown(service)) == []


def test_only_what_somebody_lived_to_use_is_needless() -> None:
    """A call after the death of whoever had the reply is repeated, not needless; one after a living reply is both."""
    calls = [
        ("a", "x", "refused", 0, 0),
        ("a", "x", "died", 10, 1),
        ("a", "x", "kept", 10, 1),
        ("b", "x", "malformed", 10, 1),
        ("b", "x", "kept", 10, 1),
        ("b", "x", "kept", 10, 1),
    ]
    paid = account(calls, needed=2)
    assert (paid.repeated_share, paid.needless_share) == (1.0, 0.5)
    assert (paid.kept_microusd, paid.died_microusd, paid.malformed_microusd) == (42, 14, 14)


def test_what_was_kept_just_before_a_death_is_paid_for() -> None:
    """An item's only reply is the one that its result is made of, though its process was gone when the provider looked."""
    calls = [("a", "x", "died", 10, 1), ("a", "x", "died", 20, 1), ("b", "x", "died", 10, 1), ("b", "x", "kept", 10, 1)]
    paid = account(calls, needed=2)
    assert (paid.kept_microusd, paid.died_microusd) == (24 + 14, 14 + 14)


def test_a_call_says_whose_it_is() -> None:
    """Item and grader are read in the prompt; what does not say is nobody's."""
    assert identity(httpx.Request("POST", "http://x", json=CHAT).content) == ("item-7", "accuracy")
    assert identity(b"{}") == identity(b"nonsense") == ("", "")


def test_the_provider_tells_replies_that_were_received() -> None:
    """A reply to a connection that stays open is kept; one to a caller that is gone at once died with it."""
    with serving(Witness()) as url, httpx.Client() as stays:
        stays.post(f"{url}/v1/chat/completions", json=CHAT)
        httpx.post(f"{url}/faults", json={"server_error": 1})
        stays.post(f"{url}/v1/chat/completions", json=CHAT)
        httpx.post(f"{url}/faults", json={"server_error": 0})
        with httpx.Client() as goes:
            goes.post(f"{url}/v1/chat/completions", json=CHAT)
        while httpx.get(f"{url}/open").json():
            pass
        calls = httpx.get(f"{url}/calls").json()
    assert LIVED_S < 1
    assert sorted((item, grader, outcome) for item, grader, outcome, *_ in calls) == [
        ("item-7", "accuracy", "died"),
        ("item-7", "accuracy", "kept"),
        ("item-7", "accuracy", "refused"),
    ]
