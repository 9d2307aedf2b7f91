"""What the generated parts hold: read from the code, the manifests and each function's own OpenAPI document."""

from __future__ import annotations

from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docs.capacity import capacity_check, capacity_constants, capacity_moves, capacity_runs
from docs.settings import settings
from docs.store import keys, scripts
from docs.tables import code, fields_of, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pydantic import BaseModel

    from local.manifests import Trigger

ROOT = Path(__file__).resolve().parent.parent
ASYNC = frozenset({"evaluate", "completions"})
STANDARD = ("/livez", "/readyz", "/metrics", "/openapi.json")

_ERRORS = {
    "internal_error": "A bug, or something nobody expected. The log has it under the `request_id`.",
    "invalid_input": "The request is wrong; `pointer` names the field.",
    "unknown_variable": "A template names something that the item or the sample does not have.",
    "unsupported": "Valid elsewhere, refused here: `python` graders, data sources that only OpenAI has.",
    "unauthenticated": "No API key, or one that is not known.",
    "forbidden": "Another site's page sent the request through a browser while authentication is off.",
    "not_found": "No such path, or no such object in the key's project.",
    "method_not_allowed": "The path takes other methods; the `Allow` header lists them.",
    "conflict": "An id that was used for something else.",
    "in_progress": "The first request with this `Idempotency-Key` is still worked on; its answer comes to who asks again.",
    "payload_too_large": "The body, a line or a file is over its limit.",
    "unsupported_media_type": "The `Content-Type` is not what the route takes.",
    "rate_limited": "The caller's own limit.",
    "overloaded": "No capacity now: all places of this process are taken, or a model's limits leave none in time.",
    "store_unavailable": "Redis is away.",
    "misconfigured": "The operator's gateway file is wrong; the function is not ready until it is mended.",
    "no_longer_wanted": "The run was paused, or has ended, while a call of it waited for its turn.",
    "deadline_exceeded": "The caller's deadline passed first.",
    "budget_exhausted": "A hard budget is spent.",
    "price_unknown": "A hard budget applies, and the model has no known price to reserve by.",
    "provider_error": "A model call failed in a way that has no code of its own.",
    "provider_rate_limited": "The provider said 429, or asked for a pause that outlasts the deadline.",
    "provider_unavailable": "The provider said 5xx, or the connection was refused or reset.",
    "breaker_open": "Not tried: too many of the model's last calls failed.",
    "provider_timeout": "The provider did not answer within `timeout_s`.",
    "provider_auth_failed": "The provider's key is missing or wrong.",
    "model_not_found": "The name resolves to nothing here, or the provider does not know it.",
    "context_too_long": "The prompt is longer than the model takes.",
    "provider_rejected": "Any other 4xx of the provider.",
    "structured_output_refused": "The model takes no JSON schema that way; stands in `tried` only, the next way is tried.",
    "malformed_reply": "The provider's 2xx is not in its own format.",
}
_EVENTS = {
    "EVALUATION_REQUESTED": ("`tasks`, or you", "Items of a run are to be judged; or one evaluation, whole, in the data."),
    "EVALUATION_COMPLETED": ("`evaluate` (as its reply), `tasks` for items out of attempts", "The verdicts are in the store."),
    "RUN_ADVANCE": ("`aggregate` (as its reply)", "Half of the run's window is free."),
    "RUN_COMPLETED": ("`aggregate`; `tasks` when that was lost, or after a cancel", "The run has ended."),
    "PING": ("Knative's PingSource, every 30 s", "The reconciler's tick. PingSource cannot choose its type."),
}


def error_codes() -> str:
    """Every error: code, status, whether a retry makes sense, the status it has as the answer to an event."""
    from common.edge.problems import InternalError, event_status
    from common.errors import KnudgeError

    found = [InternalError(), *_instances(KnudgeError)]
    _same({error.code for error in found}, set(_ERRORS), "docs.reference._ERRORS")
    rows = [
        (code(e.code), str(e.http_status), "yes" if e.retryable else "no", str(event_status(e)), _ERRORS[e.code]) for e in found
    ]
    return table(["code", "status", "retry", "to an event", "meaning"], rows)


def _instances(root: type[Any]) -> Iterator[Any]:
    """One error of each class in `common.errors` below `root`, in the order of the tree."""
    for kind in root.__subclasses__():
        if kind.__module__ == "common.errors":
            yield kind("")
            yield from _instances(kind)


@cache
def openapi(function: str) -> dict[str, Any]:
    """The document that a function serves under ``/openapi.json``."""
    source = str(ROOT / "functions" / function / "main.py")
    if function in ASYNC:
        from functions_framework.aio import create_asgi_app
        from starlette.testclient import TestClient

        answer = TestClient(create_asgi_app(function, source)).get("/openapi.json")
        document: dict[str, Any] = answer.json()
    else:
        from functions_framework import create_app

        reply = create_app(function, source).test_client().get("/openapi.json")
        document = reply.get_json()
    if "paths" not in document:
        msg = f"{function} does not describe itself: {document.get('detail')}"
        raise LookupError(msg)
    return document


def routes(function: str) -> str:
    """A function's own routes."""
    paths = openapi(function)["paths"]
    return _route_table({path: methods for path, methods in paths.items() if path not in STANDARD})


def standard_routes() -> str:
    """The routes that every function has."""
    paths = openapi("tasks")["paths"]
    rows = [(code(f"GET {path}"), paths[path]["get"]["summary"]) for path in STANDARD]
    return table(["route", "what it says"], rows)


def _route_table(paths: dict[str, Any]) -> str:
    rows = []
    for path, methods in paths.items():
        for method, operation in methods.items():
            errors = next(iter(operation["responses"]["default"]["content"]))
            rows.append(
                (
                    code(f"{method.upper()} {path}"),
                    operation["summary"],
                    _body(operation.get("requestBody", {})),
                    _body(_success(operation)),
                    "OpenAI" if errors == "application/json" else "problem",
                    "yes" if operation.get("security") else "no",
                )
            )
    return table(["route", "what it does", "takes", "answers", "errors", "key"], rows)


def _success(operation: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next((answer for status, answer in operation["responses"].items() if status.startswith("20")), {})
    return found


def _body(described: dict[str, Any]) -> str:
    """Model names where there are some, media types otherwise."""
    content = described.get("content", {})
    names = [_model(media_type, each.get("schema") or {}) for media_type, each in content.items()]
    return ", ".join(dict.fromkeys(names)) or "-"


def _model(media_type: str, schema: dict[str, Any]) -> str:
    name = str(schema.get("$ref", "")).rpartition("/")[2] or str(schema.get("title", ""))
    if name.startswith("ListPage"):
        name = name.replace("ListPage_", "list of ").rstrip("_").replace("ListPage[", "list of ").rstrip("]")
    return name if name and media_type == "application/json" else code(media_type)


def events() -> str:
    """Event types: who sends them, who gets them by which Trigger."""
    from common.schemas import events as schemas
    from local.manifests import read_wiring

    names = {name for name in vars(schemas) if name.isupper() and isinstance(getattr(schemas, name), str)}
    _same(names, set(_EVENTS), "docs.reference._EVENTS")
    triggers = {trigger.attributes["type"]: trigger for trigger in read_wiring().triggers}
    rows = []
    for name, (sender, meaning) in _EVENTS.items():
        kind = getattr(schemas, name)
        taker = triggers.get(kind)
        rows.append((code(kind), sender, code(taker.subscriber.function) if taker else "your Trigger", meaning))
    return table(["type", "from", "to", "says"], rows)


def event_data() -> str:
    """Fields of the data of events."""
    from common.schemas.events import RunCompleted, RunItems, RunReference

    models: dict[str, type[BaseModel]] = {
        "evaluation.requested, evaluation.completed (of a run)": RunItems,
        "run.advance": RunReference,
        "run.completed": RunCompleted,
    }
    rows = [(kind, code(name), type_, default) for kind, model in models.items() for name, type_, default in fields_of(model)]
    return table(["event", "field", "type", "default"], rows)


def deliveries() -> str:
    """Triggers: how hard the broker tries."""
    from local.manifests import read_wiring

    rows = [_delivery(trigger) for trigger in read_wiring().triggers]
    return table(["Trigger", "to", "retries", "backoff", "timeout of a try", "dead letters go to"], rows)


def _delivery(trigger: Trigger) -> tuple[str, ...]:
    how, sink = trigger.delivery, trigger.delivery.dead_letter
    backoff = f"{how.backoff_policy}, {how.backoff_delay_s:g} s"
    letters = code(f"{sink.function} {sink.uri}") if sink else "-"
    to = code(trigger.subscriber.function)
    return code(trigger.name), to, str(how.retry), backoff, f"{how.timeout_s:g} s" if how.timeout_s else "-", letters


def capacity() -> str:
    """What a pod of each function holds, as the manifests have it."""
    from local.manifests import read_wiring

    rows = []
    for name, service in read_wiring().functions.items():
        runtime = "async" if name in ASYNC else "Flask"
        held = service.env.get("THREADS")
        inside = f"THREADS={held}" if held else f"KNUDGE_MAX_CONCURRENCY={service.env['KNUDGE_MAX_CONCURRENCY']}"
        rows.append((code(name), runtime, str(service.concurrency), code(inside), f"{service.timeout_s:g} s"))
    return table(["function", "runtime", "containerConcurrency", "inside the pod", "request timeout"], rows)


def gateway_config() -> str:
    """The YAML file behind ``KNUDGE_CONFIG``."""
    from common.schemas import config, custom

    parts = {
        "The file": config.GatewayConfig,
        "`providers.<name>`": config.ProviderConfig,
        "`providers.<name>.custom`, for kind `custom`": custom.CustomApi,
        "`providers.<name>.custom.reply`, and `reply` of `stream`": custom.CustomReply,
        "`providers.<name>.custom.stream`": custom.CustomStream,
        "`providers.<name>.custom.models`": custom.CustomModels,
        "`models.<provider:model>`": config.ModelConfig,
        "`models.<provider:model>.price`": config.Price,
        "`routes.<name>`": config.RouteConfig,
        "`breaker`": config.BreakerConfig,
        "`retry`": config.RetryConfig,
        "`cache`": config.CacheConfig,
        "`callers`": config.CallersConfig,
        "`callers.global`": config.GlobalLimit,
        "`callers.default_key`, `.default_project`, `.keys.<key id>`, `.projects.<name>`": config.CallerLimit,
        "`budgets`": config.BudgetsConfig,
        "`budgets.runs`": config.RunBudgets,
        "`budgets.projects.<name>`, `budgets.keys.<key id>`": config.BudgetLimit,
        "`on_store_failure`": config.StoreFailureConfig,
    }
    return "\n\n".join(f"{title}\n\n{_model_table(model)}" for title, model in parts.items())


def graders() -> str:
    """Fields of every grader."""
    from common.schemas import graders as schemas

    models = (
        schemas.StringCheckGrader,
        schemas.TextSimilarityGrader,
        schemas.JsonSchemaGrader,
        schemas.NumericGrader,
        schemas.RegexGrader,
        schemas.ToolCallsGrader,
        schemas.ToolCall,
        schemas.ArgumentMatcher,
        schemas.TrajectoryGrader,
        schemas.ScoreModelGrader,
        schemas.LabelModelGrader,
        schemas.ConversationModelGrader,
        schemas.PairwiseModelGrader,
        schemas.RubricModelGrader,
        schemas.FaithfulnessGrader,
        schemas.AnswerRelevanceGrader,
        schemas.ContextPrecisionGrader,
        schemas.ContextRecallGrader,
        schemas.PanelGrader,
        schemas.CascadeGrader,
        schemas.CascadeStep,
        schemas.Settled,
        schemas.MultiGrader,
        schemas.Criterion,
        schemas.InputMessage,
        schemas.SamplingParams,
    )
    return "\n\n".join(f"{_title(model)}\n\n{_model_table(model)}" for model in models)


def _title(model: Any) -> str:
    kind = model.model_json_schema()["properties"].get("type", {}).get("const")
    return code(kind) if kind and kind != "message" else code(model.__name__)


def _model_table(model: Any) -> str:
    rows = [(code(name), kind, default) for name, kind, default in fields_of(model)]
    return table(["field", "type", "default"], rows)


def metrics() -> str:
    """Counters of each process: everything that a module called ``metrics`` declares."""
    from common.observability.metrics import Counter, Gauge, Histogram

    rows = []
    for path in sorted(ROOT.glob("common/*/metrics.py"), key=lambda path: path.parent.name != "observability"):
        module = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        for metric in vars(module).values():
            if isinstance(metric, Counter | Histogram):
                kind = "gauge" if isinstance(metric, Gauge) else type(metric).__name__.lower()
                name = metric.name + ("_total" if kind == "counter" else "")
                rows.append((code(name), kind, ", ".join(map(code, metric.labels)) or "-", metric.text))
    return table(["metric", "kind", "labels", "meaning"], rows)


def cluster_metrics() -> str:
    """What `health` reads of the store."""
    from common.schemas.evaluation import Usage
    from functions.health import metrics as cluster
    from functions.health.status import CallersStatus, ModelStatus, RunsStatus, StoreStatus

    runs = RunsStatus(active=1, sampled=1, by_status={"queued": 1}, items=1, items_done=0, items_outstanding=0, oldest_age_s=0)
    model = ModelStatus(
        model="-",
        breaker="closed",
        in_flight=0,
        requests_debt_s=0,
        tokens_debt_s=0,
        paused_s=0,
        calls=0,
        errors={"-": 1},
        refused={"-": 1},
        usage=Usage(),
        cost_usd=0,
        unpriced_calls=0,
        mean_latency_ms=None,
    )
    callers = CallersStatus(factor=1, queue_age_s=0, open_breaker_share=0, refused={"-": 1})
    families = [
        cluster.store_up(up=True),
        *cluster.store_metrics(StoreStatus(reachable=True)),
        *cluster.run_metrics(runs, 0),
        *cluster.model_metrics([model]),
        *cluster.level_metrics([model]),
        *cluster.caller_metrics(callers),
    ]
    rows = []
    for family in families:
        sample = family.samples[0]
        rows.append((code(sample.name), family.type, ", ".join(map(code, sample.labels)) or "-", family.documentation))
    return table(["metric", "kind", "labels", "meaning"], rows)


def _same(found: set[str], described: set[str], where: str) -> None:
    if found != described:
        msg = f"{where}: undescribed {sorted(found - described)}, described but gone {sorted(described - found)}"
        raise LookupError(msg)


PARTS: dict[str, Callable[[], str]] = {
    "error-codes": error_codes,
    "routes-evaluate": partial(routes, "evaluate"),
    "routes-completions": partial(routes, "completions"),
    "routes-tasks": partial(routes, "tasks"),
    "routes-aggregate": partial(routes, "aggregate"),
    "routes-health": partial(routes, "health"),
    "routes-every": standard_routes,
    "event-types": events,
    "event-data": event_data,
    "deliveries": deliveries,
    "capacity": capacity,
    "capacity-runs": capacity_runs,
    "capacity-moves": capacity_moves,
    "capacity-constants": capacity_constants,
    "capacity-check": capacity_check,
    "settings": settings,
    "gateway-config": gateway_config,
    "graders": graders,
    "metrics": metrics,
    "cluster-metrics": cluster_metrics,
    "keys": keys,
    "scripts": scripts,
}
