"""Ports that are free now."""

from __future__ import annotations

import socket

_FIRST, _LAST = 22_080, 61_000


def free_port() -> int:
    """One, as the system chooses it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_base(span: int) -> int:
    """A port that is free and has `span` - 1 free ones above it."""
    for base in range(_FIRST, _LAST, span):
        if all(_is_free(base + offset) for offset in range(span)):
            return base
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
