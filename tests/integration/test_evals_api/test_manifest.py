"""Manifests and reruns: what a run was, told so that it can be had again."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from common.gateway.gateway import Gateway
from common.schemas.config import GatewayConfig
from common.schemas.manifest import Manifest
from common.store import keys
from common.store.connect import async_client
from common.store.results import ResultStore
from common.store.verdicts import RedisRunReader
from functions.evaluate.items import evaluate_items
from functions.evaluate.single import Judging
from functions.tasks.runs.provenance import gateway_sha256
from tests.support.providers import simulating

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai import OpenAI

    from common.schemas.evaluation import Verdict
    from common.schemas.events import RunItems
    from common.settings import Settings
    from tests.integration.test_evals_api.conftest import World

SCHEMA = {"type": "object", "properties": {"reference": {"type": "string"}}, "required": ["reference"]}
CHECK = {
    "type": "string_check",
    "name": "exact",
    "input": "{{sample.output_text}}",
    "reference": "{{item.reference}}",
    "operation": "eq",
}
JUDGE = {
    "type": "score_model",
    "name": "quality",
    "model": "sim:judge-1",
    "range": [0, 1],
    "input": [{"role": "user", "content": "Reference: {{item.reference}}\nAnswer: {{sample.output_text}}"}],
}
LINES = [f'{{"item": {{"reference": "r{n}"}}, "sample": {{"output_text": "r{n % 3}"}}}}\n'.encode() for n in range(12)]
DATA = b"".join(LINES)


def _eval(client: OpenAI, *criteria: dict[str, Any]) -> str:
    config: Any = {"type": "custom", "item_schema": SCHEMA, "include_sample_schema": True}
    return client.evals.create(name="E", data_source_config=config, testing_criteria=list(criteria)).id  # type: ignore[arg-type]


def _upload(client: OpenAI, content: bytes = DATA) -> str:
    return client.files.create(file=("d.jsonl", content), purpose="evals").id


def _run(client: OpenAI, eval_id: str, file_id: str, **fields: Any) -> Any:
    source: Any = {"type": "jsonl", "source": {"type": "file_id", "id": file_id}}
    return client.evals.runs.create(eval_id, data_source=source, name="first", **fields)


def _get(client: OpenAI, eval_id: str, run_id: str) -> dict[str, Any]:
    answer = httpx.get(f"{client.base_url}evals/{eval_id}/runs/{run_id}/manifest", headers=_auth(client))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def _rerun(client: OpenAI, manifest: dict[str, Any], **fields: Any) -> httpx.Response:
    return httpx.post(f"{client.base_url}reruns", json={"manifest": manifest, **fields}, headers=_auth(client))


def _said(verdict: Verdict) -> tuple[Any, ...]:
    return verdict.score, verdict.passed, verdict.label, verdict.reason, verdict.judge, verdict.prompt_version


def _auth(client: OpenAI) -> dict[str, str]:
    return {"authorization": f"Bearer {client.api_key}"}


class Judge:
    """`evaluate` on a loop that goes on between events, as a pod's does: answers are kept for the next one."""

    def __init__(self, config: GatewayConfig, settings: Settings) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._client = async_client(settings)
        self._gateway = Gateway(config, self._client, settings=settings)
        self._runs = RedisRunReader(self._client)

    async def evaluate(self, wanted: RunItems) -> RunItems | None:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._evaluate(wanted), self._loop))

    async def _evaluate(self, wanted: RunItems) -> RunItems | None:
        judging = Judging(complete=self._gateway.complete, marker=lambda: secrets.token_hex(6))
        return await evaluate_items(wanted, judging, self._runs, deadline_s=time.monotonic() + 20)

    async def _aclose(self) -> None:
        await self._gateway.aclose()
        await self._client.aclose()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._aclose(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def judged(world: World) -> Iterator[World]:
    """A world whose judge is the simulator, behind a gateway that keeps judges' answers."""
    with simulating() as (url, _):
        config = GatewayConfig.model_validate(
            {
                "providers": {"sim": {"kind": "simulator", "base_url": url}},
                "models": {"sim:judge-1": {"price": {"input_per_mtok_usd": 1.0, "output_per_mtok_usd": 2.0}}},
                "cache": {"judges": True},
            }
        )
        judge = Judge(config, world.settings)
        world.evaluate = judge.evaluate
        yield world
        judge.close()


def test_a_manifest_says_what_a_run_was(judged: World) -> None:
    """Data by content, graders as stored, models by what they called themselves, prompts, prices, code and results."""
    client = judged.client
    eval_id = _eval(client, CHECK, JUDGE)
    run = _run(client, eval_id, _upload(client), metadata={"why": "nightly"})
    judged.finish(eval_id, run.id)
    told = _get(client, eval_id, run.id)
    del told["results"]["usage"]["total_tokens"]  # a sum of the others, which nothing is read from
    manifest = Manifest.model_validate(told)
    assert manifest.manifest_version == 1
    assert (manifest.dataset.sha256, manifest.dataset.lines) == (hashlib.sha256(DATA).hexdigest(), 12)
    assert told["eval"]["graders"] == [grader.model_dump(mode="json") for grader in judged.runs.plan(run.id).graders]
    (model,) = manifest.models
    assert (model.model, model.role, model.calls + model.cached_calls) == ("sim:judge-1", "judge", 12)
    assert sum(model.reported.values()) == 12
    assert manifest.provenance is not None
    assert [file.version for file in manifest.provenance.prompts] == ["repair.v1", "score.v1"]
    assert manifest.provenance.models == {"sim:judge-1": ["sim:judge-1"]}  # `tasks` has no gateway file in this test
    assert manifest.provenance.version
    assert manifest.provenance.prices_as_of.startswith("20")
    assert (manifest.run.status, manifest.run.metadata, manifest.results.done) == ("completed", {"why": "nightly"}, 12)
    other = judged.new_client("other")
    assert httpx.get(f"{client.base_url}evals/{eval_id}/runs/{run.id}/manifest", headers=_auth(other)).status_code == 404
    other.close()


def test_a_rerun_with_the_cache_gives_the_same_verdicts_for_nothing(judged: World) -> None:
    """Every score, label and reason of the second run equals the first's, and it costs 0."""
    client, results = judged.client, ResultStore(judged.store)
    eval_id = _eval(client, CHECK, JUDGE)
    run = _run(client, eval_id, _upload(client))
    judged.finish(eval_id, run.id)
    answer = _rerun(client, _get(client, eval_id, run.id), name="again")
    assert answer.status_code == 201, answer.text
    second = answer.json()
    assert second["differences"] == []
    judged.finish(eval_id, second["run"]["id"])
    plans = [judged.runs.plan(run_id) for run_id in (run.id, second["run"]["id"])]
    assert (plans[1].name, plans[1].metadata) == ("again", {"knudge_rerun_of": run.id})
    assert plans[0].dataset_id == plans[1].dataset_id
    first, again = ([result.verdicts for result in results.results(plan, 0, 12)] for plan in plans)
    for one, other in zip(first, again, strict=True):
        assert [_said(verdict) for verdict in one] == [_said(verdict) for verdict in other]
    costs = [judged.records.summary(plan).cost_microusd for plan in plans]
    assert costs[0]
    assert costs[1] == 0


def test_a_rerun_takes_the_same_content_wherever_it_is(world: World) -> None:
    """With run and file gone, the same bytes uploaded again will do; with other bytes the message says what is missing."""
    client = world.client
    eval_id = _eval(client, CHECK)
    file_id = _upload(client)
    run = _run(client, eval_id, file_id)
    world.finish(eval_id, run.id)
    manifest = _get(client, eval_id, run.id)
    client.evals.runs.delete(run.id, eval_id=eval_id)
    client.files.delete(file_id)
    _upload(client, DATA.replace(b"r0", b"r1"))
    refused = _rerun(client, manifest)
    assert refused.status_code == 404
    assert manifest["dataset"]["sha256"] in refused.text
    _upload(client)
    answer = _rerun(client, manifest)
    assert answer.status_code == 201
    world.finish(eval_id, answer.json()["run"]["id"])


def test_a_manifest_opens_nothing_that_is_not_the_callers(world: World) -> None:
    """Another project's eval is not found, its data not reached through one's own eval, and graders cannot be swapped."""
    mine, other = world.client, world.new_client("other")
    eval_id = _eval(mine, CHECK)
    run = _run(mine, eval_id, _upload(mine))
    manifest = _get(mine, eval_id, run.id)
    assert _rerun(other, manifest).status_code == 404
    own = {**manifest, "eval": {**manifest["eval"], "eval_id": _eval(other, CHECK)}}
    assert "no data with sha256" in _rerun(other, own).text
    graders = [{**manifest["eval"]["graders"][0], "operation": "ne"}]
    swapped = _rerun(mine, {**manifest, "eval": {**manifest["eval"], "graders": graders}})
    assert swapped.status_code == 409
    assert _rerun(mine, {**manifest, "manifest_version": 2}).status_code == 400
    other.close()


def test_a_rerun_says_what_is_different_now(world: World) -> None:
    """Another code version, price date and prompt are named with what they were and what they are."""
    client = world.client
    eval_id = _eval(client, JUDGE)
    run = _run(client, eval_id, _upload(client))
    manifest = _get(client, eval_id, run.id)
    now = manifest["provenance"]
    then = {**now, "version": "0.0.1", "prices_as_of": "2020-01-01", "prompts": [{"version": "score.v0", "sha256": "0"}]}
    found = _rerun(client, {**manifest, "provenance": then}).json()["differences"]
    by_name = {each["what"]: (each["then"], each["now"]) for each in found}
    assert by_name["version"] == ("0.0.1", now["version"])
    assert by_name["prices_as_of"] == ("2020-01-01", now["prices_as_of"])
    assert by_name["prompt score.v0"] == ("0", None)
    assert by_name["prompt score.v1"][0] is None
    assert _rerun(client, {**manifest, "provenance": None}).json()["differences"] is None


def test_retention_is_checked_when_a_run_is_created(world: World) -> None:
    """Days are whole numbers from 0 on; what is asked for is kept in the run's plan, and 0 keeps it for ever."""
    client = world.client
    eval_id, file_id = _eval(client, CHECK), _upload(client)
    for wrong in ("-1", "1.5", "week", "9999999"):
        source = {"type": "jsonl", "source": {"type": "file_id", "id": file_id}}
        body = {"data_source": source, "metadata": {"knudge_keep_days": wrong}}
        answer = httpx.post(f"{client.base_url}evals/{eval_id}/runs", json=body, headers=_auth(client))
        assert answer.status_code == 400, wrong
    kept = _run(client, eval_id, file_id, metadata={"knudge_keep_days": "7"})
    ever = _run(client, eval_id, file_id, metadata={"knudge_keep_days": "0"})
    assert [world.runs.plan(run.id).keep_days for run in (kept, ever)] == [7, 0]
    assert world.store.zrange(keys.EXPIRING_RUNS, 0, -1) == [kept.id.encode()]


def test_the_gateways_digest_holds_no_secret() -> None:
    """It changes with what decides who judges, and not with a header's value, a password in a URL, or a limit for callers."""

    def digest(**provider: Any) -> str:
        given = {"kind": "openai", "base_url": "http://me:secret@lab.test/v1", "headers": {"x-key": "one"}, **provider}
        return gateway_sha256(GatewayConfig.model_validate({"providers": {"lab": given}, "aliases": {"judge": "lab:j"}}))

    assert digest() == digest(headers={"x-key": "two"}) == digest(base_url="http://lab.test/v1")
    assert digest() != digest(base_url="http://other.test/v1")
