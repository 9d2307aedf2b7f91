"""A run's manifest: all that it takes to say what a run was, and to run it again.

Versioned by ``manifest_version``: a reader of version 1 reads every manifest of version 1, fields may be added, and a change of
what a field means makes a version 2.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from common.schemas.base import Model, Open
from common.schemas.evals import Metadata, RunObject, Title
from common.schemas.evaluation import Unscored, Usage
from common.schemas.graders import Grader
from common.schemas.provenance import Difference, Provenance
from common.schemas.runs import GraderSummary, RunStatus, Target
from common.schemas.stopping import Stopped, StopRule


class ManifestData(Model):
    """A data set by its content: ``sha256`` is over the file as it was uploaded, byte for byte."""

    dataset_id: str
    sha256: str
    lines: int
    size_bytes: int


class ManifestRun(Model):
    """The run. Times in unix seconds. ``seed``: the lines were judged in the random order it makes."""

    run_id: str
    name: str
    status: RunStatus
    error: Unscored | None = None
    stopped: Stopped | None = None
    created_at: int
    started_at: int | None = None
    ended_at: int | None = None
    metadata: dict[str, str] = {}
    data_source: dict[str, Any]
    target: Target | None = None
    seed: str | None = None
    stop: StopRule | None = None


class ManifestEval(Model):
    """The eval's version, with its graders exactly as they are stored."""

    eval_id: str
    version: int
    name: str
    data_source_config: dict[str, Any]
    graders: list[Grader]


class ManifestModel(Model):
    """A model that took part. ``reported``: what it called itself in its answers, cached ones included, and how often."""

    model: str
    role: Literal["judge", "target"]
    calls: int
    cached_calls: int
    reported: dict[str, int] = {}


class ManifestResults(Model):
    """The key results. ``cost_microusd`` is None where a call's price is unknown. ``suspect``: a canary did not pass."""

    items: int
    done: int
    passed: int
    failed: int
    errored: int
    graders: list[GraderSummary]
    usage: Usage
    cost_microusd: int | None
    simulated: bool
    suspect: bool


class Manifest(Model):
    """``provenance`` is what the installation was like when the run was started; None for a run that was imported, or older."""

    manifest_version: Literal[1] = 1
    run: ManifestRun
    eval: ManifestEval
    dataset: ManifestData
    canaries: ManifestData | None = None
    models: list[ManifestModel]
    provenance: Provenance | None = None
    results: ManifestResults


class ToldRun(Open):
    """Of a manifest's run, what a rerun takes up."""

    run_id: Annotated[str, StringConstraints(max_length=160)]
    name: str
    metadata: dict[str, str] = {}
    data_source: dict[str, Any]
    target: Target | None = None
    seed: str | None = None


class ToldEval(Open):
    """Of a manifest's eval, what a rerun takes up."""

    eval_id: str
    version: int = Field(ge=1)
    graders: list[Grader]


class ToldManifest(Open):
    """A manifest as a rerun reads it: fields that a later release has added do not matter."""

    manifest_version: Literal[1]
    run: ToldRun
    eval: ToldEval
    dataset: ManifestData
    canaries: ManifestData | None = None
    provenance: Provenance | None = None


class RerunCreate(Model):
    """``POST /v1/reruns``. ``name`` and ``metadata`` instead of the first run's."""

    manifest: ToldManifest
    name: Title | None = None
    metadata: Metadata | None = None


class Rerun(Model):
    """Answer: the new run, and in what the installation differs from what it was; None: the manifest does not tell."""

    run: RunObject
    differences: list[Difference] | None
