"""What a run's metadata asks for beyond its data: canaries between the items, and a rule for stopping early."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import InvalidInput, NotFound
from common.schemas.canaries import RUN_CANARIES
from common.schemas.stopping import RUN_STOP, StopRule, parse_rule
from functions.tasks.runs.canaries import canaries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from common.schemas.runs import EvalVersion, RunPlan
    from common.store.datasets import Dataset
    from common.store.files import FileStore
    from common.store.runs import RunStore
    from functions.tasks.evals.itemschema import ItemSchema

_POINTER = f"/metadata/{RUN_STOP}"


def canaries_of(metadata: Mapping[str, str], version: EvalVersion, files: FileStore, *, schema: ItemSchema) -> Dataset | None:
    """The canaries that the metadata names, if any. Raises `InvalidInput`."""
    file_id = metadata.get(RUN_CANARIES)
    return None if file_id is None else canaries(file_id, version, files, schema=schema)


def stop_rule(metadata: Mapping[str, str], version: EvalVersion) -> StopRule | None:
    """The rule that the metadata states, if any. Raises `InvalidInput`."""
    text = metadata.get(RUN_STOP)
    if text is None:
        return None
    rule = parse_rule(text, [grader.name for grader in version.graders])
    low, high = version.graders[rule.grader].scale
    if rule.other_run is None and not low < rule.threshold < high:
        raise InvalidInput(f"{_POINTER}: the grader's scores lie between {low:g} and {high:g}", pointer=_POINTER)
    return rule


def with_rule(rule: StopRule | None, version: EvalVersion, uploaded: Dataset | None, *, runs: RunStore) -> dict[str, StopRule]:
    """The plan's field about stopping early, none without a rule, for a run over `uploaded` (None: over rows in the request).

    Such a run also needs a ``seed``: a random order.

    Raises:
        InvalidInput: the run to compare with is not there, not completed, over other data, or without that grader.
    """
    if rule is None:
        return {}
    if rule.other_run is not None:
        _check_other(rule, rule.other_run, version, uploaded, runs=runs)
    return {"stop": rule}


def _check_other(rule: StopRule, other_run: str, version: EvalVersion, uploaded: Dataset | None, *, runs: RunStore) -> None:
    other = _completed(other_run, version.project, runs)
    if uploaded is None or other.dataset_id != uploaded.dataset_id:
        raise InvalidInput(f"{_POINTER}: both runs must be over the same uploaded file", pointer=_POINTER)
    ours = version.graders[rule.grader]
    if all((grader.name, grader.type, grader.scale) != (ours.name, ours.type, ours.scale) for grader in other.graders):
        message = f"{_POINTER}: the other run has no grader {ours.name[:80]!r} of this type and range"
        raise InvalidInput(message, pointer=_POINTER)


def _completed(run_id: str, project: str, runs: RunStore) -> RunPlan:
    try:
        plan = runs.plan(run_id)
        status = runs.state(run_id).status
    except NotFound:
        plan = None
    if plan is None or plan.project != project:
        raise InvalidInput(f"{_POINTER}: no such run: {run_id[:80]}", pointer=_POINTER)
    if status != "completed":
        raise InvalidInput(f"{_POINTER}: the other run is {status}, not completed", pointer=_POINTER)
    return plan
