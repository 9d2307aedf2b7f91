"""A run's counters: what one item adds to them, and the summary they make.

Every counter is a 64-bit integer that is only ever added to, so that any number of writers may count in any order, and a
summary costs the same after a million items as after one. Field names:

``items.passed|failed|errored``                   items by outcome; errored: any verdict is unscored
``g<i>.scored|passed|failed|unscored``            verdicts of the grader with index i
``g<i>.sum.hi|lo``, ``g<i>.square.hi|mid|lo``     its scores and their squares, as limbs (`common.stats.fixed`)
``g<i>.side.<a|b>.hi|lo``, ``g<i>.side.n``        both sides' scores of pairs, as limbs, and how many pairs
``g<i>.bin.<0-19>``                               its scores by slice of its scale
``g<i>.label.<label>``, ``g<i>.reason.<code>``    its labels, and why it has no score
``m.<role>.<model>.calls|prompt|completion|...``  model calls, their tokens, cost and kind
``m.<role>.<model>.cached_calls``                 calls answered from the response cache, which cost nothing and count apart
``m.<role>.<model>.reported.<name>``              answers in which the model called itself so (`common.stats.reported`)
``canary.…``                                      canaries, which are no items (`common.stats.canaries`)

Labels, codes and models are other people's text: cut to a bounded length and escaped, so that no text makes another field.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Protocol
from urllib.parse import quote, unquote

from common.schemas.evaluation import Usage, usd
from common.schemas.runs import GraderSummary, ModelUsage, RunSummary, Sides, SideSum
from common.stats.canaries import canary_counts, canary_summary, suspicion
from common.stats.fixed import split, split_square, total, total_square
from common.stats.intervals import mean_interval, stdev, wilson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from common.schemas.canaries import Canary
    from common.schemas.evaluation import ModelCall, Unscored, Verdict
    from common.schemas.graders import Grader
    from common.schemas.runs import RunPlan, RunStatus, StoredSample, WorstItem
    from common.schemas.stopping import Stopped

BIN_COUNT = 20
_SCORES_KEPT = 1024  # scores repeat: of most graders there are few
TEXT_LIMIT = 120  # characters of foreign text within a field's name
Role = Literal["judge", "target"]
_ROLES: tuple[Role, ...] = ("judge", "target")


class Progress(Protocol):
    """What a summary needs to know of a run's state. Times in unix seconds."""

    @property
    def status(self) -> RunStatus: ...
    @property
    def outstanding(self) -> int: ...
    @property
    def started_at(self) -> int | None: ...
    @property
    def ended_at(self) -> int | None: ...
    @property
    def error(self) -> Unscored | None: ...
    @property
    def stopped(self) -> Stopped | None: ...
    @property
    def paused(self) -> bool: ...
    @property
    def generation(self) -> int: ...


def counters(graders: Sequence[Grader], sample: StoredSample | None, verdicts: Sequence[Verdict]) -> dict[str, int]:
    """What one item adds, by field; fields with nothing to add are left out.

    Args:
        graders: Of the run, in their order.
        sample: What was judged; its cost counts where it was generated, that is, where it has a model.
        verdicts: One for each grader, in the same order.

    Raises:
        ValueError: not one verdict for each grader, or a score beyond `common.schemas.graders.MAX_SCORE`.
    """
    calls = _of_calls(verdicts)
    if sample is not None and sample.model is not None:
        calls.update(_of_call("target", sample.model, sample))
    added = {f"items.{item_outcome(verdicts)}": 1, **calls}
    for index, (grader, verdict) in enumerate(zip(graders, verdicts, strict=True)):
        added.update(_of_verdict(f"g{index}", grader, verdict))
    return {field: amount for field, amount in added.items() if amount}


def canary_counters(graders: Sequence[Grader], verdicts: Sequence[Verdict], canary: Canary, *, line: int) -> dict[str, int]:
    """What a canary adds: its calls cost as any other's, but it is none of the items, and in no grader's sums."""
    added = {**canary_counts(graders, verdicts, canary, line=line), **_of_calls(verdicts)}
    return {field: amount for field, amount in added.items() if amount}


def item_outcome(verdicts: Sequence[Verdict]) -> Literal["passed", "failed", "errored"]:
    """How an item ended: errored where a verdict is unscored, or where there is none at all."""
    passed = [verdict.passed for verdict in verdicts]
    if not passed or None in passed:
        return "errored"
    return "passed" if all(passed) else "failed"


def bin_of(score: float, scale: tuple[float, float]) -> int:
    """The slice of `scale` that `score` lies in; the last one is closed, what lies outside counts to the nearest."""
    low, high = scale
    return int(min(BIN_COUNT - 1.0, max(0.0, (score - low) / (high - low) * BIN_COUNT)))


def summarise(
    plan: RunPlan, state: Progress, counts: Mapping[str, int], worst: Mapping[int, Sequence[WorstItem]]
) -> RunSummary:
    """The run at a glance, from the sums of `counters` over its items.

    Means, deviations and intervals are None where there is too little to tell, and for a run whose counters ran over.
    Fields that are not known here are left alone.

    Args:
        worst: The items with a grader's lowest scores, by the grader's index.
    """
    models = sorted(_models(counts), key=lambda usage: (_ROLES.index(usage.role), usage.model))
    priced = not any(usage.unpriced_calls for usage in models)
    cost = sum(usage.cost_microusd for usage in models) if priced else None
    canaries = canary_summary(plan, counts)
    doubt = suspicion(canaries)
    passed, failed, errored = (counts.get(f"items.{outcome}", 0) for outcome in ("passed", "failed", "errored"))
    return RunSummary(
        run_id=plan.run_id,
        eval_id=plan.eval_id,
        eval_version=plan.eval_version,
        name=plan.name,
        metadata=plan.metadata,
        status=state.status,
        error=state.error,
        simulated=any(field.startswith("m.") and field.endswith(".simulated") for field in counts),
        created_at=plan.created_at,
        started_at=state.started_at,
        ended_at=state.ended_at,
        total=plan.item_count,
        done=passed + failed + errored,
        outstanding=state.outstanding,
        passed=passed,
        failed=failed,
        errored=errored,
        graders=[_grader_summary(f"g{index}", grader, counts) for index, grader in enumerate(plan.graders)],
        models=models,
        usage=sum((usage.usage for usage in models), Usage()),
        cost_microusd=cost,
        cost_usd=usd(cost),
        worst={grader.name: _with_lines(plan, worst.get(index, ())) for index, grader in enumerate(plan.graders)},
        canaries=canaries,
        suspect=doubt is not None,
        suspect_reason=doubt,
        stopped=state.stopped,
        paused=state.paused,
        generation=state.generation,
        forked_from=plan.fork_of.run_id if plan.fork_of else None,
    )


def _with_lines(plan: RunPlan, items: Iterable[WorstItem]) -> list[WorstItem]:
    arrangement = plan.arrangement
    return [item.model_copy(update={"line": arrangement.place(item.index).line}) for item in items]


def _of_verdict(key: str, grader: Grader, verdict: Verdict) -> Mapping[str, int]:
    """All fields begin with `key`, so that no two graders have one in common."""
    if verdict.score is None:
        code = verdict.unscored.code if verdict.unscored else "unknown"
        return {f"{key}.unscored": 1, f"{key}.reason.{_escaped(code)}": 1}
    of_score = _of_score(key, verdict.score, grader.scale, passed=bool(verdict.passed))
    sides = verdict.sides if grader.type == "pairwise_model" else None
    if verdict.label is None and sides is None:
        return of_score
    added = dict(of_score)
    if verdict.label is not None:
        added[f"{key}.label.{_escaped(verdict.label)}"] = 1
    if sides is not None:
        added[f"{key}.side.n"] = 1
        for side, score in zip("ab", sides, strict=True):
            added[f"{key}.side.{side}.hi"], added[f"{key}.side.{side}.lo"] = split(score)
    return added


@lru_cache(maxsize=_SCORES_KEPT)
def _of_score(key: str, score: float, scale: tuple[float, float], *, passed: bool) -> Mapping[str, int]:
    sum_hi, sum_lo = split(score)
    square_hi, square_mid, square_lo = split_square(score)
    return {
        f"{key}.scored": 1,
        f"{key}.passed" if passed else f"{key}.failed": 1,
        f"{key}.sum.hi": sum_hi,
        f"{key}.sum.lo": sum_lo,
        f"{key}.square.hi": square_hi,
        f"{key}.square.mid": square_mid,
        f"{key}.square.lo": square_lo,
        f"{key}.bin.{bin_of(score, scale)}": 1,
    }


def _of_calls(verdicts: Iterable[Verdict]) -> Counter[str]:
    added: Counter[str] = Counter()
    for verdict in verdicts:
        for call in verdict.calls:
            added.update(_of_call("judge", call.model, call))
    return added


def _of_call(role: Role, model: str, paid: ModelCall | StoredSample) -> dict[str, int]:
    key = f"m.{role}.{_escaped(model)}"
    reported = {f"{key}.reported.{_escaped(paid.reported_model)}": 1} if paid.reported_model else {}
    if paid.cached:
        return {**reported, f"{key}.cached_calls": 1, f"{key}.simulated": int(paid.simulated)}
    return {
        **reported,
        f"{key}.calls": 1,
        f"{key}.prompt": paid.usage.prompt_tokens,
        f"{key}.completion": paid.usage.completion_tokens,
        f"{key}.cached": paid.usage.cached_tokens,
        f"{key}.reasoning": paid.usage.reasoning_tokens,
        f"{key}.microusd": paid.cost_microusd or 0,
        f"{key}.unpriced": int(paid.cost_microusd is None),
        f"{key}.simulated": int(paid.simulated),
    }


def _grader_summary(key: str, grader: Grader, counts: Mapping[str, int]) -> GraderSummary:
    def count(name: str) -> int:
        return counts.get(f"{key}.{name}", 0)

    scored, passed = count("scored"), count("passed")
    score_sum = total(count("sum.hi"), count("sum.lo"))
    square_sum = total_square(count("square.hi"), count("square.mid"), count("square.lo"))
    sound = scored > 0 and not counts.get("overflow", 0)
    return GraderSummary(
        name=grader.name,
        type=grader.type,
        range=grader.scale,
        pass_threshold=grader.threshold,
        scored=scored,
        passed=passed,
        failed=count("failed"),
        unscored=count("unscored"),
        mean=float(score_sum / scored) if sound else None,
        stdev=stdev(scored, score_sum, square_sum) if sound else None,
        interval=mean_interval(scored, score_sum, square_sum) if sound else None,
        pass_rate=passed / scored if scored else None,
        pass_interval=wilson(passed, scored),
        bins=[count(f"bin.{number}") for number in range(BIN_COUNT)],
        labels=dict(sorted(_named(counts, f"{key}.label."))),
        sides=_sides(key, counts),
        unscored_reasons=dict(sorted(_named(counts, f"{key}.reason."))),
    )


def _sides(key: str, counts: Mapping[str, int]) -> Sides | None:
    pairs = counts.get(f"{key}.side.n", 0)
    if not pairs or counts.get("overflow", 0):
        return None
    sums = [total(counts.get(f"{key}.side.{side}.hi", 0), counts.get(f"{key}.side.{side}.lo", 0)) for side in "ab"]
    a, b = (SideSum(total=float(each), mean=float(each / pairs)) for each in sums)
    return Sides(a=a, b=b)


def _models(counts: Mapping[str, int]) -> Iterator[ModelUsage]:
    for role in _ROLES:
        prefix = f"m.{role}."
        found = {field.removeprefix(prefix).partition(".")[0] for field in counts if field.startswith(prefix)}
        for model in found:

            def count(name: str, key: str = prefix + model) -> int:
                return counts.get(f"{key}.{name}", 0)

            yield ModelUsage(
                model=unquote(model),
                role=role,
                calls=count("calls"),
                usage=Usage(
                    prompt_tokens=count("prompt"),
                    completion_tokens=count("completion"),
                    cached_tokens=count("cached"),
                    reasoning_tokens=count("reasoning"),
                ),
                cost_microusd=count("microusd"),
                unpriced_calls=count("unpriced"),
                cached_calls=count("cached_calls"),
            )


def _named(counts: Mapping[str, int], prefix: str) -> Iterable[tuple[str, int]]:
    return ((unquote(field.removeprefix(prefix)), number) for field, number in counts.items() if field.startswith(prefix))


def _escaped(text: str) -> str:
    """`text` as one part of a field's name. Cut texts keep a digest, so that they stay apart."""
    if len(text) > TEXT_LIMIT:
        digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12]
        text = f"{text[:TEXT_LIMIT]}…{digest}"
    return quote(text, safe=":/ ", errors="replace").replace(".", "%2E")
