"""What this process sees of the store."""

from __future__ import annotations

from common.observability.metrics import Counter

STORE_FAILURES = Counter("knudge_store_failures", "Scripts that the shared store could not run.")
