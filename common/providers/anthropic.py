"""Anthropic's Messages API.

Sources: https://platform.claude.com/docs/en/api/messages and ``anthropic-sdk-python``, ``anthropic.types``.

What has no counterpart there is refused by name. ``seed`` alone is left out in silence: Chat Completions calls it best effort,
and evals written for OpenAI carry it everywhere.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from common.errors import MalformedReply, ProviderUnavailable
from common.providers.anthropic_request import build_body, wanted_schema
from common.providers.http import Call
from common.providers.wire import event_object, inner, usage_of
from common.schemas.completion import Completion, StreamChunk
from common.schemas.evaluation import ModelCall, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from common.providers.account import Account
    from common.providers.http import Http
    from common.schemas.completion import CompletionRequest, FinishReason

_VERSION = "2023-06-01"
_STOP_REASONS: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}


class Messages:
    """Implements `common.ports.Provider`."""

    def __init__(self, account: Account, http: Http) -> None:
        self._account = account
        self._http = http

    async def complete(self, request: CompletionRequest, /, *, timeout_s: float) -> Completion:
        """One exchange. Raises `Unsupported` for a field that has no counterpart."""
        call = self._call("v1/messages", request.model, timeout_s, body=self._body(request))
        reply = await self._http.fetch(call)
        blocks = reply.data.get("content")
        if not isinstance(blocks, list):
            raise MalformedReply(f"{call.model}: the provider's answer has no content", model=call.model, status=200)
        completion = _completion(
            reply.data, [b for b in blocks if isinstance(b, dict)], call.model, forced=self._forced_tool(request)
        )
        return replace(completion, hints=reply.hints)

    async def stream(self, request: CompletionRequest, /, *, timeout_s: float) -> AsyncGenerator[StreamChunk]:
        """The same, piece by piece. A stream that ends before ``message_stop`` is an error."""
        call = self._call("v1/messages", request.model, timeout_s, body={**self._body(request), "stream": True})
        reader = _StreamReader(structured=self._forced_tool(request) is not None)
        events = self._http.events(call)
        try:
            async for event in events:
                data = event_object(event.data, call.model)
                kind = data.get("type")
                if kind == "error":
                    raise self._http.error_inside(data, call)
                if kind == "message_stop":
                    return
                if chunk := reader.chunk(data):
                    yield replace(chunk, hints=event.hints)
        finally:
            await events.aclose()
        raise ProviderUnavailable(f"{call.model}: the provider's stream was cut short", model=call.model)

    async def list_models(self, *, timeout_s: float) -> list[str]:
        """Names from the first page of ``GET /v1/models``, newest first."""
        reply = await self._http.fetch(self._call("v1/models?limit=1000", "", timeout_s))
        rows = reply.data.get("data")
        return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []

    def _forced_tool(self, request: CompletionRequest) -> str | None:
        """Name of the tool whose input is the answer's text, if there is one."""
        wanted = wanted_schema(request, model=self._account.full_name(request.model))
        by_tool = (self._account.model(request.model).structured_output or "tool") == "tool"
        return wanted.name if wanted is not None and by_tool else None

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        return build_body(request, self._account.model(request.model), model=self._account.full_name(request.model))

    def _call(self, path: str, model: str, timeout_s: float, *, body: Mapping[str, Any] | None = None) -> Call:
        authorization = self._account.authorization("x-api-key")
        return Call(
            url=self._account.url(path, model),
            headers={"anthropic-version": _VERSION, **authorization, **self._account.config.headers},
            model=self._account.full_name(model),
            timeout_s=timeout_s,
            body=body,
            secret=self._account.key(),
        )


def _completion(data: dict[str, Any], blocks: list[dict[str, Any]], model: str, *, forced: str | None) -> Completion:
    text = "".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")
    tool_uses = [block for block in blocks if block.get("type") == "tool_use"]
    finish = _STOP_REASONS.get(str(data.get("stop_reason")), "stop")
    tool_calls = tuple(_tool_call(block) for block in tool_uses)
    if answer := next((block for block in tool_uses if block.get("name") == forced), None):
        text, tool_calls, finish = orjson.dumps(answer.get("input")).decode(), (), "stop" if finish == "tool_calls" else finish
    return Completion(
        text=text,
        finish_reason=finish,
        call=ModelCall(
            model=model,
            reported_model=str(data["model"]) if data.get("model") else None,
            usage=usage_of_messages(data.get("usage")),
        ),
        refusal=_refusal(data) if finish == "refusal" else None,
        tool_calls=tool_calls,
    )


def _tool_call(block: dict[str, Any]) -> dict[str, Any]:
    function = {"name": str(block.get("name")), "arguments": orjson.dumps(block.get("input")).decode()}
    return {"id": str(block.get("id")), "type": "function", "function": function}


def _refusal(data: dict[str, Any]) -> str:
    details = data.get("stop_details")
    explanation = details.get("explanation") if isinstance(details, dict) else None
    return explanation if isinstance(explanation, str) and explanation else "the model refused to answer"


def usage_of_messages(usage: object) -> Usage:
    """Messages' ``usage``: there ``input_tokens`` leaves out what was read from or written to the cache, here it does not."""
    if not isinstance(usage, dict):
        return Usage()
    cached = usage.get("cache_read_input_tokens")
    return usage_of(
        [usage.get("input_tokens"), usage.get("cache_creation_input_tokens"), cached],
        [usage.get("output_tokens")],
        cached=cached,
        reasoning=inner(usage, "output_tokens_details").get("thinking_tokens"),
    )


class _StreamReader:
    """Turns Messages' events into Chat Completions deltas.

    Tool calls are numbered in the order they come. When a structured answer was asked for, the arguments of the tool that
    the model must call are the text.
    """

    def __init__(self, *, structured: bool) -> None:
        self._structured = structured
        self._tools = -1
        self._usage: dict[str, Any] = {}
        self._model: str | None = None

    def chunk(self, data: dict[str, Any]) -> StreamChunk | None:
        """The chunk that an event stands for, None for those without content."""
        match data.get("type"):
            case "message_start":
                return self._start(inner(data, "message"))
            case "content_block_start" if inner(data, "content_block").get("type") == "tool_use" and not self._structured:
                return self._tool_start(inner(data, "content_block"))
            case "content_block_delta":
                return self._delta(inner(data, "delta"))
            case "message_delta":
                return self._end(data)
        return None

    def _start(self, message: dict[str, Any]) -> StreamChunk:
        self._usage.update(inner(message, "usage"))
        self._model = str(message["model"]) if message.get("model") else None
        return StreamChunk(delta={"role": "assistant", "content": ""}, reported_model=self._model)

    def _tool_start(self, block: dict[str, Any]) -> StreamChunk:
        self._tools += 1
        function = {"name": str(block.get("name")), "arguments": ""}
        call = {"index": self._tools, "id": str(block.get("id")), "type": "function", "function": function}
        return StreamChunk(delta={"tool_calls": [call]}, reported_model=self._model)

    def _delta(self, delta: dict[str, Any]) -> StreamChunk | None:
        if delta.get("type") == "text_delta":
            return StreamChunk(delta={"content": str(delta.get("text", ""))}, reported_model=self._model)
        if delta.get("type") != "input_json_delta":
            return None
        arguments = str(delta.get("partial_json", ""))
        if self._structured:
            return StreamChunk(delta={"content": arguments}, reported_model=self._model)
        call = {"index": self._tools, "function": {"arguments": arguments}}
        return StreamChunk(delta={"tool_calls": [call]}, reported_model=self._model)

    def _end(self, data: dict[str, Any]) -> StreamChunk:
        # Its counts are cumulative, and None where they have not changed.
        self._usage.update({name: value for name, value in inner(data, "usage").items() if value is not None})
        stop = inner(data, "delta")
        finish = _STOP_REASONS.get(str(stop.get("stop_reason")), "stop")
        if self._structured and finish == "tool_calls":
            finish = "stop"
        delta = {"refusal": _refusal(stop)} if finish == "refusal" else {}
        return StreamChunk(delta=delta, finish_reason=finish, usage=usage_of_messages(self._usage), reported_model=self._model)
