"""Files: multipart uploads that go straight into a dataset, in memory bounded by the chunk."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from common.errors import InvalidInput, Unsupported, UnsupportedMediaType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from werkzeug.sansio.multipart import Event

    from common.store.datasets import DatasetWriter
    from common.store.files import FileRecord, FileStore
    from common.store.idempotency import Identity

PURPOSES = ("evals",)
_MAX_FIELD_BYTES = 1024
_MAX_PARTS = 16
_MAX_FILENAME = 255
_MAX_BOUNDARY = 200
_SLACK_BYTES = 64 * 1024  # headers, boundaries and fields around the file


def upload_limit(max_file_bytes: int) -> int:
    """Bytes a whole upload request may have."""
    return max_file_bytes + _SLACK_BYTES


def upload(
    chunks: Iterator[bytes],
    content_type: str,
    files: FileStore,
    *,
    project: str,
    max_file_bytes: int,
    identity: Identity | None = None,
) -> FileRecord:
    """Take a multipart upload with the fields ``purpose`` and ``file``, in either order.

    Raises:
        InvalidInput: not such a form, another purpose, or a line that is not a JSON object; nothing is kept.
        PayloadTooLarge: the file has more than `max_file_bytes`.
        UnsupportedMediaType: not multipart.
    """
    form = _Form()
    with ExitStack() as stack:
        for event in _events(chunks, _boundary(content_type)):
            if isinstance(event, File) and event.name == "file":
                if form.writer is not None:
                    raise InvalidInput("one file at a time", pointer="/file")
                form.writer = stack.enter_context(files.datasets.writer(max_bytes=max_file_bytes))
                form.filename = event.filename[-_MAX_FILENAME:]
            form.take(event)
        if form.writer is None:
            raise InvalidInput("a form field 'file' with a file name is required", pointer="/file")
        if (purpose := form.purpose()) is None:
            raise InvalidInput("a form field 'purpose' is required: evals", pointer="/purpose")
        return files.create(form.writer, filename=form.filename, purpose=purpose, project=project, identity=identity)


class _Form:
    """The parts so far. Which part the current data belongs to is in ``_current``."""

    def __init__(self) -> None:
        self.writer: DatasetWriter | None = None
        self.filename = ""
        self._fields: dict[str, bytes] = {}
        self._current: str | None = None

    def take(self, event: Event) -> None:
        """Work off one event of the decoder."""
        if isinstance(event, (File, Field)):
            self._current = event.name if isinstance(event, Field) or event.name == "file" else None
        elif isinstance(event, Data):
            if self._current == "file" and self.writer is not None:
                self.writer.write(event.data)
            elif self._current is not None:
                self._extend(self._current, event.data)
                if not event.more_data:
                    self.purpose()  # refuse at once: a file of another purpose need not be sent whole

    def purpose(self) -> str | None:
        """The purpose, None where it has not come yet. Raises `InvalidInput` when it is not ours."""
        if "purpose" not in self._fields:
            return None
        purpose = self._fields["purpose"].decode("utf-8", "replace")
        if purpose not in PURPOSES:
            raise InvalidInput(f"purpose {purpose[:40]!r} is not supported here, only 'evals'", pointer="/purpose")
        return purpose

    def _extend(self, name: str, data: bytes) -> None:
        if name.startswith("expires_after"):
            raise Unsupported("files do not expire here; delete them when they are not needed", pointer="/expires_after")
        if name not in ("purpose", "file"):
            raise InvalidInput(f"form field {name[:40]!r} is not known; expected purpose and file")
        value = self._fields.get(name, b"") + data
        if len(value) > _MAX_FIELD_BYTES:
            raise InvalidInput(f"form field {name[:40]!r} is longer than {_MAX_FIELD_BYTES} bytes")
        self._fields[name] = value


def _boundary(content_type: str) -> bytes:
    kind, options = parse_options_header(content_type)
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data" or not 0 < len(boundary) <= _MAX_BOUNDARY:
        raise UnsupportedMediaType("expected multipart/form-data with a boundary")
    return boundary.encode("latin-1", "replace")


def _events(chunks: Iterator[bytes], boundary: bytes) -> Iterator[Event]:
    decoder = MultipartDecoder(boundary, max_form_memory_size=_SLACK_BYTES * 16, max_parts=_MAX_PARTS)
    try:
        for chunk in chunks:
            decoder.receive_data(chunk)
            while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
                yield event
        decoder.receive_data(None)
        while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
            yield event
    except RequestEntityTooLarge:
        raise InvalidInput("a part's headers are too long, or there are too many parts") from None
    except ValueError:
        raise InvalidInput("the multipart form is broken, or ends early") from None
