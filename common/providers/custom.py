"""An HTTP API of any format, as the configuration's templates and JSON paths describe it.

Calls go to the hosts that the configuration allows and nowhere else: whatever a model's name or a template makes of the URL, it
is checked as it will be sent, and redirects are not followed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from common.errors import MalformedReply, ProviderRejected, ProviderUnavailable, Unsupported
from common.providers.custom_template import filled, found, variables
from common.providers.http import Call
from common.providers.wire import FINISH_REASONS, charged_microusd, event_object, opened, usage_of, with_schema_in_words
from common.schemas.completion import Completion, Message, StreamChunk
from common.schemas.custom import VARIABLE, variables_of
from common.schemas.evaluation import ModelCall, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from common.providers.account import Account
    from common.providers.http import Http
    from common.schemas.completion import CompletionRequest, FinishReason
    from common.schemas.custom import CustomApi, CustomReply, CustomStream

_WITHOUT_EFFECT: dict[str, tuple[object, ...]] = {"n": (1,), "store": (False,), "logprobs": (False,)}
_OURS = frozenset({"stream", "stream_options"})


class Custom:
    """Implements `common.ports.Provider`."""

    def __init__(self, account: Account, http: Http) -> None:
        self._account = account
        self._http = http
        api = account.config.custom
        if api is None:
            raise ProviderRejected(f"provider {account.name!r} is custom and says nothing of its API", model=account.name)
        self._api: CustomApi = api

    async def complete(self, request: CompletionRequest, /, *, timeout_s: float) -> Completion:
        """One exchange. Raises `Unsupported` for a field that no template names."""
        call = self._generate(request, timeout_s)
        reply = await self._http.fetch(call)
        paths = self._api.reply
        if not found(reply.data, paths.text) and not found(reply.data, paths.refusal):
            if reply.data.get("error"):
                raise self._http.error_inside(reply.data, call)
            if _finish(reply.data, paths) is None:
                raise MalformedReply(
                    f"{call.model}: nothing stands at {paths.text} of the answer", model=call.model, status=200
                )
        return replace(_completion(reply.data, paths, call.model), hints=reply.hints)

    async def stream(self, request: CompletionRequest, /, *, timeout_s: float) -> AsyncGenerator[StreamChunk]:
        """The same, piece by piece, or in one piece where the API does not stream."""
        streaming = self._api.stream
        if streaming is None:
            yield _whole(await self.complete(request, timeout_s=timeout_s))
            return
        call = self._generate(request, timeout_s, streaming)
        first, finished = True, False
        events = self._http.events(call)
        try:
            async for event in events:
                if streaming.done is not None and event.data == streaming.done.encode():
                    return
                data = event_object(event.data, call.model)
                if data.get("error"):
                    raise self._http.error_inside(data, call)
                chunk = _chunk(data, streaming.reply)
                finished = finished or chunk.finish_reason is not None
                yield opened(chunk, first=first, hints=event.hints)
                first = False
        finally:
            await events.aclose()
        if not finished:
            raise ProviderUnavailable(f"{call.model}: the provider's stream was cut short", model=call.model)

    async def list_models(self, *, timeout_s: float) -> list[str]:
        """Names where the configuration says that they are listed; none without that."""
        if self._api.models is None:
            return []
        reply = await self._http.fetch(self._call(self._api.models.path, "", timeout_s))
        return [name for name in found(reply.data, self._api.models.names) if isinstance(name, str)]

    def _generate(self, request: CompletionRequest, timeout_s: float, streaming: CustomStream | None = None) -> Call:
        path, template = self._api.path, self._api.body
        if streaming is not None:
            path, template = streaming.path or path, {**template, **streaming.body}
        self._refuse_unheard(request, variables_of(template))
        asked = self._in_words(request) if "schema" not in variables_of(template) else request
        return self._call(path, request.model, timeout_s, body=filled(template, variables(asked)))

    def _refuse_unheard(self, request: CompletionRequest, named: set[str]) -> None:
        given = {
            name
            for name, value in request.passthrough.items()
            if value is not None and name not in _OURS and value not in _WITHOUT_EFFECT.get(name, ())
        }
        if unheard := sorted(given - named):
            model = self._account.full_name(request.model)
            raise Unsupported(
                f"{model} does not support {', '.join(unheard)}: its template does not name it", pointer=f"/{unheard[0]}"
            )

    def _in_words(self, request: CompletionRequest) -> CompletionRequest:
        if request.json_schema is None:
            return request
        asking = with_schema_in_words([{"role": m.role, "content": m.content} for m in request.messages], request.json_schema)
        extras = [m.extra for m in request.messages] + [{}]
        messages = (Message(m["role"], m["content"], extra) for m, extra in zip(asking, extras, strict=False))
        return replace(request, messages=tuple(messages), json_schema=None)

    def _call(self, path: str, model: str, timeout_s: float, *, body: Mapping[str, Any] | None = None) -> Call:
        account, full_name = self._account, self._account.full_name(model)
        url = account.url(VARIABLE.sub(lambda _: account.segment(model), path), model)
        if not self._api.allows(url):
            raise ProviderRejected(f"{full_name}: its address is not among the provider's allowed_hosts", model=full_name)
        return Call(
            url=url,
            headers={**account.authorization(scheme="Bearer "), **account.config.headers},
            model=full_name,
            timeout_s=timeout_s,
            body=body,
            secret=account.key(),
        )


def _completion(data: dict[str, Any], paths: CustomReply, model: str) -> Completion:
    refusal = _text(data, paths.refusal)
    reported = _text(data, paths.reported_model)
    return Completion(
        text=_text(data, paths.text),
        finish_reason="refusal" if refusal else _finish(data, paths) or "stop",
        call=ModelCall(
            model=model, reported_model=reported or None, usage=_usage(data, paths), cost_microusd=_cost(data, paths)
        ),
        refusal=refusal or None,
    )


def _whole(completion: Completion) -> StreamChunk:
    said = {"role": "assistant", "content": completion.text, "refusal": completion.refusal}
    return StreamChunk(
        delta={name: value for name, value in said.items() if value},
        finish_reason=completion.finish_reason,
        usage=completion.call.usage,
        reported_model=completion.call.reported_model,
        hints=completion.hints,
        cost_microusd=completion.call.cost_microusd,
    )


def _chunk(data: dict[str, Any], paths: CustomReply) -> StreamChunk:
    said = {"content": _text(data, paths.text), "refusal": _text(data, paths.refusal)}
    return StreamChunk(
        delta={name: value for name, value in said.items() if value},
        finish_reason=_finish(data, paths),
        usage=_usage(data, paths) if _tells_usage(data, paths) else None,
        reported_model=_text(data, paths.reported_model) or None,
        cost_microusd=_cost(data, paths),
    )


def _text(data: dict[str, Any], path: str | None) -> str:
    return "".join(value for value in found(data, path) if isinstance(value, str))


def _finish(data: dict[str, Any], paths: CustomReply) -> FinishReason | None:
    told = next(iter(found(data, paths.finish_reason)), None)
    if told is None:
        return None
    return paths.finish_reasons.get(str(told)) or FINISH_REASONS.get(str(told), "stop")


def _usage(data: dict[str, Any], paths: CustomReply) -> Usage:
    prompt, completion = _first(data, paths.prompt_tokens), _first(data, paths.completion_tokens)
    cached, reasoning = _first(data, paths.cached_tokens), _first(data, paths.reasoning_tokens)
    return usage_of([prompt], [completion], cached=cached, reasoning=reasoning)


def _tells_usage(data: dict[str, Any], paths: CustomReply) -> bool:
    """Whether there is any, readable or not; where there is none, tokens are estimated."""
    return any(_first(data, path) for path in (paths.prompt_tokens, paths.completion_tokens))


def _cost(data: dict[str, Any], paths: CustomReply) -> int | None:
    return charged_microusd(_first(data, paths.cost_usd))


def _first(data: dict[str, Any], path: str | None) -> object:
    return next(iter(found(data, path)), None)
