"""An object that is almost JSON: what judges write when nothing binds them to the grammar.

Read beyond RFC 8259: trailing commas, comments, single and curly quotes, Python's True, False and None, bare keys, raw line
breaks and unknown escapes in strings, ``4/5`` and ``85%`` as values (as strings), and an end that is missing. Everything
else is an error: a piece that could be read in two ways is not read at all.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_MAX_DEPTH = 30
_BLANK = re.compile(r"(?:\s+|//[^\n]*(?:\n|\Z)|#[^\n]*(?:\n|\Z)|/\*.*?\*/)*", re.DOTALL)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?![0-9A-Za-z_.])")
_SHARE = re.compile(r"[0-9]+(?:\.[0-9]+)?\s*(?:/\s*[0-9]+(?:\.[0-9]+)?|%)(?![0-9A-Za-z_./%])")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS = {"true": True, "false": False, "null": None, "True": True, "False": False, "None": None}
_CLOSING = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_HEX = re.compile(r"u([0-9a-fA-F]{4})")


@dataclass(frozen=True, slots=True)
class Found:
    """An object, where it starts and ends. ``cut`` is None for a whole one, else whether something followed the last pair."""

    content: dict[str, Any]
    start: int
    end: int
    cut: bool | None = None


class _EndError(Exception):
    """The text ended within a value."""


def read_at(text: str, start: int) -> Found:
    """The object that starts at `start`, where a ``{`` stands. One that the text cuts off holds the pairs that were complete.

    Raises:
        ValueError: it is none, or a key stands twice in it.
    """
    return _Reader(text, start).outermost()


class _Reader:
    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._start = start
        self._at = start

    def outermost(self) -> Found:
        pairs: list[tuple[str, Any]] = []
        try:
            self._pairs(pairs, depth=1)
        except _EndError:
            return Found(unique(pairs), self._start, len(self._text), cut=not self._ends_after_pair)
        return Found(unique(pairs), self._start, self._at)

    def _pairs(self, pairs: list[tuple[str, Any]], *, depth: int) -> None:
        self._expect("{")
        while self._peek() != "}":
            self._ends_after_pair = False
            key = self._key()
            self._expect(":")
            value = self._value(depth)
            pairs.append((key, value))
            self._ends_after_pair = depth == 1
            if self._peek() != "}":
                self._expect(",")
        self._at += 1

    def _key(self) -> str:
        if self._peek() in _CLOSING:
            return self._string()
        word = _WORD.match(self._text, self._at)
        if word is None:
            raise ValueError("no key")
        self._at = word.end()
        return word[0]

    def _value(self, depth: int) -> Any:
        if depth > _MAX_DEPTH:
            raise ValueError("too deep")
        head = self._peek()
        if head in _CLOSING:
            return self._string()
        if head == "{":
            pairs: list[tuple[str, Any]] = []
            self._pairs(pairs, depth=depth + 1)
            return unique(pairs)
        return self._list(depth) if head == "[" else self._bare()

    def _list(self, depth: int) -> list[Any]:
        self._expect("[")
        values = []
        while self._peek() != "]":
            values.append(self._value(depth + 1))
            if self._peek() != "]":
                self._expect(",")
        self._at += 1
        return values

    def _bare(self) -> Any:
        for pattern in (_SHARE, _NUMBER, _WORD):
            if match := pattern.match(self._text, self._at):
                break
        else:
            raise ValueError("no value")
        self._at = match.end()
        if self._at == len(self._text):
            raise _EndError  # the rest of a number or word may be missing
        if pattern is _SHARE:
            return match[0]
        if pattern is _WORD:
            if match[0] not in _WORDS:
                raise ValueError("an unknown word")
            return _WORDS[match[0]]
        return _number(match[0])

    def _string(self) -> str:
        closing = _CLOSING[self._text[self._at]]
        self._at += 1
        plain = re.compile(rf"[^\\{closing}]*")
        parts = []
        while True:
            piece = plain.match(self._text, self._at)
            parts.append(piece[0] if piece else "")
            self._at += len(parts[-1])
            if self._at >= len(self._text):
                raise _EndError
            self._at += 1
            if self._text[self._at - 1] == closing:
                return "".join(parts)
            parts.append(self._escape())

    def _escape(self) -> str:
        if code := _HEX.match(self._text, self._at):
            self._at = code.end()
            return chr(int(code[1], 16))
        if self._at >= len(self._text):
            raise _EndError
        self._at += 1
        char = self._text[self._at - 1]
        return _ESCAPES.get(char, char if char in "\"'/\\" else f"\\{char}")

    def _peek(self) -> str:
        blank = _BLANK.match(self._text, self._at)
        self._at = blank.end() if blank else self._at
        if self._text.startswith("```", self._at) or self._at >= len(self._text):
            raise _EndError
        return self._text[self._at]

    def _expect(self, char: str) -> None:
        if self._peek() != char:
            raise ValueError(f"no {char!r}")
        self._at += 1


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's content. A key that stands twice makes it worthless: nobody can say which one is meant."""
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("a key stands twice")
    return content


def _number(written: str) -> int | float:
    plain = written.removeprefix("+")
    try:
        number: int | float = json.loads(plain)
    except ValueError:
        number = float(plain)
    return number
