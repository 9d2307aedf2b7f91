"""What a run must look like, from its raw results and from the provider's own account of its calls. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from common.stats.intervals import mean_interval, stdev, wilson

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Json = dict[str, Any]
    Call = tuple[str, str, str, int, int]  # item, grader, outcome, prompt tokens, completion tokens: `bench.chaos.provider`

INPUT_MICROUSD, OUTPUT_MICROUSD = 1, 4  # a token, as the bench's configuration prices them
USABLE = ("kept", "died")


def summarised(rows: Sequence[Json], graders: Sequence[Json]) -> Json:
    """What the summary of a run with these results must say; `graders` are its own, for their names and bounds.

    A score counts in whole billionths. They are added as fractions, so there is no other rounding before the last step, where
    the formulas of `common.stats` are used.
    """
    outcomes = Counter(row["outcome"] for row in rows)
    calls = [call for row in rows for verdict in row["verdicts"] for call in verdict["calls"]]
    samples = [row.get("sample") or {} for row in rows]
    calls += [sample for sample in samples if sample.get("model")]  # a target was asked
    return {
        "done": len(rows),
        **{outcome: outcomes[outcome] for outcome in ("passed", "failed", "errored")},
        "calls": len(calls),
        "prompt_tokens": sum(call["usage"]["prompt_tokens"] for call in calls),
        "completion_tokens": sum(call["usage"]["completion_tokens"] for call in calls),
        "cost_microusd": sum(call["cost_microusd"] for call in calls),
        "graders": {grader["name"]: _grader(rows, grader["name"]) for grader in graders},
    }


def shown(summary: Json) -> Json:
    """The same figures as the service's own summary has them."""
    names = ("scored", "passed", "failed", "unscored", "mean", "stdev", "pass_rate", "labels", "unscored_reasons")
    return {
        **{name: summary[name] for name in ("done", "passed", "failed", "errored", "cost_microusd")},
        "calls": sum(model["calls"] for model in summary["models"]),
        **{name: summary["usage"][name] for name in ("prompt_tokens", "completion_tokens")},
        "graders": {
            grader["name"]: {
                **{name: grader[name] for name in names},
                "interval": _pair(grader["interval"]),
                "pass_interval": _pair(grader["pass_interval"]),
                "worst": [item["score"] for item in summary["worst"][grader["name"]]],
            }
            for grader in summary["graders"]
        },
    }


def differences(expected: Json, found: Json, within: str = "") -> list[str]:
    """Paths of what differs, bit by bit."""
    paths: list[str] = []
    for name in expected.keys() | found.keys():
        one, other = expected.get(name), found.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            paths += differences(one, other, f"{within}{name}.")
        elif one != other:
            paths.append(f"{within}{name}: {one} {other}")
    return sorted(paths)


def _grader(rows: Sequence[Json], name: str) -> Json:
    verdicts = [verdict for row in rows for verdict in row["verdicts"] if verdict["name"] == name]
    scores = [verdict["score"] for verdict in verdicts if verdict["score"] is not None]
    exact = [Fraction(round(Fraction(score) * 10**9), 10**9) for score in scores]
    total, squares, n = sum(exact, Fraction()), sum((score * score for score in exact), Fraction()), len(scores)
    passed = sum(verdict["passed"] is True for verdict in verdicts)
    return {
        "scored": n,
        "passed": passed,
        "failed": n - passed,
        "unscored": len(verdicts) - n,
        "mean": float(total / n) if n else None,
        "stdev": stdev(n, total, squares),
        "interval": mean_interval(n, total, squares),
        "pass_rate": passed / n if n else None,
        "pass_interval": wilson(passed, n),
        "labels": dict(Counter(verdict["label"] for verdict in verdicts if verdict["label"] is not None)),
        "unscored_reasons": dict(Counter(verdict["unscored"]["code"] for verdict in verdicts if verdict["unscored"])),
        "worst": sorted(scores)[:20],
    }


def _pair(interval: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if interval is None else tuple(interval)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Results against the items that went in."""

    results: int
    duplicates: int
    lost: int


def delivered(rows: Sequence[Json], item_ids: Sequence[str]) -> Delivery:
    """Each item is to have one result with each verdict once; any other row or verdict counts as a duplicate."""
    seen = Counter(row["item"].get("id") for row in rows)
    again = sum(len(row["verdicts"]) - len({verdict["name"] for verdict in row["verdicts"]}) for row in rows)
    strangers = sum(count for item, count in seen.items() if item not in set(item_ids))
    doubles = sum(count - 1 for item, count in seen.items() if item in set(item_ids))
    return Delivery(len(rows), doubles + strangers + again, sum(item not in seen for item in item_ids))


@dataclass(frozen=True, slots=True)
class Account:
    """The provider's side. Costs in micro-dollars, of usable replies; shares of the calls that were needed.

    ``repeated_share`` counts every usable reply after the first one for the same item and grader. ``needless_share`` counts
    those after the first one whose process lived on: only these could have been avoided, since nobody has what a process
    received and did not live to keep.
    """

    needed: int
    outcomes: Counter[str]
    repeated_share: float
    needless_share: float
    kept_microusd: int
    died_microusd: int
    malformed_microusd: int


def account(calls: Sequence[Call], *, needed: int) -> Account:
    """What the provider's calls say. They come in the order in which they ended."""
    repeated, needless = 0, 0
    answered: set[tuple[str, str]] = set()
    kept: set[tuple[str, str]] = set()
    for item, grader, outcome, *_ in calls:
        if outcome not in USABLE:
            continue
        repeated += (item, grader) in answered
        needless += (item, grader) in kept
        answered.add((item, grader))
        if outcome == "kept":
            kept.add((item, grader))
    spent = {outcome: sum(_costs(calls, outcome)) for outcome in ("kept", "died", "malformed")}
    return Account(
        needed=needed,
        outcomes=Counter(outcome for _, _, outcome, *_ in calls),
        repeated_share=repeated / needed if needed else math.nan,
        needless_share=needless / needed if needed else math.nan,
        kept_microusd=spent["kept"],
        died_microusd=spent["died"],
        malformed_microusd=spent["malformed"],
    )


def _costs(calls: Sequence[Call], outcome: str) -> Iterator[int]:
    for _, _, what, prompt_tokens, completion_tokens in calls:
        if what == outcome:
            yield prompt_tokens * INPUT_MICROUSD + completion_tokens * OUTPUT_MICROUSD
