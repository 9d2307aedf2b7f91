"""A model call inside Knudge: vendor-neutral, the same for judges, targets and the completions API.

Plain frozen dataclasses: these never cross the wire as they are, so they need no validation and cost nothing to build.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.errors import RateHints
    from common.schemas.evaluation import ModelCall, Usage
    from common.schemas.progress import WaitReason

CacheMode = Literal["no-store", "read", "on"]
FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "refusal", "error"]


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message. ``content`` is text, or OpenAI's content parts passed on as they are."""

    role: str
    content: str | list[dict[str, Any]] | None
    extra: dict[str, Any] = field(default_factory=dict)  # tool_calls, tool_call_id, name: as in Chat Completions


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The shape a reply must have: a JSON Schema object with every property required and none additional."""

    name: str
    schema: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """On whose behalf a call is made: what budgets, fair shares and the cache's tags go by.

    ``eval_version`` is ``eval_id@number``. ``key_id`` is None for calls of a run: the key that started it is long gone.
    ``budget_microusd`` is the run's own hard budget, None where the configuration's default holds. ``bulk`` calls take what the
    others leave of a model's limits: nobody sits and waits for one of them.
    """

    purpose: Literal["judge", "target", "chat"] = "judge"
    run_id: str | None = None
    eval_version: str | None = None
    prompt_version: str | None = None
    project: str = "default"
    key_id: str | None = None
    budget_microusd: int | None = None
    bulk: bool = False


@dataclass(frozen=True, slots=True)
class BudgetLevel:
    """A budget after a call, all in micro-dollars. ``scope`` is ``run:<id>``, ``key:<id>`` or ``project:<name>``.

    ``reserved`` is held by calls under way. ``soft`` and ``hard`` are None where there is no such limit.
    """

    scope: str
    spent: int
    reserved: int
    soft: int | None
    hard: int | None

    @property
    def over_soft(self) -> bool:
        """Whether the soft limit is reached."""
        return self.soft is not None and self.spent >= self.soft


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """One call to a model.

    ``model`` is ``provider:model``, or a name that the configuration's aliases or routes resolve. ``deadline_s`` is the
    point on the loop's monotonic clock after which nobody waits for the answer. ``passthrough`` holds Chat Completions
    fields that Knudge does not interpret (tools, tool_choice, stop, ...); providers that speak another format translate
    what they can and refuse the rest by name. ``top_logprobs`` asks for each token's logarithmic probability and that of so
    many alternatives; a provider that has none leaves it out in silence, and `Completion.logprobs` is None.

    ``marker`` is the random token that fences foreign text in ``messages``: requests that differ only in it are equal.
    ``cache`` goes before the configuration: ``no-store`` keeps the call away from the response cache, ``read`` takes an answer
    that is there and keeps none, ``on`` takes and keeps. ``still_wanted`` is asked while the call waits and before it is sent.
    ``waits`` is told when it begins to wait for leave: the model, the reason, and for how many seconds at first.
    """

    model: str
    messages: tuple[Message, ...]
    json_schema: JsonSchema | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    reasoning_effort: str | None = None
    passthrough: dict[str, Any] = field(default_factory=dict)
    deadline_s: float | None = None
    sample_number: int = 0
    top_logprobs: int | None = None
    origin: Origin = field(default_factory=Origin)
    marker: str | None = None
    cache: CacheMode | None = None
    still_wanted: Callable[[], bool] | None = field(default=None, compare=False, repr=False)
    waits: Callable[[str, WaitReason, float], None] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One token of an answer: natural logarithm of its probability, and ``(token, logprob)`` of the likeliest, best first."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Completion:
    """A model's answer. ``call`` says what was paid to whom, and what failed before.

    A provider that tells what it charged sets ``call.cost_microusd``, which then goes before the price table. ``raw`` is the
    vendor's reply where that is a Chat Completions object: it holds what is not interpreted here (further choices).
    """

    text: str
    finish_reason: FinishReason
    call: ModelCall
    refusal: str | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    raw: dict[str, Any] | None = field(default=None, repr=False)
    logprobs: tuple[TokenLogprob, ...] | None = None
    hints: RateHints | None = None
    budgets: tuple[BudgetLevel, ...] = ()

    @property
    def tried(self) -> tuple[str, ...]:
        """Attempts that failed before this answer, as ``model: code``."""
        return tuple(self.call.tried)


@dataclass(frozen=True, slots=True)
class StreamChunk:
    """A piece of a streamed answer: ``delta`` is a Chat Completions delta; the last chunk carries ``usage``.

    ``hints`` came with the head of the answer and stand on every chunk; the one with ``usage`` also has ``cost_microusd`` where
    the provider tells what it charged.
    ``raw`` is the vendor's chunk where that is a Chat Completions chunk. The gateway adds ``call`` to a closing chunk of its
    own, empty otherwise: what was paid, to whom, and what was tried before.
    """

    delta: dict[str, Any] = field(default_factory=dict)
    finish_reason: str | None = None
    usage: Usage | None = None
    reported_model: str | None = None
    raw: dict[str, Any] | None = field(default=None, repr=False)
    simulated: bool = False
    call: ModelCall | None = None
    hints: RateHints | None = None
    cost_microusd: int | None = None
