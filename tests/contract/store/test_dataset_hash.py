"""A dataset's content hash on a real server."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest

from common.errors import NotFound
from common.store import keys
from common.store.datasets import DatasetStore

if TYPE_CHECKING:
    import redis

CONTENT = b'\xef\xbb\xbf\n{"item": 1}\r\n\n{"item": 2}'


def test_the_hash_is_of_the_bytes_as_they_came(client: redis.Redis) -> None:
    """However the stream was cut, the digest is that of the whole file; of older data it is found by reading it."""
    store = DatasetStore(client)
    with store.writer(max_bytes=1000) as writer:
        for at in range(0, len(CONTENT), 3):
            writer.write(CONTENT[at : at + 3])
        dataset = writer.finish("file:1")
    expected = hashlib.sha256(CONTENT).hexdigest()
    assert store.sha256(dataset.dataset_id) == expected
    client.hdel(keys.dataset(dataset.dataset_id), "sha256")
    assert store.sha256(dataset.dataset_id) == expected
    store.drop(dataset.dataset_id, "file:1")
    with pytest.raises(NotFound):
        store.sha256(dataset.dataset_id)


def test_holders_are_told_up_to_a_limit(client: redis.Redis) -> None:
    """Those who hold a dataset are named, and no more of them than asked for."""
    store = DatasetStore(client)
    with store.writer(max_bytes=1000) as writer:
        writer.write(CONTENT)
        dataset = writer.finish("file:1")
    store.hold(dataset.dataset_id, "run:1")
    assert sorted(store.holders(dataset.dataset_id, limit=5)) == ["file:1", "run:1"]
    assert len(store.holders(dataset.dataset_id, limit=1)) == 1
