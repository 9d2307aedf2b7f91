import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import (
    MalformedReply,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTimeout,
    ProviderUnavailable,
)
from common.providers.http import MAX_EVENT_BYTES, Call, EventParser, Http
from tests.support.providers import Canned, Vendor, serving

BODY = {"messages": ["hello"]}


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    client = Http()
    yield client
    await client.aclose()


def call(url: str, *, timeout_s: float = 5.0, secret: str = "") -> Call:
    return Call(url=f"{url}/chat", headers={"x-test": "1"}, model="lab:m", timeout_s=timeout_s, body=BODY, secret=secret)


async def test_a_json_object_comes_back(http: Http) -> None:
    """A POST carries the body as JSON and our headers, and the answer is parsed, headers in lower case."""
    vendor = Vendor(Canned(body={"a": 1}, headers={"X-Ratelimit-Remaining": "5"}))
    with serving(vendor) as url:
        reply = await http.fetch(call(url))
    assert reply.data == {"a": 1}
    assert reply.headers["x-ratelimit-remaining"] == "5"
    assert vendor.seen[0].body == BODY
    assert vendor.seen[0].headers["x-test"] == "1"
    assert vendor.seen[0].headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Canned(body=b"{"), MalformedReply),
        (Canned(body=b"[1]"), MalformedReply),
        (Canned(body=b""), MalformedReply),
        (Canned(body=b"[" * 100_000), MalformedReply),
        (Canned(headers={"content-encoding": "gzip"}, body=b"not gzip"), MalformedReply),
        (Canned(status=503, body=b"<html>busy</html>"), ProviderUnavailable),
        (Canned(status=429, body={"error": {}}, headers={"retry-after": "3"}), ProviderRateLimited),
        (Canned(status=301, headers={"location": "https://elsewhere.test"}), ProviderRejected),
        (Canned(headers={"content-length": "100"}, pieces=[b'{"a":'], sever="cut"), ProviderUnavailable),
        (Canned(headers={"content-length": "100"}, pieces=[b'{"a":'], sever="reset"), ProviderUnavailable),
        (Canned(pieces=[b'{"a":'], sever="reset"), ProviderUnavailable),
    ],
    ids=["half", "array", "empty", "deep", "encoding", "503", "429", "redirect", "cut", "reset", "reset chunked"],
)
async def test_broken_answers_become_our_errors(http: Http, answer: Canned, expected: type[Exception]) -> None:
    """Whatever a server does to its answer, the error is one of ours and keeps its cause."""
    with serving(Vendor(answer)) as url, pytest.raises(expected) as caught:
        await http.fetch(call(url))
    assert type(caught.value) is expected
    assert "lab:m" in caught.value.message


async def test_a_server_that_is_not_there_is_unavailable(http: Http) -> None:
    """A refused connection is no timeout, although the transport calls it one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ProviderUnavailable):
        await http.fetch(call(f"http://127.0.0.1:{port}"))


async def test_a_tls_failure_is_unavailable(http: Http) -> None:
    """A server that does not speak TLS where it should is unavailable, and nothing of the handshake is told."""
    with serving(Vendor(Canned())) as url, pytest.raises(ProviderUnavailable):
        await http.fetch(call(url.replace("http://", "https://")))


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "http://", "http://[", "no scheme"])
async def test_a_useless_base_url_is_our_error(http: Http, url: str) -> None:
    """A configuration that no request can be made of is refused by one of our errors."""
    with pytest.raises((ProviderRejected, ProviderUnavailable)):
        await http.fetch(call(url))


async def test_silence_is_a_timeout(http: Http) -> None:
    """A server that says nothing within the timeout is left, and the connection is closed."""
    vendor = Vendor(Canned(wait_s=30))
    with serving(vendor) as url:
        with pytest.raises(ProviderTimeout):
            await http.fetch(call(url, timeout_s=0.5))
        assert await asyncio.to_thread(vendor.hung_up.wait, 5)


async def test_a_body_that_drips_is_a_timeout(http: Http) -> None:
    """The timeout bounds the whole answer, not only the silence between its pieces."""
    with serving(Vendor(Canned(pieces=[b" "] * 500, pause_s=0.02))) as url, pytest.raises(ProviderTimeout):
        await http.fetch(call(url, timeout_s=0.2))


async def test_the_key_never_shows(http: Http) -> None:
    """A vendor that echoes the key into its error does not get it into ours, nor the body we sent."""
    answer = Canned(status=401, body={"error": {"message": "no such key: tr0ub4dor"}})
    with serving(Vendor(answer)) as url, pytest.raises(Exception, match="401") as caught:
        await http.fetch(call(url, secret="tr0ub4dor"))  # noqa: S106 -- made up
    assert "tr0ub4dor" not in str(caught.value)
    assert "hello" not in str(caught.value)


async def test_events_come_as_they_are_sent(http: Http) -> None:
    """Server-sent events arrive one by one, whatever way the bytes are cut."""
    pieces = [b"event: a\r\nda", b"ta: 1\r\n\r\n: comment\n", b"data: 2\ndata: 3\n\ndata: [DO", b"NE]\n\n"]
    with serving(Vendor(Canned(pieces=pieces))) as url:
        events = [(event.event, event.data) async for event in http.events(call(url))]
    assert events == [("a", b"1"), ("", b"2\n3"), ("", b"[DONE]")]


async def test_a_consumer_may_take_its_time(http: Http) -> None:
    """The stream's timeout is for the provider: it does not run while the consumer works."""
    received = []
    with serving(Vendor(Canned(pieces=[b"data: 1\n\n", b"data: 2\n\n"], pause_s=0.01))) as url:
        async for event in http.events(call(url, timeout_s=0.3)):
            await asyncio.sleep(0.4)
            received.append(event.data)
    assert received == [b"1", b"2"]


async def test_silence_within_a_stream_is_a_timeout(http: Http) -> None:
    """A stream that stops without ending is left after the timeout."""
    with serving(Vendor(Canned(pieces=[b"data: 1\n\n", b""], pause_s=30))) as url, pytest.raises(ProviderTimeout):
        _ = [event async for event in http.events(call(url, timeout_s=0.2))]


async def test_closing_the_stream_closes_the_connection(http: Http) -> None:
    """When the consumer stops, the server sees the caller hang up."""
    vendor = Vendor(Canned(pieces=[b"data: 1\n\n"] * 1000, pause_s=0.01))
    with serving(vendor) as url:
        events = http.events(call(url))
        assert (await anext(events)).data == b"1"
        await events.aclose()
        assert await asyncio.to_thread(vendor.hung_up.wait, 5)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Canned(status=429, headers={"retry-after": "1"}), ProviderRateLimited),
        (Canned(pieces=[b"data: 1\n\n"], sever="reset"), ProviderUnavailable),
        (Canned(pieces=[b"data: " + b"x" * MAX_EVENT_BYTES, b"xx"]), ProviderUnavailable),
    ],
    ids=["429", "reset", "endless"],
)
async def test_broken_streams_become_our_errors(http: Http, answer: Canned, expected: type[Exception]) -> None:
    """A stream that is refused, reset or without end raises one of our errors."""
    with serving(Vendor(answer)) as url, pytest.raises(expected):
        _ = [event async for event in http.events(call(url))]


@given(
    st.lists(st.tuples(st.sampled_from(["", "ping", "delta"]), st.text('ab{}:" é', min_size=1)), max_size=6),
    st.sampled_from([b"\n", b"\r\n"]),
    st.data(),
)
def test_events_survive_any_cut(events: list[tuple[str, str]], newline: bytes, data: st.DataObject) -> None:
    """Parsing gives the events that were written, wherever the bytes are cut."""
    wire = b"".join(
        (b"event: %b%b" % (name.encode(), newline) if name else b"") + b"data: %b%b%b" % (text.encode(), newline, newline)
        for name, text in events
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    parser = EventParser("lab:m")
    parsed = [event for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True) for event in parser.feed(wire[a:b])]
    assert [(event.event, event.data.decode()) for event in parsed] == events


async def test_after_closing_a_new_call_opens_again(http: Http) -> None:
    """A client that was closed serves the next call all the same."""
    with serving(Vendor(Canned(body={"a": 1}))) as url:
        await http.fetch(call(url))
        await http.aclose()
        assert (await http.fetch(call(url))).data == {"a": 1}
