"""Asking several times for one verdict: all answers or none, and one account of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from common.graders.outcome import UnscoredError

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Sequence

    from common.graders.judging import Answer
    from common.schemas.evaluation import ModelCall

T = TypeVar("T")


async def all_at_once(asked: Iterable[Coroutine[Any, Any, Answer[T]]]) -> list[Answer[T]]:
    """Every answer, asked for at the same time.

    Raises:
        UnscoredError: there is no valid answer to one of them; it accounts for the calls of all.
        KnudgeError: a failure that may pass.
    """
    # All are awaited before a failure is passed on: what they cost is then at least in the gateway's response cache.
    results = await asyncio.gather(*asked, return_exceptions=True)
    answers: list[Answer[T]] = []
    failed: list[UnscoredError] = []
    calls: tuple[ModelCall, ...] = ()
    for result in results:
        if isinstance(result, UnscoredError):
            failed.append(result)
        elif isinstance(result, BaseException):
            raise result
        else:
            answers.append(result)
        calls = (*calls, *result.calls)
    if failed:
        failed[0].calls = calls
        raise failed[0]
    return answers


async def after(earlier: Answer[Any], asked: Coroutine[Any, Any, Answer[T]]) -> Answer[T]:
    """The answer to what follows from an earlier one. Should there be none, the earlier call is accounted for as well."""
    try:
        return await asked
    except UnscoredError as error:
        error.calls = (*earlier.calls, *error.calls)
        error.prompt_version = _versions([earlier.prompt_version, error.prompt_version or ""])
        raise


def evidence(answers: Sequence[Answer[Any]]) -> dict[str, Any]:
    """What a score rests on: every call, every prompt, and the judge if there was but one."""
    judges = {answer.judge for answer in answers}
    return {
        "judge": judges.pop() if len(judges) == 1 else None,
        "prompt_version": _versions([answer.prompt_version for answer in answers]),
        "calls": tuple(call for answer in answers for call in answer.calls),
    }


def _versions(versions: Sequence[str]) -> str:
    return "+".join(dict.fromkeys(part for version in versions for part in version.split("+") if part))
