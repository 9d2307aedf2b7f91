"""Events that the broker could not deliver: recorded per run, bounded, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from common.errors import NotFound
from common.store import keys
from common.store.connect import script, store_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis

KEPT = 1000


class DeadLetterStore:
    """Dead letters of runs, and of no run that is known."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._append = client.register_script(script("common.store", "dead_letter.lua"))
        self._redrive = client.register_script(script("common.store", "redrive.lua"))

    def append(
        self, letter: dict[str, Any], *, run_id: str | None = None, items: Sequence[int] = (), lease: str = "", code: str = ""
    ) -> bool:
        """Record a letter and let the leases of its items expire now. False when there is no such run. One trip.

        Args:
            lease: What the event had its items by; one that has been overtaken hurries nothing.
            code: Why it could not be delivered, kept with the items.
        """
        body = orjson.dumps(letter)
        with store_errors():
            if run_id is not None:
                parts = [keys.run(run_id, part) for part in ("state", "dead", "leases", "attempts")]
                return bool(self._append(keys=parts, args=[KEPT, body, lease, code, *items]))
            pipe = self._client.pipeline(transaction=True)
            pipe.lpush(keys.DEAD_LETTERS, body)
            pipe.ltrim(keys.DEAD_LETTERS, 0, KEPT - 1)
            pipe.execute()
            return True

    def redrive(self, run_id: str, letters: Sequence[dict[str, Any]], items: Sequence[int], *, now: int) -> list[int]:
        """Let the leases of `items` expire now, give each all its attempts back, and note it in `letters`. One trip.

        Returns:
            Those of the items that are under way and therefore due now.

        Raises:
            NotFound: no such run.
        """
        parts = [keys.run(run_id, part) for part in ("state", "dead", "leases", "attempts")]
        noted = [orjson.dumps(each) for letter in letters for each in (letter, {**letter, "redriven_at": now})]
        with store_errors():
            due: Any = self._redrive(keys=parts, args=[len(letters), *noted, *items])
        if isinstance(due, int):
            raise NotFound(f"no such run: {run_id}")
        return [int(item) for item in due]

    def list(self, run_id: str | None = None, *, limit: int = 100) -> list[dict[str, Any]]:
        """The newest letters of a run, or of no known run. One trip."""
        name = keys.DEAD_LETTERS if run_id is None else keys.run(run_id, "dead")
        with store_errors():
            return [orjson.loads(raw) for raw in self._client.lrange(name, 0, limit - 1)]
