"""Running a manifest again: the same graders over the same data, asked for the same way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from common.edge.validation import validate
from common.errors import Conflict, NotFound
from common.schemas.evals import TargetSamplingParams
from common.schemas.imports import IMPORTED_FROM
from common.schemas.runs import RunPlan
from functions.tasks.control.retention import keep_days
from functions.tasks.evals.itemschema import ItemSchema
from functions.tasks.runs.arrangement import canaries_of, stop_rule, with_rule
from functions.tasks.runs.metadata import RERUN_OF, check_metadata
from functions.tasks.runs.rows import check_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from common.schemas.graders import Grader
    from common.schemas.manifest import ManifestData, RerunCreate, ToldManifest
    from common.schemas.runs import EvalVersion
    from common.store.datasets import Dataset
    from common.store.evals import EvalStore
    from common.store.idempotency import Identity
    from functions.tasks.runs.starting import RunMaker

_TITLE_LIMIT = 256
_HOLDERS_ASKED = 50
_FILES_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class Rerunner:
    """Starts runs from manifests. Graders and data are those that are stored here: a manifest only says which."""

    evals: EvalStore
    maker: RunMaker

    def create(self, body: RerunCreate, *, project: str, identity: Identity | None = None) -> RunPlan:
        """The new run, of this `identity` or any; it is queued.

        Raises:
            NotFound: the project does not have the eval, or data with the manifest's content.
            Conflict: the graders or the canaries are not the manifest's.
            InvalidInput: the metadata asks for something that is no longer to be had, or a row does not fit the eval.
        """
        told, maker = body.manifest, self.maker
        version = self._version(told, project)
        metadata = _metadata(told, body.metadata)
        check_metadata(metadata, given=body.metadata or {})
        kept = keep_days(metadata, default=maker.keep_days)
        target = told.run.target
        if target is not None:
            validate(target.sampling_params, TargetSamplingParams, pointer="/manifest/run/target/sampling_params")
        maker.check_models(version.graders, target, target_pointer="/manifest/run/target/model")
        schema = ItemSchema(version.data_source_config["item_schema"])
        dataset = self._data(told.dataset, project)
        check_rows(dataset, schema, maker.files.datasets, pointer="/manifest/dataset")
        known = canaries_of(metadata, version, maker.files, schema=schema)
        self._check_canaries(known, told)
        order: dict[str, Any] = with_rule(stop_rule(metadata, version), version, dataset, runs=maker.runs)
        identity = identity or maker.runs.new_identity()
        plan = RunPlan(
            run_id=identity.id("run"),
            eval_id=version.eval_id,
            eval_version=version.version,
            name=(body.name or told.run.name)[:_TITLE_LIMIT],
            metadata=metadata,
            created_at=identity.created_at,
            graders=version.graders,
            target=target,
            data_source=told.run.data_source,
            project=project,
            keep_days=kept,
            provenance=maker.installation.provenance(version.graders, target),
            **maker.over(dataset, known),
            **{**order, "seed": told.run.seed},
        )
        maker.runs.create(plan)
        return plan

    def _version(self, told: ToldManifest, project: str) -> EvalVersion:
        """The eval's version; with its run's own graders where the run had others and is still here."""
        try:
            version = self.evals.get(told.eval.eval_id, version=told.eval.version, project=project)
        except NotFound:
            message = f"eval {told.eval.eval_id[:80]} version {told.eval.version} is not here"
            raise NotFound(f"{message}; import its run (knudge import run), and rerun that") from None
        if told.eval.graders not in (version.graders, self._graders_of(told.run.run_id, version)):
            raise Conflict("the manifest's graders are not those of the eval's version, nor those of its run")
        return version.model_copy(update={"graders": told.eval.graders})

    def _graders_of(self, run_id: str, version: EvalVersion) -> list[Grader] | None:
        try:
            plan = self.maker.runs.plan(run_id)
        except NotFound:
            return None
        return plan.graders if (plan.eval_id, plan.project) == (version.eval_id, version.project) else None

    def _data(self, told: ManifestData, project: str) -> Dataset:
        """The data set itself if it is here and the project's, else any of the project's files with this content."""
        datasets = self.maker.files.datasets
        for dataset_id in self._candidates(told, project):
            try:
                if datasets.sha256(dataset_id) == told.sha256:
                    return datasets.info(dataset_id)
            except NotFound:
                continue
        message = f"no data with sha256 {told.sha256[:64]} ({told.lines} lines) is here any more"
        raise NotFound(f"{message}; upload the same file again, then rerun")

    def _candidates(self, told: ManifestData, project: str) -> Iterator[str]:
        files, after = self.maker.files, None
        if any(self._has(project, holder) for holder in files.datasets.holders(told.dataset_id, limit=_HOLDERS_ASKED)):
            yield told.dataset_id
        while True:
            page = files.list(project=project, after=after, limit=_FILES_AT_A_TIME)
            yield from (record.dataset_id for record in page.data if record.size_bytes == told.size_bytes)
            if not page.has_more or not page.data:
                return
            after = page.data[-1].file_id

    def _has(self, project: str, holder: str) -> bool:
        """Whether a file or run that holds data is the project's."""
        kind, _, name = holder.partition(":")
        try:
            if kind == "file":
                return self.maker.files.get(name).project == project
            return self.maker.runs.plan(name).project == project
        except NotFound:
            return False

    def _check_canaries(self, known: Dataset | None, told: ToldManifest) -> None:
        found = None if known is None else self.maker.files.datasets.sha256(known.dataset_id)
        if found != (told.canaries and told.canaries.sha256):
            raise Conflict("the canaries that the metadata names are not those of the manifest")


def _metadata(told: ToldManifest, given: dict[str, str] | None) -> dict[str, str]:
    kept = told.run.metadata if given is None else given
    return {**{name: text for name, text in kept.items() if name != IMPORTED_FROM}, RERUN_OF: told.run.run_id}
