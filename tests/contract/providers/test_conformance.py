"""What every provider must do, whatever its wire format. A new one joins by a line in `WIRES`."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, get_args

import pytest

from common.errors import (
    ContextTooLong,
    MalformedReply,
    ModelNotFound,
    ProviderAuthFailed,
    ProviderError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
    RateHints,
    Unsupported,
)
from common.ports import Provider
from common.providers.http import Http
from common.schemas.completion import CompletionRequest, JsonSchema, Message, TokenLogprob
from common.schemas.config import ProviderKind
from tests.support.functions import free_port
from tests.support.providers import Canned, Vendor, serving
from tests.support.wires import CALL, WIRES, provider

SCHEMA = JsonSchema("verdict", {"type": "object", "properties": {"score": {"type": "number"}}, "required": ["score"]})
ASK = CompletionRequest(model="m", messages=(Message("system", "Judge."), Message("user", "Hello")))


def test_every_kind_is_held_to_the_contract() -> None:
    """No kind of provider can be configured that this suite does not ask."""
    assert {name.partition("-")[0] for name in WIRES} == set(get_args(ProviderKind))


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    client = Http()
    yield client
    await client.aclose()


@pytest.fixture(params=sorted(WIRES))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


async def collect(lab: Provider, words: list[Any], *, timeout_s: float = 5) -> None:
    async for chunk in lab.stream(ASK, timeout_s=timeout_s):
        words += [chunk.delta.get("content")]


async def test_a_plain_answer(kind: str, http: Http) -> None:
    """Text, usage and name come back the same from every vendor, and only simulators call themselves simulated."""
    with serving(Vendor(WIRES[kind].text("Hi"))) as url:
        completion = await provider(kind, url, http).complete(ASK, timeout_s=5)
    assert (completion.text, completion.finish_reason, completion.refusal) == ("Hi", "stop", None)
    assert (completion.call.usage.prompt_tokens, completion.call.usage.completion_tokens) == (7, 3)
    assert completion.call.model == "lab:m"
    assert completion.call.simulated == (kind == "simulator")


@pytest.mark.parametrize("mode", ["json_schema", "tool", "text"])
async def test_a_structured_answer(kind: str, mode: Any, http: Http) -> None:
    """Whichever way a schema reaches the model, the answer is JSON as text, with no tool call left over."""
    with serving(Vendor(WIRES[kind].structured(mode))) as url:
        lab = provider(kind, url, http, structured_output=mode)
        request = CompletionRequest(model="m", messages=ASK.messages, json_schema=SCHEMA)
        completion = await lab.complete(request, timeout_s=5)
    assert json.loads(completion.text) == {"score": 0.5}
    assert (completion.finish_reason, completion.tool_calls) == ("stop", ())


async def test_a_refusal(kind: str, http: Http) -> None:
    """A refusal is no text and no error: it is a finish reason with words."""
    with serving(Vendor(WIRES[kind].refusal())) as url:
        completion = await provider(kind, url, http).complete(ASK, timeout_s=5)
    assert (completion.text, completion.finish_reason) == ("", "refusal")
    assert completion.refusal


async def test_an_answer_cut_off_before_its_first_word(kind: str, http: Http) -> None:
    """Empty content at the token limit is told as such."""
    with serving(Vendor(WIRES[kind].cut_off())) as url:
        completion = await provider(kind, url, http).complete(ASK, timeout_s=5)
    assert (completion.text, completion.finish_reason) == ("", "length")


@pytest.mark.parametrize("way", ["whole", "streamed"])
async def test_a_tool_call(kind: str, way: str, http: Http) -> None:
    """A tool call comes back as Chat Completions has it, whole or streamed; an API that knows no tools is refused them."""
    request = replace(ASK, passthrough={"tools": [{"type": "function", "function": {"name": "look", "parameters": {}}}]})
    if kind == "custom":
        with pytest.raises(Unsupported, match="tools"):
            await provider(kind, "http://127.0.0.1:9", http).complete(request, timeout_s=5)
        return
    wire = WIRES[kind]
    with serving(Vendor(wire.tool_call() if way == "whole" else wire.tool_stream())) as url:
        lab = provider(kind, url, http)
        if way == "whole":
            completion = await lab.complete(request, timeout_s=5)
            calls, finish = list(completion.tool_calls), completion.finish_reason
        else:
            calls, finish = joined([chunk async for chunk in lab.stream(request, timeout_s=5)])
    assert (calls, finish) == ([CALL], "tool_calls")


def joined(chunks: list[Any]) -> tuple[list[dict[str, Any]], str]:
    parts = [call for chunk in chunks for call in chunk.delta.get("tool_calls", ())]
    arguments = "".join(part["function"].get("arguments", "") for part in parts)
    first = {name: value for name, value in parts[0].items() if name != "index"}
    (finish,) = [chunk.finish_reason for chunk in chunks if chunk.finish_reason]
    return [{**first, "function": {**first["function"], "arguments": arguments}}], finish


async def test_logprobs_where_they_exist(kind: str, http: Http) -> None:
    """They have one form whoever gives them, the likeliest first; who has none leaves the wish out in silence."""
    wire = WIRES[kind]
    vendor = Vendor(wire.likely() if hasattr(wire, "likely") else wire.text("5"))
    with serving(vendor) as url:
        completion = await provider(kind, url, http).complete(replace(ASK, top_logprobs=2), timeout_s=5)
    expected = (TokenLogprob("5", -0.5, (("5", -0.5), ("4", -2.5))),) if hasattr(wire, "likely") else None
    assert completion.logprobs == expected
    assert ("logprobs" in str(vendor.seen[0].body).lower()) == hasattr(wire, "likely")


async def test_the_list_of_models(kind: str, http: Http) -> None:
    """Bare names of what can answer, as they are asked for."""
    with serving(Vendor(WIRES[kind].models())) as url:
        assert await provider(kind, url, http).list_models(timeout_s=5) == ["a", "b"]


LIMITS = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-limit-tokens": "1000",
    "x-ratelimit-remaining-tokens": "900",
    "x-ratelimit-reset-tokens": "6s",
}
HINTS = RateHints(60, 59, 1.0, 1000, 900, 6.0)


async def test_limits_are_told_with_every_answer(kind: str, http: Http) -> None:
    """What the headers say of the provider's limits comes with answers, streams and errors alike."""
    wire = WIRES[kind]
    answers = [wire.text("Hi"), wire.stream("Hi"), Canned(429, wire.error("rate_limit_error", "slow down"))]
    for answer in answers:
        answer.headers |= LIMITS
    with serving(Vendor(*answers)) as url:
        lab = provider(kind, url, http)
        completion = await lab.complete(ASK, timeout_s=5)
        chunks = [chunk async for chunk in lab.stream(ASK, timeout_s=5)]
        with pytest.raises(ProviderRateLimited) as caught:
            await lab.complete(ASK, timeout_s=5)
    assert completion.hints == chunks[0].hints == caught.value.hints == HINTS


async def test_a_stream(kind: str, http: Http) -> None:
    """Words come one by one, then the end and the usage."""
    with serving(Vendor(WIRES[kind].stream("Hel", "lo"))) as url:
        chunks = [chunk async for chunk in provider(kind, url, http).stream(ASK, timeout_s=5)]
    assert [text for chunk in chunks if (text := chunk.delta.get("content"))] == ["Hel", "lo"]
    assert [chunk.finish_reason for chunk in chunks if chunk.finish_reason] == ["stop"]
    usage = [chunk.usage for chunk in chunks if chunk.usage][-1]
    assert (usage.prompt_tokens, usage.completion_tokens) == (7, 3)


async def test_a_stream_begins_with_its_role(kind: str, http: Http) -> None:
    """As in Chat Completions the first delta, and no other, says who speaks; those servers say it themselves."""
    with serving(Vendor(WIRES[kind].stream("Hel", "lo"))) as url:
        chunks = [chunk async for chunk in provider(kind, url, http).stream(ASK, timeout_s=5)]
    roles = [chunk.delta.get("role") for chunk in chunks]
    assert roles == [None if chunks[0].raw else "assistant", *[None] * (len(chunks) - 1)]


async def test_a_stream_cut_short(kind: str, http: Http) -> None:
    """A stream without its end is an error, after the words that came."""
    words: list[Any] = []
    with serving(Vendor(WIRES[kind].stream("Hel", end=False))) as url, pytest.raises(ProviderUnavailable):
        await collect(provider(kind, url, http), words)
    assert "Hel" in words


async def test_hanging_up_closes_the_call(kind: str, http: Http) -> None:
    """Closing the stream closes the connection to the vendor."""
    answer = WIRES[kind].stream(*["word"] * 500)
    answer.pause_s = 0.01
    vendor = Vendor(answer)
    with serving(vendor) as url:
        stream = provider(kind, url, http).stream(ASK, timeout_s=5)
        await anext(stream)
        await stream.aclose()
        assert await asyncio.to_thread(vendor.hung_up.wait, 5)


REFUSALS = [
    (400, "context_length_exceeded", "prompt is too long: 9 tokens > 8", ContextTooLong),
    (401, "authentication_error", "bad key", ProviderAuthFailed),
    (403, "permission_error", "not for you", ProviderAuthFailed),
    (408, "timeout", "too slow", ProviderTimeout),
    (409, "conflict", "busy", ProviderUnavailable),
    (413, "request_too_large", "too much", ContextTooLong),
    (422, "unprocessable", "what?", ProviderRejected),
    (404, "model_not_found", "no such model", ModelNotFound),
    (429, "rate_limit_error", "slow down", ProviderRateLimited),
    (500, "api_error", "oops", ProviderUnavailable),
    (502, "bad_gateway", "oops", ProviderUnavailable),
    (503, "overloaded_error", "busy", ProviderUnavailable),
    (504, "timeout_error", "too slow", ProviderTimeout),
    (529, "overloaded_error", "busy", ProviderUnavailable),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: str(refusal[0]))
@pytest.mark.parametrize("way", ["whole", "streamed"])
async def test_errors(kind: str, refusal: tuple[int, str, str, type[ProviderError]], way: str, http: Http) -> None:
    """Each refusal is the same error of ours from every vendor, streamed or not, with the vendor's words."""
    status, code, words, expected = refusal
    answer = Canned(status, WIRES[kind].error(code, words), {"retry-after": "2"})
    with serving(Vendor(answer)) as url:
        lab = provider(kind, url, http)
        with pytest.raises(expected) as caught:
            await (collect(lab, []) if way == "streamed" else lab.complete(ASK, timeout_s=5))
    assert type(caught.value) is expected
    assert (caught.value.model, caught.value.status) == ("lab:m", status)
    assert words in caught.value.message
    assert caught.value.retry_after_s == (2.0 if expected.retryable else None)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Canned(body=b"{"), MalformedReply),
        (Canned(body={}), MalformedReply),
        (Canned(wait_s=30), ProviderTimeout),
        (Canned(headers={"content-length": "99"}, pieces=[b"{"], sever="reset"), ProviderUnavailable),
    ],
    ids=["half", "other format", "hang", "reset"],
)
async def test_broken_answers(kind: str, answer: Canned, expected: type[Exception], http: Http) -> None:
    """What no vendor means to send is an error, too."""
    timeout_s = 0.2 if answer.wait_s else 10
    with serving(Vendor(answer)) as url, pytest.raises(expected):
        await provider(kind, url, http).complete(ASK, timeout_s=timeout_s)


@pytest.mark.parametrize("way", ["whole", "streamed"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_server_that_cannot_be_reached(kind: str, scheme: str, way: str, http: Http) -> None:
    """A refused connection and a failed TLS handshake are the provider's failures, worth another try."""
    with serving(Vendor(WIRES[kind].text("Hi"))) as plain:
        url = f"http://127.0.0.1:{free_port()}" if scheme == "http" else plain.replace("http:", "https:")
        lab = provider(kind, url, http)
        with pytest.raises(ProviderUnavailable):
            await (collect(lab, []) if way == "streamed" else lab.complete(ASK, timeout_s=5))


@pytest.mark.parametrize(("fault", "expected"), [("reset", ProviderUnavailable), ("hang", ProviderTimeout)])
async def test_a_stream_that_breaks(kind: str, fault: str, expected: type[Exception], http: Http) -> None:
    """A connection that breaks or falls silent in the middle ends the stream with an error."""
    answer = WIRES[kind].stream("Hel", end=False)
    answer.sever, answer.pause_s = ("reset", 0.0) if fault == "reset" else ("", 30.0)
    with serving(Vendor(answer)) as url, pytest.raises(expected):
        await collect(provider(kind, url, http), [], timeout_s=0.3)


async def test_redirects_are_not_followed(kind: str, http: Http) -> None:
    """A server that points elsewhere has refused: the key and the prompt go where the configuration says, and nowhere else."""
    elsewhere = Vendor(WIRES[kind].text("Hi"))
    with serving(elsewhere) as other:
        moved = Canned(307, headers={"location": other})
        with serving(Vendor(moved)) as url, pytest.raises(ProviderRejected) as caught:
            await provider(kind, url, http).complete(ASK, timeout_s=5)
    assert caught.value.status == 307
    assert not elsewhere.seen


async def test_a_missing_key(kind: str, http: Http) -> None:
    """Without its key a provider makes no call and names the variable."""
    with pytest.raises(ProviderAuthFailed, match="set KEY"):
        await provider(kind, "http://127.0.0.1:9", http, key="").complete(ASK, timeout_s=5)
