"""What a run must look like, from its raw results and from the provider's own account of its calls. Pure."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from common.stats.intervals import mean_interval, stdev, wilson

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    Json = dict[str, Any]
    Call = tuple[str, str, str, int, int]  # item, grader, outcome, prompt tokens, completion tokens: `bench.chaos.provider`

INPUT_MICROUSD, OUTPUT_MICROUSD = 1, 4  # a token, as the bench's configuration prices them
USABLE = ("kept", "died")
_BILLION, _WORST = 10**9, 20


def summarised(rows: Iterable[Json], graders: Sequence[Json]) -> Json:
    """What the summary of a run with these results must say; `graders` are its own, for their names and bounds.

    A score counts in whole billionths. They are added as integers, so there is no other rounding before the last step, where
    the formulas of `common.stats` are used. Rows are looked at once, one after the other.
    """
    outcomes: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    tallies = {grader["name"]: _Tally() for grader in graders}
    for row in rows:
        outcomes[row["outcome"]] += 1
        sample = row.get("sample") or {}
        if sample.get("model"):  # a target was asked
            _add_call(calls, sample)
        for verdict in row["verdicts"]:
            for call in verdict["calls"]:
                _add_call(calls, call)
            if verdict["name"] in tallies:
                tallies[verdict["name"]].add(verdict)
    return {
        "done": outcomes.total(),
        **{outcome: outcomes[outcome] for outcome in ("passed", "failed", "errored")},
        **{name: calls[name] for name in ("calls", "prompt_tokens", "completion_tokens", "cost_microusd")},
        "graders": {name: tally.summary() for name, tally in tallies.items()},
    }


def _add_call(calls: Counter[str], call: Json) -> None:
    usage = call["usage"]
    calls.update(
        calls=1,
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage["completion_tokens"],
        cost_microusd=call["cost_microusd"],
    )


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


class _Tally:
    """One grader's verdicts, added up."""

    def __init__(self) -> None:
        self._scores: list[float] = []
        self._billionths = self._squares = self._passed = 0
        self._labels: Counter[str] = Counter()
        self._unscored: Counter[str] = Counter()
        self._verdicts = 0

    def add(self, verdict: Json) -> None:
        self._verdicts += 1
        self._passed += verdict["passed"] is True
        if verdict["label"] is not None:
            self._labels[verdict["label"]] += 1
        if verdict["unscored"]:
            self._unscored[verdict["unscored"]["code"]] += 1
        if verdict["score"] is not None:
            billionths = round(Fraction(verdict["score"]) * _BILLION)
            self._scores.append(verdict["score"])
            self._billionths += billionths
            self._squares += billionths**2

    def summary(self) -> Json:
        n, passed = len(self._scores), self._passed
        total, squares = Fraction(self._billionths, _BILLION), Fraction(self._squares, _BILLION**2)
        return {
            "scored": n,
            "passed": passed,
            "failed": n - passed,
            "unscored": self._verdicts - n,
            "mean": float(total / n) if n else None,
            "stdev": stdev(n, total, squares),
            "interval": mean_interval(n, total, squares),
            "pass_rate": passed / n if n else None,
            "pass_interval": wilson(passed, n),
            "labels": dict(self._labels),
            "unscored_reasons": dict(self._unscored),
            "worst": sorted(self._scores)[:_WORST],
        }


def _pair(interval: Sequence[float] | None) -> tuple[float, ...] | None:
    return None if interval is None else tuple(interval)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Results against the items that went in."""

    results: int
    duplicates: int
    lost: int


def delivered(rows: Iterable[Json], item_ids: Collection[str]) -> Delivery:
    """Each item is to have one result with each verdict once; any other row or verdict counts as a duplicate."""
    expected, seen, again = set(item_ids), Counter[str](), 0
    for row in rows:
        seen[row["item"].get("id")] += 1
        again += len(row["verdicts"]) - len({verdict["name"] for verdict in row["verdicts"]})
    strangers = sum(count for item, count in seen.items() if item not in expected)
    doubles = sum(count - 1 for item, count in seen.items() if item in expected)
    return Delivery(seen.total(), doubles + strangers + again, len(expected - seen.keys()))


@dataclass(frozen=True, slots=True)
class Account:
    """The provider's side. Costs in micro-dollars, of usable replies; shares of the calls that were needed.

    ``repeated_share`` counts every usable reply after the first one for the same item and grader. ``needless_share`` counts
    those after the first one whose process lived on: only these could have been avoided, since nobody has what a process
    received and did not live to keep.

    ``kept_microusd`` is of replies to processes that lived on, and of the last one for an item and grader that has no other:
    its process has died so soon after keeping it that the provider cannot know. ``died_microusd`` is of the rest of those.
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
    last = {(item, grader): cost for item, grader, outcome, cost in _costs(calls) if outcome == "died"}
    kept_in_time = sum(cost for pair, cost in last.items() if pair not in kept)
    spent = Counter[str]()
    for _, _, outcome, cost in _costs(calls):
        spent[outcome] += cost
    return Account(
        needed=needed,
        outcomes=Counter(outcome for _, _, outcome, *_ in calls),
        repeated_share=repeated / needed if needed else math.nan,
        needless_share=needless / needed if needed else math.nan,
        kept_microusd=spent["kept"] + kept_in_time,
        died_microusd=spent["died"] - kept_in_time,
        malformed_microusd=spent["malformed"],
    )


def _costs(calls: Sequence[Call]) -> Iterator[tuple[str, str, str, int]]:
    """(item, grader, outcome, micro-dollars) of each call."""
    for item, grader, outcome, prompt_tokens, completion_tokens in calls:
        yield item, grader, outcome, prompt_tokens * INPUT_MICROUSD + completion_tokens * OUTPUT_MICROUSD
