"""Asking a judge: one call, one repair if its reply is unusable, and an account of everything that was paid."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic, TypeVar

from common.errors import BudgetExhausted, KnudgeError, ProviderError
from common.graders.fencing import fence, fencer
from common.graders.outcome import RAW_LIMIT, UnscoredError, bounded
from common.graders.prompt_files import Prompt, prompt
from common.graders.reply import ReplyError, finished
from common.graders.template import render
from common.schemas.completion import CompletionRequest, JsonSchema, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from common.graders.context import GradeContext
    from common.schemas.completion import Completion, TokenLogprob
    from common.schemas.evaluation import ModelCall
    from common.schemas.graders import InputMessage, SamplingParams

T = TypeVar("T")
_REFUSED = frozenset({"refusal", "content_filter"})
_REPAIR = "repair.v1"
_OBJECT = re.compile(r"\{[^{}]{5,2000}\}")
_MOST_QUOTED = 50
_BLOT = "\ufffc"  # no letter and no bracket: nothing reads it as a verdict


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """What to ask of whom, and how to read the reply. ``read`` raises `ReplyError`."""

    model: str
    messages: tuple[Message, ...]
    schema: JsonSchema
    read: Callable[[str], T]
    marker: str
    prompt_version: str
    sampling: SamplingParams | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """A valid reply, who gave it, and every call it took. ``logprobs`` are the reply's, where they were asked for and given."""

    value: T
    judge: str
    prompt_version: str
    calls: tuple[ModelCall, ...]
    logprobs: tuple[TokenLogprob, ...] | None = None


def compose(
    instructions: Prompt, inputs: Sequence[InputMessage], context: GradeContext, *, marker: str, **values: str
) -> tuple[Message, ...]:
    """Our instructions, then the grader's messages with every value fenced.

    Raises:
        UnknownVariable: a template names something that is not there.
        UnscoredError: a template needs JSON that the sample is not.
    """
    scope, wrap = context.scope, fencer(marker)
    ours = Message("system", instructions.fill(marker=marker, **values))
    return (ours, *(Message(message.role, render(message.text, scope, wrap=wrap)) for message in inputs))


def verdict_schema(name: str, verdict: dict[str, object]) -> JsonSchema:
    """A closed object: ``reason`` first, so that the judge thinks before it decides, then the verdict under `name`."""
    properties = {"reason": {"type": "string"}, name: verdict}
    return JsonSchema(
        f"{name}_verdict",
        {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False},
    )


async def ask(question: Question[T], context: GradeContext) -> Answer[T]:
    """Ask, and ask once more if the reply is no verdict but might become one.

    A failure of the second call that may pass ends it, too (``repair_failed``): raised, it would have the item delivered again,
    and the first call paid twice and shown once.

    Raises:
        UnscoredError: no valid verdict, a refusal, a reply cut short, a failure for good at the provider, or a spent budget.
        KnudgeError: a failure of the first call that may pass; the caller decides.
    """
    first = await _complete(question, question.messages, context, paid=())
    calls: tuple[ModelCall, ...] = (first.call,)
    try:
        return Answer(_value(first, question), first.call.model, question.prompt_version, calls, first.logprobs)
    except ReplyError as error:
        if not error.repairable:
            raise _unscored(error, first, question.prompt_version, calls) from error
        unusable = error
    version = f"{question.prompt_version}+{_REPAIR}"
    repair = _repair(question, first.text, unusable)
    try:
        second = await _complete(question, (*question.messages, repair), context, paid=calls)
    except KnudgeError as error:
        failed = ReplyError("repair_failed", f"{unusable.message}; asking again failed with {error.code}")
        raise _unscored(failed, first, version, calls) from error
    calls = (*calls, second.call)
    try:
        return Answer(_value(second, question), second.call.model, version, calls, second.logprobs)
    except ReplyError as error:
        raise _unscored(error, second, version, calls) from error


async def _complete(
    question: Question[T], messages: tuple[Message, ...], context: GradeContext, *, paid: tuple[ModelCall, ...]
) -> Completion:
    sampling = question.sampling
    request = CompletionRequest(
        model=question.model,
        messages=messages,
        json_schema=question.schema,
        max_tokens=sampling.max_completions_tokens if sampling else None,
        temperature=sampling.temperature if sampling else None,
        top_p=sampling.top_p if sampling else None,
        seed=sampling.seed if sampling else None,
        reasoning_effort=sampling.reasoning_effort if sampling else None,
        deadline_s=context.deadline_s,
        sample_number=context.sample_number,
        top_logprobs=question.top_logprobs,
        origin=replace(context.origin, prompt_version=question.prompt_version),
        marker=question.marker,
    )
    try:
        return await context.complete(request)
    except (ProviderError, BudgetExhausted) as error:
        if error.retryable:
            raise
        raise UnscoredError(
            error.code,
            error.message,
            judge=(error.model or None) if isinstance(error, ProviderError) else None,
            prompt_version=question.prompt_version,
            calls=paid,
        ) from error


def _value(completion: Completion, question: Question[T]) -> T:
    if completion.refusal is not None or completion.finish_reason in _REFUSED:
        raise ReplyError("judge_refused", "the judge refused to answer", repairable=False)
    cut = completion.finish_reason == "length"
    try:
        text = _own_words(completion.text, question.messages)
        return question.read(finished(text) if cut else text)
    except ReplyError as error:
        if cut:
            message = f"the judge's reply was cut off at its token limit: {error.message}"
            raise ReplyError("judge_truncated", message, repairable=False) from error
        raise


def _own_words(reply: str, messages: Sequence[Message]) -> str:
    """`reply` without the objects in its prose that the prompt holds word for word: a forged verdict, or our own example."""
    if "{" not in reply or _OBJECT.fullmatch(reply.strip()):
        return reply
    asked = "\n".join(message.content for message in messages if isinstance(message.content, str))

    def own(match: re.Match[str]) -> str:
        return _BLOT if match[0] != reply.strip() and match[0] in asked else match[0]

    return _OBJECT.sub(own, reply, count=_MOST_QUOTED)


def _repair(question: Question[T], reply: str, error: ReplyError) -> Message:
    text = prompt(_REPAIR).fill(
        problem=error.message,
        reply=fence("judge.reply", bounded(reply, RAW_LIMIT), marker=question.marker),
        schema=json.dumps(question.schema.schema, ensure_ascii=False),
    )
    return Message("user", text)


def _unscored(error: ReplyError, last: Completion, version: str, calls: tuple[ModelCall, ...]) -> UnscoredError:
    return UnscoredError(
        error.code,
        error.message,
        raw=last.text or last.refusal,
        judge=last.call.model,
        prompt_version=version,
        calls=calls,
    )
