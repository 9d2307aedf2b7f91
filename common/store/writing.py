"""Whether the store takes writes: one that answers may still refuse them, as a replica does, or a server that is full."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from common.store import keys
from common.store.connect import store_errors

if TYPE_CHECKING:
    import redis

_KEPT_MS = 1000


def write_refusal(client: redis.Redis) -> str | None:
    """Why a write is refused right now, in words; None when it is taken. One trip, and a key that lapses within a second.

    In a cluster this tells of the one primary that has the key.

    Raises:
        StoreUnavailable: the server is away.
    """
    with store_errors():
        try:
            client.set(keys.PROBE, b"", px=_KEPT_MS)
        except ReadOnlyError:
            return "it is read-only, as a replica is"
        except OutOfMemoryError:
            return "its memory is full"
        except ResponseError:
            return "its own log says why"
    return None
