"""Everything on one machine, started together, watched, and stopped together."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from common.errors import KnudgeError
from local.children import Child, spawn, stop
from local.programs import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from local.programs import Program

_LOOPBACK = "127.0.0.1"
_POLL_S = 0.05
_PROBE_TIMEOUT_S = 2.0
_START_S = 90.0
_FUNCTIONS_GRACE_S = 6.0
_STORE_GRACE_S = 30.0  # it may have to finish writing
_OK = 200


class StartError(KnudgeError):
    """The machine is not as it must be: ports taken, or another instance on the same data."""

    code = "cannot_serve"


class ChildError(KnudgeError):
    """A program ended by itself, or never became ready."""

    code = "child_died"


@dataclass
class Supervisor:
    """Runs `programs`, which keep their data and logs below ``data_dir``; ``verbose``: logs go to the terminal.

    ``restart``: once all have been ready, one that a signal ends is started again, as a cluster does with a pod that was
    killed. One that ends by itself has a reason that would not go away, and ends everything.
    """

    programs: Sequence[Program]
    data_dir: Path
    verbose: bool = False
    restart: bool = False
    children: list[Child] = field(default_factory=list)
    _stopping: bool = False

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start every program and wait until each is ready; on the way out stop them all, the store last.

        Raises:
            StartError: a port is taken, or another instance uses ``data_dir``; nothing was started.
            ChildError: a program ended, or was not ready within 90 s.
        """
        with self._signals(), _locked(self.data_dir):
            check_ports(self.programs)
            try:
                self._start([program for program in self.programs if program.ready == "PING"])
                self._start([program for program in self.programs if program.ready != "PING"])
                yield
            finally:
                self._stop()

    def asked_to_stop(self) -> bool:
        """True after SIGINT, SIGTERM or SIGHUP."""
        return self._stopping

    def watch(self, until: Callable[[], bool] = lambda: False) -> None:
        """Return when a signal asks to stop or `until` is true.

        Raises:
            ChildError: a program ended by itself.
        """
        while not self._stopping and not until():
            self._restart_killed()
            self._check_children()
            time.sleep(_POLL_S)

    def child(self, name: str) -> Child:
        """The process that runs the program `name` now."""
        return next(child for child in self.children if child.name == name)

    def _restart_killed(self) -> None:
        for program in self.programs:
            child = self.child(program.name)
            if not self._will_return(child):
                continue
            stop([child], grace_s=_FUNCTIONS_GRACE_S)  # its workers, which hold its port
            if _is_free(program.port):  # else they are still on their way out
                self.children[self.children.index(child)] = self._spawn(program)

    def _will_return(self, child: Child) -> bool:
        """Whether it was killed, or told to stop (0), and is to be started again."""
        return self.restart and child.exit_code is not None and child.exit_code <= 0

    def _spawn(self, program: Program) -> Child:
        Path(program.env.get("HOME", self.data_dir)).mkdir(parents=True, exist_ok=True)
        log_path = None if self.verbose else self.data_dir / "logs" / f"{program.name}.log"
        return spawn(program.name, program.argv, env=program.env, cwd=ROOT, log_path=log_path)

    def _start(self, programs: Sequence[Program]) -> None:
        (self.data_dir / "logs").mkdir(parents=True, exist_ok=True)
        self.children += [self._spawn(program) for program in programs]
        waiting = list(programs)
        deadline = time.monotonic() + _START_S
        while waiting and not self._stopping:
            self._check_children()
            waiting = [program for program in waiting if not is_ready(program)]
            if waiting and time.monotonic() > deadline:
                raise self._never_ready(waiting[0])
            time.sleep(_POLL_S)

    def _never_ready(self, program: Program) -> ChildError:
        return ChildError(f"{program.name} was not ready within {_START_S:.0f} s{_log_of(self.child(program.name))}")

    def _check_children(self) -> None:
        for child in self.children:
            if child.exit_code is not None and not self._stopping and not self._will_return(child):
                raise ChildError(f"{child.name} {_ending(child.exit_code)}{_log_of(child)}")

    def _stop(self) -> None:
        self._stopping = True
        stores = {program.name for program in self.programs if program.ready == "PING"}
        stop([child for child in self.children if child.name not in stores], grace_s=_FUNCTIONS_GRACE_S)
        stop([child for child in self.children if child.name in stores], grace_s=_STORE_GRACE_S)

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        def ask(number: int, frame: FrameType | None) -> None:
            del number, frame
            self._stopping = True

        previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


def check_ports(programs: Sequence[Program]) -> None:
    """Raise `StartError` naming every port that is taken and who needs it."""
    taken = [program for program in programs if not _is_free(program.port)]
    if taken:
        names = ", ".join(f"{program.port} ({program.name})" for program in taken)
        advice = "stop what uses them, or move all of Knudge's ports with KNUDGE_PORT_BASE, for example KNUDGE_PORT_BASE=18080"
        raise StartError(f"ports already in use on {_LOOPBACK}: {names}; {advice}")


def is_ready(program: Program) -> bool:
    """True when `program` answers as it does once it can work."""
    if program.ready == "PING":
        return _answers_ping(program.port)
    connection = http.client.HTTPConnection(_LOOPBACK, program.port, timeout=_PROBE_TIMEOUT_S)
    try:
        connection.request("GET", program.ready)
        return connection.getresponse().status == _OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _answers_ping(port: int) -> bool:
    try:
        with socket.create_connection((_LOOPBACK, port), timeout=_PROBE_TIMEOUT_S) as connection:
            connection.sendall(b"PING\r\n")
            return connection.recv(16).startswith(b"+PONG")  # "-LOADING" while it reads its file
    except OSError:
        return False


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            return False
    return True


@contextlib.contextmanager
def _locked(data_dir: Path) -> Iterator[None]:
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            msg = f"another instance uses the data in {data_dir}; stop it, or choose another folder with KNUDGE_DATA_DIR"
            raise StartError(msg) from error
        yield


def _ending(exit_code: int) -> str:
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"stopped by itself with exit code {exit_code}"


def _log_of(child: Child) -> str:
    tail = child.tail()
    return f"; the end of its log ({child.log_path}):\n{tail}" if tail else ""
