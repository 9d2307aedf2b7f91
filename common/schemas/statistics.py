"""Agreement of judges and rankings of contestants: what their routes are asked and what they answer.

Null always means that a figure is not defined, or could not be had; a ``notes`` or ``reason`` beside it says why.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from common.schemas.base import Model

MAX_ROWS = 200_000
MAX_CONTESTANTS = 1000
MAX_BOOTSTRAP_CONTESTANTS = 200
ItemPath = Annotated[str, StringConstraints(pattern=r"^item\.[^{}]+$", max_length=200)]
Level = Annotated[float, Field(gt=0.5, lt=1)]
Contender = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Key = Annotated[str, StringConstraints(max_length=200)] | int
Rating = Annotated[str, StringConstraints(max_length=1000)] | bool | int | float


class AgreementQuery(Model):
    """Query of ``/runs/{id}/agreement``. ``labels`` is where people's labels stand; without it ballots are compared."""

    grader: str
    labels: ItemPath | None = None
    corrected: bool = False
    level: Level = 0.95

    @model_validator(mode="after")
    def _correction_needs_labels(self) -> AgreementQuery:
        if self.corrected and self.labels is None:
            raise ValueError("corrected needs labels: the subset that people judged")
        return self


class RankingOptions(Model):
    """How comparisons are ranked.

    ``resamples`` is how many the bootstrap draws, with ``seed``; 0 for no intervals. ``prior`` is a number of draws added
    between every two contestants.
    """

    covariate: Literal["length"] | None = None
    resamples: int = Field(500, ge=0, le=1000)
    seed: int = Field(0, ge=0, lt=2**63)
    prior: float = Field(0.0, ge=0, le=1000)
    level: Level = 0.95


class RankingQuery(RankingOptions):
    """Query of ``/runs/{id}/ranking``. ``left`` and ``right`` are where the pair's names stand; "A" and "B" without."""

    grader: str
    left: ItemPath | None = None
    right: ItemPath | None = None
    cluster: ItemPath | None = None


class RankingRow(Model):
    """One comparison: ``winner``, or ``score`` as the left one's share of the win; null for no verdict."""

    model_config = ConfigDict(strict=True)

    left: Contender
    right: Contender
    winner: Literal["left", "right", "tie"] | None = None
    score: float | None = Field(None, ge=0, le=1)
    weight: float = Field(1.0, ge=0, le=1e9)
    cluster: Key | None = None
    left_length: float | None = Field(None, ge=0)
    right_length: float | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _one_verdict_on_two(self) -> RankingRow:
        if ("winner" in self.model_fields_set) == ("score" in self.model_fields_set):
            raise ValueError("expected one of 'winner' and 'score'; null where there is no verdict")
        if self.left == self.right:
            raise ValueError("left and right must differ")
        return self


class RankingsRequest(RankingOptions):
    """``POST /rankings``. As NDJSON the rows are lines, and the options stand in the query."""

    rows: list[RankingRow] = Field(max_length=MAX_ROWS)


class RankingsBody(RankingOptions):
    """The same with rows that are looked at one by one."""

    rows: list[Any] = Field(max_length=MAX_ROWS)


class PairRow(Model):
    """What two judges said of one thing; null where one said nothing."""

    model_config = ConfigDict(strict=True)

    a: Rating | None
    b: Rating | None


class CodingRow(Model):
    """What one observer said of one unit; null where it said nothing."""

    model_config = ConfigDict(strict=True)

    unit: Key
    observer: Key
    value: Rating | None


class AgreementOptions(Model):
    """How agreement is measured."""

    level: Level = 0.95


class AgreementRequest(AgreementOptions):
    """``POST /agreement``: rows of either kind, all of one. As NDJSON the rows are lines, the options in the query."""

    rows: list[PairRow] | list[CodingRow] = Field(max_length=MAX_ROWS)


class AgreementBody(AgreementOptions):
    """The same with rows that are looked at one by one."""

    rows: list[Any] = Field(max_length=MAX_ROWS)


class Measure(Model):
    """A share or coefficient over ``n`` pairs or values; fields as in `common.stats.coefficient.Coefficient`."""

    n: int
    value: float | None = None
    se: float | None = None
    interval: tuple[float, float] | None = None


class Alpha(Model):
    """Krippendorff's alpha over ``n`` values that can be paired; all but nominal need numbers, ratio none below 0 (and few)."""

    n: int
    nominal: float | None = None
    ordinal: float | None = None
    interval: float | None = None
    ratio: float | None = None


class PairAgreement(Model):
    """Two judges over ``n`` of ``rows`` things. Weighted kappas are for whole numbers, correlations for numbers."""

    kind: Literal["labels", "numbers"]
    rows: int
    n: int
    dropped: dict[str, int] = {}
    accuracy: Measure | None = None
    cohen_kappa: Measure | None = None
    linear_kappa: Measure | None = None
    quadratic_kappa: Measure | None = None
    pearson: Measure | None = None
    spearman: Measure | None = None
    kendall_tau_b: Measure | None = None
    krippendorff_alpha: Alpha | None = None
    notes: list[str] = []


class ObserverAgreement(Model):
    """Any number of observers over ``units``."""

    rows: int
    n: int
    dropped: dict[str, int] = {}
    units: int
    observers: int
    krippendorff_alpha: Alpha


class CorrectedRate(Model):
    """A pass rate corrected by Rogan and Gladen; fields as in `common.stats.corrected.Corrected`."""

    n: int
    labelled: int
    raw_rate: float | None
    rate: float | None
    interval: tuple[float, float] | None
    sensitivity: float | None
    specificity: float | None
    clipped: bool
    reason: str | None


class FlipRate(Model):
    """Pairs that were judged in both orders; fields as in `common.stats.flips.Flips`."""

    n: int
    flipped: int
    rate: float | None
    interval: tuple[float, float] | None
    first_preferred: int
    second_preferred: int


class BallotAgreement(Model):
    """The ballots within each verdict: samples of one judge, members of a panel, the two orders of a pair."""

    items: int
    ballots: int
    abstained: int
    scores: Alpha
    labels: Alpha | None = None
    flips: FlipRate | None = None


class RunAgreement(Model):
    """Answer of ``/runs/{id}/agreement``; provisional while ``done`` is below ``total``."""

    run_id: str
    grader: str
    done: int
    total: int
    simulated: bool = False
    labels: str | None = None
    with_labels: PairAgreement | None = None
    corrected: CorrectedRate | None = None
    ballots: BallotAgreement | None = None


class Strength(Model):
    """A Bradley-Terry strength (they sum to 1), and the same on the Elo scale (their mean is 1000)."""

    strength: float
    strength_interval: tuple[float, float] | None = None
    rating: float
    rating_interval: tuple[float, float] | None = None


class Contestant(Model):
    """One line of a ranking: the strongest first, by Bradley-Terry where it could be fitted, else by average win rate."""

    name: str
    n: int
    wins: float
    average_win_rate: float | None
    win_rate: Measure
    bradley_terry: Strength | None = None
    length_controlled: Strength | None = None
    elo: float


class Fit(Model):
    """How the Bradley-Terry model went; ``reason`` and ``groups`` where it has no finite maximum."""

    reason: str | None = None
    groups: list[list[str]] = []
    resamples: int = 0
    unfit: int = 0


class LengthEffect(Model):
    """What length did: log odds of winning for a much longer output; ``reason`` where that could not be told."""

    coefficient: float | None
    se: float | None
    reason: str | None


class Ranking(Model):
    """``n`` of ``rows`` comparisons had a verdict."""

    rows: int
    n: int
    dropped: dict[str, int] = {}
    contestants: list[Contestant]
    bradley_terry: Fit
    length: LengthEffect | None = None
    notes: list[str] = []


class RunRanking(Ranking):
    """Answer of ``/runs/{id}/ranking``; provisional while ``done`` is below ``total``.

    ``inconsistent`` counts those of the ``n`` pairs that the judge decided differently in the other order: they are draws.
    """

    run_id: str
    grader: str
    done: int
    total: int
    inconsistent: int = 0
    simulated: bool = False
