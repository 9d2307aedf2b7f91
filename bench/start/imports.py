"""What a starting `evaluate` imports, by package: until it is ready, and until it has answered first.

From ``python -X importtime``, which takes some time itself: the figures are for comparing packages, not for adding up.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from bench.rig.table import show

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STANDARD = "standard library"
_LINE = re.compile(r"import time:\s+(\d+) \|\s+\d+ \| +(\S+)")
_SHOWN = 16


def show_imports(log: Path, *, ready_bytes: int) -> None:
    """Print a table of the packages in `log`, of which ``ready_bytes`` had been written when the function was ready."""
    text = log.read_bytes()
    before, after = (_by_package(part.decode(errors="replace")) for part in (text[:ready_bytes], text[ready_bytes:]))
    names = sorted(before | after, key=lambda name: -(before[name][0] + after[name][0]))[:_SHOWN]
    rows = [[name, before[name][0] / 1000, before[name][1], after[name][0] / 1000, after[name][1]] for name in names]
    show(["package", "ms until ready", "modules", "ms after it", "modules"], rows)


def _by_package(text: str) -> dict[str, tuple[int, int]]:
    """Microseconds of the modules themselves, and their number, by package."""
    found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for package, microseconds in _lines(text):
        time_us, modules = found[package]
        found[package] = (time_us + microseconds, modules + 1)
    return found


def _lines(text: str) -> Iterator[tuple[str, int]]:
    for microseconds, module in _LINE.findall(text):
        root = module.partition(".")[0]
        yield STANDARD if root in sys.stdlib_module_names else root, int(microseconds)
