"""Asking the model under evaluation for its sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.errors import KnudgeError, UnknownVariable
from common.graders.template import render
from common.schemas.completion import CompletionRequest, JsonSchema, Message
from common.schemas.evaluation import Unscored
from common.schemas.runs import StoredSample

if TYPE_CHECKING:
    from common.ports import Complete
    from common.schemas.completion import Completion, Origin
    from common.schemas.runs import Target

_INTERPRETED = {"temperature", "top_p", "seed", "reasoning_effort", "max_completion_tokens", "response_format"}


async def sample_target(
    target: Target, item: dict[str, Any], complete: Complete, *, deadline_s: float, origin: Origin
) -> StoredSample | KnudgeError:
    """The target's answer to one item.

    A failure that may pass is returned as the error. A lasting one (an unknown variable, a rejected request) is a sample
    that says why there is none: every verdict over it is unscored.
    """
    try:
        messages = _messages(target, item)
        completion = await complete(_request(target, messages, deadline_s, origin))
    except KnudgeError as error:
        if error.retryable:
            return error
        return StoredSample(unscored=Unscored(code=error.code, message=error.message))
    return _stored(completion, messages)


def _messages(target: Target, item: dict[str, Any]) -> tuple[Message, ...]:
    if target.input_messages is not None:
        return tuple(Message(m.role, render(m.text, {"item": item})) for m in target.input_messages)
    path = target.item_reference or "item.input_messages"
    value: Any = {"item": item}
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if not isinstance(value, list) or not all(isinstance(m, dict) and "role" in m for m in value):
        raise UnknownVariable(path)
    return tuple(Message(str(m["role"]), m.get("content")) for m in value)


def _request(target: Target, messages: tuple[Message, ...], deadline_s: float, origin: Origin) -> CompletionRequest:
    params = target.sampling_params
    wanted = params.get("response_format") or {}
    schema = wanted.get("json_schema") if wanted.get("type") == "json_schema" else None
    passthrough = {key: value for key, value in params.items() if key not in _INTERPRETED and value is not None}
    if wanted and schema is None:
        passthrough["response_format"] = wanted
    return CompletionRequest(
        model=target.model,
        messages=messages,
        json_schema=JsonSchema(schema["name"], schema.get("schema", {})) if schema else None,
        max_tokens=params.get("max_completion_tokens"),
        temperature=params.get("temperature"),
        top_p=params.get("top_p"),
        seed=params.get("seed"),
        reasoning_effort=params.get("reasoning_effort"),
        passthrough=passthrough,
        deadline_s=deadline_s,
        origin=origin,
    )


def _stored(completion: Completion, messages: tuple[Message, ...]) -> StoredSample:
    call = completion.call
    refused = completion.refusal is not None and not completion.text
    return StoredSample(
        output_text=completion.refusal if refused else completion.text,
        fields={"output_tools": list(completion.tool_calls)} if completion.tool_calls else {},
        input=[{"role": message.role, "content": message.content} for message in messages],
        finish_reason=completion.finish_reason,
        model=call.model,
        reported_model=call.reported_model,
        usage=call.usage,
        cost_microusd=call.cost_microusd,
        simulated=call.simulated,
        cached=call.cached,
        cache_key=call.cache_key,
    )
