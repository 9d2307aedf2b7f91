"""A TCP relay on loopback that can be slow: what stands between a client and its server in a network that has a bad day."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 65_536


class Relay:
    """Passes bytes on, in both directions; answers ``delay_s`` late."""

    def __init__(self, to_port: int) -> None:
        self.delay_s = 0.0
        self._to_port = to_port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        with client, suppress(OSError), socket.create_connection(("127.0.0.1", self._to_port)) as server:
            there = threading.Thread(target=self._pass_on, args=(client, server), daemon=True)
            there.start()
            self._pass_on(server, client, late=True)
            there.join()

    def _pass_on(self, source: socket.socket, target: socket.socket, *, late: bool = False) -> None:
        with suppress(OSError):
            while data := source.recv(_CHUNK):
                if late and self.delay_s:
                    time.sleep(self.delay_s)
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@contextmanager
def relaying(to_port: int) -> Iterator[Relay]:
    """A relay to a port of this machine."""
    relay = Relay(to_port)
    try:
        yield relay
    finally:
        relay.close()
