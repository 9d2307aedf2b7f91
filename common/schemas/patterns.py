"""Regular expressions from outside, matched in a time that is bounded before there is a text.

The engine is Rust's regex crate, which pydantic-core brings along: it never backtracks, and takes at most (size of the
pattern) x (length of the text) steps (docs.rs/regex, section "Untrusted input"). What it cannot do that way, look-around and
back-references, it refuses. A counted repetition is that many copies, so the size is bounded here: `(?:a{0,300}){0,300}` over
100,000 characters took four minutes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated

from pydantic import AfterValidator, StringConstraints
from pydantic_core import SchemaError, SchemaValidator, core_schema

MAX_SIZE = 1_000  # places in the pattern, repetitions written out; about 3 s over 100,000 characters at the very worst
_TOKEN = re.compile(
    r"""\\[pPxuU]\{[^}]*\} | \\.                    # an escape
      | (?P<count>\{(?P<least>\d*)(?:,(?P<most>\d*))?\})
      | (?P<mark>[?*+]) | (?P<open>\((?:\?(?P<flags>[A-Za-z]*))?) | (?P<close>\)) | (?P<class>\[\^?\]?) | .""",
    re.VERBOSE | re.DOTALL,
)
_CLASS_TOKEN = re.compile(r"\\.|(?P<class>\[\^?\]?)|(?P<end>\])|.", re.DOTALL)


class PatternError(ValueError):
    """The pattern cannot be used; the message says why."""


def check_pattern(pattern: str) -> str:
    """`pattern` itself. Raises `PatternError` when it is no pattern, too large, or none that this engine takes."""
    if _size(pattern) > MAX_SIZE:
        raise PatternError(f"the pattern has over {MAX_SIZE} places, counted repetitions written out")
    try:
        _matcher(pattern)
    except SchemaError:
        message = "expected a regular expression without look-around and back-references, one that is matched in linear time"
        raise PatternError(message) from None
    return pattern


def matches(pattern: str, text: str) -> bool:
    """Whether `pattern`, one that `check_pattern` took, is found anywhere in `text`. Lone surrogates count as ``?``."""
    return _matcher(pattern).isinstance_python(text.encode("utf-8", "replace").decode("utf-8"))


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=MAX_SIZE), AfterValidator(check_pattern)]


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))


def _size(pattern: str) -> int:
    """About how many places the pattern has when every counted repetition is written out; never less than it has."""
    groups, last, at = [0], 0, 0
    while at < len(pattern):
        token = _TOKEN.match(pattern, at)
        if token is None:
            break
        at = token.end()
        if token["count"]:
            times = max(int(number[:9] or 0) for number in (token["least"], token["most"] or ""))
            groups[-1] += last * max(0, times - 1)
            last *= max(1, times)
            continue
        if token["open"]:
            if "x" in (token["flags"] or ""):
                raise PatternError("the flag x is not supported")  # in its comments nothing would be what it looks like
            groups.append(0)
        if token["open"] or token["mark"]:
            continue
        last = 1
        if token["close"] and len(groups) > 1:
            last = groups.pop() + 1
        elif token["class"]:
            at = _end_of_class(pattern, at)
        groups[-1] += last
    return sum(groups)


def _end_of_class(pattern: str, at: int) -> int:
    depth = 1
    while depth and (token := _CLASS_TOKEN.match(pattern, at)):
        at = token.end()
        depth += bool(token["class"]) - bool(token["end"])
    return at
