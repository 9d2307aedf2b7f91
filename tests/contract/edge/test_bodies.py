"""Both runtimes keep the same promises about bodies: limits before memory, streams in and out, hang-ups noticed."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.contract.edge.conftest import wait_until
from tests.contract.edge.served.handlers import MAX_BODY, MAX_UPLOAD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.edge.conftest import Server

MIB = 1024 * 1024


def head(server: Server, path: str, *lines: str) -> bytes:
    fixed = (f"POST {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {server.key}")
    return "\r\n".join([*fixed, *lines, "", ""]).encode()


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // 10_000):
        yield b"x" * 10_000


def test_too_long_is_refused_by_its_length(server: Server) -> None:
    """A declared length over the limit is answered before a single byte of the body is there."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(head(server, "/echo", f"Content-Length: {600 * MIB}"))
        assert connection.recv(1000).startswith(b"HTTP/1.1 413")


def test_long_uploads_never_reach_memory(server: Server) -> None:
    """Of a 600 MiB upload that nobody wants next to nothing is read, and the sender still gets its 413."""
    if server.drains:
        pytest.skip("werkzeug's development server reads on by itself")
    server.post("/echo", content=b"x" * MAX_BODY)
    before = server.peak_memory_kib()
    sent = 0
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(head(server, "/echo", f"Content-Length: {600 * MIB}"))
        answer = connection.recv(12)
        with contextlib.suppress(OSError):
            while sent < 600 * MIB:
                sent += connection.send(b"x" * MIB)
    assert answer == b"HTTP/1.1 413"
    assert sent < 64 * MIB
    assert server.peak_memory_kib() - before < 20 * 1024


def test_chunked_bodies_stop_at_the_limit(server: Server) -> None:
    """A body of unknown length is cut off when it passes the limit; one just within it is taken."""
    assert len(server.post("/echo", content=pieces(MAX_BODY)).json()["body"]) == MAX_BODY
    over = server.post("/echo", content=pieces(3 * MAX_BODY))
    assert (over.status_code, over.json()["code"]) == (413, "payload_too_large")


def test_uploads_stream_with_their_own_limit(server: Server) -> None:
    """A route that streams takes bodies far over the usual limit, piece by piece, and stops at its own."""
    assert server.post("/upload", content=pieces(MAX_UPLOAD)).json() == {"size": MAX_UPLOAD}
    assert server.post("/upload", content=b"x" * MAX_UPLOAD).json() == {"size": MAX_UPLOAD}
    assert server.post("/upload", content=pieces(2 * MAX_UPLOAD)).status_code == 413
    assert server.post("/upload", content=b"x" * (MAX_UPLOAD + 1)).status_code == 413


def test_uploads_need_keys_first(server: Server) -> None:
    """Without a key an upload is refused unread, and the connection is not used for what was left of it."""
    answer = httpx.post(server.url + "/upload", content=pieces(MAX_UPLOAD))
    assert answer.status_code == 401


def test_connections_survive_refusals_of_small_bodies(server: Server) -> None:
    """After an answer that did not read the body, the next request on the client's pool is understood."""
    for _ in range(3):
        assert server.post("/nowhere", content=b"x" * 1000).status_code == 404
        assert server.post("/echo", content=b"abc").json()["body"] == "abc"


def test_a_connection_with_an_unread_body_is_said_to_close(server: Server) -> None:
    """A client of a refused large body hears that its connection ends, and sends what comes next on another."""
    if server.drains:
        pytest.skip("werkzeug's development server reads on by itself")
    for _ in range(3):
        refused = server.post("/echo", content=b"x" * (33 * MIB))
        assert (refused.status_code, refused.headers["connection"]) == (413, "close")
        assert server.post("/echo", content=b"abc").json()["body"] == "abc"


def test_bodies_that_end_early(server: Server) -> None:
    """A client that promises more than it sends and goes away harms nobody."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(head(server, "/echo", "Content-Length: 100", "X-Request-Id: cut-off") + b"abc")
        connection.shutdown(socket.SHUT_WR)
        connection.recv(1000)
    wait_until(lambda: bool(server.log_lines("cut-off")))
    assert server.get("/livez").status_code == 200


def test_answers_stream(server: Server) -> None:
    """Lines of an endless answer arrive one by one."""
    with server.client.stream("GET", "/stream") as answer:
        lines = answer.iter_lines()
        assert [next(lines), next(lines)] == ["line 0", "line 1"]


def test_hang_ups_close_the_stream(server: Server) -> None:
    """When the client goes, the handler's iterator is closed, and the request counts as finished."""
    before = server.get("/seen").json()["closed"].count("stream")
    with httpx.stream("GET", server.url + "/stream", headers={"authorization": f"Bearer {server.key}"}) as answer:
        next(answer.iter_lines())
    wait_until(lambda: server.get("/seen").json()["closed"].count("stream") > before)
    wait_until(lambda: 'knudge_requests_in_flight{function="served"} 0.0' in server.get("/metrics").text)


def test_answers_that_break_off_look_broken(server: Server) -> None:
    """An error in the middle of a stream breaks the connection, so that nobody takes the part for the whole."""
    with pytest.raises(httpx.RemoteProtocolError):
        server.get("/broken", headers={"x-request-id": "broken"})
    wait_until(lambda: "edge.answer_broke_off" in {line["event"] for line in server.log_lines("broken")})


def test_overload_is_refused_at_once(server: Server) -> None:
    """With all places taken further requests get 503 and a time to come back, while probes are still answered."""
    headers = {"authorization": f"Bearer {server.key}"}
    release = server.scratch / "release"
    statuses: list[int] = []

    def hold() -> None:
        statuses.append(httpx.get(server.url + "/hold", headers=headers, timeout=20).status_code)

    holders = [threading.Thread(target=hold) for _ in range(4)]
    for holder in holders:
        holder.start()
    try:
        wait_until(lambda: 'in_flight{function="served"} 4.0' in server.get("/metrics").text)
        refused = server.get("/echo")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert refused.json()["code"] == "overloaded"
        assert server.get("/livez").status_code == server.get("/readyz").status_code == 200
    finally:
        release.touch()
        for holder in holders:
            holder.join()
    release.unlink()
    assert statuses == [200] * 4
    assert server.get("/echo").status_code == 200
