"""A judge that chooses a label."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from common.graders.judging import Question, ask, compose, verdict_schema
from common.graders.outcome import Score
from common.graders.prompt_files import prompt
from common.graders.reply import read_label

if TYPE_CHECKING:
    from common.graders.context import GradeContext
    from common.schemas.graders import LabelModelGrader


async def label_model(grader: LabelModelGrader, context: GradeContext) -> Score:
    """Ask for one of the grader's labels; 1 when it is a passing one, else 0. Any other text is no label."""
    marker, instructions = context.marker(), prompt("label.v1")
    labels = json.dumps(grader.labels, ensure_ascii=False)
    question = Question(
        model=grader.model,
        messages=compose(instructions, grader.input, context, marker=marker, labels=labels),
        schema=verdict_schema("label", {"type": "string", "enum": grader.labels}),
        read=partial(read_label, labels=grader.labels),
        marker=marker,
        prompt_version=instructions.version,
        sampling=grader.sampling_params,
    )
    answer = await ask(question, context)
    label, reason = answer.value
    passed = label in grader.passing_labels
    return Score(
        float(passed),
        passed,
        label=label,
        reason=reason,
        judge=answer.judge,
        prompt_version=answer.prompt_version,
        calls=answer.calls,
    )
