"""The whole system as ``bin/serve`` starts it, on ports of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
_OFFSETS = (*range(7), 9)
_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")


@contextmanager
def whole_system(data: Path, *arguments: str, **environment: str) -> Iterator[int]:
    """Start ``python -m local ARGUMENTS``, keeping its data in `data`; yields its port base once it serves."""
    base = _free_base()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KNUDGE_") and name not in _KEYS}
    environ = {**clean, "KNUDGE_PORT_BASE": str(base), "KNUDGE_DATA_DIR": str(data), **environment}
    argv = [sys.executable, "-m", "local", *arguments]
    with subprocess.Popen(argv, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as system:
        try:
            _wait_until_serving(system)
            yield base
        finally:
            system.terminate()
            system.wait(60)


def _wait_until_serving(system: subprocess.Popen[str]) -> None:
    assert system.stdout is not None
    said = []
    for line in system.stdout:
        said.append(line)
        if line.startswith("Serving;"):
            return
    raise RuntimeError("".join(said))


def _free_base() -> int:
    """A port base all of whose ports are free."""
    for base in range(21000, 29000, 10):
        probes = [socket.socket() for _ in _OFFSETS]
        try:
            for probe, offset in zip(probes, _OFFSETS, strict=True):
                probe.bind(("127.0.0.1", base + offset))
        except OSError:
            continue
        else:
            return base
        finally:
            for probe in probes:
                probe.close()
    raise RuntimeError("no ports are free")
