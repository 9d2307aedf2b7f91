"""One HTTP service as the command line sees it: timeouts, bounded retries, bounded answers, errors in one line.

Nothing that a server answers is trusted: redirects are not followed (the key would travel with them), answers have a size
limit, and its texts reach the terminal only through `cli.text.plain`.
"""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from itertools import count
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from cli.errors import CannotRun
from cli.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    import httpx

MIB = 1024 * 1024
_NOT_DONE = frozenset({429, 503})  # the server says that it did nothing: any request may be sent again
_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


class Failed(CannotRun):
    """A request that failed. ``again``: sending it once more may help; ``retry_after``: the server's header, or ""."""

    def __init__(self, message: str, *, again: bool = False, retry_after: str = "") -> None:
        super().__init__(message)
        self.again = again
        self.retry_after = retry_after


class Unreachable(Failed):
    """No answer from the server at all."""


class Refused(Failed):
    """An answer other than 2xx; ``status`` is its HTTP status."""

    def __init__(self, message: str, *, status: int, again: bool = False, retry_after: str = "") -> None:
        super().__init__(message, again=again, retry_after=retry_after)
        self.status = status


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often to try. Waits are full-jitter, doubling from ``base_s`` up to ``cap_s``.

    A server's ``Retry-After`` is obeyed up to ``longest_wait_s``; beyond it, the request has failed.
    """

    timeout_s: float = 30.0
    attempts: int = 6
    base_s: float = 0.5
    cap_s: float = 20.0
    longest_wait_s: float = 120.0
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random
    now: Callable[[], float] = time.time

    def wait_s(self, attempt: int, retry_after: str) -> float | None:
        """Seconds to wait after `attempt` (from 1); None when it was the last or the server wants too long."""
        if attempt >= self.attempts:
            return None
        asked_s = _retry_after_s(retry_after, now=self.now()) if retry_after else None
        if asked_s is None:
            return self.jitter() * min(self.cap_s, math.ldexp(self.base_s, attempt - 1))
        return asked_s if asked_s <= self.longest_wait_s else None


def _retry_after_s(value: str, *, now: float) -> float | None:
    """Seconds of a ``Retry-After`` header in either form (RFC 9110, section 10.2.3); None if it is neither."""
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        moment_s: float = parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
    return max(0.0, moment_s - now)


@dataclass(slots=True)
class Api:
    """A base URL with a key. Close it, or use it in a ``with``."""

    base_url: str
    key: str | None = field(default=None, repr=False)
    patience: Patience = Patience()
    max_answer_bytes: int = 256 * MIB
    _client: httpx.Client | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        self.base_url = self.base_url.rstrip("/")
        if not self.base_url.startswith(("http://", "https://")):
            raise CannotRun(f"expected a URL that starts with http:// or https://, got {plain(self.base_url)!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def get(self, path: str, **query: str | int | None) -> Any:
        """The JSON at `path`. Tried again on any transient failure."""
        return self._json("GET", path, repeatable=True, params=_given(query))

    def post(self, path: str, body: Any, *, repeatable: bool = False, once: str | None = None) -> Any:
        """Post JSON; the JSON answer. `repeatable` says that sending it twice does no harm.

        Args:
            once: An idempotency key: the server does a thing once for it, however often it is sent.
        """
        import orjson

        headers = {"Content-Type": "application/json", **({"Idempotency-Key": once} if once else {})}
        return self._json("POST", path, repeatable=repeatable or once is not None, content=orjson.dumps(body), headers=headers)

    def delete(self, path: str) -> Any:
        """Delete what is at `path`; the JSON answer."""
        return self._json("DELETE", path, repeatable=True)

    def upload(self, path: str, *, name: str, file: BinaryIO, fields: dict[str, str]) -> Any:
        """Post a multipart form with one file, streamed from disk; the JSON answer."""
        return self._json(
            "POST", path, files={"file": (name, file, "application/jsonl")}, data=fields, rewind=file, repeatable=False
        )

    def stream(self, path: str, **query: str | int | None) -> Iterator[bytes]:
        """The body at `path`, piece by piece, whatever its type. Not tried again: what was yielded is gone."""
        import httpx

        try:
            with self._http().stream("GET", self.base_url + path, params=_given(query)) as answer:
                if not answer.is_success:
                    raise _refusal("GET", path, answer=answer, content=_bounded(answer, limit=MIB))
                yield from answer.iter_bytes()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def _http(self) -> httpx.Client:
        import httpx

        if self._client is None:
            headers = {"User-Agent": "knudge", "Accept": "application/json"}
            if self.key:
                headers["Authorization"] = f"Bearer {self.key}"
            timeout = httpx.Timeout(self.patience.timeout_s, connect=min(5.0, self.patience.timeout_s))
            self._client = httpx.Client(headers=headers, timeout=timeout, follow_redirects=False)
        return self._client

    def _json(self, method: str, path: str, *, repeatable: bool, rewind: BinaryIO | None = None, **request: Any) -> Any:
        for attempt in count(1):
            if rewind is not None:
                rewind.seek(0)
            try:
                return _parsed(self._exchange(method, path, repeatable=repeatable, request=request))
            except ValueError as error:
                raise CannotRun(f"{method} {path}: {plain(self.base_url)} answered with something other than JSON") from error
            except Failed as failure:
                wait_s = self.patience.wait_s(attempt, failure.retry_after) if failure.again else None
                if wait_s is None:
                    raise
            self.patience.sleep(wait_s)
        raise AssertionError  # the loop has no end

    def _exchange(self, method: str, path: str, *, repeatable: bool, request: dict[str, Any]) -> bytes:
        """One request and its whole answer. Raises `Failed`."""
        import httpx

        try:
            with self._http().stream(method, self.base_url + path, **request) as answer:
                content = _bounded(answer, limit=self.max_answer_bytes)
        except httpx.HTTPError as error:
            raise self._unreachable(error, again=repeatable) from error
        if answer.is_success:
            return content
        again = answer.status_code in (_TRANSIENT if repeatable else _NOT_DONE)
        raise _refusal(method, path, answer=answer, content=content, again=again)

    def _unreachable(self, error: httpx.HTTPError, *, again: bool = False) -> Unreachable:
        reason = plain(error, limit=120) or type(error).__name__
        return Unreachable(f"cannot reach {plain(self.base_url)}: {reason}", again=again)


def _given(query: dict[str, str | int | None]) -> dict[str, str | int]:
    return {name: value for name, value in query.items() if value is not None}


def _parsed(content: bytes) -> Any:
    """JSON. Halves of surrogate pairs, which cut-off model output has and JSON allows, become question marks."""
    import json

    import orjson

    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        whole = json.dumps(json.loads(content), ensure_ascii=False)
        return orjson.loads(whole.encode("utf-8", "replace"))


def _bounded(answer: httpx.Response, *, limit: int) -> bytes:
    content = bytearray()
    for piece in answer.iter_bytes():
        content += piece
        if len(content) > limit:
            raise CannotRun(f"the answer is larger than {limit // MIB} MiB; nothing of it was used")
    return bytes(content)


def _refusal(method: str, path: str, *, answer: httpx.Response, content: bytes, again: bool = False) -> Refused:
    text = f"{method} {plain(path)}: {answer.status_code} {_message(content)}".rstrip()
    return Refused(text, status=answer.status_code, again=again, retry_after=answer.headers.get("Retry-After", ""))


def _message(content: bytes) -> str:
    """The reason in an error body: OpenAI's ``{"error": {...}}`` or RFC 9457 problem details; "" if it is neither."""
    import orjson

    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return ""
    if not isinstance(body, dict):
        return ""
    error = body.get("error")
    parts = [error.get("message"), error.get("param")] if isinstance(error, dict) else [body.get("detail") or body.get("title")]
    return plain(" · ".join(str(part) for part in [*parts, body.get("pointer")] if part))
