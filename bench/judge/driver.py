"""A driver under way: a program that takes a line of JSON, does what it says, and answers with a line of JSON."""

from __future__ import annotations

import json
import select
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_ANSWER_S = 300.0
_END_S = 10.0
_TAIL = 300


class DriverError(RuntimeError):
    """It ended, or took too long; the message has the end of what it said."""


@dataclass(frozen=True, slots=True)
class Driver:
    """A process and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """Of the process; it may have children."""
        return self.process.pid

    def ask(self, line: Mapping[str, object]) -> tuple[float, dict[str, Any]]:
        """Seconds until the answer, and the answer. Raises `DriverError`."""
        sending, answering = self.process.stdin, self.process.stdout
        assert sending is not None  # noqa: S101  # both are pipes
        assert answering is not None  # noqa: S101
        began_s = time.perf_counter()
        try:
            sending.write(json.dumps(line).encode() + b"\n")
            sending.flush()
        except BrokenPipeError as error:
            raise DriverError(self._last_words()) from error
        is_there, _, _ = select.select([answering], [], [], _ANSWER_S)
        answer = answering.readline() if is_there else b""
        if not answer:
            raise DriverError(self._last_words() if is_there else f"no answer within {_ANSWER_S:.0f} s")
        return time.perf_counter() - began_s, json.loads(answer)

    def _last_words(self) -> str:
        return "it ended: " + " ".join(self.log.read_text(encoding="utf-8", errors="replace").split())[-_TAIL:]


@contextmanager
def driver(argv: Sequence[str], env: Mapping[str, str], folder: Path) -> Iterator[Driver]:
    """`argv` under way in `folder`, with its standard error in a log there; ended in the end."""
    log = folder / "driver.log"
    with log.open("wb") as errors:
        process = subprocess.Popen(
            argv, env=dict(env), cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, bufsize=0
        )
        try:
            yield Driver(process, log)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its input ends, and so does it, or it is killed."""
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
