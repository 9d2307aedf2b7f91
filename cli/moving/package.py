"""An exported run on disk: a folder or a ``.tar.gz`` of the same files.

::

    manifest.json      what the run was (docs/reproducing.md)
    eval.json          its eval
    run.json           the rest that an import needs, and where it comes from
    summary.json       its results
    items.ndjson       its data, byte for byte; canaries.ndjson where it has canaries
    samples.ndjson     a line for each sample; verdicts.ndjson: a line for each item
    SHA256SUMS         of all of them, as ``sha256sum -c`` takes it

What is read comes from anywhere: only these names are looked at, nothing is written where an archive says, and all sizes have
limits.
"""

from __future__ import annotations

import hashlib
import re
import tarfile
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from cli.errors import CannotRun
from cli.files import replacing
from cli.text import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENTS = ("manifest.json", "eval.json", "run.json", "summary.json")
LINES = ("items.ndjson", "canaries.ndjson", "samples.ndjson", "verdicts.ndjson")
SUMS = "SHA256SUMS"
NAMES = (*DOCUMENTS, *LINES, SUMS)
MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
MAX_LINE_BYTES = 32 * 1024 * 1024
MAX_BYTES = 256 * 1024**3
_CHUNK = 1024 * 1024
_SUM = re.compile(r"([0-9a-f]{64})  (\S+)")


@dataclass(frozen=True, slots=True)
class Package:
    """The files of an export, checked against their sums. ``name`` is what the user called it."""

    name: str
    folder: Path

    def document(self, name: str) -> dict[str, Any]:
        """One of `DOCUMENTS`. Raises `CannotRun`: it is no JSON object."""
        import orjson

        try:
            found = orjson.loads((self.folder / name).read_bytes())
        except orjson.JSONDecodeError as error:
            raise CannotRun(f"{self.name}: {name}, line {error.lineno}: not JSON ({error.msg})") from error
        if not isinstance(found, dict):
            raise CannotRun(f"{self.name}: {name}: expected a JSON object")
        return found

    def lines(self, name: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """(number from 1, object) of every line of ``samples.ndjson`` or ``verdicts.ndjson``, whose indexes rise.

        Raises:
            CannotRun: a line is too long, no JSON object, or out of order; the message names its number.
        """
        import orjson

        last = -1
        with (self.folder / name).open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
                where = f"{self.name}: {name}, line {number}"
                if len(line) > MAX_LINE_BYTES:
                    raise CannotRun(f"{where}: longer than {MAX_LINE_BYTES} bytes")
                try:
                    entry = orjson.loads(line)
                except orjson.JSONDecodeError as error:
                    raise CannotRun(f"{where}: not JSON ({error.msg})") from error
                index = entry.get("index") if isinstance(entry, dict) else None
                if type(index) is not int or index <= last:
                    raise CannotRun(f"{where}: expected an object whose index is greater than the one before")
                last = index
                yield number, entry

    def open(self, name: str) -> BinaryIO:
        """A file to read."""
        return (self.folder / name).open("rb")

    def has(self, name: str) -> bool:
        """Whether a file is part of it."""
        return (self.folder / name).is_file()


@contextmanager
def opened(path: Path) -> Iterator[Package]:
    """The package in a folder or an archive. Raises `CannotRun`: it is none, or damaged."""
    if path.is_dir():
        package = Package(str(path), path)
        _check(package)
        yield package
        return
    with tempfile.TemporaryDirectory(prefix="knudge-import-") as name:
        _unpack(path, Path(name))
        package = Package(str(path), Path(name))
        _check(package)
        yield package


def _unpack(path: Path, folder: Path) -> None:
    """Known names only, each at most once, regular files only, and into our own folder under our own names."""
    left, seen = MAX_BYTES, set()
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                known = next((name for name in NAMES if name == member.name), None)
                if known is None or not member.isfile() or known in seen:
                    raise CannotRun(f"{path}: {plain(member.name, limit=80)!r} has no place in an exported run")
                seen.add(known)
                content = archive.extractfile(member)
                assert content is not None  # noqa: S101  # a regular file
                left -= _copy(content, folder / known, limit=_limit(known, left), name=f"{path}: {known}")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise CannotRun(f"{path}: not a .tar.gz that can be read ({plain(error, limit=120)})") from error


def _limit(name: str, left: int) -> int:
    return min(left, left if name in LINES else MAX_DOCUMENT_BYTES)


def _copy(source: IO[bytes], target: Path, *, limit: int, name: str) -> int:
    size = 0
    with target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > limit:
                raise CannotRun(f"{name}: larger than {limit} bytes")
            file.write(chunk)
    return size


def _check(package: Package) -> None:
    """Every file that there must be is there, and all are as their sums say."""
    told = dict(_told_sums(package))
    optional = {SUMS, "canaries.ndjson"}
    for name in NAMES:
        if name not in optional and not package.has(name):
            raise CannotRun(f"{package.name}: {name} is missing")
        if name != SUMS and package.has(name):
            if name in DOCUMENTS and (package.folder / name).stat().st_size > MAX_DOCUMENT_BYTES:
                raise CannotRun(f"{package.name}: {name}: larger than {MAX_DOCUMENT_BYTES} bytes")
            if told.get(name) != sha256_of(package.folder / name):
                raise CannotRun(f"{package.name}: {name} is not as {SUMS} has it: damaged, or changed")


def _told_sums(package: Package) -> Iterator[tuple[str, str]]:
    if not package.has(SUMS):
        raise CannotRun(f"{package.name}: no exported run: {SUMS} is missing")
    with package.open(SUMS) as file:
        for line in file.read(len(NAMES) * 200).decode("utf-8", "replace").splitlines():
            if found := _SUM.fullmatch(line):
                yield found[2], found[1]


def sha256_of(path: Path) -> str:
    """Hexadecimal digest of a file, in bounded memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path) -> None:
    """Write the sums of what is in `folder`."""
    files = [name for name in NAMES if name != SUMS and (folder / name).is_file()]
    (folder / SUMS).write_text("".join(f"{sha256_of(folder / name)}  {name}\n" for name in files))


def pack(folder: Path, target: Path) -> None:
    """The files of `folder` as a ``.tar.gz``, which is there whole or not at all. Equal files make an equal archive."""
    with replacing(target) as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name in NAMES:
            if not (folder / name).is_file():
                continue
            entry = tarfile.TarInfo(name)
            entry.size = (folder / name).stat().st_size
            with (folder / name).open("rb") as content:
                archive.addfile(entry, content)
