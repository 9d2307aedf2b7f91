"""Is the store there? Asked in its own protocol: importing its client takes most of what a cold start adds to the framework's.

Source: the Redis serialization protocol, https://redis.io/docs/latest/develop/reference/protocol-spec/, simple strings and
arrays; ``AUTH``, ``SELECT`` and ``PING`` answer a simple string, ``+…``, unless they fail.
"""

from __future__ import annotations

import asyncio
from urllib.parse import SplitResult, unquote, urlsplit

from common.errors import StoreUnavailable

_PORT = 6379


def is_plain(url: str) -> bool:
    """Whether `url` is one server over TCP, with or without TLS, and has no options: these only the client understands."""
    parts = urlsplit(url)
    return parts.scheme in {"redis", "rediss"} and not parts.query


async def ping(url: str, *, timeout_s: float) -> None:
    """One connection to the plain `url`, one trip. Raises `StoreUnavailable`: away, too slow, or it refuses."""
    where = urlsplit(url)
    commands = _commands(where)
    tls = True if where.scheme == "rediss" else None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(where.hostname or "localhost", where.port or _PORT, ssl=tls)
            try:
                writer.writelines(map(_packed, commands))
                answers = [await reader.readline() for _ in commands]
            finally:
                writer.close()
    except OSError as error:  # a TimeoutError is one
        msg = "the store is unavailable"
        raise StoreUnavailable(msg, retry_after_s=1.0) from error
    if not all(answer.startswith(b"+") for answer in answers):
        msg = "the store refuses"
        raise StoreUnavailable(msg, retry_after_s=1.0)


def _commands(where: SplitResult) -> list[list[str]]:
    """What the client would say first, and the question."""
    commands = [["PING"]]
    if database := where.path.strip("/"):
        commands.insert(0, ["SELECT", database])
    if where.password:
        named = [unquote(where.username)] if where.username else []
        commands.insert(0, ["AUTH", *named, unquote(where.password)])
    return commands


def _packed(words: list[str]) -> bytes:
    encoded = [word.encode() for word in words]
    return b"".join([b"*%d\r\n" % len(encoded), *(b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded)])
