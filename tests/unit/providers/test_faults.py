import inspect
from email.utils import formatdate

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from common.providers.faults import FOREIGN, MAX_MESSAGE, bounded, from_exception, from_status
from common.providers.rates import retry_after_s

MODEL = "lab:judge-1"


@pytest.mark.parametrize(
    "cls",
    [cls for _, cls in inspect.getmembers(aiohttp, inspect.isclass) if issubclass(cls, aiohttp.ClientError)],
    ids=lambda cls: cls.__name__,
)
def test_every_client_error_of_aiohttp_is_mapped(cls: type[Exception]) -> None:
    """Each exception class that a request can end in finds an entry of its own or of a parent, so none escapes."""
    assert any(f"aiohttp.{parent.__name__}" in FOREIGN for parent in cls.__mro__)


def test_the_deepest_cause_decides() -> None:
    """A body that broke off because nothing came in time is a timeout, one that cannot be decoded is malformed."""
    error = aiohttp.ClientPayloadError("broke off")
    assert type(from_exception(error, model=MODEL)) is ProviderUnavailable
    error.__cause__ = TimeoutError()
    assert type(from_exception(error, model=MODEL)) is ProviderTimeout
    error.__cause__ = aiohttp.http_exceptions.ContentEncodingError("not gzip")
    assert type(from_exception(error, model=MODEL)) is MalformedReply
    assert type(from_exception(ConnectionRefusedError(), model=MODEL)) is ProviderUnavailable


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        (400, {"code": "context_length_exceeded", "message": "..."}, ContextTooLong),
        (400, {"message": "This model's maximum context length is 8192 tokens."}, ContextTooLong),
        (400, {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000"}, ContextTooLong),
        (
            400,
            {"message": "the request exceeds the available context size", "type": "exceed_context_size_error"},
            ContextTooLong,
        ),
        (400, {"type": "invalid_request_error", "message": "Invalid value for temperature"}, ProviderRejected),
        (400, {"code": 400, "status": "INVALID_ARGUMENT", "message": "API key not valid."}, ProviderAuthFailed),
        (400, {"code": 400, "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}, ProviderAuthFailed),
        (
            400,
            {
                "status": "INVALID_ARGUMENT",
                "message": "The input token count (9) exceeds the maximum number of tokens allowed (8).",
            },
            ContextTooLong,
        ),
        (400, {"code": "content_filter", "message": "The response was filtered"}, ProviderRejected),
        (401, {"code": "invalid_api_key", "message": "..."}, ProviderAuthFailed),
        (402, {"code": 402, "message": "Insufficient credits"}, ProviderRejected),
        (403, {"code": 403, "metadata": {"reasons": ["violence"], "flagged_input": "..."}}, ProviderRejected),
        (403, {"status": "PERMISSION_DENIED"}, ProviderAuthFailed),
        (403, {"type": "permission_error"}, ProviderAuthFailed),
        (404, {"code": "model_not_found"}, ModelNotFound),
        (404, {}, ModelNotFound),
        (408, {}, ProviderTimeout),
        (409, {}, ProviderUnavailable),
        (413, {"type": "request_too_large"}, ContextTooLong),
        (422, {"message": "field required"}, ProviderRejected),
        (429, {"code": "rate_limit_exceeded"}, ProviderRateLimited),
        (429, {"code": "insufficient_quota", "type": "insufficient_quota"}, ProviderRejected),
        (500, {"type": "server_error"}, ProviderUnavailable),
        (502, {}, ProviderUnavailable),
        (503, {}, ProviderUnavailable),
        (504, {}, ProviderTimeout),
        (529, {"type": "overloaded_error"}, ProviderUnavailable),
        (302, {}, ProviderRejected),
        # Errors inside a 200 have no status of their own.
        (0, {"type": "overloaded_error", "message": "Overloaded"}, ProviderUnavailable),
        (0, {"code": 429, "message": "slow down"}, ProviderRateLimited),
        (0, {"code": "rate_limit_exceeded", "message": "slow down"}, ProviderRateLimited),
        (0, {"code": "invalid_prompt", "message": "no"}, ProviderRejected),
        (0, {"code": 502, "message": "upstream"}, ProviderUnavailable),
        (0, {"message": "?"}, ProviderUnavailable),
    ],
)
def test_statuses_and_codes_are_classified(status: int, error: dict[str, object], expected: type[ProviderError]) -> None:
    """Each way in which a vendor refuses a call becomes the error that says what to do about it."""
    translated = from_status(status, {"error": error}, headers={}, model=MODEL)
    assert type(translated) is expected
    assert translated.model == MODEL


@pytest.mark.parametrize(
    "body", [None, [], 3, "text", {"error": "plain words"}, {"error": 7}, {"detail": "no"}, [{"error": {}}]]
)
def test_error_bodies_of_any_shape_are_survived(body: object) -> None:
    """A body that is not the vendor's format still gives the error of its status."""
    assert type(from_status(503, body, headers={}, model=MODEL)) is ProviderUnavailable


@pytest.mark.parametrize(
    "words",
    [
        "Incorrect API key provided: {key}. You can find your API key at the site.",
        "bad header Authorization: Bearer {key}",
        "token {key} expired",
        "key={key}",
    ],
)
@pytest.mark.parametrize(
    "key", ["sk-proj-abcdEFGH1234567890", "hunter2-secret", "AIzaSyA1234567890abcdefghij", "sk-ab****wxyz"]
)
def test_keys_are_cut_out_of_messages(words: str, key: str) -> None:
    """Neither the key in use nor anything that looks like one gets into an error's message."""
    error = from_status(401, {"error": {"message": words.format(key=key)}}, headers={}, model=MODEL, secret=key)
    assert key not in error.message


def test_model_names_survive_the_cutting() -> None:
    """The message of a missing model still names it."""
    for name in ("claude-haiku-4-5-20251001", "this-model-does-not-exist", "gpt-4o-mini-2024-07-18"):
        assert name in bounded(f"The model `{name}` does not exist")


@given(st.text(max_size=3000))
def test_vendor_words_are_bounded(words: str) -> None:
    """Whatever a vendor says, our message is one line of at most 300 of its characters."""
    short = bounded(words)
    assert len(short) <= MAX_MESSAGE
    assert "\n" not in short


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": formatdate(1030, usegmt=True)}, 30.0),
        ({"retry-after": formatdate(900, usegmt=True)}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "99999999"}, 3600.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "41.7s"}, 41.7),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "12ms"}, 0.012),
        ({"x-ratelimit-remaining-tokens": "10", "x-ratelimit-reset-tokens": "41s"}, None),
        ({"x-ratelimit-remaining-tokens": "0"}, None),
        (
            {"anthropic-ratelimit-requests-remaining": "0", "anthropic-ratelimit-requests-reset": "1970-01-01T00:17:00Z"},
            20.0,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-requests": "2s",
                "x-ratelimit-remaining-tokens": "0",
                "x-ratelimit-reset-tokens": "5s",
            },
            5.0,
        ),
    ],
)
def test_waits_are_read_from_headers(headers: dict[str, str], seconds: float | None) -> None:
    """Every way in which a vendor says when to come back gives the same number of seconds, seen from unix time 1000."""
    assert retry_after_s(headers, now_s=1000.0) == (None if seconds is None else pytest.approx(seconds))


@given(
    st.dictionaries(
        st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-remaining-a", "x-ratelimit-reset-a"]), st.text()
    )
)
def test_hostile_headers_give_no_absurd_wait(headers: dict[str, str]) -> None:
    """No header makes us wait for a negative time or more than an hour, and none raises."""
    wait_s = retry_after_s(headers, now_s=1000.0)
    assert wait_s is None or 0 <= wait_s <= 3600


def test_only_errors_worth_retrying_carry_a_wait() -> None:
    """A Retry-After on an error that no retry mends is dropped."""
    assert from_status(401, None, headers={"retry-after": "5"}, model=MODEL).retry_after_s is None
    assert from_status(429, None, headers={"retry-after": "5"}, model=MODEL).retry_after_s == 5.0
