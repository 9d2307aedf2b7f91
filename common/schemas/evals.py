"""The Evals API and the part of the Files API that it needs, in OpenAI's JSON.

Source: the ``openai`` package, ``openai.types.eval_create_params``, ``openai.types.evals`` and ``openai.types.file_object``
(3.52). Requests are closed: an option we do not know is an error. Answers have every field of OpenAI's types, and under
``knudge`` what these have no place for.
"""

from __future__ import annotations

from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import Field, StringConstraints

from common.schemas.base import Model, Open
from common.schemas.canaries import CanarySummary
from common.schemas.evaluation import Unscored, Usage
from common.schemas.graders import Grader, InputMessage, ModelName, ReasoningEffort
from common.schemas.runs import RunStatus
from common.schemas.stopping import Stopped

T = TypeVar("T")

Metadata = Annotated[
    dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
    Field(max_length=16),
]
Title = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Cursor = Annotated[str, StringConstraints(min_length=1, max_length=160)]
Order = Literal["asc", "desc"]


# Requests


class CustomDataSourceConfig(Model):
    """``item_schema`` is a JSON Schema of ``item``; ``include_sample_schema`` says that there will be a sample too."""

    type: Literal["custom"]
    item_schema: dict[str, Any]
    include_sample_schema: bool = False


class RefusedDataSourceConfig(Open):
    """Data that only OpenAI has: parsed so that it can be refused with a clear error."""

    type: Literal["logs", "stored_completions"]


class EvalCreate(Model):
    """``POST /v1/evals``."""

    name: Title | None = None
    metadata: Metadata | None = None
    data_source_config: Annotated[CustomDataSourceConfig | RefusedDataSourceConfig, Field(discriminator="type")]
    testing_criteria: list[Grader] = Field(min_length=1, max_length=64)


class EvalUpdate(Model):
    """``POST /v1/evals/{eval_id}``. What is left out stays; ``metadata`` null empties it."""

    name: Title | None = None
    metadata: Metadata | None = None


class Line(Model):
    """One row of data: an item, and a sample where it was made elsewhere."""

    item: dict[str, Any]
    sample: dict[str, Any] | None = None


class FileContentSource(Model):
    """Rows within the request."""

    type: Literal["file_content"]
    content: list[Line]


class FileIdSource(Model):
    """Rows in an uploaded file."""

    type: Literal["file_id"]
    id: Cursor


class RefusedSource(Open):
    """Data that only OpenAI has."""

    type: Literal["stored_completions", "responses"]


Source = Annotated[FileContentSource | FileIdSource | RefusedSource, Field(discriminator="type")]


class TemplateMessages(Model):
    """The messages the target is asked with; texts may hold ``{{item.x}}``."""

    type: Literal["template"]
    template: list[InputMessage] = Field(min_length=1)


class ItemReferenceMessages(Model):
    """Ready messages inside the item: ``item.input_trajectory``."""

    type: Literal["item_reference"]
    item_reference: Annotated[str, StringConstraints(min_length=1, max_length=256)]


class TargetSamplingParams(Model):
    """How the target is sampled; ``response_format`` and ``tools`` as in Chat Completions."""

    max_completion_tokens: int | None = Field(None, ge=1)
    reasoning_effort: ReasoningEffort | None = None
    response_format: dict[str, Any] | None = None
    seed: int | None = None
    temperature: float | None = Field(None, ge=0, le=2)
    tools: list[dict[str, Any]] | None = Field(None, max_length=128)
    top_p: float | None = Field(None, ge=0, le=1)


class JsonlDataSource(Model):
    """Samples that are there already."""

    type: Literal["jsonl"]
    source: Source


class CompletionsDataSource(Model):
    """Samples that a target model makes."""

    type: Literal["completions"]
    source: Source
    model: ModelName | None = None
    input_messages: Annotated[TemplateMessages | ItemReferenceMessages, Field(discriminator="type")] | None = None
    sampling_params: TargetSamplingParams | None = None


class RefusedDataSource(Open):
    """Sampling through the Responses API, which Knudge does not speak."""

    type: Literal["responses"]


class RunCreate(Model):
    """``POST /v1/evals/{eval_id}/runs``."""

    name: Title | None = None
    metadata: Metadata | None = None
    data_source: Annotated[JsonlDataSource | CompletionsDataSource | RefusedDataSource, Field(discriminator="type")]


class NoFields(Model):
    """A request that its path says all of: ``…/pause``, ``…/resume``, ``…/cancel``. No body is as good as an empty one."""


class RunRetry(Model):
    """``POST …/runs/{run_id}/retry``. ``codes``: only verdicts that are unscored for one of these reasons; without it, all."""

    codes: Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=120)]], Field(min_length=1)] | None = None


class RunFork(Model):
    """``POST …/runs/{run_id}/fork``. ``judge`` replaces every judge, ``graders`` some fields of graders, by their names.

    ``metadata`` is put over the first run's.
    """

    name: Title | None = None
    metadata: Metadata | None = None
    judge: ModelName | None = None
    graders: dict[str, dict[str, Any]] = {}


class DeadLetterRedrive(Model):
    """``POST …/dead_letters/redrive``. ``ids`` are those of events; without them every letter that is listed."""

    ids: Annotated[list[str], Field(min_length=1, max_length=1000)] | None = None


class EvalListQuery(Model):
    """Query of ``GET /v1/evals``."""

    after: Cursor | None = None
    limit: int = Field(20, ge=1, le=100)
    order: Order = "asc"
    order_by: Literal["created_at", "updated_at"] = "created_at"


class RunListQuery(Model):
    """Query of ``GET /v1/evals/{eval_id}/runs``."""

    after: Cursor | None = None
    limit: int = Field(20, ge=1, le=100)
    order: Order = "asc"
    status: RunStatus | None = None


class OutputItemListQuery(Model):
    """Query of ``GET …/output_items``. ``error`` is ours: items with an unscored verdict."""

    after: Cursor | None = None
    limit: int = Field(20, ge=1, le=100)
    order: Order = "asc"
    status: Literal["pass", "fail", "error"] | None = None


class FileListQuery(Model):
    """Query of ``GET /v1/files``."""

    after: Cursor | None = None
    limit: int = Field(10_000, ge=1, le=10_000)
    order: Order = "desc"
    purpose: str | None = None


class DeadLetterListQuery(Model):
    """Query of ``GET …/dead_letters``."""

    limit: int = Field(100, ge=1, le=1000)


# Answers


class ListPage(Model, Generic[T]):
    """A page of any list; the next one follows ``after=<last_id>``."""

    object: Literal["list"] = "list"
    data: list[T]
    first_id: str | None = None
    last_id: str | None = None
    has_more: bool = False


class EvalNotes(Model):
    """What OpenAI's eval has no field for."""

    version: int
    updated_at: int


class EvalObject(Model):
    """An eval, in its latest version. Pass marks that were left out are filled in."""

    object: Literal["eval"] = "eval"
    id: str
    name: str
    created_at: int
    metadata: dict[str, str]
    data_source_config: dict[str, Any]
    testing_criteria: list[dict[str, Any]]
    knudge: EvalNotes


class EvalDeleted(Model):
    """Answer to a deletion."""

    object: Literal["eval.deleted"] = "eval.deleted"
    deleted: bool = True
    eval_id: str


class FileObject(Model):
    """An uploaded file; ``bytes`` is its size."""

    object: Literal["file"] = "file"
    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"
    expires_at: int | None = None
    status_details: str | None = None


class FileDeleted(Model):
    """Answer to a deletion."""

    object: Literal["file"] = "file"
    id: str
    deleted: bool = True


class ApiError(Model):
    """Always present in OpenAI's objects; both texts are empty where nothing is wrong."""

    code: str = ""
    message: str = ""


class ResultCounts(Model):
    """Items judged so far; ``errored`` ones have an unscored verdict. ``total`` is the sum of the others."""

    passed: int
    failed: int
    errored: int
    total: int


class CriterionResult(Model):
    """Verdicts of one grader. ``mean`` and ``interval`` (95 %) are over the scored ones; None where there are too few."""

    testing_criteria: str
    passed: int
    failed: int
    unscored: int
    mean: float | None
    interval: tuple[float, float] | None


class PerModelUsage(Model):
    """Calls and tokens of one model. ``cost_usd`` is None where a price is unknown."""

    model_name: str
    invocation_count: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    total_tokens: int
    role: Literal["judge", "target"]
    cost_usd: float | None


class RunNotes(Model):
    """What OpenAI's run has no field for. ``unscored`` counts verdicts, ``items`` the rows of the data source.

    ``suspect``, ``canaries``, ``stopped``, ``paused``, ``generation`` and ``forked_from`` are those of
    `common.schemas.runs.RunSummary`.
    """

    simulated: bool
    cost_usd: float | None
    unscored: int
    items: int
    outstanding: int
    eval_version: int
    started_at: int | None
    ended_at: int | None
    suspect: bool = False
    suspect_reason: str | None = None
    canaries: CanarySummary | None = None
    stopped: Stopped | None = None
    paused: bool = False
    generation: int = 0
    forked_from: str | None = None


class RunObject(Model):
    """A run. ``model`` is empty when samples were given."""

    object: Literal["eval.run"] = "eval.run"
    id: str
    eval_id: str
    name: str
    created_at: int
    status: RunStatus
    model: str
    metadata: dict[str, str]
    data_source: dict[str, Any]
    error: ApiError
    report_url: str
    result_counts: ResultCounts
    per_testing_criteria_results: list[CriterionResult]
    per_model_usage: list[PerModelUsage]
    knudge: RunNotes


class RunDeleted(Model):
    """Answer to a deletion."""

    object: Literal["eval.run.deleted"] = "eval.run.deleted"
    deleted: bool = True
    run_id: str


class SampleMessage(Model):
    """A message that went in or came out."""

    role: str
    content: str


class SampleUsage(Model):
    """Tokens of a sample; zero where it was given."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    total_tokens: int


class SampleObject(Model):
    """The output that was judged.

    OpenAI's types have no null for the sampling parameters. Where one was not set, ``max_completion_tokens`` and ``seed``
    are 0, ``temperature`` and ``top_p`` 1, which is what Chat Completions assumes.
    """

    error: ApiError
    finish_reason: str
    input: list[SampleMessage]
    output: list[SampleMessage]
    model: str
    max_completion_tokens: int
    seed: int
    temperature: float
    top_p: float
    usage: SampleUsage


class ResultObject(Model):
    """One grader's verdict. Without a score ``score`` is null, ``passed`` false, and ``unscored`` says why."""

    name: str
    type: str
    score: float | None
    passed: bool
    sample: dict[str, Any] | None = None
    unscored: Unscored | None
    label: str | None
    reason: str | None
    judge: str | None
    usage: Usage
    cost_usd: float | None
    simulated: bool


class OutputItemObject(Model):
    """An item's outcome; ``error`` when any verdict is unscored. ``datasource_item_id`` counts from 0."""

    object: Literal["eval.run.output_item"] = "eval.run.output_item"
    id: str
    run_id: str
    eval_id: str
    created_at: int
    status: Literal["pass", "fail", "error"]
    datasource_item_id: int
    datasource_item: dict[str, Any]
    sample: SampleObject
    results: list[ResultObject]


class DeadLetter(Model):
    """An event that could not be delivered; ``code``, ``destination`` and ``detail`` are the broker's words."""

    received_at: int
    event_id: str
    event_type: str
    source: str
    subject: str | None
    items: list[int]
    code: str
    destination: str
    detail: str
    redriven_at: int | None = None


class Redriven(Model):
    """What a redrive did: how many letters it took up, and how many items are due at once, or counted again, because of it."""

    letters: int
    items: int
