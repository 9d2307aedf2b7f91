"""Score vectors: what each grader said of every item, as one string a grader, for statistics over whole runs.

``fold.lua`` writes them as it counts, so an item's score is there exactly when its bit in `ResultStore.finished` is set.
Items stand at their positions; `RunPlan.arrangement` says which line of the data that is (``place``), and where a line stands
(``position``): runs over the same data are compared by line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from common.store import keys
from common.store.connect import store_errors

if TYPE_CHECKING:
    import redis

    from common.schemas.runs import RunPlan

# A string has at most 512 MiB unless the server is told otherwise (https://valkey.io/topics/strings/): 67,108,864 scores, of
# which canaries get what is left over.
MAX_ITEMS = 67_000_000


class ScoreStore:
    """Reads score vectors. A million items are 8 MB a grader."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def scores(self, plan: RunPlan, grader: int) -> bytes:
        """Little-endian float64 at offset ``8 * position``, as long as the last folded item needs. One trip.

        NaN: unscored, or a canary. Positions that are not folded yet are gaps of zeros: `ResultStore.finished` tells them from
        scores. Empty for a run that was folded before score vectors were kept.
        """
        return self._get(keys.run_scores(plan.run_id, grader))

    def beginning(self, plan: RunPlan, grader: int) -> bytes:
        """As `scores`, up to the first position that is not folded yet. Two trips.

        Canaries are among the positions, NaN as unscored items are.
        """
        with store_errors():
            count = min(plan.position_count, int(self._client.bitpos(keys.run(plan.run_id, "done"), 0)))
            if not count:
                return b""
            return cast("bytes", self._client.getrange(keys.run_scores(plan.run_id, grader), 0, 8 * count - 1))

    def passed(self, plan: RunPlan, grader: int) -> bytes:
        """Bitmap (item 0 is the first byte's highest bit) of the items that a grader passed. One trip."""
        return self._get(keys.run_passed(plan.run_id, grader))

    def _get(self, key: str) -> bytes:
        with store_errors():
            return cast("bytes | None", self._client.get(key)) or b""
