"""``Idempotency-Key`` on requests that create: sent again, they get the first answer and create nothing more.

Source: draft-ietf-httpapi-idempotency-key-header-07, section 2, https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.edge.http import Request, Response, json_response
from common.errors import InvalidInput, KnudgeError, NotFound
from common.store.idempotency import HeldKey, Identity, KnownAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel

    from common.store.idempotency import IdempotencyStore

HEADER = "idempotency-key"
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_REPLAYED = {"idempotency-replayed": "true"}


@dataclass(frozen=True, slots=True)
class Once:
    """Creates an object once for each idempotency key, however often and from however many places it is asked for."""

    keys: IdempotencyStore

    def __call__(
        self,
        request: Request,
        *,
        make: Callable[[Identity | None], BaseModel],
        find: Callable[[Identity], BaseModel],
        status: int = 201,
    ) -> Response:
        """The answer to a request that creates.

        Args:
            make: Creates the object; it gets the identity that the object must have, None where any will do.
            find: The object of that identity. Raises `NotFound`.

        Raises:
            InvalidInput: the header is no key.
            Conflict: the key was used for another request.
            InProgress: somebody is working on it.
        """
        key = request.headers.get(HEADER)
        if key is None:
            return json_response(make(None), status)
        if not _KEY.fullmatch(key):
            raise InvalidInput("Idempotency-Key: expected 1 to 255 visible ASCII characters")
        scope = f"{request.caller.project}\n{request.method}\n{request.path}"
        held = self.keys.claim(key, scope=scope, fingerprint=_fingerprint(request))
        if isinstance(held, KnownAnswer):
            return Response(held.status, held.body, headers=_REPLAYED)
        try:
            with self.keys.renewing(held):
                answer = json_response(_found_or_made(held, make, find), status)
        except BaseException as error:
            self.keys.release(held, forget=isinstance(error, KnudgeError) and not error.retryable)
            raise
        assert isinstance(answer.body, bytes)  # noqa: S101  # JSON is never streamed
        self.keys.settle(held, KnownAnswer(status, answer.body))
        return answer


def _found_or_made(
    held: HeldKey, make: Callable[[Identity | None], BaseModel], find: Callable[[Identity], BaseModel]
) -> BaseModel:
    if held.again:
        with suppress(NotFound):
            return find(held.identity)
    return make(held.identity)


def _fingerprint(request: Request) -> str:
    """Of the body; of an upload, which is read only once, what is said about it beforehand."""
    if request.body:
        return hashlib.sha256(request.body).hexdigest()
    return "length " + request.headers.get("content-length", "unknown")
