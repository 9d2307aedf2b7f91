"""Chat Completions, as OpenAI and every server that imitates it speak it: vLLM, Ollama, llama.cpp, LiteLLM and others.

Source: https://platform.openai.com/docs/api-reference/chat and the ``openai`` package, ``openai.types.chat`` (3.52).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from common.errors import MalformedReply, ProviderUnavailable
from common.providers.http import Call
from common.providers.wire import FINISH_REASONS, event_object, inner, logprobs_of, text_of, usage_of_chat, with_schema_in_words
from common.schemas.completion import Completion, StreamChunk
from common.schemas.evaluation import ModelCall

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from common.providers.account import Account
    from common.providers.http import Http, Reply, ServerEvent
    from common.schemas.completion import CompletionRequest, FinishReason, Message

# Only these know max_completion_tokens for sure; the others understand max_tokens.
_MAX_COMPLETION_TOKENS_HOSTS = ("api.openai.com", ".openai.azure.com", ".cognitiveservices.azure.com")


_OURS = frozenset({"stream", "stream_options"})  # whether an answer comes in pieces is for the method to say


class ChatCompletions:
    """Implements `common.ports.Provider`."""

    simulated: ClassVar[bool] = False

    def __init__(self, account: Account, http: Http) -> None:
        self._account = account
        self._http = http
        host = urlsplit(account.config.base_url).hostname or ""
        official = any(host == known.lstrip(".") or host.endswith(known) for known in _MAX_COMPLETION_TOKENS_HOSTS)
        self._limit_field = "max_completion_tokens" if official else "max_tokens"
        # Chat templates of open models know system messages, and most of them no developer.
        self._roles = {} if official else {"developer": "system"}

    async def complete(self, request: CompletionRequest, /, *, timeout_s: float) -> Completion:
        """One exchange."""
        call = self._call("chat/completions", request.model, timeout_s, body=self._body(request))
        reply = await self._http.fetch(call)
        if isinstance(reply.data.get("error"), dict):
            raise self._http.error_inside(reply.data, call)
        return self._completion(reply, request)

    async def stream(self, request: CompletionRequest, /, *, timeout_s: float) -> AsyncGenerator[StreamChunk]:
        """The same, piece by piece. A stream that ends without its end marker is an error."""
        body = {**self._body(request), "stream": True, "stream_options": {"include_usage": True}}
        call = self._call("chat/completions", request.model, timeout_s, body=body)
        finished = False
        events = self._http.events(call)
        try:
            async for event in events:
                if event.data == b"[DONE]":
                    return
                chunk = self._chunk(event, call)
                finished = finished or chunk.finish_reason is not None
                yield chunk
        finally:
            await events.aclose()
        # Some imitations leave out [DONE]; then a finish reason is the end marker.
        if not finished:
            raise ProviderUnavailable(f"{call.model}: the provider's stream was cut short", model=call.model)

    async def list_models(self, *, timeout_s: float) -> list[str]:
        """Names from ``GET /models``; none where every model has an address of its own, as Azure's deployments have."""
        if "{model}" in self._account.config.base_url:
            return []
        reply = await self._http.fetch(self._call("models", "", timeout_s))
        rows = reply.data.get("data")
        return [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row] if isinstance(rows, list) else []

    def _call(self, path: str, model: str, timeout_s: float, *, body: Mapping[str, Any] | None = None) -> Call:
        return Call(
            url=self._account.url(path, model),
            headers={**self._account.authorization(scheme="Bearer "), **self._account.config.headers},
            model=self._account.full_name(model),
            timeout_s=timeout_s,
            body=body,
            secret=self._account.key(),
        )

    def _body(self, request: CompletionRequest) -> dict[str, Any]:
        config = self._account.model(request.model)
        limit = request.max_tokens
        if limit is None and "max_output_tokens" in config.model_fields_set:
            limit = config.max_output_tokens
        fields = {
            self._limit_field: limit,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            "reasoning_effort": request.reasoning_effort,
            "logprobs": True if request.top_logprobs is not None else None,
            "top_logprobs": request.top_logprobs,
        }
        known = {name: value for name, value in fields.items() if value is not None}
        body = {
            **{name: value for name, value in request.passthrough.items() if name not in _OURS},
            **known,
            "model": request.model,
            "messages": [self._message(message) for message in request.messages],
        }
        return _structured(body, request, config.structured_output or "json_schema")

    def _message(self, message: Message) -> dict[str, Any]:
        return {"role": self._roles.get(message.role, message.role), "content": message.content, **message.extra}

    def _completion(self, reply: Reply, request: CompletionRequest) -> Completion:
        data, model = reply.data, self._account.full_name(request.model)
        choice = _first_choice(data, model)
        message = choice["message"]
        text, tool_calls = text_of(message.get("content")), _tool_calls(message)
        finish: FinishReason = FINISH_REASONS.get(str(choice.get("finish_reason")), "stop")
        if self._forced_tool(request) and tool_calls:
            text, tool_calls, finish = _arguments(tool_calls[0]), (), "stop"
        refusal = message.get("refusal")
        return Completion(
            text=text,
            finish_reason="refusal" if refusal else finish,
            call=ModelCall(
                model=model,
                reported_model=str(data["model"]) if data.get("model") else None,
                usage=usage_of_chat(data.get("usage")),
                cost_microusd=self._told_cost(data.get("usage")),
                simulated=self._is_simulated(data),
            ),
            refusal=str(refusal) if refusal else None,
            tool_calls=tool_calls,
            raw=data,
            logprobs=logprobs_of(inner(choice, "logprobs").get("content")),
            hints=reply.hints,
        )

    def _forced_tool(self, request: CompletionRequest) -> bool:
        return request.json_schema is not None and self._account.model(request.model).structured_output == "tool"

    def _chunk(self, event: ServerEvent, call: Call) -> StreamChunk:
        data = event_object(event.data, call.model)
        if data.get("error"):
            raise self._http.error_inside(data, call)
        choices = data.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        return StreamChunk(
            delta=choice.get("delta") or {},
            finish_reason=choice.get("finish_reason"),
            usage=usage_of_chat(data["usage"]) if data.get("usage") else None,
            reported_model=data.get("model"),
            raw=data,
            simulated=self._is_simulated(data),
            hints=event.hints,
            cost_microusd=self._told_cost(data.get("usage")),
        )

    def _told_cost(self, usage: object) -> int | None:  # noqa: ARG002 -- for subclasses whose vendor tells
        """What the vendor says it charged, in micro-dollars."""
        return None

    def _is_simulated(self, data: dict[str, Any]) -> bool:
        # The simulator says so in every object: whoever configured it as a plain server must see it, too.
        return self.simulated or data.get("system_fingerprint") == "simulated"


def _structured(body: dict[str, Any], request: CompletionRequest, mode: str) -> dict[str, Any]:
    """`body` with the wanted JSON schema in the model's way: natively, as a tool it must call, or in words."""
    wanted = request.json_schema
    if wanted is None:
        return body
    if mode == "json_schema":
        shape = {"name": wanted.name, "schema": wanted.schema, "strict": True}
        return {**body, "response_format": {"type": "json_schema", "json_schema": shape}}
    if mode == "tool":
        function = {"name": wanted.name, "parameters": wanted.schema, "strict": True}
        choice = {"type": "function", "function": {"name": wanted.name}}
        return {**body, "tools": [{"type": "function", "function": function}], "tool_choice": choice}
    return {**body, "messages": with_schema_in_words(body["messages"], wanted)}


def _first_choice(data: dict[str, Any], model: str) -> dict[str, Any]:
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
        raise MalformedReply(f"{model}: the provider's answer has no choices[0].message", model=model, status=200)
    return choice


def _tool_calls(message: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    calls = message.get("tool_calls")
    return tuple(call for call in calls if isinstance(call, dict)) if isinstance(calls, list) else ()


def _arguments(tool_call: dict[str, Any]) -> str:
    function = tool_call.get("function")
    arguments = function.get("arguments") if isinstance(function, dict) else None
    return arguments if isinstance(arguments, str) else ""
