"""Pages of a run's items, found without reading all of its bitmap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.schemas.runs import RunPlan
from common.store import keys
from common.store.results import ResultStore, pages_in

if TYPE_CHECKING:
    import redis


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bits=st.sets(st.integers(0, 70_000), max_size=40),
    after=st.none() | st.integers(-1, 70_100),
    limit=st.integers(1, 50),
    descending=st.booleans(),
)
def test_positions_are_those_of_the_whole_bitmap(
    client: redis.Redis, *, bits: set[int], after: int | None, limit: int, descending: bool
) -> None:
    """Reading a bitmap stretch by stretch from a cursor finds what reading all of it finds."""
    plan = RunPlan.model_construct(run_id="run_1", item_count=70_001, canary_count=0, seed=None, graders=[])
    bitmap = bytearray(70_008 // 8)
    for bit in bits:
        bitmap[bit >> 3] |= 0x80 >> (bit & 7)
    client.set(keys.run("run_1", "done"), bytes(bitmap))
    ordered = sorted(bits, reverse=descending)
    beyond = [bit for bit in ordered if after is None or (bit < after if descending else bit > after)]
    assert ResultStore(client).positions(plan, after=after, limit=limit, descending=descending) == beyond[:limit]
    if not descending:
        assert [bit for page in pages_in(bytes(bitmap), after=after, limit=limit) for bit in page] == beyond
