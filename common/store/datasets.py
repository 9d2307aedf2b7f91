"""Datasets: immutable lists of JSONL lines, kept byte for byte, in small hashes so that a few lines are one trip."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, cast

import orjson

from common.errors import InvalidInput, NotFound, PayloadTooLarge
from common.store import keys
from common.store.connect import script, store_errors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import TracebackType

    import redis

MAX_LINE_BYTES = 4 * 1024 * 1024
_FLUSH_BYTES = 1024 * 1024
_READ_BYTES = 4 * 1024 * 1024
_PERSISTED = 1000  # keys in one trip
_UNFINISHED_S = 24 * 3600  # what a writer that died leaves behind goes away by itself
_BLANK = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"

Fields = dict[str | bytes | bytearray | memoryview | int | float, str | bytes | bytearray | memoryview | int | float]
Check = Callable[[int, dict[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset that is there. ``lines`` counts JSON lines, ``size_bytes`` all bytes."""

    dataset_id: str
    lines: int
    size_bytes: int


class DatasetStore:
    """Reads, counts holders, deletes. A dataset lives as long as a file or a run holds it."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._hold = client.register_script(script("common.store", "dataset_hold.lua"))
        self._drop = client.register_script(script("common.store", "dataset_drop.lua"))

    def writer(self, *, max_bytes: int, check: Check | None = None) -> DatasetWriter:
        """A writer for one stream of at most `max_bytes`; `check` gets each line's number (from 1) and object."""
        return DatasetWriter(self._client, max_bytes=max_bytes, check=check)

    def info(self, dataset_id: str) -> Dataset:
        """Size of a dataset. Raises `NotFound`. One trip."""
        with store_errors():
            lines, size = self._client.hmget(keys.dataset(dataset_id), ["lines", "bytes"])
        if lines is None or size is None:
            raise NotFound(f"no such dataset: {dataset_id}")
        return Dataset(dataset_id, int(lines), int(size))

    def lines(self, dataset_id: str, indexes: Sequence[int]) -> dict[int, bytes]:
        """JSON of the lines with these indexes (from 0); those that do not exist are left out. One trip."""
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            groups = by_bucket(indexes)
            for bucket, group in groups.items():
                pipe.hmget(keys.dataset_bucket(dataset_id, bucket), [str(index) for index in group])
            replies = pipe.execute()
        return {
            index: json_of(raw)
            for group, values in zip(groups.values(), replies, strict=True)
            for index, raw in zip(group, values, strict=True)
            if raw is not None
        }

    def scan(self, dataset: Dataset, *, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """(index, raw line) in order from `start` on, in bounded memory."""
        step = max(1, min(keys.BUCKET, _READ_BYTES * max(1, dataset.lines) // max(1, dataset.size_bytes)))
        for bucket in range(start // keys.BUCKET, bucket_count(dataset.lines)):
            end = min(dataset.lines, (bucket + 1) * keys.BUCKET)
            for first in range(max(start, bucket * keys.BUCKET), end, step):
                indexes = range(first, min(end, first + step))
                with store_errors():
                    values = self._client.hmget(
                        keys.dataset_bucket(dataset.dataset_id, bucket), [str(index) for index in indexes]
                    )
                for index, raw in zip(indexes, values, strict=True):
                    if raw is None:
                        raise NotFound(f"dataset {dataset.dataset_id} has lost line index {index}")
                    yield index, cast("bytes", raw)

    def content(self, dataset_id: str) -> Iterator[bytes]:
        """The bytes as they were written. Raises `NotFound` before the first."""
        dataset = self.info(dataset_id)
        if dataset.lines:
            return (raw for _, raw in self.scan(dataset))
        with store_errors():
            rest = self._client.hget(keys.dataset(dataset_id), "rest")
        return iter([cast("bytes", rest)] if rest else [])

    def sha256(self, dataset_id: str) -> str:
        """Hexadecimal digest of the content, byte for byte, as ``sha256sum`` has it of the file. Raises `NotFound`.

        One trip; all the data is read for a dataset of a version that did not note it.
        """
        with store_errors():
            known = cast("bytes | None", self._client.hget(keys.dataset(dataset_id), "sha256"))
        if known is not None:
            return known.decode()
        digest = hashlib.sha256()
        for piece in self.content(dataset_id):
            digest.update(piece)
        return digest.hexdigest()

    def holders(self, dataset_id: str, *, limit: int) -> list[str]:
        """Some of those who need the dataset (``file:…``, ``run:…``), about `limit` at most. One trip."""
        with store_errors():
            found = cast("list[bytes]", self._client.srandmember(keys.dataset_holders(dataset_id), limit))
        return [name.decode() for name in found]

    def hold(self, dataset_id: str, holder: str) -> None:
        """Keep the dataset for `holder` (``file:…``, ``run:…``); holding twice is holding once. Raises `NotFound`."""
        with store_errors():
            held = self._hold(keys=[keys.dataset(dataset_id), keys.dataset_holders(dataset_id)], args=[holder])
        if not held:
            raise NotFound(f"no such dataset: {dataset_id}")

    def drop(self, dataset_id: str, holder: str) -> None:
        """`holder` needs the dataset no more; the last one takes the data with it. Can be repeated after a crash."""
        with store_errors():
            doomed_lines = self._drop(keys=[keys.dataset(dataset_id), keys.dataset_holders(dataset_id)], args=[holder])
            if doomed_lines is not None:
                _delete_buckets(self._client, dataset_id, bucket_count(int(doomed_lines)))
                self._client.unlink(keys.dataset_holders(dataset_id), keys.dataset_valid(dataset_id), keys.dataset(dataset_id))

    def fitting(self, dataset_id: str, digest: str) -> int:
        """How many lines, from the first, are known to fit the schema with this digest. One trip."""
        with store_errors():
            return int(cast("bytes | None", self._client.hget(keys.dataset_valid(dataset_id), digest)) or 0)

    def note_fitting(self, dataset_id: str, digest: str, lines: int) -> None:
        """Remember that so many lines fit a schema: the data never changes, so each is checked once. One trip."""
        with store_errors():
            self._client.hset(keys.dataset_valid(dataset_id), digest, lines)


class DatasetWriter:
    """Takes a stream in chunks of any size and keeps each line under its index, in bounded memory.

    A line's terminator, and blank lines around it, stay with the line, so that the content comes back byte for byte.
    Use as a context manager: what was written is deleted unless `finish` was reached.
    """

    def __init__(self, client: redis.Redis, *, max_bytes: int, check: Check | None = None) -> None:
        self.dataset_id = f"ds_{secrets.token_hex(12)}"
        self._client = client
        self._max_bytes = max_bytes
        self._check = check
        self._size_bytes = 0
        self._digest = hashlib.sha256()
        self._number = 0  # physical lines so far
        self._partial: list[bytes] = []  # the line that has no terminator yet
        self._partial_bytes = 0
        self._held = bytearray()  # the last JSON line with the blanks after it, or the blanks before the first
        self._holds_json = False
        self._index = 0  # of the held line
        self._waiting: dict[int, bytes] = {}
        self._waiting_bytes = 0
        self._finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if not self._finished:
            with store_errors():
                _delete_buckets(self._client, self.dataset_id, bucket_count(self._index + 1))

    def write(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            PayloadTooLarge: more than ``max_bytes`` in all.
            InvalidInput: a line is not a JSON object, too long, or fails the check; the message names its number.
        """
        self._size_bytes += len(chunk)
        if self._size_bytes > self._max_bytes:
            raise PayloadTooLarge(f"the content is larger than {self._max_bytes} bytes")
        self._digest.update(chunk)
        *whole, rest = chunk.split(b"\n")
        for line in whole:
            self._add_partial(line)
            self._take(b"".join((*self._partial, b"\n")))
            self._partial, self._partial_bytes = [], 0
        if rest:
            self._add_partial(rest)

    def write_object(self, value: dict[str, Any]) -> None:
        """Take one object as a line.

        Raises:
            InvalidInput: as `write`, or a number in it could not be read back as it is.
        """
        try:
            line = orjson.dumps(value)
            if b"null" in line:  # what an infinity, from a 1e999, would silently become
                json.dumps(value, allow_nan=False)
        except (TypeError, ValueError):
            raise InvalidInput(f"line {self._number + 1}: a number that does not fit 64 bits", pointer="") from None
        self.write(line + b"\n")

    def finish(self, holder: str) -> Dataset:
        """Write what is left and hold the dataset for `holder`."""
        if self._partial:
            self._take(b"".join(self._partial))
        rest = b"" if self._holds_json else bytes(self._held)
        if self._holds_json:
            self._keep()
        self._flush()
        dataset = Dataset(self.dataset_id, self._index, self._size_bytes)
        with store_errors():
            self._persist(bucket_count(dataset.lines))
            pipe = self._client.pipeline(transaction=False)
            pipe.sadd(keys.dataset_holders(self.dataset_id), holder)
            meta: Fields = {
                "lines": dataset.lines,
                "bytes": dataset.size_bytes,
                "rest": rest,
                "sha256": self._digest.hexdigest(),
            }
            pipe.hset(keys.dataset(self.dataset_id), mapping=meta)
            pipe.execute()
        self._finished = True
        return dataset

    def _persist(self, buckets: int) -> None:
        for first in range(0, buckets, _PERSISTED):
            pipe = self._client.pipeline(transaction=False)
            for bucket in range(first, min(buckets, first + _PERSISTED)):
                pipe.persist(keys.dataset_bucket(self.dataset_id, bucket))
            pipe.execute()

    def _add_partial(self, piece: bytes) -> None:
        self._partial.append(piece)
        self._partial_bytes += len(piece)
        self._bound(self._partial_bytes, self._number + 1)

    def _bound(self, size: int, number: int) -> None:
        if size > MAX_LINE_BYTES:
            raise InvalidInput(f"line {number}: longer than {MAX_LINE_BYTES} bytes", pointer="")

    def _take(self, raw: bytes) -> None:
        self._number += 1
        text = json_of(raw) if self._number == 1 else raw.strip(_BLANK)
        if not text:
            self._bound(len(self._held) + len(raw), self._number)
            self._held += raw
            return
        self._validate(text)
        if self._holds_json:
            self._keep()
        self._held += raw
        self._holds_json = True

    def _validate(self, text: bytes) -> None:
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise InvalidInput(f"line {self._number}: not JSON ({error.msg} at column {error.colno})", pointer="") from None
        if not isinstance(value, dict):
            raise InvalidInput(f"line {self._number}: expected a JSON object", pointer="")
        if self._check is not None:
            self._check(self._number, value)

    def _keep(self) -> None:
        self._waiting[self._index] = bytes(self._held)
        self._waiting_bytes += len(self._held)
        self._held.clear()
        self._index += 1
        if self._waiting_bytes >= _FLUSH_BYTES:
            self._flush()

    def _flush(self) -> None:
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            for bucket, group in by_bucket(list(self._waiting)).items():
                key = keys.dataset_bucket(self.dataset_id, bucket)
                pipe.hset(key, mapping={str(index): self._waiting[index] for index in group})
                pipe.expire(key, _UNFINISHED_S)
            pipe.execute()
        self._waiting, self._waiting_bytes = {}, 0


def json_of(raw: bytes) -> bytes:
    """The JSON within a raw line: no blanks around it, no byte order mark."""
    text = raw.strip(_BLANK)
    return text[len(_BOM) :].lstrip(_BLANK) if text.startswith(_BOM) else text


def bucket_count(lines: int) -> int:
    """Buckets that so many lines fill."""
    return -(-lines // keys.BUCKET)


def by_bucket(indexes: Sequence[int]) -> dict[int, list[int]]:
    """Indexes grouped by their bucket."""
    groups: dict[int, list[int]] = {}
    for index in indexes:
        groups.setdefault(index // keys.BUCKET, []).append(index)
    return groups


def unlink_all(client: redis.Redis, names: Iterator[str]) -> None:
    """Delete many keys without blocking the server or holding all names at once."""
    with store_errors():
        while batch := list(islice(names, 500)):
            client.unlink(*batch)


def _delete_buckets(client: redis.Redis, dataset_id: str, count: int) -> None:
    unlink_all(client, (keys.dataset_bucket(dataset_id, bucket) for bucket in range(count)))
