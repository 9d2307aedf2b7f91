"""OpenAI's Responses API, for models that answer there and not in Chat Completions.

Source: https://platform.openai.com/docs/api-reference/responses and the ``openai`` package, ``openai.types.responses`` (3.52).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from common.errors import MalformedReply, ProviderUnavailable
from common.providers.http import Call
from common.providers.responses_request import build_body
from common.providers.wire import event_object, inner, logprobs_of, opened, usage_of
from common.schemas.completion import Completion, StreamChunk
from common.schemas.evaluation import ModelCall, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from common.providers.account import Account
    from common.providers.http import Http
    from common.schemas.completion import CompletionRequest, FinishReason

_INCOMPLETE: dict[str, FinishReason] = {"max_output_tokens": "length", "content_filter": "content_filter"}


class Responses:
    """`common.ports.Provider` without a list of models: Chat Completions' is the same."""

    def __init__(self, account: Account, http: Http) -> None:
        self._account = account
        self._http = http

    async def complete(self, request: CompletionRequest, /, *, timeout_s: float) -> Completion:
        """One exchange. Raises `Unsupported` for a field that has no counterpart."""
        call = self._call(request, timeout_s, stream=False)
        reply = await self._http.fetch(call)
        if isinstance(reply.data.get("error"), dict):
            raise self._http.error_inside(reply.data, call)
        if not isinstance(reply.data.get("output"), list):
            raise MalformedReply(f"{call.model}: the provider's answer has no output", model=call.model, status=200)
        return replace(_completion(reply.data, call.model, by_tool=self._by_tool(request)), hints=reply.hints)

    async def stream(self, request: CompletionRequest, /, *, timeout_s: float) -> AsyncGenerator[StreamChunk]:
        """The same, piece by piece. A stream that ends before its closing event is an error."""
        call = self._call(request, timeout_s, stream=True)
        reader = _StreamReader(call.model, by_tool=self._by_tool(request))
        first = True
        events = self._http.events(call)
        try:
            async for event in events:
                data = event_object(event.data, call.model)
                if data.get("type") == "error":
                    raise self._http.error_inside(data, call)
                if data.get("type") == "response.failed":
                    raise self._http.error_inside(inner(data, "response"), call)
                if chunk := reader.chunk(data):
                    yield opened(chunk, first=first, hints=event.hints)
                    first = False
                if reader.ended:
                    return
        finally:
            await events.aclose()
        raise ProviderUnavailable(f"{call.model}: the provider's stream was cut short", model=call.model)

    def _by_tool(self, request: CompletionRequest) -> bool:
        return request.json_schema is not None and self._account.model(request.model).structured_output == "tool"

    def _call(self, request: CompletionRequest, timeout_s: float, *, stream: bool) -> Call:
        model = self._account.full_name(request.model)
        body = build_body(request, self._account.model(request.model), model=model)
        return Call(
            url=self._account.url("responses", request.model),
            headers={**self._account.authorization(scheme="Bearer "), **self._account.config.headers},
            model=model,
            timeout_s=timeout_s,
            body={**body, "stream": True} if stream else body,
            secret=self._account.key(),
        )


def _completion(data: dict[str, Any], model: str, *, by_tool: bool) -> Completion:
    items = [item for item in data["output"] if isinstance(item, dict)]
    messages = [part for item in items if item.get("type") == "message" for part in item.get("content") or ()]
    parts = [part for part in messages if isinstance(part, dict)]
    tool_calls = tuple(_tool_call(item) for item in items if item.get("type") == "function_call")
    text = "".join(str(part.get("text", "")) for part in parts if part.get("type") == "output_text")
    refusal = "".join(str(part.get("refusal", "")) for part in parts if part.get("type") == "refusal")
    if by_tool and tool_calls:
        text, tool_calls = tool_calls[0]["function"]["arguments"], ()
    logprobs = [entry for part in parts for entry in part.get("logprobs") or ()]
    return Completion(
        text=text,
        finish_reason="refusal" if refusal else _finish(data, tools=bool(tool_calls)),
        call=ModelCall(
            model=model,
            reported_model=str(data["model"]) if data.get("model") else None,
            usage=usage_of_responses(data.get("usage")),
        ),
        refusal=refusal or None,
        tool_calls=tool_calls,
        logprobs=logprobs_of(logprobs or None),
    )


def _finish(data: dict[str, Any], *, tools: bool) -> FinishReason:
    if data.get("status") == "incomplete":
        return _INCOMPLETE.get(str(inner(data, "incomplete_details").get("reason")), "error")
    return "tool_calls" if tools else "stop"


def _tool_call(item: dict[str, Any]) -> dict[str, Any]:
    function = {"name": str(item.get("name")), "arguments": str(item.get("arguments") or "")}
    return {"id": str(item.get("call_id")), "type": "function", "function": function}


def usage_of_responses(usage: object) -> Usage:
    """Responses' ``usage``; all zero where there is none."""
    if not isinstance(usage, dict):
        return Usage()
    return usage_of(
        [usage.get("input_tokens")],
        [usage.get("output_tokens")],
        cached=inner(usage, "input_tokens_details").get("cached_tokens"),
        reasoning=inner(usage, "output_tokens_details").get("reasoning_tokens"),
    )


class _StreamReader:
    """Turns Responses' events into Chat Completions deltas; tool calls are numbered in the order they come."""

    def __init__(self, model: str, *, by_tool: bool) -> None:
        self._model = model
        self._by_tool = by_tool
        self._tools: dict[object, int] = {}
        self._refused = False
        self.ended = False

    def chunk(self, data: dict[str, Any]) -> StreamChunk | None:
        """The chunk that an event stands for, None for those without content."""
        delta = str(data.get("delta") or "")
        match data.get("type"):
            case "response.output_text.delta":
                return StreamChunk(delta={"content": delta})
            case "response.refusal.delta":
                self._refused = True
                return StreamChunk(delta={"refusal": delta})
            case "response.output_item.added" if inner(data, "item").get("type") == "function_call":
                return self._tool_start(data)
            case "response.function_call_arguments.delta":
                return self._arguments(data, delta)
            case "response.completed" | "response.incomplete":
                return self._end(inner(data, "response"))
        return None

    def _tool_start(self, data: dict[str, Any]) -> StreamChunk | None:
        number = self._tools.setdefault(data.get("output_index"), len(self._tools))
        if self._by_tool:
            return None
        call = {"index": number, **_tool_call({**inner(data, "item"), "arguments": ""})}
        return StreamChunk(delta={"tool_calls": [call]})

    def _arguments(self, data: dict[str, Any], delta: str) -> StreamChunk:
        if self._by_tool:
            return StreamChunk(delta={"content": delta})
        number = self._tools.setdefault(data.get("output_index"), len(self._tools))
        return StreamChunk(delta={"tool_calls": [{"index": number, "function": {"arguments": delta}}]})

    def _end(self, response: dict[str, Any]) -> StreamChunk:
        self.ended = True
        finish = _finish(response, tools=bool(self._tools) and not self._by_tool)
        return StreamChunk(
            finish_reason="refusal" if self._refused else finish,
            usage=usage_of_responses(response.get("usage")) if response.get("usage") else None,
            reported_model=str(response["model"]) if response.get("model") else None,
        )
