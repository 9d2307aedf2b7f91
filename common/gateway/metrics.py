"""What this process sees of model calls. Labels are providers, which the configuration bounds; models stand in the store."""

from __future__ import annotations

from common.observability.metrics import Counter, Histogram

ATTEMPTS = Counter(
    "knudge_model_attempts", "Attempts at model calls: success, cancelled, or the error's code.", "provider", "outcome"
)
ATTEMPT_SECONDS = Histogram("knudge_model_attempt_seconds", "Time of answered attempts, without waiting.", "provider")
WAIT_SECONDS = Histogram("knudge_model_wait_seconds", "Time an attempt waited for its turn.", "provider")
BREAKER_CHANGES = Counter("knudge_breaker_changes", "Breaker state changes that this process saw.", "provider", "state")
CACHE_REQUESTS = Counter(
    "knudge_cache_requests",
    "Calls that may be answered from the cache: hit, shared (waited for an equal call), miss, unavailable (no store).",
    "purpose",
    "outcome",
)
CACHE_WAIT_SECONDS = Histogram("knudge_cache_wait_seconds", "Time a call waited for an equal one under way.")
CACHE_KEPT_BYTES = Counter("knudge_cache_kept_bytes", "Bytes of answers that this process put into the cache.")
BUDGET_EVENTS = Counter(
    "knudge_budget_events", "Soft limits reached, calls refused by a hard limit (exhausted).", "budget", "event"
)
RETRIES_REFUSED = Counter("knudge_model_retries_refused", "Retries not made because they were too large a share.", "provider")
UNLIMITED_CALLS = Counter(
    "knudge_model_unlimited_calls", "Attempts made without the shared limits: the store was away.", "provider"
)
