"""Starting a run: from the request to a plan over a checked dataset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.errors import InvalidInput, NotFound, UnknownVariable, Unsupported
from common.graders.template import check_templates, variables
from common.schemas import evals as api
from common.schemas.graders import InputMessage, ScoreModelGrader
from common.schemas.runs import RunPlan, Target
from functions.tasks.control.retention import keep_days
from functions.tasks.evals.itemschema import ItemSchema
from functions.tasks.runs.arrangement import canaries_of, stop_rule, with_rule
from functions.tasks.runs.metadata import check_metadata
from functions.tasks.runs.rows import check_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from common.schemas.graders import Grader
    from common.schemas.runs import EvalVersion
    from common.store.datasets import Dataset
    from common.store.files import FileStore
    from common.store.idempotency import Identity
    from common.store.runs import RunStore
    from functions.tasks.runs.provenance import Installation

_SOURCE = "/data_source/source"
_MESSAGES = "/data_source/input_messages"
_BATCH_BYTES = 4 * 1024 * 1024
_WINDOW_BYTES = 64 * 1024 * 1024
_NEVER = 1 << 62  # the request's own size limit bounds what comes within it


@dataclass(frozen=True, slots=True)
class RunMaker:
    """Starts runs.

    ``window_items`` is how many items of a run are under way at most, ``batch_items`` how many an event carries at most, 0:
    by the run's size. ``keep_days`` after their end runs are deleted that do not say anything else, 0: never.
    """

    runs: RunStore
    files: FileStore
    window_items: int
    batch_items: int
    installation: Installation
    keep_days: int

    def create(self, body: api.RunCreate, version: EvalVersion, *, identity: Identity | None = None) -> RunPlan:
        """Check everything, then keep the plan, of this `identity` or any; the run is queued.

        Raises:
            InvalidInput: a row does not fit the eval's ``item_schema``, a template names what it does not have, there is no
                such file, the provider of a model is unknown, or the metadata asks for a budget, canaries or a stop rule that
                make no sense.
            Unsupported: a data source that only OpenAI has.
        """
        metadata = body.metadata or {}
        check_metadata(metadata, given=metadata)
        kept = keep_days(metadata, default=self.keep_days)
        rule = stop_rule(metadata, version)
        source = body.data_source
        if isinstance(source, api.RefusedDataSource) or isinstance(source.source, api.RefusedSource):
            raise _unsupported(source)
        item_schema = version.data_source_config["item_schema"]
        target = _target(source, item_schema) if isinstance(source, api.CompletionsDataSource) else None
        self.check_models(version.graders, target, target_pointer="/data_source/model")
        schema = ItemSchema(item_schema)
        known = canaries_of(metadata, version, self.files, schema=schema)
        uploaded = self._uploaded(source.source, version.project) if isinstance(source.source, api.FileIdSource) else None
        stopping = with_rule(rule, version, uploaded, runs=self.runs)
        identity = identity or self.runs.new_identity()
        run_id = identity.id("run")
        dataset = self._dataset(source.source, schema, holder=f"run:{run_id}", project=version.project)
        plan = RunPlan(
            run_id=run_id,
            eval_id=version.eval_id,
            eval_version=version.version,
            name=body.name or version.name,
            metadata=metadata,
            created_at=identity.created_at,
            graders=version.graders,
            target=target,
            data_source=_echo(source),
            project=version.project,
            keep_days=kept,
            provenance=self.installation.provenance(version.graders, target),
            seed=run_id if rule else None,
            **self.over(dataset, known),
            **stopping,
        )
        self.runs.create(plan)
        return plan

    def over(self, dataset: Dataset, canaries: Dataset | None) -> dict[str, Any]:
        """What a plan has of the data that its run goes over, canaries among them."""
        return {
            "dataset_id": dataset.dataset_id,
            "item_count": dataset.lines,
            "batch_items": batch_items(dataset, canaries, wanted=self.batch_items),
            "window_items": window_items(dataset, at_most=self.window_items),
            "canary_dataset_id": canaries.dataset_id if canaries else None,
            "canary_count": canaries.lines if canaries else 0,
        }

    def check_models(self, graders: Sequence[Grader], target: Target | None, *, target_pointer: str) -> None:
        """See that there is a provider for each model of a run. The eval may be older than what is configured, or imported.

        Raises:
            InvalidInput: naming the field of the request, or of the eval.
        """
        if target is not None:
            self.installation.check_models({target_pointer: target.model})
        for number, grader in enumerate(graders):
            try:
                self.installation.check_models(grader.models, pointer=f"/testing_criteria/{number}")
            except InvalidInput as error:
                raise InvalidInput(f"the eval's {error.message}", pointer=error.pointer) from None

    def _dataset(
        self, source: api.FileContentSource | api.FileIdSource, schema: ItemSchema, *, holder: str, project: str
    ) -> Dataset:
        if isinstance(source, api.FileContentSource):
            return self._from_content(source, schema, holder=holder)
        return self._from_file(source, schema, project=project)

    def _uploaded(self, source: api.FileIdSource, project: str) -> Dataset:
        """The data behind an uploaded file. Raises `InvalidInput` when there is no such file."""
        try:
            return self.files.datasets.info(self.files.get(source.id, project=project).dataset_id)
        except NotFound:
            raise InvalidInput(f"no such file: {source.id[:80]}", pointer=f"{_SOURCE}/id") from None

    def _from_content(self, source: api.FileContentSource, schema: ItemSchema, *, holder: str) -> Dataset:
        with self.files.datasets.writer(max_bytes=_NEVER) as writer:
            for number, row in enumerate(source.content):
                line = row.model_dump(exclude_none=True)
                schema.check_line(line, where=f"content[{number}]", pointer=f"{_SOURCE}/content/{number}")
                writer.write_object(line)
            return writer.finish(holder)

    def _from_file(self, source: api.FileIdSource, schema: ItemSchema, *, project: str) -> Dataset:
        """The file's dataset; its lines are checked once for each schema they are used with."""
        dataset = self._uploaded(source, project)
        check_rows(dataset, schema, self.files.datasets, pointer=f"{_SOURCE}/id")
        return dataset


def batch_items(dataset: Dataset, canaries: Dataset | None = None, *, wanted: int = 0) -> int:
    """Items an event carries: `wanted`, or 1 for small runs, up to 50 for large ones; no more than a pod may hold at once."""
    by_count = min(50, wanted or dataset.lines // 200)
    by_size = min(_BATCH_BYTES * data.lines // max(1, data.size_bytes) for data in (dataset, canaries) if data is not None)
    return max(1, min(by_count, by_size))


def window_items(dataset: Dataset, *, at_most: int) -> int:
    """Items of a run under way at a time: fewer where they are large, because one pod may have to hold them all."""
    return max(1, min(at_most, _WINDOW_BYTES * dataset.lines // max(1, dataset.size_bytes)))


def _unsupported(source: api.JsonlDataSource | api.CompletionsDataSource | api.RefusedDataSource) -> Unsupported:
    if isinstance(source, api.RefusedDataSource):
        message = f"data source {source.type!r} is not supported; use 'jsonl' or 'completions'"
        return Unsupported(message, pointer="/data_source/type")
    message = f"source {source.source.type!r} reads what is stored at OpenAI; use 'file_content' or 'file_id'"
    return Unsupported(message, pointer=f"{_SOURCE}/type")


def _target(source: api.CompletionsDataSource, item_schema: dict[str, Any]) -> Target:
    if source.model is None:
        raise InvalidInput("a completions data source needs the model to ask", pointer="/data_source/model")
    params = source.sampling_params.model_dump(exclude_none=True) if source.sampling_params else {}
    messages = source.input_messages
    if messages is None:
        raise InvalidInput("a completions data source needs input_messages", pointer=_MESSAGES)
    if isinstance(messages, api.ItemReferenceMessages):
        _check_variables([messages.item_reference], item_schema, pointer=f"{_MESSAGES}/item_reference")
        return Target(model=source.model, item_reference=messages.item_reference, sampling_params=params)
    for number, message in enumerate(messages.template):
        _check_variables(variables(message.text), item_schema, pointer=f"{_MESSAGES}/template/{number}/content")
    return Target(model=source.model, input_messages=messages.template, sampling_params=params)


def _check_variables(names: list[str], item_schema: dict[str, Any], *, pointer: str) -> None:
    """What a target is asked with comes from the item alone: there is no sample yet."""
    if foreign := [name for name in names if not name.startswith("item.")]:
        raise UnknownVariable(foreign[0][:100], pointer=pointer)
    asked = InputMessage(role="user", content=" ".join(f"{{{{{name}}}}}" for name in names))
    try:
        check_templates(
            ScoreModelGrader(type="score_model", name="input_messages", model="-", input=[asked]), item_schema=item_schema
        )
    except UnknownVariable as error:
        error.pointer = pointer
        raise


def _echo(source: api.JsonlDataSource | api.CompletionsDataSource) -> dict[str, Any]:
    """The data source as it was given; rows within the request are not sent back with every look at the run."""
    echo = source.model_dump(mode="json", exclude_none=True)
    if isinstance(source.source, api.FileContentSource):
        echo["source"]["content"] = []
    return echo
