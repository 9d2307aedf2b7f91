"""CPU and memory of a process tree, read from /proc: the operating system's own accounting."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """`pid` and its living descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += [int(child) for child in task.read_text().split()]
            except OSError:
                continue
    return found


def cpu_ms(pid: int) -> float:
    """User and system CPU of the tree in ms, children that were waited for included."""
    return sum(_ticks(member) for member in tree(pid)) * 1000 / _TICKS_PER_S


def peak_rss_mib(pid: int) -> float:
    """The largest peak resident set of any process in the tree, in MiB."""
    return max((_status_kib(member, "VmHWM") for member in tree(pid)), default=0.0) / 1024


def rss_mib(pid: int) -> float:
    """The largest resident set that any process in the tree has now, in MiB."""
    return max((_status_kib(member, "VmRSS") for member in tree(pid)), default=0.0) / 1024


def pss_mib(pid: int) -> float:
    """What the tree has in memory now, in MiB: pages that several processes share count once in all."""
    return sum(_kib(f"/proc/{member}/smaps_rollup", "Pss") for member in tree(pid)) / 1024


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return sum(int(field) for field in fields[11:15])


def _status_kib(pid: int, name: str) -> float:
    return _kib(f"/proc/{pid}/status", name)


def _kib(path: str, name: str) -> float:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith(name + ":")), 0.0)
