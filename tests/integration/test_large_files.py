"""Files much larger than the memory that their upload and download may take, through a real `tasks` process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from bench.rig.processes import peak_rss_mib, tree
from tests.support.functions import serving_function

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCKS, MAY_GROW_MIB = 64, 64  # of 2 MB each; a process's allocator keeps some 20 to 40 MiB whatever the size
LONG_LINE = b'{"item":{"text":"' + b"x" * 2_000_000 + b'"}}\r\n'
SHORT_LINES = b'{"item":{"text":"short"}}\n\n' * 1_000
FORM = b'--b\r\ncontent-disposition: form-data; name="%s"%s\r\n\r\n'


def form(content: Iterator[bytes]) -> Iterator[bytes]:
    yield FORM % (b"purpose", b"") + b"evals\r\n"
    yield FORM % (b"file", b'; filename="large.jsonl"')
    yield from content
    yield b"\r\n--b--\r\n"


def large(*, end: bytes = b"") -> Iterator[bytes]:
    """A byte order mark, then long and short lines with both kinds of ends, and blank lines."""
    yield b"\xef\xbb\xbf"
    for _ in range(BLOCKS):
        yield LONG_LINE
        yield SHORT_LINES
    yield end


def peak_mib() -> float:
    """Of the function's processes."""
    served = [pid for pid in tree(os.getpid())[1:] if b"functions/tasks" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return max(map(peak_rss_mib, served))


def send(url: str, content: Iterator[bytes]) -> httpx.Response:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    return httpx.post(f"{url}/v1/files", content=form(content), headers=headers, timeout=120)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="memory is read from /proc")
def test_large_files_take_little_memory(redis_url: str) -> None:
    """A file is stored, given back byte for byte, and refused for its last line by number, in a fraction of its size."""
    with serving_function("tasks", redis_url=redis_url) as url:
        send(url, iter([SHORT_LINES])).raise_for_status()
        before = peak_mib()
        file = send(url, large()).raise_for_status().json()
        with httpx.stream("GET", f"{url}/v1/files/{file['id']}/content", timeout=120) as answer:
            size = sum(map(len, answer.iter_raw()))
        wrong = send(url, large(end=b"\n[]"))
        grown = peak_mib() - before
    assert size == file["bytes"] == sum(map(len, large()))
    assert wrong.status_code == 400
    assert f"line {BLOCKS * 2_001 + 2}: expected a JSON object" in wrong.json()["error"]["message"]
    assert grown < MAY_GROW_MIB
