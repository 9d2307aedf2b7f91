"""What happens when a model takes no JSON schema in the way it was sent, over real HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from common.errors import ProviderRejected, StructuredOutputRefused
from common.gateway.gateway import Gateway
from common.providers.http import Http
from common.schemas.completion import CompletionRequest, JsonSchema, Message
from common.schemas.config import GatewayConfig
from common.settings import Settings
from common.store.connect import async_client
from tests.support.providers import Canned, Vendor, serving
from tests.support.wires import SCORED, SETTINGS, WIRES, configured, provider

SCHEMA = JsonSchema("verdict", {"type": "object", "properties": {"score": {"type": "number"}}, "required": ["score"]})
ASK = CompletionRequest(model="m", messages=(Message("user", "Hello"),), json_schema=SCHEMA)
NO_SCHEMA = "Unsupported parameter: 'response_format' of type json_schema is not supported with this model"
NO_TOOLS = "registry.example/m does not support tools"
KINDS = sorted(name for name in WIRES if not name.startswith("custom"))


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    client = Http()
    yield client
    await client.aclose()


def refusal(kind: str, words: str, status: int = 400) -> Canned:
    return Canned(status, WIRES[kind].error("invalid_request", words))


@pytest.mark.parametrize("kind", KINDS)
async def test_each_refusal_is_one_step_down(kind: str, http: Http) -> None:
    """Natively, then as a tool, then in words; every next call begins where the last one was taken."""
    vendor = Vendor(refusal(kind, NO_SCHEMA), refusal(kind, NO_TOOLS), WIRES[kind].structured("text"))
    with serving(vendor) as url:
        lab = provider(kind, url, http, structured_output="json_schema")
        for _ in range(2):
            with pytest.raises(StructuredOutputRefused):
                await lab.complete(ASK, timeout_s=5)
        first, second = await lab.complete(ASK, timeout_s=5), await lab.complete(ASK, timeout_s=5)
    assert first.text == second.text == SCORED
    assert [_way(seen.body) for seen in vendor.seen] == ["json_schema", "tool", "text", "text"]


async def test_calls_at_the_same_time_take_one_step(http: Http) -> None:
    """Five calls that are refused together do not run down the whole ladder."""
    vendor = Vendor(*[refusal("openai", NO_SCHEMA)] * 5, WIRES["openai"].structured("tool"))
    with serving(vendor) as url:
        lab = provider("openai", url, http)
        outcomes = await asyncio.gather(*(lab.complete(ASK, timeout_s=5) for _ in range(5)), return_exceptions=True)
        completion = await lab.complete(ASK, timeout_s=5)
    assert [type(outcome) for outcome in outcomes] == [StructuredOutputRefused] * 5
    assert (completion.text, _way(vendor.seen[-1].body)) == (SCORED, "tool")


@pytest.mark.parametrize(
    ("answer", "asked"),
    [
        (refusal("openai", "temperature is not supported"), ASK),
        (refusal("openai", NO_TOOLS), ASK),
        (refusal("openai", NO_SCHEMA), CompletionRequest(model="m", messages=ASK.messages)),
    ],
)
async def test_other_refusals_change_nothing(answer: Canned, asked: CompletionRequest, http: Http) -> None:
    """A refusal of something else, or of a caller's own fields, is what it was, and the model is asked as before."""
    vendor = Vendor(answer, WIRES["openai"].structured("json_schema"))
    with serving(vendor) as url:
        lab = provider("openai", url, http)
        with pytest.raises(ProviderRejected) as caught:
            await lab.complete(asked, timeout_s=5)
        await lab.complete(ASK, timeout_s=5)
    assert type(caught.value) is ProviderRejected
    assert _way(vendor.seen[-1].body) == "json_schema"


async def test_another_model_is_asked_as_configured(http: Http) -> None:
    """What one model of a provider refuses says nothing about the next."""
    vendor = Vendor(refusal("openai", NO_SCHEMA), WIRES["openai"].structured("json_schema"))
    with serving(vendor) as url:
        lab = provider("openai", url, http)
        with pytest.raises(StructuredOutputRefused):
            await lab.complete(ASK, timeout_s=5)
        await lab.complete(CompletionRequest(model="n", messages=ASK.messages, json_schema=SCHEMA), timeout_s=5)
    assert _way(vendor.seen[-1].body) == "json_schema"


async def test_the_gateway_goes_down_at_once_and_says_so(redis_url: str) -> None:
    """One call of the caller's, with no try to spare: both refusals stand in ``tried``, and the answer's cost is its own."""
    vendor = Vendor(refusal("openai", NO_SCHEMA), refusal("openai", NO_TOOLS), WIRES["openai"].structured("text"))
    settings = Settings(redis_url=redis_url, environ={"KEY": "key-1"})
    redis = async_client(settings)
    with serving(vendor) as url:
        price = {"input_per_mtok_usd": 1.0, "output_per_mtok_usd": 4.0}
        config = GatewayConfig.model_validate(
            {
                "providers": {"lab": configured("openai", url).model_dump()},
                "models": {"lab:m": {**SETTINGS.get("openai", {}), "price": price}},
                "retry": {"attempts": 1},
            }
        )
        gateway = Gateway(config, redis, settings=settings)
        asked = CompletionRequest(model="lab:m", messages=ASK.messages, json_schema=SCHEMA)
        first, second = await gateway.complete(asked), await gateway.complete(asked)
        await gateway.aclose()
    await redis.aclose()
    assert first.tried == ("lab:m: structured_output_refused",) * 2
    assert (first.text, first.call.cost_microusd) == (SCORED, 19)
    assert (second.tried, len(vendor.seen)) == ((), 4)


def _way(body: dict[str, Any]) -> str:
    """How the schema stands in a request, whatever the vendor's format."""
    text = str({name: value for name, value in body.items() if name not in ("messages", "input", "contents")})
    if "tool" in text.lower():
        return "tool"
    return "json_schema" if "json" in text.lower() else "text"
