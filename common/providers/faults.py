"""Foreign errors become ours here and nowhere else: exceptions of the HTTP stack, statuses and error bodies of vendors.

Sources: https://platform.openai.com/docs/guides/error-codes, https://platform.claude.com/docs/en/api/errors,
https://ai.google.dev/gemini-api/docs/troubleshooting, https://openrouter.ai/docs/api/reference/errors-and-debugging.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from common.errors import (
    ContextTooLong,
    MalformedReply,
    ModelNotFound,
    ProviderAuthFailed,
    ProviderError,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)
from common.providers.rates import rate_hints, retry_after_s

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_MESSAGE = 300
_MASK = "[redacted]"

# Classes by name, so that this table costs no import of the stack it describes. The first class of an exception's MRO that
# stands here decides, and the deepest cause is asked first: it says what a broken connection or body was broken by.
FOREIGN: dict[str, type[ProviderError]] = {
    "aiohttp.ServerTimeoutError": ProviderTimeout,
    "aiohttp.InvalidURL": ProviderRejected,
    "aiohttp.ContentEncodingError": MalformedReply,
    "aiohttp.ClientPayloadError": ProviderUnavailable,
    "aiohttp.ClientError": ProviderUnavailable,
    "aiohttp.BadHttpMessage": ProviderUnavailable,
    "builtins.TimeoutError": ProviderTimeout,
    "builtins.OSError": ProviderUnavailable,
}
_WORDS = {
    ProviderTimeout: "did not answer in time",
    ProviderUnavailable: "cannot be reached or broke the connection",
    ProviderRejected: "has no usable base_url",
    MalformedReply: "sent a body that does not decode",
    ProviderError: "failed in the HTTP client",
}

_KEY_LIKE = re.compile(
    r"(?i:\b(?:bearer|basic)\s+)\S+"
    r"|(?i:\bapi[ _-]?key(?:\s+provided)?\s*[:=]\s*)\S+"
    r"|\b(?:(?:sk|pk|rk|kn|xai|gsk|hf|key|org)[-_]|AIza|ya29\.)[A-Za-z0-9*_.-]{8,}"
    r"|\b(?=[A-Za-z0-9+/_]*\d)(?=[A-Za-z0-9+/_]*[A-Za-z])[A-Za-z0-9+/_]{28,}={0,2}"
)
_TOO_LONG = re.compile(
    r"context[ _](?:length|window|size)|maximum context|prompt is too long|too many (?:input )?tokens|"
    r"exceeds the maximum number of tokens|"
    r"exceeds? the (?:available )?context|request_too_large|input is too long",
    re.IGNORECASE,
)
_BY_CODE: dict[str, type[ProviderError]] = {
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,
    "request_too_large": ContextTooLong,
    "model_not_found": ModelNotFound,
    "not_found_error": ModelNotFound,
    "invalid_api_key": ProviderAuthFailed,
    "authentication_error": ProviderAuthFailed,
    "permission_error": ProviderAuthFailed,
    # An empty account answers 429 like a limit, but no wait will fill it.
    "insufficient_quota": ProviderRejected,
    "credit_balance_exhausted": ProviderRejected,
    "billing_error": ProviderRejected,
    "rate_limit_error": ProviderRateLimited,
    "rate_limit_exceeded": ProviderRateLimited,
    "overloaded_error": ProviderUnavailable,
    "api_error": ProviderUnavailable,
    "server_error": ProviderUnavailable,
    "timeout_error": ProviderTimeout,
    # Google's ErrorInfo.reason: a bad key answers 400, and an expired one as well.
    "API_KEY_INVALID": ProviderAuthFailed,
    "API_KEY_EXPIRED": ProviderAuthFailed,
}
_BY_STATUS: dict[int, type[ProviderError]] = {
    401: ProviderAuthFailed,
    403: ProviderAuthFailed,
    404: ModelNotFound,
    408: ProviderTimeout,
    409: ProviderUnavailable,
    413: ContextTooLong,
    429: ProviderRateLimited,
    504: ProviderTimeout,
}
_STATUS_OF_CODE = {
    "invalid_request_error": 400,
    "invalid_prompt": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "server_error": 500,
    "rate_limit_exceeded": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_SERVER_ERROR = 500


def from_exception(error: BaseException, *, model: str) -> ProviderError:
    """Our error for an exception of aiohttp or the socket; the caller raises it ``from`` the original."""
    kind = next((found for cause in _causes(error) if (found := _kind_of(cause))), ProviderError)
    return kind(f"{model}: the provider {_WORDS[kind]}", model=model)


def _causes(error: BaseException) -> list[BaseException]:
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.insert(0, current)
        current = current.__cause__
    return chain


def _kind_of(error: BaseException) -> type[ProviderError] | None:
    names = (f"{cls.__module__.partition('.')[0]}.{cls.__name__}" for cls in type(error).__mro__)
    return next((FOREIGN[name] for name in names if name in FOREIGN), None)


def from_status(
    status: int, body: Any, *, headers: Mapping[str, str], model: str, secret: str = "", now_s: float = 0.0
) -> ProviderError:
    """Our error for a vendor's error answer.

    Args:
        status: The HTTP status, or 0 when the error stood inside a 200: then its own code or type decides.
        body: Parsed JSON of any shape, or None.
        headers: Names in lower case.
        secret: The key in use; it is cut out of the vendor's message wherever it stands.
        now_s: Unix time, for headers that give a date.
    """
    error = _error_of(body)
    codes, words = _describe(error)
    status = status or next((_STATUS_OF_CODE[code] for code in codes if code in _STATUS_OF_CODE), _numeric(codes))
    kind = ProviderRejected if _is_moderated(error) else _classify(status, codes, words)
    said = f": {bounded(words, secret=secret)}" if words else ""
    wait_s = retry_after_s(headers, now_s=now_s, details=error.get("details")) if kind.retryable else None
    return kind(
        f"{model}: the provider answered {status}{said}",
        model=model,
        retry_after_s=wait_s,
        status=status,
        hints=rate_hints(headers, now_s=now_s),
    )


def _is_moderated(error: dict[str, Any]) -> bool:
    # OpenRouter answers 403 to a flagged prompt: nothing is wrong with the key.
    metadata = error.get("metadata")
    return isinstance(metadata, dict) and "flagged_input" in metadata


def _classify(status: int, codes: list[str], words: str) -> type[ProviderError]:
    if status < _SERVER_ERROR:
        if known := next((_BY_CODE[code] for code in codes if code in _BY_CODE), None):
            return known
        if status in (400, 413, 422) and _TOO_LONG.search(words):
            return ContextTooLong
        if status == 400 and "api key" in words.lower():  # noqa: PLR2004 -- Gemini's answer to a bad key
            return ProviderAuthFailed
    return _BY_STATUS.get(status, ProviderUnavailable if status >= _SERVER_ERROR else ProviderRejected)


def _error_of(body: Any) -> dict[str, Any]:
    """The error's own object. In use are ``{"error": {...}}``, ``{"error": "text"}``, ``{"detail": ...}`` and ``[{...}]``."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return {}
    error = body.get("error", body)
    if isinstance(error, str):
        return {"message": error}
    return error if isinstance(error, dict) else {}


def _describe(error: dict[str, Any]) -> tuple[list[str], str]:
    """Codes, the most telling first, and the message."""
    details = error.get("details")
    reasons = (
        [entry["reason"] for entry in details if isinstance(entry, dict) and entry.get("reason")]
        if isinstance(details, list)
        else []
    )
    codes = [str(code) for code in (*reasons, *(error.get(key) for key in ("code", "type", "status"))) if code]
    words = error.get("message") or error.get("detail") or ""
    return codes, words if isinstance(words, str) else ""


def _numeric(codes: list[str]) -> int:
    return next((int(code) for code in codes if code.isdecimal() and len(code) == len("500")), _SERVER_ERROR)


def bounded(words: str, *, secret: str = "") -> str:
    """A vendor's words for our message: one line, at most `MAX_MESSAGE` characters, nothing in it that looks like a key."""
    if secret:
        words = words.replace(secret, _MASK)
    words = " ".join(_KEY_LIKE.sub(_MASK, words[: 4 * MAX_MESSAGE]).split())
    return words if len(words) <= MAX_MESSAGE else words[: MAX_MESSAGE - 1] + "…"
