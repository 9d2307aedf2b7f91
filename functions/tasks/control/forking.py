"""A run once more over the same data with other graders: whatever is unchanged is taken over, not judged again.

What can be taken over is copied when its items are issued, a batch at a time, and again when they are issued again. So a fork
starts at once, and no process is busy with it for long. If the first run is deleted meanwhile, the rest is judged afresh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.edge.validation import validate
from common.errors import InvalidInput
from common.graders.passmarks import check_pass_mark
from common.graders.registry import refuse
from common.graders.template import check_templates
from common.schemas.canaries import RUN_CANARIES
from common.schemas.graders import Grader
from common.schemas.runs import ForkOf
from common.schemas.stopping import RUN_STOP
from functions.tasks.control.retention import keep_days
from functions.tasks.evals.versions import with_pass_mark
from functions.tasks.runs.arrangement import stop_rule
from functions.tasks.runs.metadata import check_metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.schemas.evals import RunFork
    from common.schemas.evaluation import Verdict
    from common.schemas.runs import EvalVersion, RunPlan, StoredSample
    from common.store.idempotency import Identity
    from common.store.results import ResultStore
    from functions.tasks.runs.starting import RunMaker

_COPIED_AT_ONCE = 50
_INHERITED = (RUN_CANARIES, RUN_STOP)  # they decide about the order of items, which is the first run's


def fork(body: RunFork, first: RunPlan, version: EvalVersion, *, maker: RunMaker, identity: Identity | None = None) -> RunPlan:
    """Start a run over the data of `first`, in the same order and with the same canaries; it is queued.

    Args:
        version: The eval's version that `first` was started with.

    Raises:
        InvalidInput: a grader is not there, a change is none or makes no sense, the provider of its judge is unknown, or the
            metadata makes no sense.
        NotFound: `first` was deleted meanwhile, with its data.
    """
    graders = _changed_graders(body, first, item_schema=version.data_source_config["item_schema"])
    changed = [number for number, grader in enumerate(graders) if grader != first.graders[number]]
    if body.judge is not None:
        maker.installation.check_models({"/judge": body.judge})
    for number in changed:
        maker.installation.check_models(graders[number].models, pointer=_pointer(graders[number].name))
    if not changed:
        raise InvalidInput("nothing would change: name another judge, or graders with other fields", pointer="")
    metadata = _metadata(body, first)
    stop_rule(metadata, version.model_copy(update={"graders": graders}))
    identity = identity or maker.runs.new_identity()
    plan = first.model_copy(
        update={
            "run_id": identity.id("run"),
            "name": body.name or first.name,
            "metadata": metadata,
            "created_at": identity.created_at,
            "graders": graders,
            "window_items": min(first.window_items, maker.window_items),
            "keep_days": keep_days(metadata, default=maker.keep_days),
            "provenance": maker.installation.provenance(graders, first.target),
            "fork_of": ForkOf(
                run_id=first.run_id,
                graders=[number for number in range(len(graders)) if number not in changed],
                changed=[graders[number].name for number in changed],
            ),
        }
    )
    maker.runs.create(plan)
    return plan


def take_over(plan: RunPlan, items: Sequence[int], results: ResultStore) -> None:
    """Copy what a fork's items need not be asked again: scored verdicts of unchanged graders, and samples.

    Their calls are marked as cached and cost nothing. Two trips for every `_COPIED_AT_ONCE` items, none for other runs. What
    has no score is left to be judged.
    """
    if plan.fork_of is None:
        return
    first = plan.model_copy(update={"run_id": plan.fork_of.run_id})
    for at in range(0, len(items), _COPIED_AT_ONCE):
        found = results.load(first, items[at : at + _COPIED_AT_ONCE], lines=False)
        samples = {index: _free_sample(sample) for index, sample in found.samples.items() if sample.unscored is None}
        verdicts = {
            (index, grader): _free_verdict(verdict)
            for (index, grader), verdict in found.verdicts.items()
            if grader in plan.fork_of.graders and verdict.unscored is None
        }
        results.save(plan, samples, verdicts)


def _free_sample(sample: StoredSample) -> StoredSample:
    return sample if sample.model is None else sample.model_copy(update={"cached": True, "cost_microusd": 0})


def _free_verdict(verdict: Verdict) -> Verdict:
    calls = [call.model_copy(update={"cached": True, "cost_microusd": 0}) for call in verdict.calls]
    return verdict.model_copy(update={"calls": calls})


def _metadata(body: RunFork, first: RunPlan) -> dict[str, str]:
    given = body.metadata or {}
    for name in _INHERITED:
        if given.get(name, first.metadata.get(name)) != first.metadata.get(name):
            message = f"/metadata/{name}: a fork keeps that of its run; start a new run to change it"
            raise InvalidInput(message, pointer=f"/metadata/{name}")
    metadata = {**first.metadata, **given}
    check_metadata(metadata, given=given)
    return metadata


def _changed_graders(body: RunFork, first: RunPlan, *, item_schema: dict[str, Any]) -> list[Grader]:
    names = [grader.name for grader in first.graders]
    if unknown := sorted(body.graders.keys() - set(names)):
        there = ", ".join(names)[:400]
        raise InvalidInput(f"the run has no grader {unknown[0][:80]!r}; it has: {there}", pointer=_pointer(unknown[0]))
    judged = [_Judged.of(grader, body.judge) for grader in first.graders]
    if body.judge is not None and not any(each.has_judge for each in judged):
        raise InvalidInput("none of the run's graders asks a judge", pointer="/judge")
    return [_changed(each, body.graders.get(name, {}), item_schema) for name, each in zip(names, judged, strict=True)]


@dataclass(frozen=True, slots=True)
class _Judged:
    """A grader as it is stored, with another judge."""

    grader: Grader
    raw: dict[str, Any]
    has_judge: bool

    @classmethod
    def of(cls, grader: Grader, judge: str | None) -> _Judged:
        raw = grader.model_dump(mode="json", exclude_defaults=True)
        return cls(grader, raw, _set_judge(grader, raw, judge))


def _set_judge(grader: Any, raw: Any, judge: str | None) -> bool:
    """Put `judge` in the place of every judge of `grader`, in its stored form; whether there is any."""
    found = isinstance(getattr(grader, "model", None), str)
    if found and judge is not None:
        raw["model"] = judge
    for pointer, part in grader.parts.items():
        found |= _set_judge(part, _within(raw, pointer), judge)
    return found


def _within(raw: Any, pointer: str) -> Any:
    for step in pointer.split("/")[1:]:
        raw = raw[int(step)] if isinstance(raw, list) else raw[step.replace("~1", "/").replace("~0", "~")]
    return raw


def _changed(judged: _Judged, changes: dict[str, Any], item_schema: dict[str, Any]) -> Grader:
    raw = {**judged.raw, **changes}
    if raw == judged.grader.model_dump(mode="json", exclude_defaults=True):
        return judged.grader
    pointer = _pointer(judged.grader.name)
    for fixed in ("name", "type"):
        if raw[fixed] != judged.raw[fixed]:
            raise InvalidInput(f"the {fixed} of a grader stays what it is in a fork", pointer=f"{pointer}/{fixed}")
    grader: Grader = with_pass_mark(validate(raw, Grader, pointer=pointer))  # type: ignore[arg-type]  # a union is a type to pydantic
    refuse(grader, pointer=pointer)
    check_pass_mark(grader, pointer=pointer)
    check_templates(grader, item_schema=item_schema, pointer=pointer)
    return grader


def _pointer(name: str) -> str:
    return "/graders/" + name[:200].replace("~", "~0").replace("/", "~1")
