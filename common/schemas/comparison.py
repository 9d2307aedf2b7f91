"""Two runs side by side, and many in a ranking: what ``/compare`` and ``/leaderboard`` are asked and what they answer.

Everywhere ``a`` is the baseline and ``b`` the candidate, and a difference is **b - a**: above 0 where the candidate scores
higher. More is taken to be better.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from common.schemas.base import Model
from common.schemas.evaluation import Usage
from common.schemas.runs import RunStatus

DIRECTION = "Differences are b - a: a is the baseline, b the candidate, and above 0 the candidate scores higher."
MAX_SLICES = 50
MAX_RUNS = 20
ItemPath = Annotated[str, StringConstraints(pattern=r"^item\.[^{}]+$", max_length=200)]
Level = Annotated[float, Field(gt=0.5, lt=1)]
Pairs = Literal["index", "content"]


class CompareQuery(Model):
    """Query of ``/compare``. ``graders`` are names between commas; ``cluster`` and ``slice`` are paths within the item."""

    runs: str = Field(max_length=400)
    graders: str | None = Field(None, max_length=20_000)
    cluster: ItemPath | None = None
    slice: ItemPath | None = None
    level: Level = 0.95
    margin: float | None = Field(None, ge=0)
    bootstrap: bool = False
    seed: int = Field(0, ge=0, lt=2**63)


class LeaderboardQuery(Model):
    """Query of ``/leaderboard``: either ``runs``, ids between commas, or ``eval_id``, whose latest runs are meant."""

    runs: str | None = Field(None, max_length=4000)
    eval_id: str | None = Field(None, max_length=200)
    graders: str | None = Field(None, max_length=20_000)
    level: Level = 0.95


class Measured(Model):
    """A mean over ``n`` items or pairs; the fields are those of `common.stats.estimate.Estimate`.

    ``p`` is the two-sided p-value of "no difference"; None where nothing was tested.
    """

    n: int
    mean: float | None = None
    se: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    df: int | None = None


class ComparedRun(Model):
    """A run that is compared. ``complete``: it has ended, and every item is counted.

    ``suspect``: a canary failed, so its scores are not to be believed. ``stopped``: it ended early by a rule of its own, and
    intervals that assume a fixed number of items promise too much.
    """

    run_id: str
    name: str
    eval_id: str
    eval_version: int
    status: RunStatus
    complete: bool
    simulated: bool
    suspect: bool = False
    stopped: bool = False
    total: int
    done: int
    usage: Usage
    cost_microusd: int | None
    cost_usd: float | None
    report_url: str


class Side(Model):
    """One run's verdicts of a grader on the items that both runs have.

    ``scored + unscored + pending`` are those items; ``pending`` ones are not counted yet. ``mean`` and ``pass_rate`` are over
    the scored ones.
    """

    scored: int
    unscored: int
    pending: int
    mean: Measured
    pass_rate: Measured


class Passes(Model):
    """Passes and failures over the pairs. ``only_a`` and ``only_b`` count the pairs that one side alone passed.

    ``difference`` is that of the pass rates; ``p`` is McNemar's, from the two counts.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    difference: Measured
    p: float | None = None


class NonInferiority(Model):
    """Whether b is worse than a by ``margin`` or more. ``lower`` and ``upper`` are the one-sided bounds of the difference.

    ``not_worse``: ``lower`` is above ``-margin``. ``worse``: ``upper`` is below it. Else ``undecided``.
    """

    margin: float
    verdict: Literal["not_worse", "worse", "undecided"]
    lower: float | None
    upper: float | None


class Figures(Model):
    """Two runs compared over some items.

    ``paired`` pairs are scored on both sides and are what ``difference`` is over; ``unpaired_*`` count scores whose partner
    has none: they are left out, never filled in. ``p_holm`` and ``p_bh`` are ``difference.p`` adjusted over every grader and
    slice in the answer (Wilcoxon's where that is undefined). ``items_needed``: pairs that would settle what is undecided
    (against the margin, else against 0) four times in five, if difference and spread stay as they are; None where it is
    settled, where no number would do, and for slices. ``unscored_differs``: the runs' shares of unscored verdicts are so far
    apart that the pairs are no fair picture of either.
    """

    a: Side
    b: Side
    paired: int
    unpaired_a: int
    unpaired_b: int
    difference: Measured
    p_holm: float | None = None
    p_bh: float | None = None
    wilcoxon_p: float | None = None
    bootstrap: Measured | None = None
    passes: Passes
    non_inferiority: NonInferiority | None = None
    items_needed: int | None = None
    unscored_differs: bool = False


class SliceComparison(Figures):
    """The items with one value at the path of ``slice``, as text; None: those that have none."""

    slice: str | None
    items: int


class GraderComparison(Figures):
    """One grader. ``changed`` names the fields in which its two definitions differ."""

    name: str
    type: str
    range: tuple[float, float]
    changed: list[str] = []
    slices: list[SliceComparison] = []


class NotCompared(Model):
    """A grader that is not compared, and why."""

    name: str
    reason: str


class PairedItems(Model):
    """How items found their partners: by ``index`` in one dataset, or by equal ``content``; ``only_*`` have none."""

    method: Pairs
    items: int
    only_a: int
    only_b: int


class Slicing(Model):
    """``shown`` of ``values`` different values have a row, the most frequent first; ``hidden_items`` are in none."""

    path: str
    values: int
    shown: int
    hidden_items: int


class Comparison(Model):
    """Answer of ``/compare``."""

    direction: str = DIRECTION
    a: ComparedRun
    b: ComparedRun
    simulated: bool
    complete: bool
    level: float
    margin: float | None
    cluster: str | None
    clusters: int | None
    slicing: Slicing | None
    pairing: PairedItems
    tests: int
    graders: list[GraderComparison]
    not_compared: list[NotCompared]
    warnings: list[str]


class Standing(Model):
    """One run's place with one grader.

    ``rank`` counts from 1, equal means share it, None without a mean. ``behind`` is the run less the leader, over ``behind.n``
    common items; None for the leader and where no item is common. ``significant``: ``p_holm`` is below ``1 - level``.
    """

    run_id: str
    rank: int | None
    scored: int
    unscored: int
    mean: Measured
    pass_rate: Measured
    behind: Measured | None = None
    p_holm: float | None = None
    significant: bool = False


class GraderRanking(Model):
    """The runs by their means, best first."""

    name: str
    type: str
    range: tuple[float, float]
    standings: list[Standing]


class Leaderboard(Model):
    """Answer of ``/leaderboard``; ``tests`` is how many differences Holm's adjustment is over."""

    runs: list[ComparedRun]
    simulated: bool
    complete: bool
    level: float
    tests: int
    graders: list[GraderRanking]
    not_compared: list[NotCompared]
    warnings: list[str]
