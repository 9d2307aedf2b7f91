"""The data and the samples of the bench of large runs."""

from __future__ import annotations

import orjson
import pytest

from bench.scale.meter import Meter
from bench.scale.system import line


def test_every_third_answer_is_wrong() -> None:
    """The generated rows are JSON, and their answers are right but for every third."""
    rows = [orjson.loads(line(number)) for number in range(30)]
    right = [row["item"]["expected"] == row["sample"]["output_text"] for row in rows]
    assert right == [number % 3 != 0 for number in range(30)]


@pytest.mark.parametrize(("samples", "growth"), [([1.0] * 4 + [2.0] * 12, 0.0), ([float(n) for n in range(16)], 8.0)])
def test_warming_up_is_no_growth(samples: list[float], growth: float) -> None:
    """Memory that is taken within the first quarter of a run is not counted as growth, what comes later is."""
    assert Meter({}, rss={"evaluate": samples}).rss_growth() == {"evaluate": growth}
