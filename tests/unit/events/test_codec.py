from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent, from_http
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInput, UnsupportedMediaType
from common.events.codec import decode, encode_binary, encode_structured, is_event
from common.events.publisher import new_event
from common.schemas.cloudevent import Event

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)
OPTIONAL = st.none() | TEXT
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
DATA = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda children: st.lists(children, max_size=5) | st.dictionaries(TEXT, children, max_size=5),
    max_leaves=10,
)
EXTENSIONS = st.dictionaries(st.from_regex(r"x[a-z0-9]{1,10}", fullmatch=True), TEXT, max_size=3)
EVENTS = st.builds(
    Event,
    id=TEXT,
    type=TEXT,
    source=TEXT,
    data=DATA,
    subject=OPTIONAL,
    dataschema=OPTIONAL,
    time=OPTIONAL,
    traceparent=OPTIONAL,
    extensions=EXTENSIONS,
)
BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t", "ce-source": "/s"}
STRUCTURED = {"content-type": "application/cloudevents+json"}


@pytest.mark.parametrize("encode", [encode_binary, encode_structured])
@given(event=EVENTS)
def test_events_survive_both_modes(encode: Any, event: Event) -> None:
    """Any event comes back as it was, in either mode, and its headers are printable ASCII."""
    headers, body = encode(event)
    assert is_event(headers)
    assert all(value.isascii() and value.isprintable() and " " not in value for value in headers.values())
    assert decode(headers, body) == event


@pytest.mark.parametrize("encode", [encode_binary, encode_structured])
def test_the_sdk_understands_us(encode: Any) -> None:
    """What we encode, the CloudEvents SDK decodes to the same attributes and data."""
    event = new_event("dev.knudge.test.v1", "/knudge/test", "run_1/0", {"run_id": "run_1", "items": [0, 1]})
    theirs = from_http(*encode(event))
    for name in ("id", "type", "source", "subject", "time", "dataschema"):
        assert theirs[name] == getattr(event, name)
    assert theirs.data == event.data


@pytest.mark.parametrize("encode", [to_binary, to_structured])
def test_we_understand_the_sdk(encode: Any) -> None:
    """What the CloudEvents SDK encodes, we decode, extensions included."""
    attributes = {"type": "t", "source": "/s", "subject": "x", "knativearrivaltime": "now"}
    event = decode(*encode(CloudEvent(attributes, {"a": [1, None, "é"]})))
    assert (event.type, event.source, event.subject, event.data) == ("t", "/s", "x", {"a": [1, None, "é"]})
    assert event.extensions == {"knativearrivaltime": "now"}


def test_new_events_are_complete() -> None:
    """An event has an id of its own, the time with its zone, and a schema that follows from its type."""
    first, second = new_event("t.v1", "/s", None, {}), new_event("t.v1", "/s", None, {})
    assert first.id != second.id
    assert first.time is not None
    assert first.time.endswith("Z")
    assert first.dataschema == "urn:knudge:schema:t.v1"
    assert new_event("t.v1", "/s", "x", {}, id="given").id == "given"


def test_header_values_are_unescaped() -> None:
    """Percent-encoded and quoted header values come back as text, as the binding demands."""
    event = decode({**BINARY, "ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80", "ce-quoted": '"a \\"b\\" c"'}, b"")
    assert event.subject == "Euro € 😀"
    assert event.extensions == {"quoted": 'a "b" c'}
    assert event.data is None


def test_numbers_and_booleans_are_attributes() -> None:
    """In structured mode attributes may be integers and booleans, which become text."""
    document = {"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "count": 7, "done": True, "subject": None}
    event = decode(STRUCTURED, json.dumps(document).encode())
    assert event.extensions == {"count": "7", "done": "true"}
    assert event.subject is None


def test_json_may_come_in_base64() -> None:
    """A structured event whose sender held its JSON as bytes means the same as one that spelt it out."""
    document = {"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "datacontenttype": "application/json"}
    encoded = base64.b64encode(b'{"a": [1]}').decode()
    event = decode(STRUCTURED, json.dumps({**document, "data_base64": encoded}).encode())
    assert event.data == {"a": [1]}
    assert event.extensions == {}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({**BINARY, "content-type": "text/plain"}, b"poison"),
        ({**BINARY, "content-type": "application/json"}, b"{"),
        (STRUCTURED, b'{"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "data_base64": "eA=="}'),
    ],
)
def test_a_sink_for_what_others_refused_takes_any_data(headers: dict[str, str], body: bytes) -> None:
    """Where the caller asks for it, data that cannot be read is none, and the event's attributes are all there."""
    event = decode(headers, body, any_data=True)
    assert event.data is None
    assert event.id


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (STRUCTURED, b'{"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "data_base64": "%"}'),
        (STRUCTURED, b'{"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "data_base64": 5}'),
        ({**BINARY, "ce-specversion": "0.3"}, b""),
        ({**BINARY, "ce-id": ""}, b""),
        ({**BINARY, "ce-type": "x" * 1025}, b""),
        ({**BINARY, "ce-with-dash": "x"}, b""),
        ({**BINARY, **{f"ce-x{number}": "x" for number in range(33)}}, b""),
        (BINARY, b"{"),
        (STRUCTURED, b""),
        (STRUCTURED, b"[1]"),
        (STRUCTURED, b'{"specversion": "1.0", "id": "1", "type": "t"}'),
        (STRUCTURED, b'{"specversion": "1.0", "id": "1", "type": "t", "source": ["/s"]}'),
        (STRUCTURED, b'{"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "Upper": "x"}'),
    ],
)
def test_malformed_events_are_refused(headers: dict[str, str], body: bytes) -> None:
    """Whatever is missing, too long, misnamed or no JSON is the sender's mistake."""
    with pytest.raises(InvalidInput):
        decode(headers, body)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "application/cloudevents-batch+json"}, b"[]"),
        ({**BINARY, "content-type": "text/plain"}, b"x"),
        (STRUCTURED, b'{"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "data_base64": "eA=="}'),
        (STRUCTURED, b'{"specversion": "1.0", "id": "1", "type": "t", "source": "/s", "datacontenttype": "text/xml"}'),
        ({}, b""),
    ],
)
def test_only_json_events_are_taken(headers: dict[str, str], body: bytes) -> None:
    """Batches, and data that is no JSON, are of an unsupported media type."""
    with pytest.raises(UnsupportedMediaType):
        decode(headers, body)


@given(st.dictionaries(st.sampled_from([*BINARY, "content-type", "ce-x"]), st.text()), st.binary())
def test_any_request_is_an_event_or_refused(headers: dict[str, str], body: bytes) -> None:
    """No headers and no body make the decoder fail in another way."""
    with contextlib.suppress(InvalidInput, UnsupportedMediaType):
        assert decode(headers, body).id
