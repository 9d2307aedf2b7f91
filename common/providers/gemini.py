"""Gemini's generateContent and streamGenerateContent.

Source: https://ai.google.dev/api/generate-content and ``python-genai``, ``google.genai.types`` (August 2026).

``base_url`` ends before the version. What has no counterpart there is refused by name. Thoughts are counted as completion
tokens, because they are paid for as such, and never shown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from common.errors import MalformedReply, ProviderUnavailable
from common.providers.gemini_request import build_body, wanted_schema
from common.providers.http import Call
from common.providers.wire import event_object, inner, opened, token_logprob, usage_of
from common.schemas.completion import Completion, StreamChunk, TokenLogprob
from common.schemas.evaluation import ModelCall, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from common.providers.account import Account
    from common.providers.http import Http
    from common.schemas.completion import CompletionRequest, FinishReason

_COLLECTIONS = ("models", "tunedModels")
# Whatever else there is, now or later, went wrong: LANGUAGE, OTHER, MALFORMED_FUNCTION_CALL and the like.
_FINISH_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
}


class GenerateContent:
    """Implements `common.ports.Provider`."""

    def __init__(self, account: Account, http: Http) -> None:
        self._account = account
        self._http = http

    async def complete(self, request: CompletionRequest, /, *, timeout_s: float) -> Completion:
        """One exchange. Raises `Unsupported` for a field that has no counterpart."""
        call = self._generate("generateContent", request, timeout_s)
        reply = await self._http.fetch(call)
        answer = _Answer(reply.data, forced=self._forced_tool(request))
        if answer.is_foreign:
            raise MalformedReply(f"{call.model}: the provider's answer has no candidates", model=call.model, status=200)
        return replace(answer.completion(call.model), hints=reply.hints)

    async def stream(self, request: CompletionRequest, /, *, timeout_s: float) -> AsyncGenerator[StreamChunk]:
        """The same, piece by piece. A stream that ends without a finish reason is an error."""
        call = self._generate("streamGenerateContent?alt=sse", request, timeout_s)
        forced = self._forced_tool(request)
        first, finished, tools = True, False, 0
        events = self._http.events(call)
        try:
            async for event in events:
                data = event_object(event.data, call.model)
                if isinstance(data.get("error"), dict):
                    raise self._http.error_inside(data, call)
                answer = _Answer(data, forced=forced, tools_before=tools)
                tools += len(answer.tool_calls)
                finished = finished or answer.finish_reason is not None
                yield opened(answer.chunk(), first=first, hints=event.hints)
                first = False
        finally:
            await events.aclose()
        if not finished:
            raise ProviderUnavailable(f"{call.model}: the provider's stream was cut short", model=call.model)

    async def list_models(self, *, timeout_s: float) -> list[str]:
        """Names from the first page of ``GET /v1beta/models`` that can generate."""
        reply = await self._http.fetch(self._call("v1beta/models?pageSize=1000", "", timeout_s))
        rows = reply.data.get("models")
        return [
            str(row["name"]).removeprefix("models/")
            for row in (rows if isinstance(rows, list) else [])
            if isinstance(row, dict) and "name" in row and "generateContent" in (row.get("supportedGenerationMethods") or ())
        ]

    def _generate(self, method: str, request: CompletionRequest, timeout_s: float) -> Call:
        model = self._account.full_name(request.model)
        body = build_body(request, self._account.model(request.model), model=model)
        collection, _, name = request.model.partition("/")
        if collection not in _COLLECTIONS:
            collection, name = "models", request.model
        path = f"v1beta/{collection}/{self._account.segment(name)}:{method}"
        return self._call(path, request.model, timeout_s, body=body)

    def _forced_tool(self, request: CompletionRequest) -> str | None:
        """Name of the tool whose arguments are the answer's text, if there is one."""
        wanted = wanted_schema(request, model=self._account.full_name(request.model))
        by_tool = self._account.model(request.model).structured_output == "tool"
        return wanted.name if wanted is not None and by_tool else None

    def _call(self, path: str, model: str, timeout_s: float, *, body: Mapping[str, Any] | None = None) -> Call:
        return Call(
            url=self._account.url(path, model),
            headers={**self._account.authorization("x-goog-api-key"), **self._account.config.headers},
            model=self._account.full_name(model),
            timeout_s=timeout_s,
            body=body,
            secret=self._account.key(),
        )


class _Answer:
    """One ``GenerateContentResponse``: a whole answer, or a piece of a stream.

    Args:
        data: The vendor's object.
        forced: The tool whose arguments are the text.
        tools_before: How many tool calls earlier pieces held.
    """

    def __init__(self, data: dict[str, Any], *, forced: str | None, tools_before: int = 0) -> None:
        self._data = data
        candidates = data.get("candidates")
        self._candidates = candidates if isinstance(candidates, list) else []
        first = self._candidates[0] if self._candidates else {}
        self._candidate: dict[str, Any] = first if isinstance(first, dict) else {}
        parts = inner(self._candidate, "content").get("parts")
        self._parts = [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        calls = [part for part in self._parts if isinstance(part.get("functionCall"), dict)]
        self._handed_in = [part["functionCall"].get("args") for part in calls if part["functionCall"].get("name") == forced]
        self._tools_before = tools_before
        self.tool_calls = () if self._handed_in else tuple(self._tool_call(part, n) for n, part in enumerate(calls))

    @property
    def is_foreign(self) -> bool:
        """Neither an answer nor word of why there is none."""
        return not self._candidates and not self._blocked

    @property
    def text(self) -> str:
        """What the model says, without its thoughts."""
        if self._handed_in:
            return orjson.dumps(self._handed_in[0]).decode()
        texts = (part.get("text") for part in self._parts if not part.get("thought"))
        return "".join(text for text in texts if isinstance(text, str))

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why it ends here; None where it goes on."""
        if self._blocked:
            return "refusal"
        told = self._candidate.get("finishReason")
        if told is None:
            return None
        finish = _FINISH_REASONS.get(str(told), "error")
        return "tool_calls" if finish == "stop" and (self.tool_calls or self._tools_before) else finish

    @property
    def refusal(self) -> str | None:
        """Why the prompt was not answered at all."""
        return f"the provider blocked the prompt: {self._blocked}" if self._blocked else None

    def completion(self, model: str) -> Completion:
        """The whole answer."""
        version = self._data.get("modelVersion")
        call = ModelCall(model=model, reported_model=str(version) if version else None, usage=self._usage())
        return Completion(
            text=self.text,
            finish_reason=self.finish_reason or "stop",
            call=call,
            refusal=self.refusal,
            tool_calls=self.tool_calls,
            logprobs=_logprobs(inner(self._candidate, "logprobsResult")),
        )

    def chunk(self) -> StreamChunk:
        """The piece as a Chat Completions delta. Its counts are cumulative, so only the last ones are passed on."""
        calls = [{"index": self._tools_before + n, **call} for n, call in enumerate(self.tool_calls)]
        said = {"content": self.text, "tool_calls": calls, "refusal": self.refusal}
        version = self._data.get("modelVersion")
        return StreamChunk(
            delta={name: value for name, value in said.items() if value},
            finish_reason=self.finish_reason,
            usage=self._usage() if self.finish_reason and "usageMetadata" in self._data else None,
            reported_model=str(version) if version else None,
        )

    @property
    def _blocked(self) -> str:
        return "" if self._candidates else str(inner(self._data, "promptFeedback").get("blockReason") or "")

    def _tool_call(self, part: dict[str, Any], number: int) -> dict[str, Any]:
        call = part["functionCall"]
        made_up = f"call_{self._data.get('responseId', '')}_{self._tools_before + number}"
        function = {"name": str(call.get("name")), "arguments": orjson.dumps(call.get("args") or {}).decode()}
        tool_call = {"id": str(call.get("id") or made_up), "type": "function", "function": function}
        signature = part.get("thoughtSignature")
        return {**tool_call, "extra_content": {"google": {"thought_signature": signature}}} if signature else tool_call

    def _usage(self) -> Usage:
        usage = inner(self._data, "usageMetadata")
        thoughts = usage.get("thoughtsTokenCount")
        return usage_of(
            [usage.get("promptTokenCount"), usage.get("toolUsePromptTokenCount")],
            [usage.get("candidatesTokenCount"), thoughts],
            cached=usage.get("cachedContentTokenCount"),
            reasoning=thoughts,
        )


def _logprobs(result: dict[str, Any]) -> tuple[TokenLogprob, ...] | None:
    chosen, top = result.get("chosenCandidates"), result.get("topCandidates")
    if not isinstance(chosen, list):
        return None
    steps = top if isinstance(top, list) else []
    pairs = [token_logprob(entry, "logProbability") for entry in chosen]
    alternatives = [*(_alternatives(step) for step in steps[: len(pairs)]), *[()] * (len(pairs) - len(steps))]
    return tuple(TokenLogprob(*pair, best) for pair, best in zip(pairs, alternatives, strict=True) if pair is not None)


def _alternatives(step: object) -> tuple[tuple[str, float], ...]:
    candidates = step.get("candidates") if isinstance(step, dict) else None
    entries = candidates if isinstance(candidates, list) else []
    return tuple(pair for entry in entries if (pair := token_logprob(entry, "logProbability")))
