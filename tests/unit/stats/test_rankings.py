from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from common.stats.bradley_terry import bootstrap, bradley_terry, ratings
from common.stats.elo import elo
from common.stats.length_control import length_controlled
from common.stats.rankings import Comparison, Comparisons, average_win_rate, counting, win_rate, win_rates

ROWS = st.lists(
    st.tuples(
        st.sampled_from("abcd"), st.sampled_from("abcd"), st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.integers(1, 3)
    ).filter(lambda row: row[0] != row[1]),
    max_size=40,
)
EMPTY = Comparisons.of([])


def comparisons(*rows: tuple[str, str, float | None]) -> Comparisons:
    return Comparisons.of(Comparison(*row) for row in rows)


def random_comparisons(n: int, *, seed: int = 3, names: int = 5) -> Comparisons:
    rng = np.random.default_rng(seed)
    pairs = [rng.choice(names, 2, replace=False) for _ in range(n)]
    return Comparisons.of(
        Comparison(
            f"m{left}",
            f"m{right}",
            round(float(rng.random() ** (1 + (left > right))), 3),
            weight=float(rng.integers(1, 4)),
            cluster=f"c{row % 40}",
            length_difference=float(rng.normal() * 100 + left),
        )
        for row, (left, right) in enumerate(pairs)
    )


def test_draws_are_half_a_win_and_null_verdicts_none() -> None:
    """What was not decided counts for nobody and is reported."""
    found = comparisons(("a", "b", 1), ("a", "b", 0.5), ("c", "a", None), ("b", "a", None))
    assert found.names == ("a", "b")
    assert (len(found), found.dropped) == (2, 2)
    assert counting(found) == {"a": 1.5, "b": 0.5}
    assert average_win_rate(found) == {"a": 0.75, "b": 0.25}


def test_weights_count_as_rows() -> None:
    """A row of weight 3 is three rows, in everything but the standard error."""
    weighted = Comparisons.of([Comparison("a", "b", 1, weight=3), Comparison("b", "a", 0.5), Comparison("b", "a", 1)])
    listed = comparisons(("a", "b", 1), ("a", "b", 1), ("a", "b", 1), ("b", "a", 0.5), ("b", "a", 1))
    assert counting(weighted) == counting(listed)
    assert average_win_rate(weighted) == average_win_rate(listed)
    assert bradley_terry(weighted) == bradley_terry(listed)
    assert win_rates(weighted)["a"].mean == pytest.approx(win_rates(listed)["a"].mean)


def test_win_rates_have_the_published_standard_errors() -> None:
    """sqrt(variance / n) with n - 1; by cluster sqrt(Σ (Σ residuals)²) / n; with weights the share of the weights."""
    scores, clusters = [1, 1, 0.5, 0, 0], ["x", "x", "y", "y", "z"]
    plain = win_rate(scores)
    assert (plain.mean, plain.se) == (0.5, pytest.approx(math.sqrt(0.25 / 5)))
    assert win_rate(scores, clusters=clusters).se == pytest.approx(math.sqrt(1 + 0.25 + 0.25) / 5)
    assert win_rate(scores, weights=[2] * 5) == plain
    weighted = win_rate([1, 0], weights=[3, 1])
    assert weighted.mean == 0.75
    assert weighted.se == pytest.approx(math.sqrt(2 * ((3 * 0.25) ** 2 + 0.75**2)) / 4)
    assert win_rate([1, 0], weights=[3, 1], clusters=["x", "y"]).se == pytest.approx(weighted.se / math.sqrt(2))


def test_win_rates_at_the_edges() -> None:
    """Nothing, one comparison, no weight, one cluster, and only ties."""
    assert win_rate([]).mean is None
    assert win_rate([0.5], weights=[0]).mean is None
    one = win_rate([1])
    assert (one.n, one.mean, one.se, one.interval) == (1, 1, None, None)
    assert win_rate([0, 1], weights=[1, 2], clusters=["x", "x"]).se is None
    assert win_rate([0.5, 0.5]).se == 0
    assert win_rates(EMPTY) == counting(EMPTY) == average_win_rate(EMPTY) == elo(EMPTY) == {}


def test_each_contestant_has_its_own_side() -> None:
    """A win rate is over all comparisons a contestant took part in, left or right."""
    found = win_rates(comparisons(("a", "b", 1), ("b", "c", 0.5), ("c", "a", 0)))
    assert {name: (rate.n, rate.mean) for name, rate in found.items()} == {"a": (2, 1), "b": (2, 0.25), "c": (2, 0.25)}


@settings(max_examples=60)
@given(ROWS)
def test_a_fit_expects_as_many_wins_as_there_were(rows: list[tuple[str, str, float, int]]) -> None:
    """At the maximum each contestant's expected wins are its wins; where there is none the reason is given and the groups."""
    given_rows = Comparisons.of(Comparison(left, right, score, float(weight)) for left, right, score, weight in rows)
    found = bradley_terry(given_rows)
    if found.strengths is None:
        assert found.reason == (
            "separated" if rows and connected(given_rows) else "not_connected" if rows else "no_comparisons"
        )
        assert sorted(name for group in found.groups for name in group) == sorted(given_rows.names)
        assert bradley_terry(given_rows, prior=0.1).strengths is not None or not rows
        return
    strength = np.array([found.strengths[name] for name in given_rows.names])
    assert strength.sum() == pytest.approx(1)
    wins = given_rows.wins()
    expected = (wins + wins.T) * strength[:, None] / (strength[:, None] + strength[None, :])
    assert expected.sum(axis=1) == pytest.approx(wins.sum(axis=1), abs=1e-6)


def connected(rows: Comparisons) -> bool:
    seen = {0}
    while True:
        more = {int(b) for a, b in zip(rows.left, rows.right, strict=True) if a in seen} | {
            int(a) for a, b in zip(rows.left, rows.right, strict=True) if b in seen
        }
        if more <= seen:
            return len(seen) == len(rows.names)
        seen |= more


def test_no_finite_maximum_is_said_with_its_groups() -> None:
    """A group that beat all others stands before it; two worlds that never met are told apart."""
    separated = bradley_terry(comparisons(("a", "b", 1), ("b", "c", 1), ("c", "b", 1), ("a", "c", 1)))
    assert (separated.reason, separated.groups) == ("separated", (("a",), ("b", "c")))
    apart = bradley_terry(comparisons(("a", "b", 0.5), ("c", "d", 0.5)))
    assert (apart.reason, apart.groups) == ("not_connected", (("a", "b"), ("c", "d")))
    assert bradley_terry(comparisons(("a", "b", 0.5), ("c", "b", 0.5))).strengths == pytest.approx(dict.fromkeys("abc", 1 / 3))


def test_two_contestants_have_their_odds() -> None:
    """Three wins of four are odds of three to one, 190.8 points on the Elo scale."""
    found = bradley_terry(comparisons(("a", "b", 1), ("a", "b", 1), ("b", "a", 0), ("b", "a", 1)))
    assert found.strengths == pytest.approx({"a": 0.75, "b": 0.25})
    assert found.strengths is not None
    points = ratings(found.strengths)
    assert points["a"] - points["b"] == pytest.approx(400 * math.log10(3))
    assert points["a"] + points["b"] == pytest.approx(2000)
    assert ratings({}) == {}


def test_lopsided_comparisons_still_settle() -> None:
    """One loss in a million, along a chain of ten, is a finite strength."""
    chain = [Comparison(f"m{i}", f"m{i + 1}", score, weight) for i in range(9) for score, weight in ((1.0, 1e6), (0.0, 1.0))]
    found = bradley_terry(Comparisons.of(chain)).strengths
    assert found is not None
    assert found["m0"] / found["m1"] == pytest.approx(1e6, rel=1e-6)


def test_bradley_terry_is_a_logistic_regression() -> None:
    """Weighted preferences give the strengths that statsmodels finds, and with length its coefficient and standard error."""
    rows = random_comparisons(400)
    design = np.zeros((len(rows), len(rows.names)))
    design[np.arange(len(rows)), rows.left] = 1
    design[np.arange(len(rows)), rows.right] -= 1
    covariate = np.tanh(rows.length_difference / np.std(rows.length_difference, ddof=1))
    for columns, found in (
        (design[:, 1:], bradley_terry(rows).strengths),
        (np.column_stack([design[:, 1:], covariate]), length_controlled(rows).strengths),
    ):
        model = sm.GLM(rows.score, columns, family=sm.families.Binomial(), freq_weights=rows.weight).fit(tol=1e-12)
        assert found is not None
        logs = np.log([found[name] for name in rows.names])
        assert logs[1:] - logs[0] == pytest.approx(model.params[: len(rows.names) - 1], abs=1e-7)
    controlled = length_controlled(rows)
    assert (controlled.coefficient, controlled.se) == (
        pytest.approx(model.params[-1], abs=1e-7),
        pytest.approx(model.bse[-1], rel=1e-6),
    )


def test_a_judge_that_likes_length_is_seen_through() -> None:
    """Where only length decides, contestants of unequal length come out about equal once it is controlled for."""
    rng = np.random.default_rng(11)
    rows = []
    for _ in range(2000):
        longer_by = float(rng.normal(80, 100))
        rows.append(
            Comparison("long", "short", float(rng.random() < 1 / (1 + math.exp(-longer_by / 80))), length_difference=longer_by)
        )
    plain, controlled = bradley_terry(Comparisons.of(rows)).strengths, length_controlled(Comparisons.of(rows))
    assert plain is not None
    assert plain["long"] > 0.65
    assert controlled.strengths is not None
    assert controlled.strengths["long"] == pytest.approx(0.5, abs=0.05)
    assert controlled.coefficient is not None
    assert controlled.coefficient > 1


def test_length_that_tells_nothing_or_everything_gives_a_reason() -> None:
    """No lengths, equal lengths, lengths that decide every verdict, and no fit to begin with."""
    bare = [Comparison("a", "b", 1), Comparison("a", "b", 0)]
    assert length_controlled(Comparisons.of(bare)).reason == "lengths_missing"
    equal = [row._replace(length_difference=5) for row in bare]
    assert length_controlled(Comparisons.of(equal)).reason == "equal_lengths"
    telling = [row._replace(length_difference=100.0 if row.score else -100.0) for row in bare]
    assert length_controlled(Comparisons.of(telling)).reason == "separated"
    assert length_controlled(comparisons(("a", "b", 1))).reason == "separated"


def test_bootstrap_intervals_hold_the_estimate_and_repeat() -> None:
    """Seeded, they come out the same; strengths and ratings lie within them; clusters are drawn whole."""
    rows = random_comparisons(400)
    first, again = (bootstrap(rows, rng=np.random.default_rng(1), resamples=100) for _ in range(2))
    assert first == again
    assert first.unfit == 0
    strengths = bradley_terry(rows).strengths
    assert strengths is not None
    assert first.strengths is not None
    assert first.ratings is not None
    points = ratings(strengths)
    for name in rows.names:
        assert first.strengths[name][0] < strengths[name] < first.strengths[name][1]
        assert first.ratings[name][0] < points[name] < first.ratings[name][1]


def test_resamples_that_cannot_be_fitted_are_counted() -> None:
    """With a single loss many resamples have no finite strengths, and a selection of the others is no interval."""
    rows = comparisons(*[("a", "b", 1.0)] * 5, ("a", "b", 0.0))
    found = bootstrap(rows, rng=np.random.default_rng(1), resamples=200)
    assert found.unfit > 10
    assert (found.strengths, found.ratings) == (None, None)
    assert bootstrap(EMPTY, rng=np.random.default_rng(1), resamples=5).unfit == 5


def test_elo_conserves_points_and_survives_extremes() -> None:
    """What one gains the other loses, however far apart they are; ties among equals move nobody."""
    rows = random_comparisons(300)
    assert sum(elo(rows).values()) == pytest.approx(1000 * len(rows.names))
    assert elo(comparisons(("a", "b", 0.5), ("b", "c", 0.5))) == dict.fromkeys("abc", 1000)
    assert elo(comparisons(("a", "b", 1), ("b", "a", 0)), k=1e9)["a"] > 1e8


@pytest.mark.parametrize(
    "row",
    [Comparison("a", "a", 1), Comparison("a", "b", 1.5), Comparison("a", "b", math.nan), Comparison("a", "b", 1, weight=-1)],
)
def test_rows_without_a_meaning_are_refused(row: Comparison) -> None:
    """A contestant against itself, a score outside [0, 1] and a negative weight are mistakes."""
    with pytest.raises(ValueError, match=r"itself|within"):
        Comparisons.of([row])
