"""Who may call: API keys, looked up rarely, and no help for other sites' pages."""

from __future__ import annotations

import base64
import contextlib
import inspect
from typing import TYPE_CHECKING, Any, cast

from common.errors import Forbidden, Unauthenticated
from common.security.keys import hash_key, is_plausible

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Awaitable, Callable, Mapping

    from common.schemas.caller import Caller

_KEPT_S = 10.0
_MAX_KEPT = 1024
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Keys:
    """Callers by API key. A right key is remembered for 10 s, so a revoked one works at most that much longer."""

    def __init__(self, authenticate: Callable[[str], Any], *, clock: Callable[[], float]) -> None:
        self._authenticate = authenticate
        self._clock = clock
        self._known: dict[str, tuple[float, Caller]] = {}  # by the key's hash
        self._asked: dict[str, Future[Caller | None]] = {}  # the same, while they are looked up

    async def caller(self, method: str, headers: Mapping[str, str]) -> Caller:
        """The caller of a request.

        Raises:
            Unauthenticated: no key, or a wrong one.
            StoreUnavailable: keys cannot be looked up.
        """
        token = _token(method, headers.get("authorization", ""))
        if not token:
            msg = "an API key is needed: Authorization: Bearer kn-..."
            raise Unauthenticated(msg)
        digest = hash_key(token)
        known = self._known.get(digest)
        if known is not None and self._clock() < known[0]:
            return known[1]
        caller = await self._look_up(digest, token) if is_plausible(token) else None
        if caller is None:
            msg = "this API key is not known"
            raise Unauthenticated(msg)
        self._remember(digest, caller)
        return caller

    async def _look_up(self, digest: str, token: str) -> Caller | None:
        """In async functions one look-up for all requests of the moment: a thousand at once would each open a connection."""
        if digest not in self._asked:
            found = self._authenticate(token)
            if not inspect.isawaitable(found):
                return cast("Caller | None", found)
            self._ask(digest, found)
        from asyncio import shield

        return await shield(self._asked[digest])

    def _ask(self, digest: str, found: Awaitable[Caller | None]) -> None:
        from asyncio import ensure_future

        def answered(done: Future[Caller | None]) -> None:
            del self._asked[digest]
            _ = done.cancelled() or done.exception()  # also when everybody who waited has gone

        self._asked[digest] = ensure_future(found)
        self._asked[digest].add_done_callback(answered)

    def _remember(self, digest: str, caller: Caller) -> None:
        if len(self._known) >= _MAX_KEPT:
            self._known.clear()
        self._known[digest] = (self._clock() + _KEPT_S, caller)


def _token(method: str, authorization: str) -> str:
    """The API key in an Authorization header.

    A browser can send it only as the password of HTTP Basic (RFC 7617), and then sends it with whatever another site's page
    makes it ask for; so that is enough for reading, such as opening a report, and for nothing else.
    """
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return credentials.strip()
    if scheme.lower() == "basic" and method in _SAFE_METHODS:
        with contextlib.suppress(ValueError):
            return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    return ""


def refuse_other_sites(method: str, headers: Mapping[str, str]) -> None:
    """Without keys, a page from elsewhere must not act through the user's browser.

    Raises:
        Forbidden: a browser says that another site sends this (https://www.w3.org/TR/fetch-metadata/).
    """
    if method not in _SAFE_METHODS and headers.get("sec-fetch-site") == "cross-site":
        msg = "requests from other sites' pages are refused while authentication is off"
        raise Forbidden(msg)
