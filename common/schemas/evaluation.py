"""One evaluation: what is asked, and what each grader said."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, computed_field

from common.schemas.base import Model, Open
from common.schemas.graders import Grader

MICRO = 1_000_000


class Usage(Model):
    """Tokens of model calls. ``cached_tokens`` is the part of ``prompt_tokens`` that the provider had cached."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    @computed_field  # type: ignore[prop-decorator]  # pydantic's own order of decorators
    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
        )


class ModelCall(Model):
    """One answered model call. ``cost_microusd`` is None where the price is unknown: unknown is never 0.

    A ``cached`` call was answered from the response cache: it costs 0, and ``usage`` is that of the call that was made once.
    ``cache_key`` names the answer there, whether it was taken from the cache or put into it. ``tried`` lists the attempts that
    failed before this answer, as ``model: code``.
    """

    model: str
    reported_model: str | None = None
    usage: Usage = Usage()
    cost_microusd: int | None = None
    latency_ms: float = 0.0
    cached: bool = False
    simulated: bool = False
    cache_key: str | None = None
    tried: list[str] = []


class Unscored(Model):
    """Why there is no score. ``raw`` is the judge's reply as it came, bounded, when there was one."""

    code: str
    message: str
    raw: str | None = None


class Ballot(Model):
    """One vote, in the order the votes were asked for; ``score`` is None for an abstention, and ``unscored`` says why.

    ``judge`` is the model that voted, or the name of the sub-grader. ``order`` is how a pair was shown: ``ab`` as given, ``ba``
    swapped. ``sides`` are the two scores of a pair where the judge gave both, in the pair's own order whatever was shown.
    """

    judge: str
    score: float | None = None
    label: str | None = None
    reason: str | None = None
    unscored: Unscored | None = None
    order: Literal["ab", "ba"] | None = None
    sides: tuple[float, float] | None = None


class Verdict(Model):
    """What one grader said about one sample.

    Exactly one of ``score`` and ``unscored`` is set. ``passed`` is None when unscored. ``judge`` is the
    ``provider:model`` that really judged, None for deterministic graders. ``calls`` holds every model call that was paid
    for, repairs included; ``usage``, ``cost_microusd`` (None: unknown) and ``latency_ms`` are over all of them. ``details`` is
    what else a grader of this type has to show (criteria, claims, who decided): small, and described with the grader.
    """

    name: str
    type: str
    score: float | None = None
    passed: bool | None = None
    label: str | None = None
    reason: str | None = None
    unscored: Unscored | None = None
    judge: str | None = None
    prompt_version: str | None = None
    ballots: list[Ballot] = []
    details: dict[str, JsonValue] = {}
    calls: list[ModelCall] = []
    latency_ms: float = 0.0

    @property
    def sides(self) -> tuple[float, float] | None:
        """The two scores of a pair, each the mean over the ballots that have both; None where unscored or none has."""
        pairs = [ballot.sides for ballot in self.ballots if ballot.sides is not None]
        if self.score is None or not pairs:
            return None
        return sum(a for a, _ in pairs) / len(pairs), sum(b for _, b in pairs) / len(pairs)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def usage(self) -> Usage:
        """Tokens of all calls."""
        return total_usage([call.usage for call in self.calls])

    @computed_field  # type: ignore[prop-decorator]
    @property
    def cost_microusd(self) -> int | None:
        """Cost of all calls in millionths of a US dollar; None as soon as one call's price is unknown."""
        return total_cost([call.cost_microusd for call in self.calls])

    @computed_field  # type: ignore[prop-decorator]
    @property
    def cost_usd(self) -> float | None:
        """`cost_microusd` in US dollars."""
        return usd(self.cost_microusd)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def cached(self) -> bool:
        """True when every call was answered from the response cache."""
        return bool(self.calls) and all(call.cached for call in self.calls)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def simulated(self) -> bool:
        """True when a simulator took part: the score says nothing about a real model."""
        return any(call.simulated for call in self.calls)


def total_usage(usages: list[Usage]) -> Usage:
    """Sum of `usages`."""
    return usages[0] if len(usages) == 1 else sum(usages, Usage())


def total_cost(costs: list[int | None]) -> int | None:
    """Sum of costs in micro-dollars; None as soon as one is unknown."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def usd(microusd: int | None) -> float | None:
    """Micro-dollars as dollars; None stays None."""
    return None if microusd is None else microusd / MICRO


class Sample(Open):
    """The output under evaluation. Fields beyond ``output_text`` are open to templates as ``{{sample.*}}``."""

    output_text: str | None = None


class EvaluationRequest(Model):
    """``POST evaluate /``. ``evaluation_id`` makes the call idempotent; ``deadline_s`` is seconds from arrival."""

    item: dict[str, Any] = {}
    sample: Sample = Sample()
    graders: list[Grader] = Field(min_length=1, max_length=64)
    evaluation_id: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9._:-]+$")] | None = None
    deadline_s: float | None = Field(None, gt=0, le=600)


class EvaluationResult(Model):
    """Answer to `EvaluationRequest`; ``verdicts`` in the order of ``graders``.

    ``score`` is the plain mean of the verdicts' scores and ``passed`` their conjunction; both are None when any verdict is
    unscored, because a mean over what is left would hide the gap.
    """

    evaluation_id: str
    verdicts: list[Verdict]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def score(self) -> float | None:
        """Mean score, None when any verdict is unscored."""
        scores = [verdict.score for verdict in self.verdicts if verdict.score is not None]
        return sum(scores) / len(scores) if scores and len(scores) == len(self.verdicts) else None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def passed(self) -> bool | None:
        """True when every verdict passed, None when any is unscored."""
        return None if any(v.passed is None for v in self.verdicts) else all(v.passed for v in self.verdicts)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def usage(self) -> Usage:
        """Tokens of all verdicts."""
        return total_usage([verdict.usage for verdict in self.verdicts])

    @computed_field  # type: ignore[prop-decorator]
    @property
    def cost_usd(self) -> float | None:
        """Cost of all verdicts in US dollars, None when any price is unknown."""
        return usd(total_cost([verdict.cost_microusd for verdict in self.verdicts]))

    @computed_field  # type: ignore[prop-decorator]
    @property
    def simulated(self) -> bool:
        """True when a simulator took part in any verdict."""
        return any(verdict.simulated for verdict in self.verdicts)
