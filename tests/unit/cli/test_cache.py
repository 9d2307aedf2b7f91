"""`knudge cache`: what it does to the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis

from cli.main import outcome
from common.gateway import cache_keys
from common.schemas.evaluation import ModelCall, Verdict
from common.schemas.graders import StringCheckGrader
from common.schemas.runs import StoredSample
from common.store.results import ResultStore
from tests.support.runs import new_run

if TYPE_CHECKING:
    from pathlib import Path

GRADER = StringCheckGrader(type="string_check", name="check", input="a", reference="a", operation="eq")
DAY_S = 24 * 3600


@pytest.fixture(autouse=True)
def _store(redis_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text("cache: {judges: true, ttl_s: 100000}")
    monkeypatch.setenv("KNUDGE_REDIS_URL", redis_url)
    monkeypatch.setenv("KNUDGE_CONFIG", str(config))


def judged(client: redis.Redis, *keys: str) -> None:
    """A run of three items, whose calls found or left these answers; the first is a target's."""
    plan = new_run(client, 3, run_id="run_1", name="run", graders=[GRADER])
    calls = [ModelCall(model="lab:m", cache_key=key) for key in keys[1:]]
    verdict = Verdict(name="check", type="string_check", score=1.0, passed=True, calls=[*calls, ModelCall(model="lab:m")])
    ResultStore(client).save(plan, {0: StoredSample(model="lab:m", cache_key=keys[0])}, {(0, 0): verdict, (2, 0): verdict})


def test_answers_of_a_run_are_kept_for_longer(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """warm starts the time of a run's answers anew, leaves those of others alone, and counts those that are gone."""
    with redis.Redis.from_url(redis_url) as client:
        judged(client, "target", "judge", "gone")
        for name in ("target", "judge", "other"):
            client.set(cache_keys.answer(name), "x", ex=100)
        assert outcome(["cache", "warm", "run_1"]) == 0
        ttls = {name: int(client.ttl(cache_keys.answer(name))) for name in ("target", "judge", "other")}
        assert [name for name, ttl_s in ttls.items() if ttl_s > DAY_S] == ["target", "judge"]
        assert outcome(["cache", "warm", "run_1", "--ttl", "7"]) == 0
        assert int(client.ttl(cache_keys.answer("judge"))) <= 7
    assert "2 answers are kept for another while, 1 are gone" in capsys.readouterr().err


def test_nothing_left_to_warm_is_said(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A run whose answers are all gone, and one that never was, end with 2."""
    with redis.Redis.from_url(redis_url) as client:
        judged(client, "target", "judge")
    assert outcome(["cache", "warm", "run_1"]) == 2
    assert "0 answers are kept" in capsys.readouterr().err
    assert outcome(["cache", "warm", "run_2"]) == 2
    assert "no such run: run_2" in capsys.readouterr().err


def test_tags_are_marked(redis_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """invalidate marks every tag it is given, refuses what is none, and without a tag does nothing."""
    assert outcome(["cache", "invalidate", "--tag", "run:run_1", "--tag", "model:lab:judge-1"]) == 0
    assert "run:run_1, model:lab:judge-1" in capsys.readouterr().err
    assert outcome(["cache", "invalidate", "--tag", "everything"]) == 2
    assert "is no tag" in capsys.readouterr().err
    assert outcome(["cache", "invalidate"]) == 2
    with redis.Redis.from_url(redis_url) as client:
        assert sorted(client.hkeys(cache_keys.CACHE_MARKS)) == [b"", b"model:lab:judge-1", b"run:run_1"]
