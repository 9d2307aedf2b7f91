"""The YAML file behind ``KNUDGE_CONFIG``: providers, models, routes, aliases."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from common.schemas.base import Model
from common.schemas.custom import CustomApi

ProviderKind = Literal["openai", "anthropic", "gemini", "openrouter", "custom", "simulator"]

CACHE_TTL_MAX_S = 30 * 24 * 3600


class ProviderConfig(Model):
    """A service that hosts models. The key itself never stands in the file: ``api_key_env`` names its variable.

    ``base_url`` may hold ``{model}``, as Azure's deployments do; ``query`` is added to every URL. ``key_header`` names the
    header that takes the bare key instead of the vendor's usual one.
    """

    kind: ProviderKind
    base_url: str
    api_key_env: str | None = None
    key_header: str | None = Field(None, pattern=r"^[A-Za-z0-9-]+$")
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    custom: CustomApi | None = None

    @model_validator(mode="after")
    def _custom_is_described(self) -> ProviderConfig:
        if (self.kind == "custom") != (self.custom is not None):
            raise ValueError("kind custom and the field custom, which describes the API, belong together")
        if self.custom is not None and not self.custom.allows(self.base_url):
            raise ValueError("base_url must be http or https, and its host one of custom.allowed_hosts")
        return self


class Price(Model):
    """US dollars per million tokens; ``cached_input`` defaults to ``input``.

    Above ``up_to_prompt_tokens`` another price holds, which is unknown here.
    """

    input_per_mtok_usd: float = Field(ge=0)
    output_per_mtok_usd: float = Field(ge=0)
    cached_input_per_mtok_usd: float | None = Field(None, ge=0)
    up_to_prompt_tokens: int | None = Field(None, gt=0)


class ModelConfig(Model):
    """Limits and price of one ``provider:model``. A limit left out is not enforced; a price left out is unknown.

    ``api`` is for OpenAI's models that answer only through the Responses API.
    """

    rpm: int | None = Field(None, gt=0)
    tpm: int | None = Field(None, gt=0)
    max_concurrency: int | None = Field(None, gt=0)
    timeout_s: float = Field(5.0, gt=0, le=600)
    max_output_tokens: int = Field(1024, gt=0)
    structured_output: Literal["json_schema", "tool", "text"] | None = None
    api: Literal["chat", "responses"] = "chat"
    price: Price | None = None

    @property
    def learns_pace(self) -> bool:
        """Whether the pace is learned from the provider's refusals, because no limit is given."""
        return self.rpm is None and self.tpm is None


class RouteConfig(Model):
    """A name for a chain of models. ``strict`` never goes past the first one, so that a run has one judge."""

    models: list[str] = Field(min_length=1)
    on_failure: Literal["fallback", "strict"] = "strict"


class BreakerConfig(Model):
    """Opens when, of at least ``min_calls`` within ``window_s``, the share of failures reaches ``failure_rate``."""

    failure_rate: float = Field(0.5, gt=0, le=1)
    min_calls: int = Field(10, ge=1)
    window_s: int = Field(30, ge=1)
    reset_s: float = Field(15.0, gt=0)


class RetryConfig(Model):
    """``attempts`` counts the first try; waits are full-jitter, doubling from ``base_s`` up to ``cap_s``.

    Of a process's calls to a provider, retries may be ``share`` of the first tries, and ``spare_per_s`` more each second, so
    that a provider in trouble is not asked many times over.
    """

    attempts: int = Field(4, ge=1, le=10)
    base_s: float = Field(0.25, gt=0)
    cap_s: float = Field(8.0, gt=0)
    share: float = Field(0.2, ge=0, le=10)
    spare_per_s: float = Field(1.0, ge=0)


class BudgetLimit(Model):
    """US dollars; a plain number is ``hard_usd``, which is never exceeded. What reaches ``soft_usd`` is announced.

    Without ``soft_usd``, four fifths of ``hard_usd`` are. ``per`` starts the count anew every day or month (UTC).
    """

    hard_usd: float | None = Field(None, ge=0, le=1e9)
    soft_usd: float | None = Field(None, ge=0, le=1e9)
    per: Literal["ever", "month", "day"] = "ever"

    @model_validator(mode="before")
    @classmethod
    def _number(cls, value: Any) -> Any:
        return {"hard_usd": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class RunBudgets(Model):
    """US dollars for each run. A run's metadata ``knudge_budget_usd`` goes before ``default_usd``."""

    default_usd: float | None = Field(None, ge=0, le=1e9)
    soft_usd: float | None = Field(None, ge=0, le=1e9)


class BudgetsConfig(Model):
    """What runs, projects and API keys (by id) may spend. A call is held to all of its own."""

    runs: RunBudgets = RunBudgets()
    projects: dict[str, BudgetLimit] = {}
    keys: dict[str, BudgetLimit] = {}


class StoreFailureConfig(Model):
    """When the store is away: ``closed`` refuses what depends on it, ``open`` goes on without it, logged and counted.

    ``limits`` is also the breaker and the pauses. ``budgets`` closed refuses calls with a hard budget even where ``limits``
    are open.
    """

    limits: Literal["closed", "open"] = "closed"
    budgets: Literal["closed", "open"] = "closed"
    cache: Literal["closed", "open"] = "open"


class CacheConfig(Model):
    """Whose answers are kept, for `ttl_s`; one larger than `max_bytes` as it is stored is not.

    A call that others wait for holds a lease of `lease_s`, which it renews: so long they wait for a process that has died.
    """

    judges: bool = False
    targets: bool = False
    chat: bool = False
    ttl_s: int = Field(7 * 24 * 3600, ge=1, le=CACHE_TTL_MAX_S)
    max_bytes: int = Field(65_536, ge=1)
    lease_s: float = Field(5.0, gt=0, le=60)


class CallerLimit(Model):
    """Requests a minute, of all pods together; ``burst`` of them may come at once after a quiet time (default: all)."""

    rpm: int = Field(gt=0)
    burst: int | None = Field(None, gt=0)


class GlobalLimit(CallerLimit):
    """The limit of all callers together. Under load it shrinks, down to ``floor`` times itself.

    It begins to when an item of a run has waited for ``queue_age_from_s``, and is at its floor at ``queue_age_to_s``, or when
    the breakers of all models in use are open. With a ``floor`` of 1 it never shrinks.
    """

    floor: float = Field(0.25, gt=0, le=1)
    queue_age_from_s: float = Field(30.0, ge=0)
    queue_age_to_s: float = Field(120.0, gt=0)

    @model_validator(mode="after")
    def _ages_rise(self) -> GlobalLimit:
        if self.queue_age_from_s >= self.queue_age_to_s:
            msg = "queue_age_to_s must be more than queue_age_from_s"
            raise ValueError(msg)
        return self


class CallersConfig(Model):
    """Limits for those who call Knudge: of a key (by its id), of a project, of all. What is left out is not limited."""

    everyone: GlobalLimit | None = Field(None, alias="global")
    default_key: CallerLimit | None = None
    default_project: CallerLimit | None = None
    keys: dict[str, CallerLimit] = {}
    projects: dict[str, CallerLimit] = {}


class GatewayConfig(Model):
    """The whole file."""

    providers: dict[str, ProviderConfig] = {}
    models: dict[str, ModelConfig] = {}
    routes: dict[str, RouteConfig] = {}
    aliases: dict[str, str] = {}
    breaker: BreakerConfig = BreakerConfig()
    retry: RetryConfig = RetryConfig()
    callers: CallersConfig = CallersConfig()
    budgets: BudgetsConfig = BudgetsConfig()
    on_store_failure: StoreFailureConfig = StoreFailureConfig()
    cache: CacheConfig = CacheConfig()

    @model_validator(mode="after")
    def _names_resolve(self) -> GatewayConfig:
        named = [*self.models, *self.aliases.values(), *(m for route in self.routes.values() for m in route.models)]
        for model in named:
            provider = model.partition(":")[0]
            if ":" not in model or provider not in self.providers:
                msg = f"{model!r} must be provider:model with a provider from: {sorted(self.providers)}"
                raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _apis_are_there(self) -> GatewayConfig:
        for name, model in self.models.items():
            if model.api == "responses" and self.providers[name.partition(":")[0]].kind != "openai":
                raise ValueError(f"{name!r}: only providers of kind openai have the Responses API")
        return self
