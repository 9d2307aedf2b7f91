"""What became of creating requests, by the caller's idempotency key: the same request again creates nothing again.

A key is held while its request is worked on, by a short lease that is renewed meanwhile. The identity of what it creates is
fixed when it is first held: whoever comes after a crash makes the same object, or finds that it is there.
"""

from __future__ import annotations

import hashlib
import secrets
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import TYPE_CHECKING

from common.errors import Conflict, InProgress, StoreUnavailable
from common.store import keys
from common.store.connect import script, store_errors
from common.store.paging import tick

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

KEPT_S = 24 * 3600
_RENEWALS = 5  # within a lease: a few may fail
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a new object is: when it was made (unix microseconds, unique), and what makes its id unguessable."""

    tick_us: int
    suffix: str

    @classmethod
    def new(cls, client: redis.Redis) -> Identity:
        """One of its own. One trip."""
        return cls(tick(client), secrets.token_hex(8))

    def id(self, prefix: str) -> str:
        """E.g. ``run_00064b9f…``."""
        return keys.identifier(prefix, self.tick_us, self.suffix)

    @property
    def created_at(self) -> int:
        """Unix seconds."""
        return self.tick_us // _MICRO


@dataclass(frozen=True, slots=True)
class HeldKey:
    """The caller is to create ``identity``, unless it is there already: it may be when ``again``."""

    identity: Identity
    again: bool
    token: str
    record: str


@dataclass(frozen=True, slots=True)
class KnownAnswer:
    """What the first request was answered."""

    status: int
    body: bytes


class IdempotencyStore:
    """Idempotency keys of all projects. Who dies keeps a key busy for up to ``lease_s``."""

    def __init__(self, client: redis.Redis, *, lease_s: float = 5.0) -> None:
        self._client = client
        self._lease_s = lease_s
        self._renew = client.register_script(script("common.store", "renew_key.lua"))
        self._claim = client.register_script(script("common.store", "claim_key.lua"))
        self._settle = client.register_script(script("common.store", "settle_key.lua"))

    def claim(self, key: str, *, scope: str, fingerprint: str) -> HeldKey | KnownAnswer:
        """Hold `key`, or learn what became of it. Two trips.

        Args:
            scope: Project, method and path: keys are the caller's own, and mean nothing elsewhere.
            fingerprint: Of the request's content.

        Raises:
            Conflict: the key was used for another request.
            InProgress: somebody is working on it right now.
        """
        record = keys.idempotency(hashlib.sha256(f"{scope}\n{key}".encode()).hexdigest())
        mine, token = Identity.new(self._client), secrets.token_hex(8)
        with store_errors():
            found = self._claim(keys=[record], args=[fingerprint, token, self._lease_ms, KEPT_S, mine.tick_us, mine.suffix])
        match found[0]:
            case b"conflict":
                raise Conflict("this Idempotency-Key was used for another request; take a new one")
            case b"busy":
                raise InProgress(
                    "a request with this Idempotency-Key is being worked on; ask again", retry_after_s=int(found[1]) / 1000
                )
            case b"done":
                return KnownAnswer(int(found[1]), found[2])
        identity = Identity(int(found[1]), found[2].decode())
        return HeldKey(identity, again=bool(found[3]), token=token, record=record)

    @contextmanager
    def renewing(self, held: HeldKey) -> Iterator[None]:
        """Keep the key held within the block, however long it takes: a thread renews the lease, one trip each time."""
        over = Event()
        thread = Thread(target=self._keep, args=(held, over), name="idempotency-key", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _keep(self, held: HeldKey, over: Event) -> None:
        while not over.wait(self._lease_s / _RENEWALS):
            with suppress(StoreUnavailable), store_errors():
                self._renew(keys=[held.record], args=[held.token, self._lease_ms])

    @property
    def _lease_ms(self) -> int:
        return int(self._lease_s * 1000)

    def settle(self, held: HeldKey, answer: KnownAnswer) -> None:
        """Note the answer for `KEPT_S`. One trip."""
        with store_errors():
            self._settle(keys=[held.record], args=[held.token, str(answer.status), answer.body, 0])

    def release(self, held: HeldKey, *, forget: bool) -> None:
        """Let go of a key whose request failed. One trip.

        Args:
            forget: It was refused and has created nothing: the key stands for whatever it is used for next. Otherwise it stands
                for the same request, which finds what there may be of it.
        """
        with store_errors():
            self._settle(keys=[held.record], args=[held.token, "", b"", int(forget)])
