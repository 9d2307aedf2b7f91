"""Is the store there? Asked in its own protocol: importing its client takes most of what a cold start adds to the framework's.

Source: the Redis serialization protocol, https://redis.io/docs/latest/develop/reference/protocol-spec/, simple strings and
arrays; ``AUTH``, ``SELECT`` and ``PING`` answer a simple string, ``+…``, unless they fail.
"""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote, urlsplit

from common.errors import StoreUnavailable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator, Sequence

_PORT = 6379


def is_plain(url: str) -> bool:
    """Whether `url` is one server over TCP, with or without TLS, and has no options: these only the client understands."""
    parts = urlsplit(url)
    return parts.scheme in {"redis", "rediss"} and not parts.query


async def ping(url: str, *, timeout_s: float) -> None:
    """One connection to the plain `url`, one trip. Raises `StoreUnavailable`: away, too slow, or it refuses."""
    import asyncio

    where = urlsplit(url)
    commands = _commands(where)
    with _translated():
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(*_address(where), ssl=_tls(where))
            try:
                writer.writelines(commands)
                answers = [await reader.readline() for _ in commands]
            finally:
                writer.close()
    _check(answers)


def ping_blocking(url: str, *, timeout_s: float) -> None:
    """As `ping`, for who has no loop; ``timeout_s`` is for each step."""
    where = urlsplit(url)
    commands = _commands(where)
    with _translated(), socket.create_connection(_address(where), timeout=timeout_s) as plain:
        tls = _tls(where)
        with tls.wrap_socket(plain, server_hostname=where.hostname) if tls else plain as connection:
            connection.sendall(b"".join(commands))
            with connection.makefile("rb") as lines:
                answers = [lines.readline() for _ in commands]
    _check(answers)


def _address(where: SplitResult) -> tuple[str, int]:
    return where.hostname or "localhost", where.port or _PORT


def _tls(where: SplitResult) -> ssl.SSLContext | None:
    if where.scheme != "rediss":
        return None
    import ssl

    return ssl.create_default_context()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:  # a TimeoutError is one
        msg = "the store is unavailable"
        raise StoreUnavailable(msg, retry_after_s=1.0) from error


def _check(answers: Sequence[bytes]) -> None:
    if not all(answer.startswith(b"+") for answer in answers):
        msg = "the store refuses"
        raise StoreUnavailable(msg, retry_after_s=1.0)


def _commands(where: SplitResult) -> list[bytes]:
    """What the client would say first, and the question."""
    commands = [["PING"]]
    if database := where.path.strip("/"):
        commands.insert(0, ["SELECT", database])
    if where.password:
        named = [unquote(where.username)] if where.username else []
        commands.insert(0, ["AUTH", *named, unquote(where.password)])
    return [_packed(words) for words in commands]


def _packed(words: list[str]) -> bytes:
    encoded = [word.encode() for word in words]
    return b"".join([b"*%d\r\n" % len(encoded), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)])
