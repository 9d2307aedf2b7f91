"""Datasets on a real server: exact bytes, bounded writing, holders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import InvalidInput, NotFound, PayloadTooLarge
from common.store.datasets import Dataset, DatasetStore, json_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import redis

BIG = 1 << 24


def write(client: redis.Redis, *chunks: bytes) -> Dataset:
    return write_all(client, chunks)


def write_all(client: redis.Redis, chunks: Iterable[bytes], *, max_bytes: int = BIG) -> Dataset:
    with DatasetStore(client).writer(max_bytes=max_bytes) as writer:
        for chunk in chunks:
            writer.write(chunk)
        return writer.finish("file:1")


objects = st.dictionaries(st.text(max_size=5), st.text(max_size=10), max_size=3)
terminators = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n  \r\n\n", b" \t\n"])


@pytest.mark.parametrize("number", [float("inf"), float("nan"), 10**400, 2**64])
def test_numbers_that_cannot_be_read_back_are_refused(client: redis.Redis, number: float) -> None:
    """An object whose numbers would change on the way is an error that names its line, and a null stays a null."""
    with DatasetStore(client).writer(max_bytes=BIG) as writer:
        writer.write_object({"item": {"n": None}})
        with pytest.raises(InvalidInput, match="line 2"):
            writer.write_object({"item": {"n": [number]}})


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.tuples(objects, terminators), max_size=70),
    lead=st.sampled_from([b"", b"\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n \n"]),
    cut_last=st.booleans(),
    size=st.integers(1, 50),
)
def test_any_split_keeps_bytes(
    client: redis.Redis, *, lines: list[tuple[dict, bytes]], lead: bytes, cut_last: bool, size: int
) -> None:
    """However a stream is cut into chunks, its content comes back byte for byte and its lines as they were."""
    raw = lead + b"".join(orjson.dumps(value) + end for value, end in lines)
    raw = raw.rstrip(b"\r\n \t") if cut_last else raw
    dataset = write(client, *(raw[at : at + size] for at in range(0, len(raw), size)))
    store = DatasetStore(client)
    assert b"".join(store.content(dataset.dataset_id)) == raw
    assert dataset.lines == len(lines)
    assert dataset.size_bytes == len(raw)
    read = store.lines(dataset.dataset_id, range(len(lines)))
    assert [orjson.loads(read[index]) for index in range(len(lines))] == [value for value, _ in lines]
    assert [orjson.loads(json_of(line)) for _, line in store.scan(dataset)] == [value for value, _ in lines]


def test_lines_leaves_out_what_is_not_there(client: redis.Redis) -> None:
    """Asking for indexes beyond the end gives no line and no error."""
    dataset = write(client, b'{"a":1}\n{"a":2}\n')
    assert DatasetStore(client).lines(dataset.dataset_id, [1, 2, 999]) == {1: b'{"a":2}'}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a":1}\n\n{"a":\n', "line 3: not JSON"),
        (b'{"a":1}\n[1]\n', "line 2: expected a JSON object"),
        (b'{"a":"\xff"}', "line 1: not JSON"),
        (b'{"a":' + b"[" * 5000, "line 1: not JSON"),
        (b'{"a":NaN}', "line 1: not JSON"),
    ],
)
def test_a_bad_line_is_named_and_nothing_stays(client: redis.Redis, content: bytes, message: str) -> None:
    """A line that is no JSON object is refused by its number, and what was written before it is deleted."""
    with pytest.raises(InvalidInput, match=message):
        write(client, content)
    assert list(client.scan_iter("*")) == []


def test_failing_after_a_flush_deletes_what_was_flushed(client: redis.Redis) -> None:
    """Lines that are on the server already go away when a later one fails."""
    line = b'{"a":"' + b"x" * 300_000 + b'"}\n'

    def chunks() -> Iterator[bytes]:
        yield line * 8
        assert list(client.scan_iter("*")) != []
        assert all(client.ttl(key) > 0 for key in client.scan_iter("*")), "what a dead writer leaves must expire"
        yield b"nonsense\n"

    with pytest.raises(InvalidInput, match="line 9"):
        write_all(client, chunks())
    assert list(client.scan_iter("*")) == []


def test_finished_datasets_do_not_expire(client: redis.Redis) -> None:
    """Nothing of a finished dataset has a time to live."""
    write(client, b'{"a":1}\n' * 200)
    assert {client.ttl(key) for key in client.scan_iter("*")} == {-1}


def test_size_and_line_limits(client: redis.Redis) -> None:
    """More bytes than allowed, or one line (or run of blanks) that is too long, is refused before it is held in memory."""
    with pytest.raises(PayloadTooLarge):
        write_all(client, [b'{"a":1}\n{"a":1}\n'], max_bytes=10)
    for piece in (b"x" * (1 << 20), b"\n" * (1 << 18)):
        with pytest.raises(InvalidInput, match="longer than"):
            write_all(client, [b'{"a":1}\n', *[piece] * 17], max_bytes=2 * BIG)
    assert list(client.scan_iter("*")) == []


def test_a_check_sees_every_line(client: redis.Redis) -> None:
    """The check gets physical line numbers and objects, and its error stops the writing."""
    seen: list[tuple[int, dict]] = []
    with DatasetStore(client).writer(max_bytes=BIG, check=lambda number, value: seen.append((number, value))) as writer:
        writer.write(b'\n{"a":1}\n\n{"a":2}')
        writer.finish("file:1")
    assert seen == [(2, {"a": 1}), (4, {"a": 2})]


def test_a_dataset_lives_as_long_as_someone_holds_it(client: redis.Redis) -> None:
    """Dropping one holder keeps the data, dropping the last deletes every key, and dropping again is harmless."""
    store, dataset = DatasetStore(client), write(client, b'{"a":1}\n' * 1000)
    store.hold(dataset.dataset_id, "run:1")
    store.hold(dataset.dataset_id, "run:1")
    store.note_fitting(dataset.dataset_id, "d", 2)
    assert store.fitting(dataset.dataset_id, "d") == 2
    assert store.fitting(dataset.dataset_id, "e") == 0
    store.drop(dataset.dataset_id, "file:1")
    assert store.info(dataset.dataset_id).lines == 1000
    store.drop(dataset.dataset_id, "run:1")
    store.drop(dataset.dataset_id, "run:1")
    assert list(client.scan_iter("*")) == []
    with pytest.raises(NotFound):
        store.hold(dataset.dataset_id, "run:2")
    with pytest.raises(NotFound):
        store.content(dataset.dataset_id)


def test_a_doomed_dataset_cannot_be_held(client: redis.Redis) -> None:
    """Between its last holder's leaving and its deletion, nobody can take hold of a dataset; deleting can be repeated."""
    store, dataset = DatasetStore(client), write(client, b'{"a":1}\n')
    store._drop(keys=[f"kn:ds:{{{dataset.dataset_id}}}", f"kn:ds:{{{dataset.dataset_id}}}:holders"], args=["file:1"])  # noqa: SLF001  # a crash after the script
    with pytest.raises(NotFound):
        store.hold(dataset.dataset_id, "run:1")
    store.drop(dataset.dataset_id, "file:1")
    assert list(client.scan_iter("*")) == []
