"""W3C Trace Context (https://www.w3.org/TR/trace-context/, level 1): the ``traceparent`` header and nothing else."""

from __future__ import annotations

import re
import secrets

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(?:-.*)?")
_VERSION_0_LENGTH = 55


def child_of(parent: str | None) -> str:
    """A new span: in the trace of `parent` when that is a valid ``traceparent``, else in a new, sampled trace."""
    found = _TRACEPARENT.fullmatch(parent) if parent else None
    if not found or (parent and parent.startswith("00") and len(parent) != _VERSION_0_LENGTH):
        return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    return f"00-{found[1]}-{secrets.token_hex(8)}-{found[2]}"


def within(trace_id: str) -> str:
    """A new span in a sampled trace known by its 32 hex digits."""
    return f"00-{trace_id}-{secrets.token_hex(8)}-01"


def trace_id(traceparent: str) -> str:
    """The 32 hex digits that all spans of a trace share."""
    return traceparent[3:35]
