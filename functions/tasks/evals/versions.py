"""Evals: a data schema and testing criteria, checked before anything is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from common.errors import InvalidInput, Unsupported
from common.graders.passmarks import check_pass_mark
from common.graders.registry import refuse
from common.graders.template import check_templates
from common.schemas import evals as api
from common.schemas.graders import (
    CascadeGrader,
    ConversationModelGrader,
    MultiGrader,
    PanelGrader,
    RubricModelGrader,
    ScoreModelGrader,
)
from functions.tasks.evals.itemschema import ItemSchema

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.schemas.graders import Grader
    from common.schemas.runs import EvalVersion
    from common.store.evals import EvalStore
    from common.store.idempotency import Identity
    from functions.tasks.runs.provenance import Installation

_CONFIG = "/data_source_config"


def create_eval(
    body: api.EvalCreate,
    evals: EvalStore,
    *,
    project: str,
    installation: Installation,
    identity: Identity | None = None,
) -> EvalVersion:
    """A new eval, of this `identity` or any.

    Raises:
        Unsupported: a data source that only OpenAI has, or a grader that cannot run here.
        InvalidInput: ``item_schema`` is no JSON Schema, a template names what it does not have, two graders share a name, or
            a judge's provider is unknown.
    """
    config = body.data_source_config
    if isinstance(config, api.RefusedDataSourceConfig):
        raise Unsupported(
            f"data source {config.type!r} reads what is stored at OpenAI; use 'custom' with an item_schema",
            pointer=f"{_CONFIG}/type",
        )
    ItemSchema(config.item_schema, pointer=f"{_CONFIG}/item_schema")
    _check_graders(body.testing_criteria, config, installation)
    return evals.create(
        body.name or "Untitled eval",
        graders=[with_pass_mark(grader) for grader in body.testing_criteria],
        data_source_config=config.model_dump(),
        metadata=body.metadata or {},
        project=project,
        identity=identity,
    )


def update_eval(eval_id: str, body: api.EvalUpdate, evals: EvalStore, *, project: str) -> EvalVersion:
    """A new version with another name or metadata; runs keep the version they were started with. Raises `NotFound`."""
    metadata = (body.metadata or {}) if "metadata" in body.model_fields_set else None
    return evals.update(eval_id, name=body.name, metadata=metadata, project=project)


def with_pass_mark(grader: Grader) -> Grader:
    """`grader` with the pass mark in force written down, so that a later default cannot change what a score meant."""
    changes: dict[str, Any] = {}
    if isinstance(grader, ScoreModelGrader | ConversationModelGrader | RubricModelGrader | PanelGrader):
        changes["pass_threshold"] = grader.threshold
    if isinstance(grader, MultiGrader):
        changes["graders"] = {key: with_pass_mark(sub) for key, sub in grader.graders.items()}
    elif isinstance(grader, PanelGrader):
        changes["graders"] = [with_pass_mark(member) for member in grader.graders]
    elif isinstance(grader, CascadeGrader):
        changes["steps"] = [step.model_copy(update={"grader": with_pass_mark(step.grader)}) for step in grader.steps]
    return grader.model_copy(update=changes)


def _check_graders(graders: Sequence[Grader], config: api.CustomDataSourceConfig, installation: Installation) -> None:
    places: dict[str, int] = {}
    for number, grader in enumerate(graders):
        pointer = f"/testing_criteria/{number}"
        refuse(grader, pointer=pointer)
        check_pass_mark(grader, pointer=pointer)
        check_templates(grader, item_schema=config.item_schema, pointer=pointer)
        installation.check_models(grader.models, pointer=pointer)
        if places.setdefault(grader.name, number) != number:
            message = f"testing_criteria[{places[grader.name]}] has this name too; results are told apart by it"
            raise InvalidInput(message, pointer=f"{pointer}/name")
