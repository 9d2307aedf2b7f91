"""What another Evals API told, as what Knudge keeps. Pure translation; nothing is judged, and nothing is made up.

What has no place here is not lost: every item's line in the data set holds the output item as it came.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from common.schemas.evals import TargetSamplingParams
from common.schemas.evaluation import MICRO, ModelCall, Unscored, Usage, Verdict
from common.schemas.graders import MAX_SCORE, Grader, LabelModelGrader, PythonGrader, ScoreModelGrader
from common.schemas.runs import StoredSample, Target
from common.stats.summary import counters
from functions.tasks.evals.versions import with_pass_mark

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from common.schemas.imports import SourceError, SourceItem, SourceModelUsage, SourceResult, SourceSample, SourceUsage

_TEXT_LIMIT = 4000
_NAME_LIMIT = 250
_NUMBER_LIMIT = 2**53
# OpenAI names results by criterion id: "String check-a2486074-d803-4445-b431-ad2262e85d47".
_ID_SUFFIX = re.compile(r"-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
_COPY = re.compile(r" \(\d+\)$")
_GRADER: TypeAdapter[Grader] = TypeAdapter(Grader)


def data_source_config(given: Mapping[str, Any]) -> dict[str, Any]:
    """A custom configuration. Answers of the API wrap the item's schema into one over item and sample."""
    wrapped = given.get("schema")
    properties = wrapped.get("properties") if isinstance(wrapped, dict) else None
    properties = properties if isinstance(properties, dict) else {}
    schema = given.get("item_schema", properties.get("item"))
    return {
        "type": "custom",
        "item_schema": schema if isinstance(schema, dict) else {"type": "object"},
        "include_sample_schema": bool(given.get("include_sample_schema", "sample" in properties)),
    }


def graders(criteria: Sequence[Mapping[str, Any]]) -> list[Grader]:
    """Graders with names that differ. One that has no form here is kept as text, so that it can be read but not run."""
    found: list[Grader] = []
    names: set[str] = set()
    for place, criterion in enumerate(criteria, start=1):
        name = first = str(criterion.get("name") or f"criterion {place}")[:_NAME_LIMIT]
        copies = 1
        while name in names:
            copies += 1
            name = f"{first} ({copies})"
        names.add(name)
        found.append(_grader({**criterion, "name": name}))
    return found


def _grader(criterion: Mapping[str, Any]) -> Grader:
    given = {key: value for key, value in criterion.items() if value is not None}
    try:
        return with_pass_mark(_GRADER.validate_python(given, extra="ignore"))
    except ValidationError:
        source = "# An imported grader that has no form in Knudge:\n# " + json.dumps(given, ensure_ascii=False)
        return PythonGrader(type="python", name=given["name"], source=source)


def target(data_source: Mapping[str, Any]) -> Target | None:
    """The model that made the samples; None where they were given."""
    model = data_source.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= _NAME_LIMIT:
        return None
    try:
        params = TargetSamplingParams.model_validate(data_source.get("sampling_params") or {}, extra="ignore")
    except ValidationError:
        params = TargetSamplingParams()
    return Target(model=model, sampling_params=params.model_dump(exclude_none=True))


def echo(data_source: Mapping[str, Any]) -> dict[str, Any]:
    """The data source as it was, without rows that stood in the request."""
    source = data_source.get("source")
    if not isinstance(source, dict) or "content" not in source:
        return dict(data_source)
    return {**data_source, "source": {**source, "content": []}}


def usage_sums(entries: Sequence[SourceModelUsage], *, target_model: str | None, simulated: bool) -> dict[str, int]:
    """A run's tokens by model, as the counters that its items would have added up to."""
    sums: dict[str, int] = {}
    for entry in entries:
        calls = _bounded(entry.invocation_count)
        if not calls:
            continue
        role = entry.role if entry.role in ("judge", "target") else "target" if entry.model_name == target_model else "judge"
        cost = _microusd(entry.cost_usd)
        model = entry.model_name[:_NAME_LIMIT] or "unknown"
        one = StoredSample(model=model, usage=_usage(entry), cost_microusd=cost, simulated=simulated)
        for field, amount in counters([], one, []).items():
            _, _, rest = field.partition("m.target.")
            if rest:
                # One call has the same fields as many, but for the two that count calls.
                each = calls if rest.endswith((".calls", ".unpriced", ".simulated")) else 1
                sums[f"m.{role}.{rest}"] = sums.get(f"m.{role}.{rest}", 0) + amount * each
    return sums


def sample(given: SourceSample | None) -> StoredSample | None:
    """The sample that was judged. Its price is unknown where a model made it."""
    if given is None:
        return None
    return StoredSample(
        output_text=_last_text(given),
        input=[{"role": entry.role or "", "content": entry.content} for entry in given.input or []],
        finish_reason=(given.finish_reason or "")[:_NAME_LIMIT],
        model=(given.model or "")[:_NAME_LIMIT] or None,
        usage=_usage(given.usage),
        cost_microusd=None if given.model else 0,
        unscored=reason(given.error),
    )


def verdicts(item: SourceItem, graders: Sequence[Grader]) -> list[Verdict]:
    """One verdict for each grader, in their order."""
    found = _by_grader(item.results, graders)
    return [_verdict(found.get(number), grader) for number, grader in enumerate(graders)]


def outcome(item: SourceItem) -> str | None:
    """How the item ended where it was judged: ``passed``, ``failed``, ``errored``; None if that was not told."""
    return {
        "pass": "passed",
        "passed": "passed",
        "fail": "failed",
        "failed": "failed",
        "error": "errored",
        "errored": "errored",
    }.get(item.status)


def _by_grader(results: Sequence[SourceResult], graders: Sequence[Grader]) -> dict[int, SourceResult]:
    """Results by index of their grader. The k-th result of a name belongs to the k-th grader of that name."""
    free: dict[str, list[int]] = {}
    for index, grader in enumerate(graders):
        for name in dict.fromkeys((grader.name, _COPY.sub("", grader.name))):
            free.setdefault(name, []).append(index)
    found: dict[int, SourceResult] = {}
    for result in results:
        name = result.name[:_NAME_LIMIT]
        numbers = free.get(name) or free.get(_ID_SUFFIX.sub("", name)) or []
        number = next((number for number in numbers if number not in found), None)
        if number is not None:
            found[number] = result
    if not found and len(results) == len(graders):
        return dict(enumerate(results))
    return found


def _verdict(result: SourceResult | None, grader: Grader) -> Verdict:
    if result is None:
        missing = Unscored(code="not_in_source", message="the imported item has no result of this grader")
        return Verdict(name=grader.name, type=grader.type, unscored=missing)
    score, passed = _score(result, grader), result.passed
    unscored = reason(result.unscored)
    if unscored is None and (score is None or passed is None):
        unscored = Unscored(code="no_score", message="the imported result has no score that could be kept")
    judge = _judge(result, grader)
    return Verdict(
        name=grader.name,
        type=grader.type,
        score=None if unscored else score,
        passed=None if unscored else passed,
        label=result.label and result.label[:_NAME_LIMIT],
        reason=_said(result),
        unscored=unscored,
        judge=judge,
        calls=[] if judge is None else [_call(result, judge)],
    )


def _score(result: SourceResult, grader: Grader) -> float | None:
    score = result.score
    if score is None and result.passed is not None and grader.scale == (0.0, 1.0):
        score = float(result.passed)
    return score if score is not None and -MAX_SCORE <= score <= MAX_SCORE else None


def _judge(result: SourceResult, grader: Grader) -> str | None:
    if isinstance(grader, ScoreModelGrader | LabelModelGrader):
        return (result.judge or grader.model)[:_NAME_LIMIT]
    return result.judge[:_NAME_LIMIT] if result.judge else None


def _call(result: SourceResult, judge: str) -> ModelCall:
    usage = result.usage or (result.sample.usage if result.sample else None)
    return ModelCall(model=judge, usage=_usage(usage), cost_microusd=_microusd(result.cost_usd), simulated=result.simulated)


def _said(result: SourceResult) -> str | None:
    """The judge's reason; with OpenAI that is what its model answered."""
    said = result.reason or (_last_text(result.sample) if result.sample else None)
    return said[:_TEXT_LIMIT] if said else None


def _last_text(given: SourceSample) -> str | None:
    """The last output message that has text, be it in one piece or in content parts."""
    for message in reversed(given.output or []):
        if isinstance(message.content, str):
            return message.content
        if isinstance(message.content, list):
            parts = [part.get("text") for part in message.content if isinstance(part, dict)]
            if texts := [part for part in parts if isinstance(part, str)]:
                return "\n".join(texts)
    return None


def reason(error: SourceError | None) -> Unscored | None:
    """Why there is no result; None where nothing is said to be wrong (OpenAI's types have no null for that)."""
    if error is None or not (error.code or error.message):
        return None
    return Unscored(code=(error.code or "unknown")[:_NAME_LIMIT], message=(error.message or "")[:_TEXT_LIMIT])


def _usage(given: SourceUsage | None) -> Usage:
    if given is None:
        return Usage()
    return Usage(
        prompt_tokens=_bounded(given.prompt_tokens),
        completion_tokens=_bounded(given.completion_tokens),
        cached_tokens=_bounded(given.cached_tokens),
    )


def _bounded(number: int | None) -> int:
    return min(_NUMBER_LIMIT, max(0, number or 0))


def _microusd(cost_usd: float | None) -> int | None:
    return None if cost_usd is None or not 0 <= cost_usd <= MAX_SCORE else round(cost_usd * MICRO)
