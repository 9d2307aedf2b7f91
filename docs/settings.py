"""The table of settings. Each variable's field is checked against `common.settings` by a test; defaults are read from there."""

from __future__ import annotations

from docs.tables import code, table

# Variable -> (field of `common.settings.Settings`, meaning). ``<NAME>`` stands for a function or the simulator.
SETTINGS = {
    "KNUDGE_REDIS_URL": (
        "redis_url",
        "The Redis-protocol server; `redis+cluster://` for a cluster. `bin/serve` starts one of its own when this is not set.",
    ),
    "KNUDGE_REDIS_TIMEOUT_S": ("redis_timeout_s", "Connecting to Redis, and each answer of it. There are no hidden retries."),
    "KNUDGE_BROKER_URL": ("broker_url", "Where events are posted. `K_SINK`, which a SinkBinding sets, goes before it."),
    "KNUDGE_PORT_BASE": ("port_base", "On one machine: the broker's port; the others follow (see below)."),
    "KNUDGE_AUTH": ("auth", "`on` or `off`: whether API keys are asked for. `bin/serve` sets `off` on loopback."),
    "KNUDGE_CONFIG": ("config_path", "The YAML file with providers, models, routes and aliases (see below)."),
    "KNUDGE_DATA_DIR": ("data_dir", "On one machine: where the embedded Valkey and the logs are kept."),
    "KNUDGE_<NAME>_URL": ("public_urls", "Where users reach a function; links in answers begin with it."),
    "KNUDGE_MAX_BODY_BYTES": ("max_body_bytes", "The largest request, and the largest line of a batch."),
    "KNUDGE_MAX_FILE_BYTES": ("max_file_bytes", "The largest uploaded file."),
    "KNUDGE_DEADLINE_S": ("default_deadline_s", "A request's deadline when it names none, events included."),
    "KNUDGE_MAX_CONCURRENCY": (
        "max_concurrency",
        "Requests one process answers at a time; more are refused with 503. Events leave a quarter of them to others.",
    ),
    "KNUDGE_BATCH_CONCURRENCY": ("batch_concurrency", "Evaluations of one `POST /batch` under way at a time."),
    "KNUDGE_RUN_WINDOW": ("run_window_items", "Items of a run under way at a time. Fixed when the run starts."),
    "KNUDGE_RUN_BATCH": (
        "run_batch_items",
        "Items that an event of a run carries at most, up to 50; 0: by the run's size. Fixed when the run starts.",
    ),
    "KNUDGE_LEASE_S": ("lease_s", "How long an item may be under way before it is issued again."),
    "KNUDGE_OVERTAKEN_S": ("overtaken_s", "An event of a run that others overtake by so much is taken for lost; 0: never."),
    "KNUDGE_ITEM_ATTEMPTS": ("item_attempts", "How often an item is issued before it is given up as unscored."),
    "KNUDGE_RUN_DEADLINE_S": ("run_deadline_s", "How long a run may take that does not say ([runs](runs.md#deadlines))."),
    "KNUDGE_RUN_KEEP_DAYS": (
        "run_keep_days",
        "Days that a run is kept after its end, 0: for ever; unless its `knudge_keep_days` says it ([runs](reproducing.md)).",
    ),
    "KNUDGE_LIMIT_GLOBAL_RPM": (
        "limit_global_rpm",
        "Costly requests a minute of all callers; 0: no limit ([limits](limits.md)).",
    ),
    "KNUDGE_LIMIT_PROJECT_RPM": ("limit_project_rpm", "The same of each project, unless the file names it."),
    "KNUDGE_LIMIT_KEY_RPM": ("limit_key_rpm", "The same of each API key, unless it has a limit of its own."),
    "KNUDGE_LIMITS_ON_STORE_FAILURE": (
        "limits_on_store_failure",
        "`closed` or `open`: whether callers with limits are refused or let in while Redis is away.",
    ),
    "KNUDGE_LOG_LEVEL": ("log_level", "`DEBUG`, `INFO`, `WARNING` or `ERROR`."),
    "KNUDGE_LOG_FORMAT": ("log_format", "`json` or `text`."),
    "KNUDGE_VERSION": (
        "build",
        "What this build calls itself in runs' [manifests](reproducing.md), a commit for example; `bin/build` sets it.",
    ),
    "KNUDGE_CRASH_AT": (
        "crash_at",
        "For tests: `POINT:N` kills the process when it passes a [crash point](operations.md#crash-points).",
    ),
    "KNUDGE_FUNCTION": ("function", "The function's name; `FUNCTION_TARGET` stands in for it."),
}


def settings() -> str:
    """Every variable, its default, its meaning."""
    from common.settings import Settings

    defaults = Settings.from_env({})
    rows = [(code(name), _shown(name, getattr(defaults, field)), meaning) for name, (field, meaning) in SETTINGS.items()]
    return table(["variable", "default", "meaning"], rows)


def _shown(name: str, value: object) -> str:
    if name == "KNUDGE_FUNCTION" or value is None:
        return "-"
    if isinstance(value, dict):
        return "the local port"
    if isinstance(value, bool):
        return code("on" if value else "off")
    return code(f"{value:g}" if isinstance(value, float) else value)
