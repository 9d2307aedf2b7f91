from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import redis
from hypothesis import given, settings
from hypothesis import strategies as st

from common.edge.http import Request
from common.errors import InvalidInput, Overloaded
from common.schemas.evaluation import Ballot
from common.store.results import ResultStore
from common.store.runs import RunStore
from functions.aggregate.records import Records
from functions.aggregate.statistics.ballots import both_orders
from functions.aggregate.statistics.routes import Statistics

if TYPE_CHECKING:
    from collections.abc import Callable

    from common.edge.http import Response

JUNK = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["left", "a", "unit", "x"]), inner, max_size=3),
    max_leaves=5,
)
RANKING_ROWS = st.lists(
    st.fixed_dictionaries(
        {"left": st.sampled_from(["a", "b", "c"]), "right": st.sampled_from(["x", "y", "a"])},
        optional={
            "winner": st.sampled_from(["left", "right", "tie", None]),
            "score": st.floats(0, 1) | st.none(),
            "weight": st.floats(0, 1e9),
            "cluster": st.integers(0, 3),
            "left_length": st.floats(0, 1e6),
            "right_length": st.floats(0, 1e6),
        },
    )
    | JUNK,
    max_size=12,
)
VALUES = st.sampled_from([0, 1, 2.5, -3, 1e15, "yes", True, None]) | JUNK
AGREEMENT_ROWS = st.lists(st.fixed_dictionaries({"a": VALUES, "b": VALUES}) | JUNK, max_size=12) | st.lists(
    st.fixed_dictionaries({"unit": st.integers(0, 3), "observer": st.integers(0, 2), "value": VALUES}) | JUNK, max_size=12
)


def post(path: str, rows: Any, *, length: str | None = None) -> Request:
    body = orjson.dumps({"rows": rows})
    headers = {"content-type": "application/json", "content-length": str(len(body)) if length is None else length}
    query = {"resamples": "5", "covariate": "length"} if path == "/rankings" else {}
    return Request("POST", path, {}, query, headers, b"", "id", "trace", 0.0, chunks=iter([body]))


def answered(handler: Callable[[Request], Response], request: Request) -> Any:
    """The answer; None where a row is to blame, and was named."""
    try:
        body = handler(request).body
    except InvalidInput as error:
        if error.pointer and error.pointer.startswith("/rows/"):
            return None
        raise
    assert isinstance(body, bytes)
    return orjson.loads(body)


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    """Over a store that nobody asks: rows are handed in."""
    client = redis.Redis()
    return Statistics(Records(RunStore(client), ResultStore(client), public_url=""))


@settings(max_examples=150)
@given(RANKING_ROWS)
def test_any_comparisons_get_an_answer_or_a_reason(statistics: Statistics, rows: list[Any]) -> None:
    """Whatever the rows are, they are ranked without a figure that is no number, or the wrong one is named."""
    answer = answered(statistics.rankings, post("/rankings", rows))
    if answer is None:
        return
    assert answer["n"] + sum(answer["dropped"].values()) == answer["rows"] == len(rows)
    assert (answer["bradley_terry"]["reason"] is None) == bool(
        answer["contestants"] and answer["contestants"][0]["bradley_terry"]
    )


@settings(max_examples=150)
@given(AGREEMENT_ROWS)
def test_any_ratings_get_an_answer_or_a_reason(statistics: Statistics, rows: list[Any]) -> None:
    """The same for pairs of values and for lists of ratings."""
    answer = answered(statistics.agreement, post("/agreement", rows))
    if answer is None:
        return
    assert answer["n"] + sum(answer["dropped"].values()) == answer["rows"] == len(rows)


def test_one_large_body_at_a_time(statistics: Statistics) -> None:
    """While a large body is worked on another one is refused, also one that does not say its length; small ones pass."""
    busy = Statistics(statistics.records, large=threading.BoundedSemaphore(1))
    assert busy.large.acquire(blocking=False)
    for length in ("2000000", ""):
        with pytest.raises(Overloaded):
            busy.rankings(post("/rankings", [], length=length))
    assert busy.rankings(post("/rankings", [])).status == 200
    busy.large.release()
    assert busy.rankings(post("/rankings", [], length="2000000")).status == 200
    assert busy.rankings(post("/rankings", [], length="")).status == 200


def test_ballots_are_paired_in_their_order() -> None:
    """The k-th ballot one way belongs to the k-th the other way; an abstention takes its partner with it."""
    scores = [("ab", 1.0), ("ba", 0.0), ("ab", None), ("ba", 1.0), ("ab", 0.5), (None, 1.0), ("ba", 0.5), ("ab", 1.0)]
    ballots = [Ballot(judge="m", score=score, order=order) for order, score in scores]  # type: ignore[arg-type]
    assert both_orders(ballots) == [(1.0, 0.0), (0.5, 0.5)]


def test_counting_results_needs_no_numpy() -> None:
    """What folds events and lists routes is imported without it, so that a pod starts quickly."""
    program = "import sys, functions.aggregate.handler, functions.aggregate.counting.fold; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
