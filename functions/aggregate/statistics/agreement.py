"""How far judges agree: with people, with each other, with themselves."""

from __future__ import annotations

from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from common.errors import InvalidInput
from common.schemas.statistics import (
    CodingRow,
    CorrectedRate,
    Measure,
    ObserverAgreement,
    PairAgreement,
    PairRow,
    RunAgreement,
)
from common.stats.agreement import MAX_CATEGORIES, accuracy, cohen_kappa
from common.stats.corrected import Labelled, rogan_gladen
from common.stats.correlation import kendall_tau_b, pearson, spearman
from functions.aggregate.statistics.alphas import alphas
from functions.aggregate.statistics.ballots import BallotBox
from functions.aggregate.statistics.judged import item_value

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from common.schemas.evaluation import Verdict
    from common.schemas.graders import Grader
    from common.schemas.statistics import AgreementQuery, Rating
    from common.stats.coefficient import Coefficient
    from common.stats.estimate import Estimate
    from functions.aggregate.statistics.judged import Reading

Kind = Literal["number", "string", "boolean"]
_EXACT = 2.0**53
_TOO_MANY_CATEGORIES = f"no kappa: more than {MAX_CATEGORIES} different values"


class Column:
    """Values of one kind: numbers as they are, labels (strings, or booleans) by code."""

    def __init__(self, codes: dict[str | bool, int]) -> None:
        self.values = array("d")
        self.codes = codes

    def add(self, value: Rating) -> None:
        """Take a value of the column's kind."""
        label = value if isinstance(value, str | bool) else None
        self.values.append(float(value) if label is None else self.codes.setdefault(label, len(self.codes)))

    def array(self) -> NDArray[np.float64]:
        """All of them."""
        return np.array(self.values, dtype=np.float64)


@dataclass(slots=True)
class Pairs:
    """What two judges said, pair by pair; rows where one said nothing are counted by reason."""

    rows: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    kind: Kind | None = None
    codes: dict[str | bool, int] = field(default_factory=dict)
    a: Column = field(init=False)
    b: Column = field(init=False)

    def __post_init__(self) -> None:
        self.a, self.b = Column(self.codes), Column(self.codes)

    def drop(self, reason: str) -> None:
        """Count a row without a pair."""
        self.rows += 1
        self.dropped[reason] += 1

    def add(self, a: Rating, b: Rating) -> None:
        """Take a pair. Raises `InvalidInput` if not all values so far are of one kind."""
        self.rows += 1
        self.kind = one_kind(self.kind, a, b)
        self.a.add(a)
        self.b.add(b)

    def measured(self, *, level: float) -> PairAgreement:
        """All that can be said of them."""
        a, b = self.a.array(), self.b.array()
        numbers = self.kind == "number"
        whole = _whole(a) and _whole(b)
        few = len(np.unique(np.concatenate([a, b]))) <= MAX_CATEGORIES
        kappas = few and (not numbers or whole)
        units = np.arange(len(a))
        return PairAgreement(
            kind="numbers" if numbers else "labels",
            rows=self.rows,
            n=len(a),
            dropped=dict(self.dropped),
            accuracy=_share(accuracy(a, b, level=level)) if not numbers or whole else None,
            cohen_kappa=measure(cohen_kappa(a, b, level=level)) if kappas else None,
            linear_kappa=measure(cohen_kappa(a, b, weights="linear", level=level)) if kappas and numbers else None,
            quadratic_kappa=measure(cohen_kappa(a, b, weights="quadratic", level=level)) if kappas and numbers else None,
            pearson=measure(pearson(a, b, level=level)) if numbers else None,
            spearman=measure(spearman(a, b, level=level)) if numbers else None,
            kendall_tau_b=measure(kendall_tau_b(a, b, level=level)) if numbers else None,
            krippendorff_alpha=alphas(np.concatenate([units, units]), np.concatenate([a, b]), numbers=numbers),
            notes=[] if few or (numbers and not whole) else [_TOO_MANY_CATEGORIES],
        )


def run_agreement(query: AgreementQuery, reading: Reading) -> RunAgreement:
    """The answer about a run. Reads it once; some 20 bytes an item are kept, and about 20 a ballot.

    Raises:
        InvalidInput: the labels are of different kinds, or cannot be told to be passes.
    """
    pairs, box, cells = Pairs(), BallotBox(), Counter[tuple[bool | None, bool]]()
    done, simulated = 0, False
    for result, verdict in reading.verdicts():
        done, simulated = done + 1, simulated or verdict.simulated
        if query.labels is None:
            box.add(verdict)
            continue
        label = item_value(result, query.labels)
        human = _human_pass(label, reading.grader) if query.corrected else None
        if verdict.passed is not None:
            cells[human, verdict.passed] += 1
        _take(pairs, verdict, label, path=query.labels)
    return RunAgreement(
        run_id=reading.plan.run_id,
        grader=query.grader,
        done=done,
        total=reading.plan.item_count,
        simulated=simulated,
        labels=query.labels,
        with_labels=None if query.labels is None else pairs.measured(level=query.level),
        corrected=_corrected(cells, level=query.level) if query.corrected else None,
        ballots=box.measured(level=query.level) if query.labels is None else None,
    )


def pair_agreement(rows: Iterable[PairRow], *, level: float) -> PairAgreement:
    """Two judges whose values were handed in."""
    pairs = Pairs()
    for row in rows:
        if row.a is None or row.b is None:
            pairs.drop("missing")
        else:
            pairs.add(row.a, row.b)
    return pairs.measured(level=level)


def observer_agreement(rows: Iterable[CodingRow]) -> ObserverAgreement:
    """Any number of observers whose values were handed in. Raises `InvalidInput` for a unit that one rated twice."""
    values, kind, missing = Column({}), None, 0
    units, seen, observers = array("q"), set[tuple[Any, Any]](), set[Any]()
    numbers: dict[Any, int] = {}
    for row in rows:
        if (row.unit, row.observer) in seen:
            raise InvalidInput("the same observer rated this unit before", pointer="/observer")
        seen.add((row.unit, row.observer))
        observers.add(row.observer)
        unit = numbers.setdefault(row.unit, len(numbers))
        if row.value is None:
            missing += 1
            continue
        kind = one_kind(kind, row.value)
        units.append(unit)
        values.add(row.value)
    return ObserverAgreement(
        rows=len(seen),
        n=len(units),
        dropped={"missing": missing} if missing else {},
        units=len(numbers),
        observers=len(observers),
        krippendorff_alpha=alphas(np.array(units, dtype=np.intp), values.array(), numbers=kind == "number"),
    )


def measure(found: Coefficient) -> Measure:
    """A coefficient as it is answered."""
    return Measure(n=found.n, value=found.value, se=found.se, interval=found.interval)


def one_kind(kind: Kind | None, *values: Rating) -> Kind:
    """The kind of all `values`, which must be `kind` unless that is None.

    Raises:
        InvalidInput: numbers beside labels, or a number too large to be told from its neighbours.
    """
    for value in values:
        found: Kind = "boolean" if isinstance(value, bool) else "string" if isinstance(value, str) else "number"
        if kind not in (None, found):
            raise InvalidInput("values must be all numbers, all strings or all booleans", pointer="")
        if found == "number" and abs(float(value)) > _EXACT:
            raise InvalidInput("numbers must lie between -2**53 and 2**53", pointer="")
        kind = found
    return kind or "string"


def _share(found: Estimate) -> Measure:
    return Measure(n=found.n, value=found.mean, se=found.se, interval=found.interval)


def _whole(values: NDArray[np.float64]) -> bool:
    return bool(np.all(values == np.floor(values)))


def _take(pairs: Pairs, verdict: Verdict, label: Any, *, path: str) -> None:
    """Compare like with like: a number with the score, a boolean with the pass, a string with the verdict's label."""
    if label is None:
        pairs.drop("no_label")
    elif verdict.score is None or verdict.passed is None:
        pairs.drop("unscored")
    elif isinstance(label, bool):
        pairs.add(verdict.passed, label)
    elif isinstance(label, int | float):
        pairs.add(verdict.score, label)
    elif isinstance(label, str):
        pairs.add(verdict.label if verdict.label is not None else _word(verdict.passed), label)
    else:
        raise InvalidInput(f"labels: {path} must be a number, a string or a boolean", pointer="/labels")


def _word(passed: bool) -> str:  # noqa: FBT001  # it is all there is to say
    return "pass" if passed else "fail"


def _human_pass(label: Any, grader: Grader) -> bool | None:
    """Whether people passed the item; None where they said nothing."""
    if label is None or isinstance(label, bool):
        return label
    if isinstance(label, int | float) and grader.threshold is not None:
        return label >= grader.threshold
    passing = getattr(grader, "passing_labels", None) or (grader.votes[1] if grader.votes else {"pass"})
    known = getattr(grader, "labels", None) or (grader.votes[0] if grader.votes else {"pass", "fail"})
    if not isinstance(label, str) or label not in known:
        raise InvalidInput("labels: cannot tell from one of them whether it is a pass", pointer="/labels")
    return label in passing


def _corrected(cells: Counter[tuple[bool | None, bool]], *, level: float) -> CorrectedRate:
    labelled = Labelled(
        both_pass=cells[True, True],
        only_human_passes=cells[True, False],
        only_judge_passes=cells[False, True],
        both_fail=cells[False, False],
    )
    passed = sum(count for (_, judge), count in cells.items() if judge)
    found = rogan_gladen(passed, cells.total(), labelled=labelled, level=level)
    return CorrectedRate(
        n=found.n,
        labelled=labelled.human_passes + labelled.human_failures,
        raw_rate=found.raw_rate,
        rate=found.rate,
        interval=found.interval,
        sensitivity=found.sensitivity,
        specificity=found.specificity,
        clipped=found.clipped,
        reason=found.reason,
    )
