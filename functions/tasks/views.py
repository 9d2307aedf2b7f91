"""What is stored, as OpenAI's objects."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from common.schemas import evals as api
from common.schemas.evaluation import usd
from common.schemas.runs import StoredSample
from common.stats.summary import item_outcome, summarise

if TYPE_CHECKING:
    from common.schemas.evaluation import Unscored, Verdict
    from common.schemas.graders import Grader
    from common.schemas.runs import EvalVersion, ItemResult, ModelUsage, RunPlan, RunSummary, Target
    from common.store.files import FileRecord
    from common.store.runstate import RunSnapshot

T = TypeVar("T", api.EvalObject, api.FileObject, api.RunObject, api.OutputItemObject)
_ITEM_STATUS = {"passed": "pass", "failed": "fail", "errored": "error"}
_ITEM_ID = re.compile(r"outputitem_(.{1,100})_(\d{1,12})")


def page(data: list[T], *, has_more: bool) -> api.ListPage[T]:
    """The envelope of a list."""
    return api.ListPage(
        data=data, first_id=data[0].id if data else None, last_id=data[-1].id if data else None, has_more=has_more
    )


def eval_object(version: EvalVersion) -> api.EvalObject:
    """An eval. OpenAI answers with one schema over both namespaces, made from the item's."""
    config = version.data_source_config
    properties = {"item": config["item_schema"]}
    if config.get("include_sample_schema"):
        properties["sample"] = {"type": "object", "properties": {"output_text": {"type": "string"}}}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return api.EvalObject(
        id=version.eval_id,
        name=version.name,
        created_at=version.created_at,
        metadata=version.metadata,
        data_source_config={"type": "custom", "schema": schema},
        testing_criteria=[_grader(grader) for grader in version.graders],
        knudge=api.EvalNotes(version=version.version, updated_at=version.updated_at),
    )


def file_object(record: FileRecord) -> api.FileObject:
    """A file."""
    return api.FileObject(
        id=record.file_id,
        bytes=record.size_bytes,
        created_at=record.created_at,
        filename=record.filename,
        purpose=record.purpose,
    )


def summary_of(snapshot: RunSnapshot, *, report_base: str) -> RunSummary:
    """The run's summary; `report_base` is where users reach `aggregate`."""
    plan = snapshot.plan
    summary = summarise(plan, snapshot.state, snapshot.sums, snapshot.worst)
    return summary.model_copy(update={"report_url": f"{report_base}/runs/{plan.run_id}/report"})


def run_object(snapshot: RunSnapshot, *, report_base: str) -> api.RunObject:
    """A run with its results so far."""
    plan, summary = snapshot.plan, summary_of(snapshot, report_base=report_base)
    return api.RunObject(
        id=plan.run_id,
        eval_id=plan.eval_id,
        name=plan.name,
        created_at=plan.created_at,
        status=summary.status,
        model=plan.target.model if plan.target else "",
        metadata=plan.metadata,
        data_source=plan.data_source,
        error=_error(summary.error),
        report_url=summary.report_url,
        result_counts=api.ResultCounts(
            passed=summary.passed, failed=summary.failed, errored=summary.errored, total=summary.done
        ),
        per_testing_criteria_results=[
            api.CriterionResult(
                testing_criteria=grader.name,
                passed=grader.passed,
                failed=grader.failed,
                unscored=grader.unscored,
                mean=grader.mean,
                interval=grader.interval,
            )
            for grader in summary.graders
        ],
        per_model_usage=[_model_usage(usage) for usage in summary.models],
        knudge=_run_notes(summary),
    )


def output_item_id(run_id: str, index: int) -> str:
    """The id of an item's outcome within a run; it names both."""
    return f"outputitem_{run_id.partition('_')[2]}_{index}"


def index_of(item_id: str, run_id: str) -> int | None:
    """The item's index; None when the id is of another run, or none at all."""
    found = _ITEM_ID.fullmatch(item_id)
    return int(found[2]) if found and output_item_id(run_id, int(found[2])) == item_id else None


def output_item(plan: RunPlan, result: ItemResult) -> api.OutputItemObject:
    """An item's outcome."""
    return api.OutputItemObject(
        id=output_item_id(plan.run_id, result.index),
        run_id=plan.run_id,
        eval_id=plan.eval_id,
        created_at=plan.created_at,
        status=_ITEM_STATUS[item_outcome(result.verdicts)],
        datasource_item_id=result.index if result.line is None else result.line,
        datasource_item=result.item,
        sample=_sample(result.sample or StoredSample(), plan.target),
        results=[_result(verdict) for verdict in result.verdicts],
    )


def _grader(grader: Grader) -> dict[str, Any]:
    return grader.model_dump(mode="json", exclude_none=True)


def _error(reason: Unscored | None) -> api.ApiError:
    return api.ApiError() if reason is None else api.ApiError(code=reason.code, message=reason.message)


def _model_usage(usage: ModelUsage) -> api.PerModelUsage:
    return api.PerModelUsage(
        model_name=usage.model,
        invocation_count=usage.calls,
        prompt_tokens=usage.usage.prompt_tokens,
        completion_tokens=usage.usage.completion_tokens,
        cached_tokens=usage.usage.cached_tokens,
        total_tokens=usage.usage.total_tokens,
        role=usage.role,
        cost_usd=None if usage.unpriced_calls else usd(usage.cost_microusd),
    )


def _run_notes(summary: RunSummary) -> api.RunNotes:
    return api.RunNotes(
        simulated=summary.simulated,
        cost_usd=summary.cost_usd,
        unscored=sum(grader.unscored for grader in summary.graders),
        items=summary.total,
        outstanding=summary.outstanding,
        eval_version=summary.eval_version,
        started_at=summary.started_at,
        ended_at=summary.ended_at,
        suspect=summary.suspect,
        suspect_reason=summary.suspect_reason,
        canaries=summary.canaries,
        stopped=summary.stopped,
        paused=summary.paused,
        generation=summary.generation,
        forked_from=summary.forked_from,
    )


def _sample(sample: StoredSample, target: Target | None) -> api.SampleObject:
    params = target.sampling_params if target else {}
    output = [] if sample.output_text is None else [api.SampleMessage(role="assistant", content=sample.output_text)]
    return api.SampleObject(
        error=_error(sample.unscored),
        finish_reason=sample.finish_reason,
        input=[api.SampleMessage(role=str(m.get("role", "")), content=_text(m.get("content"))) for m in sample.input],
        output=output,
        model=sample.model or "",
        max_completion_tokens=params.get("max_completion_tokens") or 0,
        seed=params.get("seed") or 0,
        temperature=_or_one(params.get("temperature")),
        top_p=_or_one(params.get("top_p")),
        usage=api.SampleUsage(
            prompt_tokens=sample.usage.prompt_tokens,
            completion_tokens=sample.usage.completion_tokens,
            cached_tokens=sample.usage.cached_tokens,
            total_tokens=sample.usage.total_tokens,
        ),
    )


def _or_one(value: float | None) -> float:
    return 1.0 if value is None else value


def _text(content: Any) -> str:
    return content if isinstance(content, str) else orjson.dumps(content).decode()


def _result(verdict: Verdict) -> api.ResultObject:
    return api.ResultObject(
        name=verdict.name,
        type=verdict.type,
        score=verdict.score,
        passed=verdict.passed is True,
        unscored=verdict.unscored,
        label=verdict.label,
        reason=verdict.reason,
        judge=verdict.judge,
        usage=verdict.usage,
        cost_usd=verdict.cost_usd,
        simulated=verdict.simulated,
    )
