"""The measuring itself: what the gateway's benches count, and how."""

from __future__ import annotations

import argparse
import json
import math
from typing import TYPE_CHECKING

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.gateway import main as gateway
from bench.gateway.dead import recovered_s
from bench.gateway.fleet import Seen, fleet, seen_by
from bench.gateway.limit import WINDOW_S, fullest, kept
from bench.gateway.member import Job, Made
from bench.gateway.provider import Witness
from bench.rig.homes import environment
from bench.rig.load import Load, drive
from tests.support.providers import serving, simulating

if TYPE_CHECKING:
    from pathlib import Path

CHAT = {"model": "judge", "messages": [{"role": "user", "content": "Say hello."}]}
ARRIVALS = st.lists(st.tuples(st.floats(0, 300), st.integers(1, 50))).map(sorted)


@given(ARRIVALS)
def test_fullest_window(weighed: list[tuple[float, int]]) -> None:
    """The fullest window is what trying each window that ends with an arrival finds."""
    windows = [sum(weight for at, weight in weighed if end - WINDOW_S < at <= end) for end, _ in weighed]
    assert fullest(weighed) == max(windows, default=0)


def test_a_limit_that_was_kept() -> None:
    """Ten calls a second of 600 a minute: all of it used, nothing refused, nothing over."""
    seen = [Seen(at_s=100 + number / 10, tokens=7, refused=False) for number in range(700)]
    limit = kept(seen, 100.0, allowed=600, by_tokens=False)
    assert (limit.share_429, limit.use, limit.overshoot) == pytest.approx((0, 1, 0), abs=0.005)


def test_a_limit_that_was_not_kept() -> None:
    """Refused calls are no use of the limit, and count as overshoot."""
    seen = [Seen(at_s=100 + number / 20, tokens=7, refused=number % 2 == 1) for number in range(1400)]
    limit = kept(seen, 100.0, allowed=600, by_tokens=False)
    assert (limit.share_429, limit.use, limit.overshoot) == pytest.approx((0.5, 1, 1), abs=0.005)


def test_tokens_are_weighed() -> None:
    """With a limit of tokens, heavy calls use more of it."""
    seen = [Seen(at_s=110, tokens=300, refused=False), Seen(at_s=111, tokens=100, refused=False)]
    assert kept(seen, 100.0, allowed=1000, by_tokens=True).use == pytest.approx(0.4)


def answered(process: int, ended_s: float, code: str = "ok") -> Made:
    return Made(process, "lab:judge", ended_s, 100.0, code)


def test_recovery_waits_for_every_process() -> None:
    """The last process to get an answer counts; calls begun before the provider was back, and refused ones, do not."""
    made = [answered(0, 10.05), answered(0, 11.0), answered(1, 12.0, "breaker_open"), answered(1, 14.0), answered(0, 15.0)]
    assert recovered_s(made, 10.0, processes=2) == 14.0


def test_no_recovery_is_no_number() -> None:
    """A process that never gets an answer again makes recovery infinite."""
    assert recovered_s([answered(0, 11.0)], 10.0, processes=2) == math.inf


def test_the_provider_remembers_its_calls() -> None:
    """Each call is listed with its tokens and whether it was refused."""
    with serving(Witness()) as url:
        httpx.post(f"{url}/faults", json={"rpm": 1})
        answers = [httpx.post(f"{url}/v1/chat/completions", json=CHAT) for _ in range(2)]
        first, second = seen_by(url)
    assert [answer.status_code for answer in answers] == [200, 429]
    assert (first.refused, second.refused) == (False, True)
    assert first.tokens == answers[0].json()["usage"]["total_tokens"]


def test_the_load_counts_every_call() -> None:
    """What the load generator says it asked is what the provider was asked, good and bad."""
    with simulating(server_error=0.5, latency_ms=5) as (url, simulator):
        seen = drive(Load(f"{url}/chat/completions", json.dumps(CHAT), connections=3, seconds=0.2, warm_up_s=0.0))
    assert seen.calls == simulator.stats["calls"] > 3
    assert seen.bad == simulator.stats["5xx"] > 0


def test_the_load_says_when_nobody_is_there() -> None:
    """A server that does not listen is an error, not a fast one."""
    with pytest.raises(RuntimeError, match="failed"):
        drive(Load("http://127.0.0.1:1/v1/chat/completions", "{}", connections=1, seconds=0.1))


def test_a_fleet_does_its_job(redis_url: str) -> None:
    """Every caller of every process makes its calls, and each is reported once."""
    with simulating() as (url, simulator):
        config = {"providers": {"lab": {"kind": "simulator", "base_url": url}}}
        with fleet(Job(redis_url, config, ["lab:judge"], callers=3, calls=2), 2) as members:
            members.go()
            made = members.wait(within_s=30)
    assert sorted((call.process, call.code) for call in made) == [(0, "ok")] * 6 + [(1, "ok")] * 6
    assert simulator.stats["calls"] == 12


def test_unknown_parts_are_refused() -> None:
    """A part that does not exist is refused, and the message names those that do."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    gateway.add_options(parser)
    with pytest.raises(argparse.ArgumentError, match="limit, dead, budget"):
        parser.parse_args(["--only", "limit,speed"])


def test_peers_get_no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keys and settings of the caller's environment do not reach the programs of a bench."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("KNUDGE_REDIS_URL", "redis://elsewhere")
    assert {"OPENAI_API_KEY", "KNUDGE_REDIS_URL"}.isdisjoint(environment(HOME=str(tmp_path)))
