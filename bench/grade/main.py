"""CPU of one judgement within the process: everything that a grader does but the model's answer, which comes from memory."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from statistics import median
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from bench.rig.table import show
from common.graders.context import GradeContext
from common.graders.registry import grade
from common.schemas.completion import Completion, CompletionRequest, JsonSchema, Message
from common.schemas.evaluation import ModelCall, Sample, Usage
from common.schemas.graders import Grader

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_MEGABYTE = 1_000_000
_LATIN = "The ferry leaves at 9.40 from pier 3; a <b>ticket</b> costs 12 euros, children [under 6] pay nothing. "
_CYRILLIC = "Паром отходит в 9.40 от причала 3; билет стоит 12 евро, дети до 6 лет не платят. "
_INPUT = [
    {
        "role": "user",
        "content": "Question: {{item.question}}\n\nReference: {{item.reference}}\n\nAnswer: {{sample.output_text}}",
    }
]
_CHECK = {"type": "string_check", "name": "c", "input": "{{sample.output_text}}", "operation": "ilike", "reference": "9.40"}
_SCORE = {"type": "score_model", "name": "s", "model": "lab:judge", "range": [1, 5], "input": _INPUT}
_LABEL = {
    "type": "label_model",
    "name": "l",
    "model": "lab:judge",
    "labels": ["complete", "partial", "evasive"],
    "passing_labels": ["complete"],
    "input": _INPUT,
}
_PAIR = {"type": "pairwise_model", "name": "p", "model": "lab:judge", "input": _INPUT[:1], "output_b": "{{item.reference}}"}
_REASON = "It gives the right time and the pier, in other words than the reference."
# Case: grader, output under evaluation, what the judge decides, calls per round.
_CASES: dict[str, tuple[dict[str, Any], str, dict[str, Any], int]] = {
    "string_check": (_CHECK, _LATIN, {}, 2_000),
    "score_model": (_SCORE, _LATIN * 3, {"score": 4}, 500),
    "score_model_non_ascii": (_SCORE, _CYRILLIC * 3, {"score": 4}, 500),
    "label_model": (_LABEL, _LATIN * 3, {"label": "complete"}, 500),
    "pairwise_model": (_PAIR, _LATIN * 3, {"verdict": "tie"}, 250),
    "score_model_1mb": (_SCORE, _LATIN * (_MEGABYTE // len(_LATIN)), {"score": 4}, 10),
    "score_model_1mb_non_ascii": (_SCORE, _CYRILLIC * (_MEGABYTE // len(_CYRILLIC.encode())), {"score": 4}, 10),
}


def run(*, rounds: int) -> dict[str, float]:
    """Figures: ``grade_us_<case>``, and ``grade_us_request`` for building a `CompletionRequest` and nothing else."""
    figures = {f"grade_us_{name}": asyncio.run(_measure(name, rounds)) for name in _CASES}
    figures["grade_us_request"] = asyncio.run(_cpu_us(_building, rounds, 2_000))
    show(["case", "CPU us"], list(figures.items()))
    return figures


async def _measure(name: str, rounds: int) -> float:
    written, output, verdict, count = _CASES[name]
    grader: Any = TypeAdapter(Grader).validate_python(written)
    item = {"question": "When does the ferry leave?", "reference": "At 9.40, from the third pier."}
    text = json.dumps({"reason": _REASON, **verdict})

    async def complete(_: CompletionRequest, /) -> Completion:
        usage = Usage(prompt_tokens=300, completion_tokens=30)
        return Completion(text, "stop", ModelCall(model="lab:judge", usage=usage, cost_microusd=12, latency_ms=50.0))

    async def once() -> None:
        context = GradeContext(item, Sample(output_text=output), complete, lambda: secrets.token_hex(6))
        said = await grade(grader, context)
        if said.unscored is not None:
            raise RuntimeError(f"{name}: {said.unscored.message}")

    return await _cpu_us(once, rounds, count)


async def _cpu_us(once: Callable[[], Awaitable[None]], rounds: int, count: int) -> float:
    """Median over `rounds` of the mean over `count` calls; the first call, which imports and compiles, is not in it."""
    await once()
    taken = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(count):
            await once()
        taken.append((time.process_time() - began) / count * 1e6)
    return median(taken)


async def _building() -> None:
    schema = JsonSchema("score_verdict", {"type": "object", "properties": {"reason": {"type": "string"}}})
    CompletionRequest(model="lab:judge", messages=(Message("user", _LATIN),), json_schema=schema, marker="3f9a1c")
