from __future__ import annotations

import json
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.edge.http import Request
from common.gateway.admission import Admission
from common.gateway.budgets import Budget, Reservation
from common.gateway.prices import price_table
from common.gateway.ticket import Outcome, Ticket
from common.limits.callers import BlockingStore, Callers
from common.limits.keys import CALLERS_LOAD, CALLERS_REFUSED
from common.observability.metrics import exposition
from common.schemas.caller import ANONYMOUS
from common.schemas.config import ModelConfig
from common.schemas.evaluation import Usage
from common.schemas.graders import StringCheckGrader
from common.settings import Settings
from common.store.connect import async_client, sync_client
from common.store.deadletters import DeadLetterStore
from common.store.runs import RunStore
from functions.health.handler import Handler
from tests.support.runs import new_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

MODEL = "lab:judge-1"
GRADER = StringCheckGrader(type="string_check", name="a", input="", reference="", operation="eq")
CONFIG = """
providers:
  lab: {kind: openai, base_url: "http://127.0.0.1:1/v1", api_key_env: LAB_KEY}
models:
  lab:judge-1: {rpm: 60, tpm: 60000, max_concurrency: 2, price: {input_per_mtok_usd: 1, output_per_mtok_usd: 2}}
"""


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> Settings:
    path = tmp_path / "knudge.yaml"
    path.write_text(CONFIG)
    return Settings(redis_url=redis_url, redis_timeout_s=0.5, config_path=path, environ={"LAB_KEY": "sk-not-to-be-shown"})


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with sync_client(settings) as connected:
        yield connected


def page(handler: Handler, **query: str) -> tuple[int, dict[str, Any]]:
    request = Request("GET", "/", {}, query, {}, b"", id="r", traceparent="", deadline_s=0)
    answer = handler.status(request)
    assert isinstance(answer.body, bytes)
    return answer.status, json.loads(answer.body)


def samples(handler: Handler) -> dict[tuple[str, ...], float]:
    """Values by name and label values, the latter in the order of the labels' names."""
    _, text = exposition(handler.collect)
    families = text_string_to_metric_families(text.decode())
    found = [sample for family in families for sample in family.samples]
    return {(sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value for sample in found}


async def call(settings: Settings, *outcomes: Outcome, close: bool = True) -> None:
    """Calls of the real gateway's admission; the last one stays under way unless `close`."""
    config = settings.gateway_config()
    connected = async_client(settings)
    admission = Admission(connected, config)
    for position, outcome in enumerate(outcomes):
        ticket = Ticket(MODEL, config.models[MODEL], tokens=1000)
        assert await admission.admit(ticket, max_wait_s=60, timeout_s=60) is ticket
        if close or position < len(outcomes) - 1:
            await admission.settle(ticket, outcome)
    await admission.drain()
    await connected.aclose()


def start_run(client: redis.Redis, items: int) -> str:
    run_id = new_run(client, items, window_items=4).run_id
    RunStore(client).issue(run_id, lease_s=60, attempts=3)
    return run_id


async def test_a_quiet_system_is_ok(settings: Settings, client: redis.Redis) -> None:
    """With the store there and nothing wrong the page says so, names the providers and shows no key."""
    status, body = page(Handler(settings, client))
    assert (status, body["status"], body["reasons"]) == (200, "ok", [])
    assert body["store"]["reachable"] is True
    assert body["store"]["ping_ms"] > 0
    assert body["providers"] == [{"name": "lab", "kind": "openai", "key": True}]
    assert (body["runs"]["active"], body["dead_letters"], body["functions"]) == (0, 0, None)
    assert "sk-not" not in json.dumps(body)


async def test_models_show_what_all_pods_did(settings: Settings, client: redis.Redis) -> None:
    """Calls, tokens, cost, errors and limits are those that the gateway keeps in the store, on the page and in metrics."""
    usage = Usage(prompt_tokens=700, completion_tokens=300)
    answered = Outcome("success", usage=usage, cost_microusd=1300, latency_ms=40)
    failed = Outcome("failure", code="provider_timeout")
    await call(settings, answered, answered, failed, answered, close=False)
    handler = Handler(settings, client)
    (model,) = page(handler)[1]["models"]
    assert (model["model"], model["breaker"], model["in_flight"]) == (MODEL, "closed", 1)
    assert (model["calls"], model["errors"], model["cost_usd"]) == (2, {"provider_timeout": 1}, 0.0026)
    assert model["usage"]["total_tokens"] == 2000
    assert model["mean_latency_ms"] == 40
    assert model["requests_debt_s"] > 0
    found = samples(handler)
    assert found["knudge_store_up",] == 1
    assert found["knudge_model_calls_total", MODEL] == 2
    assert found["knudge_model_errors_total", "provider_timeout", MODEL] == 1
    assert found["knudge_model_tokens_total", "prompt", MODEL] == 1400
    assert found["knudge_model_cost_usd_total", MODEL] == 0.0026
    assert found["knudge_model_breaker", MODEL, "closed"] == 1
    assert found["knudge_model_in_flight", MODEL] == 1
    assert found["knudge_model_limit_debt_seconds", "requests", MODEL] > 0


async def test_an_open_breaker_needs_attention(settings: Settings, client: redis.Redis) -> None:
    """A model whose breaker opened makes the system degraded, and the reason names it."""
    await call(settings, *[Outcome("failure", code="provider_unavailable")] * 10)
    handler = Handler(settings, client)
    status, body = page(handler)
    assert (status, body["status"]) == (200, "degraded")
    assert body["reasons"] == [f"the breaker of {MODEL} is open"]
    assert samples(handler)["knudge_model_breaker", MODEL, "open"] == 1


async def test_runs_under_way_are_counted(settings: Settings, client: redis.Redis) -> None:
    """Active runs and their items stand on the page and in metrics; a run deleted meanwhile does no harm."""
    run_id = start_run(client, 10)
    start_run(client, 2)
    client.zadd("kn:runs:active", {"run_gone": 1})
    DeadLetterStore(client).append({"reason": "x"})
    handler = Handler(settings, client)
    body = page(handler)[1]
    assert body["runs"] | {"oldest_age_s": 0} == {
        "active": 3,
        "sampled": 2,
        "by_status": {"in_progress": 2},
        "items": 12,
        "items_done": 0,
        "items_outstanding": 6,
        "oldest_age_s": 0,
    }
    assert body["dead_letters"] == 1
    found = samples(handler)
    assert found["knudge_runs_active", "in_progress"] == 2
    assert found["knudge_runs_oldest_age_seconds",] >= 0
    assert (found["knudge_run_items", "outstanding"], found["knudge_run_items", "waiting"]) == (6, 6)
    RunStore(client).cancel(run_id)
    assert page(handler)[1]["runs"]["by_status"] == {"canceled": 1, "in_progress": 1}


async def test_limits_for_callers_are_shown(settings: Settings, client: redis.Redis) -> None:
    """What the load makes of the global limit stands on the page and in metrics; a tightened one is degraded."""
    handler = Handler(replace(settings, limit_global_rpm=100), client)
    quiet = page(handler)[1]
    assert (quiet["status"], quiet["callers"]["global_rpm_now"], quiet["callers"]["factor"]) == ("ok", 100, None)
    callers = Callers(handler.settings, BlockingStore(client))
    start_run(client, 4)
    standing = await callers.check(ANONYMOUS)
    assert standing is not None
    assert standing.remaining == 99
    client.hset(CALLERS_LOAD, mapping={"factor": "0.5", "queue_age_s": "90"})
    client.hset(CALLERS_REFUSED, "global", 7)
    body = page(handler)[1]
    assert body["callers"] | {"open_breaker_share": 0} == {
        "global_rpm": 100,
        "global_rpm_now": 50,
        "factor": 0.5,
        "queue_age_s": 90,
        "open_breaker_share": 0,
        "refused": {"global": 7},
    }
    assert body["reasons"] == ["the global limit for callers is at 50%, because of the load"]
    found = samples(handler)
    assert (found["knudge_callers_factor",], found["knudge_callers_refused_total", "global"]) == (0.5, 7)
    assert page(Handler(settings, client))[1]["callers"]["global_rpm"] is None


async def test_budgets_are_shown(settings: Settings, client: redis.Redis) -> None:
    """Configured budgets stand on the page whether or not they were used, and those of runs under way that have one."""
    assert settings.config_path is not None
    settings.config_path.write_text(CONFIG + "budgets: {projects: {blue: {hard_usd: 5, per: day}}, keys: {key_1: 2}}")
    run_id = start_run(client, 2)
    start_run(client, 2)
    budgets = (Budget(f"run:{run_id}", 1_000_000, 800_000, 0), Budget("key:key_1", 2_000_000, None, 0))
    connected = async_client(settings)
    admission = Admission(connected, settings.gateway_config())
    for cost_microusd in (1300, None):
        ticket = Ticket(MODEL, ModelConfig(), 10, reservation=Reservation(budgets, 5000, 1, longest=1))
        await admission.admit(ticket, max_wait_s=60, timeout_s=60)
        if cost_microusd:
            await admission.settle(ticket, Outcome("success", cost_microusd=cost_microusd))
    await connected.aclose()
    body = page(Handler(settings, client, now=lambda: 1_795_219_200.0))[1]
    assert body["prices_as_of"] == price_table().as_of
    key, project, run = body["budgets"]
    assert (key["budget"], key["spent_usd"], key["reserved_usd"], key["hard_usd"]) == ("key:key_1", 0.0013, 0.005, 2)
    assert (project["budget"], project["spent_usd"], project["hard_usd"]) == ("project:blue:2026-11-21", 0, None)
    assert (run["budget"], run["soft_usd"], run["hard_usd"]) == (f"run:{run_id}", 0.8, 1)


def test_without_the_store_everything_is_down(settings: Settings) -> None:
    """With the store away the page is 503 and the metrics say so, instead of failing."""
    with sync_client(replace(settings, redis_url="redis://127.0.0.1:1/0")) as nobody:
        handler = Handler(settings, nobody)
        status, body = page(handler)
        assert (status, body["status"], body["store"]["reachable"]) == (503, "down", False)
        assert body["reasons"] == ["the store is unavailable"]
        assert samples(handler)["knudge_store_up",] == 0


def test_a_wrong_configuration_needs_attention(settings: Settings, client: redis.Redis) -> None:
    """A configuration that cannot be read, or a provider without its key, is degraded with the reason."""
    keyless = replace(settings, environ={"OPENAI_API_KEY": "sk-not-to-be-shown"})
    assert page(Handler(keyless, client))[1]["reasons"] == ["the key of provider lab is not set"]
    assert settings.config_path is not None
    settings.config_path.write_text("models: 5")
    status, body = page(Handler(settings, client))
    assert (status, body["status"]) == (200, "degraded")
    assert "KNUDGE_CONFIG" in body["reasons"][0]


def test_keys_that_are_elsewhere_are_not_missing(settings: Settings, client: redis.Redis) -> None:
    """In a cluster the keys are only where models are called: there is nothing to be said about them, and nothing is wrong."""
    status, body = page(Handler(replace(settings, environ={}), client))
    assert (status, body["status"], body["reasons"]) == (200, "ok", [])
    assert body["providers"] == [{"name": "lab", "kind": "openai", "key": None}]


def test_an_alias_of_a_vendor_whose_key_is_elsewhere_is_not_wrong(settings: Settings, client: redis.Redis) -> None:
    """A model of a vendor that only its key brings in makes sense where that key is, and the page takes it so."""
    assert settings.config_path is not None
    settings.config_path.write_text('aliases: {fast: "gemini:gemini-2.5-flash"}')
    status, body = page(Handler(replace(settings, environ={}), client))
    assert (status, body["status"], body["reasons"]) == (200, "ok", [])


def test_a_store_that_may_lose_data_needs_attention(settings: Settings, client: redis.Redis) -> None:
    """A memory limit with a policy that evicts, or nearly used up, is degraded."""
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", "1gb")
    try:
        assert page(Handler(settings, client))[1]["reasons"] == [
            "the store may drop data when full: its policy is allkeys-lru, not noeviction"
        ]
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", int(client.info("memory")["used_memory"] * 1.08))
        assert page(Handler(settings, client))[1]["reasons"] == ["the store's memory is nearly full"]
    finally:
        client.config_set("maxmemory", "0")
        client.config_set("maxmemory-policy", "noeviction")


def test_a_full_store_is_down(settings: Settings, client: redis.Redis) -> None:
    """A store that answers but has no memory for a write is down, with the reason, on the page and in metrics."""
    handler = Handler(settings, client)
    assert (page(handler)[1]["store"]["refuses_writes"], samples(handler)["knudge_store_writable",]) == (None, 1)
    client.config_set("maxmemory", "1")
    try:
        status, body = page(handler)
        assert (status, body["status"]) == (503, "down")
        assert "the store refuses writes: its memory is full" in body["reasons"]
        assert body["runs"]["active"] == 0
        assert samples(handler)["knudge_store_writable",] == 0
    finally:
        client.config_set("maxmemory", "0")


def test_a_replica_is_down(settings: Settings, client: redis.Redis) -> None:
    """What a fail-over leaves behind, a server that only reads, is down with the reason, and nothing of it fails."""
    client.replicaof("127.0.0.1", 1)
    try:
        status, body = page(Handler(settings, client))
        assert (status, body["status"]) == (503, "down")
        assert "the store refuses writes: it is read-only, as a replica is" in body["reasons"]
    finally:
        client.replicaof("NO", "ONE")
    assert page(Handler(settings, client))[0] == 200


@pytest.fixture
def ready_url() -> Iterator[str]:
    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/readyz" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Ready)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_functions_are_asked_on_request(settings: Settings, client: redis.Redis, ready_url: str) -> None:
    """Only when asked to, the page asks every function, and names those that are not ready."""
    urls = {"evaluate": ready_url, "tasks": "http://127.0.0.1:1", "simulator": "http://127.0.0.1:1"}
    handler = Handler(Settings(redis_url=settings.redis_url, public_urls=urls), client)
    assert page(handler)[1]["functions"] is None
    body = page(handler, functions="true")[1]
    assert [(f["name"], f["ready"], f["status"]) for f in body["functions"]] == [
        ("evaluate", True, 200),
        ("tasks", False, None),
    ]
    assert (body["status"], body["reasons"]) == ("degraded", ["tasks is not ready"])
