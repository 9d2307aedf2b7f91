"""Whether useful contexts rank first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.graders.fencing import fencer
from common.graders.judges.contexts import contexts_of, shown
from common.graders.judges.numbered import ask_numbered
from common.graders.judges.several import evidence
from common.graders.outcome import Score, UnscoredError
from common.graders.prompt_files import prompt
from common.graders.template import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.graders.context import GradeContext
    from common.graders.judges.numbered import Finding
    from common.graders.judging import Answer
    from common.schemas.graders import ContextPrecisionGrader


async def context_precision(grader: ContextPrecisionGrader, context: GradeContext) -> Score:
    """Ask, in one call, which contexts are useful for arriving at the reference; the score is `average_precision`.

    Raises:
        UnscoredError: ``no_contexts``, also where nothing was retrieved: there is no order to judge.
    """
    contexts = contexts_of(grader.contexts, context)
    if not contexts:
        raise UnscoredError("no_contexts", "nothing was retrieved, so there is no order to judge")
    answer = await _ask(grader, context, contexts)
    useful = [finding.holds for finding in answer.value]
    value = average_precision(useful)
    return Score(
        value,
        value >= grader.threshold,
        reason=f"{sum(useful)} of {len(useful)} contexts are useful",
        details={"contexts": [{"useful": finding.holds, "reason": finding.reason} for finding in answer.value]},
        **evidence([answer]),
    )


def average_precision(useful: Sequence[bool]) -> float:
    """sum_k(precision@k * v_k) / sum_k(v_k), precision@k = sum_{i <= k}(v_i) / k, v_k = 1 where the k-th is useful, else 0.

    1 when no useless context stands before a useful one, 0 when none is useful (or there is none).

    Source: ragas' documentation, "Context Precision", https://docs.ragas.io/en/stable/concepts/metrics/available_metrics/context_precision/.
    """
    ranks = [rank for rank, holds in enumerate(useful, 1) if holds]
    return sum(found / rank for found, rank in enumerate(ranks, 1)) / len(ranks) if ranks else 0.0


async def _ask(grader: ContextPrecisionGrader, context: GradeContext, contexts: Sequence[str]) -> Answer[list[Finding]]:
    marker = context.marker()
    asked = render(grader.question, context.scope, wrap=fencer(marker))
    reference = render(grader.reference, context.scope, wrap=fencer(marker))
    material = f"Question:\n{asked}\n\nReference:\n{reference}\n\nContexts:\n{shown('context', contexts, marker=marker)}"
    return await ask_numbered(
        grader,
        context,
        instructions=prompt("precision.v1"),
        material=material,
        marker=marker,
        count=len(contexts),
        flag="useful",
    )
