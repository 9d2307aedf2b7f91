"""What answers say of waits and limits: ``Retry-After``, ``x-ratelimit-*``, ``anthropic-ratelimit-*``, Google's ``RetryInfo``.

Sources: https://platform.openai.com/docs/guides/rate-limits, https://platform.claude.com/docs/en/api/rate-limits,
https://github.com/googleapis/googleapis/blob/master/google/rpc/error_details.proto.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from common.errors import RateHints

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAX_WAIT_S = 3600.0
_MAX_RESET_S = 7 * 86400.0
_UNIX_S = 1e9  # larger numbers are no durations
_UNIX_MS = 1e12
_RETRY_INFO = "google.rpc.RetryInfo"


def rate_hints(headers: Mapping[str, str], *, now_s: float) -> RateHints | None:
    """The provider's limits as its headers tell them, None if they tell nothing.

    Anthropic's ``tokens`` stands for whichever of its token limits is the tightest; without it the limit on input is taken.

    Args:
        headers: Names in lower case.
        now_s: Unix time, for resets that are given as a date.
    """
    told = {_plain(name): value for name, value in headers.items() if "ratelimit" in name}
    if not told:
        return None
    requests = _limit(told, ("-requests", ""), now_s)
    tokens = _limit(told, ("-tokens", "-input-tokens"), now_s)
    if requests is None and tokens is None:
        return None
    return RateHints(*(requests or (None, None, None)), *(tokens or (None, None, None)))


def _plain(name: str) -> str:
    """``<limit|remaining|reset>-<what>``, whichever way round the vendor writes it."""
    if name.startswith("anthropic-ratelimit-"):
        what, _, aspect = name.removeprefix("anthropic-ratelimit-").rpartition("-")
        return f"{aspect}-{what}"
    return name.removeprefix("x-ratelimit-")


def _limit(told: Mapping[str, str], names: tuple[str, ...], now_s: float) -> tuple[int | None, int | None, float | None] | None:
    for name in names:
        limit, remaining = _whole(told.get(f"limit{name}", "")), _whole(told.get(f"remaining{name}", ""))
        reset_s = _duration(told.get(f"reset{name}", ""), now_s)
        if limit is not None or remaining is not None:
            return limit, remaining, None if reset_s is None else min(max(0.0, reset_s), _MAX_RESET_S)
    return None


def _whole(text: str) -> int | None:
    number = _float(text)
    return None if number is None else int(number)


def retry_delay_s(details: object) -> float | None:
    """Seconds to wait by the ``RetryInfo`` among Google's error details, None without one."""
    if not isinstance(details, list):
        return None
    infos = (entry for entry in details if isinstance(entry, dict) and str(entry.get("@type", "")).endswith(_RETRY_INFO))
    delays = (_duration(str(info.get("retryDelay", "")), 0.0) for info in infos)
    return next((min(delay, _MAX_WAIT_S) for delay in delays if delay is not None), None)


def retry_after_s(headers: Mapping[str, str], *, now_s: float, details: object = None) -> float | None:
    """Seconds the provider wants us to wait, None if it does not say; never negative, at most an hour.

    ``retry-after-ms`` goes before ``Retry-After`` (seconds or a date), that before the body's ``RetryInfo``; without them, the
    longest reset among the limits that the provider reports as used up.
    """
    explicit = _explicit(headers, now_s)
    waits = [retry_delay_s(details) if explicit is None else explicit]
    if waits[0] is None:
        waits = [_duration(reset, now_s) for reset in _exhausted(headers)]
    known = [wait for wait in waits if wait is not None]
    return min(max(0.0, *known), _MAX_WAIT_S) if known else None


def _explicit(headers: Mapping[str, str], now_s: float) -> float | None:
    if (wait_ms := _float(headers.get("retry-after-ms", ""))) is not None:
        return wait_ms / 1000
    text = headers.get("retry-after", "")
    if (wait_s := _float(text)) is not None:
        return wait_s
    return _http_date(text, now_s) if text else None


def _exhausted(headers: Mapping[str, str]) -> Iterator[str]:
    """Reset values of every limit whose remaining allowance is 0.

    OpenAI names them ``x-ratelimit-remaining-<what>``, Anthropic ``anthropic-ratelimit-<what>-remaining``.
    """
    for name, value in headers.items():
        if "ratelimit" in name and "remaining" in name and value.strip() == "0":
            yield headers.get(name.replace("remaining", "reset"), "")


def _duration(text: str, now_s: float) -> float | None:
    """``1s``, ``6m0s``, ``12ms``, ``1h2m3.5s``, plain seconds, an RFC 3339 date, unix time in seconds or (OpenRouter) in ms."""
    if (plain := _float(text)) is not None:
        if plain < _UNIX_S:
            return plain
        return (plain if plain < _UNIX_MS else plain / 1000) - now_s
    if re.fullmatch(r"(?:\d+(?:\.\d+)?(?:ms|[dhms]))+", text):
        units = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
        return sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+(?:\.\d+)?)(ms|[dhms])", text))
    return _rfc3339(text, now_s)


def _float(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,14}(?:\.\d{1,9})?", text.strip()) else None


def _rfc3339(text: str, now_s: float) -> float | None:
    from datetime import datetime

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() - now_s if moment.tzinfo else None


def _http_date(text: str, now_s: float) -> float | None:
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, OverflowError):
        return None
