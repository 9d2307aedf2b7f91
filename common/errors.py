"""Every error Knudge raises, as one tree. Errors are data: each class has a code, an HTTP status and a retry rule.

KnudgeError
├── InvalidInput            400  the caller's request is wrong; ``pointer`` names the field
│   ├── UnknownVariable     400  a template names something the item or sample does not have
│   └── Unsupported         400  valid elsewhere, refused here (python graders, data sources we lack)
├── Unauthenticated         401
├── Forbidden               403
├── NotFound                404
├── MethodNotAllowed        405
├── Conflict                409
│   └── InProgress          409  somebody else is doing just that   (retryable)
├── PayloadTooLarge         413
├── UnsupportedMediaType    415
├── RateLimited             429  the caller's own limit            (retryable)
├── Overloaded              503  no capacity now                   (retryable)
├── StoreUnavailable        503  Redis is away                     (retryable)
├── Misconfigured           503  the operator's configuration is wrong (retryable: once it is mended)
├── DeadlineExceeded        504  the caller's deadline has passed  (retryable)
├── NoLongerWanted          503  the run was paused or has ended   (retryable: it may go on)
├── BudgetExhausted         402  a hard budget is spent
│   └── PriceUnknown        402  a hard budget cannot be held for a model without a price
└── ProviderError           502  a model call failed
    ├── ProviderRateLimited 503  the provider's limit              (retryable)
    ├── ProviderUnavailable 503  5xx, connection refused or reset  (retryable)
    │   └── BreakerOpen     503  not even tried                    (retryable)
    ├── ProviderTimeout     504                                    (retryable)
    ├── ProviderAuthFailed  502  wrong or missing provider key
    ├── ModelNotFound       404
    ├── ContextTooLong      400
    ├── ProviderRejected    502  any other 4xx
    │   └── StructuredOutputRefused 502  a JSON schema, in the way it was sent
    └── MalformedReply      502  a 2xx not in the vendor's format  (retryable)

A verdict that could not be reached is no exception: it is an *unscored* verdict that carries one of these codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class RateHints:
    """What a provider's headers say of its own limits; None where they say nothing.

    ``limit_*`` is the allowance, ``remaining_*`` what is left of it, ``reset_*_s`` the seconds until it is whole again: mostly
    within a minute, but a vendor may count by the day, so that a reset above 60 says more about the window than the limit does.
    """

    limit_requests: int | None = None
    remaining_requests: int | None = None
    reset_requests_s: float | None = None
    limit_tokens: int | None = None
    remaining_tokens: int | None = None
    reset_tokens_s: float | None = None


class KnudgeError(Exception):
    """Root of the tree.

    Args:
        message: For the caller: what was wrong and what was expected. Never a secret, a prompt or a foreign ``repr``.
        pointer: RFC 6901 JSON pointer of the offending field, ``""`` for the whole document, None if no field.
        retry_after_s: Seconds after which a retry makes sense; only for retryable errors.
    """

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, pointer: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.pointer = pointer
        self.retry_after_s = retry_after_s


class InvalidInput(KnudgeError):
    code = "invalid_input"
    http_status = 400


class UnknownVariable(InvalidInput):
    """A template names a variable that is not there; ``variable`` is its full path, e.g. ``item.answer``."""

    code = "unknown_variable"

    def __init__(self, variable: str, *, known: list[str] | None = None, pointer: str | None = None) -> None:
        hint = f"; known here: {', '.join(sorted(known)[:20])}" if known else ""
        super().__init__(f"unknown template variable {{{{{variable}}}}}{hint}", pointer=pointer)
        self.variable = variable


class Unsupported(InvalidInput):
    code = "unsupported"


class Unauthenticated(KnudgeError):
    code = "unauthenticated"
    http_status = 401


class Forbidden(KnudgeError):
    code = "forbidden"
    http_status = 403


class NotFound(KnudgeError):
    code = "not_found"
    http_status = 404


class MethodNotAllowed(KnudgeError):
    code = "method_not_allowed"
    http_status = 405


class Conflict(KnudgeError):
    code = "conflict"
    http_status = 409


class InProgress(Conflict):
    code = "in_progress"
    retryable = True


class PayloadTooLarge(KnudgeError):
    code = "payload_too_large"
    http_status = 413


class UnsupportedMediaType(KnudgeError):
    code = "unsupported_media_type"
    http_status = 415


class RateLimited(KnudgeError):
    code = "rate_limited"
    http_status = 429
    retryable = True


class Overloaded(KnudgeError):
    """``limit`` says which limit of ``model`` is used up: requests, tokens, concurrency or budget; "" where none is meant."""

    code = "overloaded"
    http_status = 503
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float | None = None, model: str = "", limit: str = "") -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.model = model
        self.limit = limit


class StoreUnavailable(KnudgeError):
    code = "store_unavailable"
    http_status = 503
    retryable = True


class Misconfigured(KnudgeError):
    code = "misconfigured"
    http_status = 503
    retryable = True


class DeadlineExceeded(KnudgeError):
    code = "deadline_exceeded"
    http_status = 504
    retryable = True


class NoLongerWanted(KnudgeError):
    code = "no_longer_wanted"
    http_status = 503
    retryable = True


class BudgetExhausted(KnudgeError):
    code = "budget_exhausted"
    http_status = 402


class PriceUnknown(BudgetExhausted):
    code = "price_unknown"


class ProviderError(KnudgeError):
    """A model call failed.

    ``model`` is the ``provider:model`` that was asked; ``status`` the vendor's HTTP status, if any; ``hints`` what its headers
    said of its limits.
    """

    code = "provider_error"
    http_status = 502

    def __init__(
        self,
        message: str,
        *,
        model: str = "",
        retry_after_s: float | None = None,
        status: int | None = None,
        hints: RateHints | None = None,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.model = model
        self.status = status
        self.hints = hints


class ProviderRateLimited(ProviderError):
    code = "provider_rate_limited"
    http_status = 503
    retryable = True


class ProviderUnavailable(ProviderError):
    code = "provider_unavailable"
    http_status = 503
    retryable = True


class BreakerOpen(ProviderUnavailable):
    code = "breaker_open"


class ProviderTimeout(ProviderError):
    code = "provider_timeout"
    http_status = 504
    retryable = True


class ProviderAuthFailed(ProviderError):
    code = "provider_auth_failed"


class ModelNotFound(ProviderError):
    code = "model_not_found"
    http_status = 404


class ContextTooLong(ProviderError):
    code = "context_too_long"
    http_status = 400


class ProviderRejected(ProviderError):
    code = "provider_rejected"


class StructuredOutputRefused(ProviderRejected):
    """The model takes no JSON schema in the way it was sent; the next try goes another way."""

    code = "structured_output_refused"


class MalformedReply(ProviderError):
    code = "malformed_reply"
    retryable = True  # mostly a body cut off on its way, or a proxy's page
