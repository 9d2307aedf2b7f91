"""What scenarios send, and how they read what came of it."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from bench.rig.arrivals import NUMBER, Answer, Arrivals, begin, percentile
from bench.scenarios.asking import Outcome, outcome
from bench.scenarios.brownout import recovery_s
from bench.scenarios.soak import growth_mib_per_h
from simulator.server import Simulator
from tests.support.functions import free_port
from tests.support.providers import serving

if TYPE_CHECKING:
    from pathlib import Path

CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": NUMBER}]})


def sent(wanted: Arrivals, folder: Path) -> list[Answer]:
    load = begin(wanted, folder)
    while not load.is_over():
        time.sleep(0.01)
    return load.answers()


def answer(at_s: float = 0.0, ms: float = 1.0, *, status: int = 200, right: bool = True, told: bool = False) -> Answer:
    return Answer(at_s, ms, status, right, told)


def test_requests_come_when_they_are_due(tmp_path: Path) -> None:
    """Each has a moment of its own, evenly apart, and its latency counts from that although the server takes longer."""
    with serving(Simulator()) as url:
        httpx.post(f"{url}/faults", json={"latency_ms": 800})
        answers = sent(Arrivals(f"{url}/v1/chat/completions", CHAT, 10, 100, "simulated-judge"), tmp_path)
        assert httpx.get(f"{url}/stats").json()["most_in_flight"] == 10
    assert outcome(answers) == Outcome(judged=10, partly=0, refused=0, wrong=0)
    assert [later.at_s - sooner.at_s for sooner, later in itertools.pairwise(answers)] == pytest.approx([0.01] * 9)
    assert min(one.ms for one in answers) >= 790


def test_a_refusal_says_when_to_come_again(tmp_path: Path) -> None:
    """429 with ``Retry-After`` is one; a 500 is an error, as is nobody at all."""
    with serving(Simulator()) as url:
        where = f"{url}/v1/chat/completions"
        httpx.post(f"{url}/faults", json={"rate_limit": 1})
        assert outcome(sent(Arrivals(where, CHAT, 3, 0), tmp_path)).refused == 3
        httpx.post(f"{url}/faults", json={"rate_limit": 0, "server_error": 1})
        assert outcome(sent(Arrivals(where, CHAT, 3, 0), tmp_path)).wrong == 3
        httpx.post(f"{url}/faults", json={"server_error": 0, "hang": 1})
        assert [one.status for one in sent(Arrivals(where, CHAT, 2, 0, limit_s=0.3), tmp_path)] == [-1, -1]
    assert [one.status for one in sent(Arrivals(f"http://127.0.0.1:{free_port()}/", CHAT, 2, 0), tmp_path)] == [0, 0]


def test_an_answer_in_part_is_not_wrong() -> None:
    """A 200 without what was looked for has an unscored grader; a 503 that does not say when to come again is an error."""
    answers = [answer(), answer(right=False), answer(status=503, right=False, told=True), answer(status=503, right=False)]
    assert outcome(answers) == Outcome(judged=1, partly=1, refused=1, wrong=1)


def test_recovery_lasts_until_the_last_that_was_not_judged() -> None:
    """What went wrong before the recovery does not count, and one late failure does."""
    assert recovery_s([answer(1, right=False), answer(3)], 2) == 0
    assert recovery_s([answer(1, right=False), answer(5, right=False), answer(6)], 2) == 3


def test_growth_is_a_slope_of_what_is_counted() -> None:
    """The store keeps what it is given, so only functions and the broker count, and not while they warm up."""
    memory = [(60.0 * minute, {"evaluate": 50.0 + minute / 60, "redis": 100.0 * minute}) for minute in range(10)]
    memory[0][1]["evaluate"] = 0.0
    assert growth_mib_per_h(memory) == pytest.approx(1.0)


def test_percentiles_of_few() -> None:
    """Of nothing it is 0; of one it is that one."""
    assert (percentile([], 99), percentile([answer(ms=7.0)], 50)) == (0.0, 7.0)
