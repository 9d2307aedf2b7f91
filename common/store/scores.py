"""Score vectors: what each grader said of every item, as one string a grader, for statistics over whole runs.

``fold.lua`` writes them as it counts, so an item's score is there exactly when its bit in `ResultStore.finished` is set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from common.store import keys
from common.store.connect import store_errors

if TYPE_CHECKING:
    import redis

    from common.schemas.runs import RunPlan


class ScoreStore:
    """Reads score vectors. A million items are 8 MB a grader."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def scores(self, plan: RunPlan, grader: int) -> bytes:
        """Little-endian float64 at offset ``8 * item``, NaN: unscored; as long as the last folded item needs. One trip.

        Items that are not folded yet are gaps of zeros: `ResultStore.finished` tells them from scores. Empty for a run that
        was folded before score vectors were kept.
        """
        return self._get(keys.run_scores(plan.run_id, grader))

    def passed(self, plan: RunPlan, grader: int) -> bytes:
        """Bitmap (item 0 is the first byte's highest bit) of the items that a grader passed. One trip."""
        return self._get(keys.run_passed(plan.run_id, grader))

    def _get(self, key: str) -> bytes:
        with store_errors():
            return cast("bytes | None", self._client.get(key)) or b""
