"""Uploaded files: a record and the dataset that holds the bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.errors import NotFound
from common.schemas.base import Model
from common.store import keys
from common.store.connect import store_errors
from common.store.datasets import DatasetStore
from common.store.idempotency import Identity
from common.store.paging import Page, members, position_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import redis

    from common.store.datasets import DatasetWriter
    from common.store.paging import Order


class FileRecord(Model):
    """What is known about a file. ``lines`` counts its JSON lines."""

    file_id: str
    filename: str
    purpose: str
    size_bytes: int
    lines: int
    dataset_id: str
    created_at: int  # unix seconds
    project: str = "default"


class FileStore:
    """Files of all projects; each method names the one it serves."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self.datasets = DatasetStore(client)

    def create(
        self,
        writer: DatasetWriter,
        *,
        filename: str,
        purpose: str,
        project: str = "default",
        identity: Identity | None = None,
    ) -> FileRecord:
        """A file, of this `identity` or any, over all that `writer` has taken; the writer is finished here."""
        identity = identity or Identity.new(self._client)
        file_id = identity.id("file")
        dataset = writer.finish(_holder(file_id))
        record = FileRecord(
            file_id=file_id,
            filename=filename,
            purpose=purpose,
            size_bytes=dataset.size_bytes,
            lines=dataset.lines,
            dataset_id=dataset.dataset_id,
            created_at=identity.created_at,
            project=project,
        )
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            pipe.set(keys.file(file_id), record.model_dump_json())
            pipe.zadd(keys.files(project), {file_id: identity.tick_us})
            pipe.execute()
        return record

    def get(self, file_id: str, *, project: str | None = None) -> FileRecord:
        """A file's record. Raises `NotFound`, also when it belongs to another project. One trip."""
        with store_errors():
            raw = self._client.get(keys.file(file_id))
        record = None if raw is None else FileRecord.model_validate_json(raw)
        if record is None or project not in (None, record.project):
            raise NotFound(f"no such file: {file_id}")
        return record

    def list(
        self, *, project: str = "default", after: str | None = None, limit: int = 10_000, order: Order = "desc"
    ) -> Page[FileRecord]:
        """A page of files by creation. Raises `InvalidInput` when `after` is no file's id."""
        position = None if after is None else position_of(after)
        page = members(self._client, keys.files(project), after=position, limit=limit, order=order)
        with store_errors():
            pipe = self._client.pipeline(transaction=False)
            for file_id in page.data:
                pipe.get(keys.file(file_id))
            found = pipe.execute()
        return Page([FileRecord.model_validate_json(raw) for raw in found if raw is not None], page.has_more)

    def delete(self, file_id: str, *, project: str | None = None) -> None:
        """Forget the file; the data stays as long as a run holds it. Raises `NotFound`."""
        record = self.get(file_id, project=project)
        self.datasets.drop(record.dataset_id, _holder(file_id))
        with store_errors():
            self._client.zrem(keys.files(record.project), file_id)
            self._client.unlink(keys.file(file_id))

    def ids(self, *, project: str, limit: int) -> Sequence[str]:
        """The oldest of a project's files. One trip."""
        return members(self._client, keys.files(project), after=None, limit=limit, order="asc").data

    def unlist(self, file_id: str, *, project: str) -> None:
        """Take a file that is gone off the project's list. One trip."""
        with store_errors():
            self._client.zrem(keys.files(project), file_id)

    def content(self, file_id: str, *, project: str | None = None) -> Iterator[bytes]:
        """The bytes as uploaded. Raises `NotFound`."""
        return self.datasets.content(self.get(file_id, project=project).dataset_id)


def _holder(file_id: str) -> str:
    return f"file:{file_id}"
