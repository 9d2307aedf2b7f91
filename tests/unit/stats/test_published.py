"""The statistics on recorded data, against figures that others published or computed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import krippendorff
import numpy as np
import pytest

from common.stats.agreement import Metric, krippendorff_alpha
from common.stats.bradley_terry import bradley_terry
from common.stats.correlation import kendall_tau_b, pearson, spearman
from common.stats.elo import elo
from common.stats.rankings import Comparison, Comparisons, average_win_rate, counting

if TYPE_CHECKING:
    from pathlib import Path

SCORES = {"left": 1.0, "tie": 0.5, "right": 0.0}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def expected(folder: Path) -> Any:
    return json.loads((folder / "expected.json").read_text(encoding="utf-8"))


def test_rankings_of_foods_are_the_published_ones(shared: Path) -> None:
    """Counting, average win rate, Bradley-Terry and Elo over 30 comparisons, in the file's order."""
    folder = shared / "data" / "llmfao"
    rows = Comparisons.of(Comparison(row["left"], row["right"], SCORES[row["winner"]]) for row in lines(folder / "food.jsonl"))
    golden = expected(folder)["golden"]
    assert counting(rows) == pytest.approx(golden["counting"], rel=1e-12)
    assert average_win_rate(rows) == pytest.approx(golden["average_win_rate"], rel=1e-12)
    assert bradley_terry(rows).strengths == pytest.approx(golden["bradley_terry"], rel=1e-6)
    assert elo(rows) == pytest.approx(golden["elo"], rel=1e-12)


def test_correlations_with_people_are_the_published_ones(shared: Path) -> None:
    """A learnt judge against human ratings of 1,181 dialogue answers, to six digits."""
    folder = shared / "data" / "unieval"
    rows = lines(folder / "sfres.jsonl")
    for dimension, figures in expected(folder)["sfres"].items():
        human, judge = ([row[side][dimension] for row in rows] for side in ("human", "judge"))
        found = {"pearson": pearson, "spearman": spearman, "kendall_tau_b": kendall_tau_b}
        assert {name: method(human, judge).value for name, method in found.items()} == pytest.approx(figures, abs=5e-7)


def test_alpha_of_krippendorffs_example(shared: Path) -> None:
    """Four observers, twelve units, values missing: alpha as printed in 2011, by all four metrics."""
    folder = shared / "data" / "reliability"
    ratings = np.full((4, 12), np.nan)
    for row in lines(folder / "krippendorff2011.jsonl"):
        ratings[row["observer"], row["unit"]] = row["value"]
    figures: dict[Metric, float] = expected(folder)["alpha"]
    for metric, alpha in figures.items():
        assert krippendorff_alpha(ratings, metric=metric).value == pytest.approx(alpha, abs=5e-4)


def test_alpha_between_samples_of_a_judge(shared: Path) -> None:
    """Three samples of GPT-4 on each of 120 items agree as an independent library says."""
    (path,) = (shared / "data" / "prometheus").glob("*.jsonl")
    ratings = np.array([[np.nan if score is None else score for score in row["gpt4_score"]] for row in lines(path)]).T
    metrics: list[Metric] = ["nominal", "interval", "ordinal"]
    for metric in metrics:
        wanted = krippendorff.alpha(reliability_data=ratings.astype(float), level_of_measurement=metric)
        assert krippendorff_alpha(ratings, metric=metric).value == pytest.approx(wanted, abs=1e-9)
