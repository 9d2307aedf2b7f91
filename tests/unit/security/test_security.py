from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.security.keys import hash_key, is_plausible, new_key, same
from common.security.redaction import redact


def test_keys_are_recognisable_and_random() -> None:
    """Keys begin with kn-, are plausible, long, URL-safe, and never twice the same."""
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith("kn-") and len(key) == 46 and is_plausible(key) for key in keys)


def test_hashes_are_sha256() -> None:
    """What is stored is the plain SHA-256, so that other tools can compute it."""
    assert hash_key("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@given(st.text())
def test_any_text_can_be_hashed_and_compared(text: str) -> None:
    """Whatever stands in a header, hashing and comparing it does not fail."""
    assert same(hash_key(text), hash_key(text))
    assert not same(hash_key(text), hash_key(text + "x"))


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Authorization: Bearer abc.def-123456", "Authorization: Bearer [redacted]"),
        ("basic dXNlcjpwYXNzd29yZA==", "basic [redacted]"),
        ("key sk-proj-abcdefghij0123456789 is wrong", "key [redacted] is wrong"),
        ("sk-ant-api03-abcdefghijklmnop", "[redacted]"),
        ('"x-api-key":"sk-or-v1-0123456789abcdef0123"', '"x-api-key":"[redacted]"'),
        ("AIza" + "x" * 35, "[redacted]"),
        ("redis://user:pass:word@host:6379/0", "redis://user:[redacted]@host:6379/0"),
        ("rediss://:secret@host", "rediss://:[redacted]@host"),
        ("http://127.0.0.1:8080/path", "http://127.0.0.1:8080/path"),
        (
            "a bearer of news, a task-assessment, risk-averse basic ideas",
            "a bearer of news, a task-assessment, risk-averse basic ideas",
        ),
    ],
)
def test_credentials_are_masked(text: str, clean: str) -> None:
    """Keys, tokens and passwords are masked wherever they stand, and ordinary text stays as it is."""
    assert redact(text) == clean


def test_our_own_keys_are_masked() -> None:
    """A fresh key of ours never gets through."""
    key = new_key()
    assert key not in redact(f"before {key} after {key}")
    assert redact(f"before {key}") == "before [redacted]"
