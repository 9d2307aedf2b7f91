"""A run's manifest, from what is stored of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.schemas.manifest import (
    Manifest,
    ManifestData,
    ManifestEval,
    ManifestModel,
    ManifestResults,
    ManifestRun,
)
from common.stats.reported import reported
from common.stats.summary import summarise

if TYPE_CHECKING:
    from common.schemas.runs import EvalVersion, RunPlan, RunSummary
    from common.store.datasets import DatasetStore
    from common.store.runstate import RunSnapshot


def manifest(snapshot: RunSnapshot, version: EvalVersion, datasets: DatasetStore) -> Manifest:
    """The manifest of a run as it stands. Two trips, four for a run with canaries.

    Args:
        version: The eval's version that the run was started with.

    Raises:
        NotFound: the run was deleted meanwhile.
    """
    plan = snapshot.plan
    summary = summarise(plan, snapshot.state, snapshot.sums, snapshot.worst)
    return Manifest(
        run=_run(plan, summary),
        eval=ManifestEval(
            eval_id=plan.eval_id,
            version=plan.eval_version,
            name=version.name,
            data_source_config=version.data_source_config,
            graders=plan.graders,
        ),
        dataset=data(plan.dataset_id, datasets),
        canaries=None if plan.canary_dataset_id is None else data(plan.canary_dataset_id, datasets),
        models=[
            ManifestModel(
                model=usage.model,
                role=usage.role,
                calls=usage.calls,
                cached_calls=usage.cached_calls,
                reported=reported(snapshot.sums, role=usage.role, model=usage.model),
            )
            for usage in summary.models
        ],
        provenance=plan.provenance,
        results=_results(summary),
    )


def data(dataset_id: str, datasets: DatasetStore) -> ManifestData:
    """A data set by its content. Raises `NotFound`. Two trips."""
    info = datasets.info(dataset_id)
    sha256 = datasets.sha256(dataset_id)
    return ManifestData(dataset_id=dataset_id, sha256=sha256, lines=info.lines, size_bytes=info.size_bytes)


def _run(plan: RunPlan, summary: RunSummary) -> ManifestRun:
    return ManifestRun(
        run_id=plan.run_id,
        name=plan.name,
        status=summary.status,
        error=summary.error,
        stopped=summary.stopped,
        created_at=plan.created_at,
        started_at=summary.started_at,
        ended_at=summary.ended_at,
        metadata=plan.metadata,
        data_source=plan.data_source,
        target=plan.target,
        seed=plan.seed,
        stop=plan.stop,
    )


def _results(summary: RunSummary) -> ManifestResults:
    return ManifestResults(
        items=summary.total,
        done=summary.done,
        passed=summary.passed,
        failed=summary.failed,
        errored=summary.errored,
        graders=summary.graders,
        usage=summary.usage,
        cost_microusd=summary.cost_microusd,
        simulated=summary.simulated,
        suspect=summary.suspect,
    )
