"""A process that has imported everything and forks children on demand; and its client for the tests.

A child starts within milliseconds, has one thread, and dies with the test run. It talks over a socket: lines of
JSON to whoever has the other end, and from there the one word that lets it go on.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from programs import PROGRAMS
from workload import Report

_PR_SET_PDEATHSIG = 1
_MOST_BYTES = 1 << 20
# Nothing here takes that long: a child that is silent for so many seconds hangs.
_PATIENCE = 30.0

Line = dict[str, Any]


def main() -> None:
    """Serve the socket whose descriptor is the one argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    children: set[int] = set()
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, _MOST_BYTES, 1)
        if not message:
            break
        request = json.loads(message)
        if "program" in request:
            pid = _fork(request, descriptors[0], control)
            children.add(pid)
            control.send(json.dumps({"pid": pid}).encode())
        else:
            status = os.waitpid(request["wait"], 0)[1]
            children.discard(request["wait"])
            control.send(json.dumps({"code": os.waitstatus_to_exitcode(status)}).encode())
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _fork(request: Line, descriptor: int, control: socket.socket) -> int:
    pid = os.fork()
    if pid != 0:
        os.close(descriptor)
        return pid
    code = 1
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        control.close()
        faulthandler.register(signal.SIGUSR1)
        code = _run(request, Report(socket.socket(fileno=descriptor)))
    finally:
        os._exit(code)


def _run(request: Line, report: Report) -> int:
    try:
        PROGRAMS[request["program"]](request["settings"], report)
    except BaseException:  # noqa: BLE001 - whatever it was, the test has to hear of it
        report.say(foreign=traceback.format_exc())
        return 1
    return 0


class Child:
    """One forked child.

    Attributes:
        pid: its process id.
    """

    def __init__(self, server: ForkServer, pid: int, lines: socket.socket | None) -> None:
        self._server = server
        self.pid = pid
        # Unlike the number, it never stands for another process.
        self._handle = os.pidfd_open(pid)
        self._lines = lines
        self._buffer = b""
        self.ended = False

    def go(self) -> None:
        """Let it go on, where it waits."""
        assert self._lines is not None
        self._lines.send(b"\n")

    def line(self) -> Line | None:
        """The next line; None when it has ended. AssertionError where it died of a foreign exception, or hangs."""
        while b"\n" not in self._buffer:
            if not self._receive(_PATIENCE):
                return None
        first, _, self._buffer = self._buffer.partition(b"\n")
        return _checked(json.loads(first))

    def lines(self) -> Iterator[Line]:
        """All lines up to its end."""
        while (line := self.line()) is not None:
            yield line

    def lines_for(self, seconds: float) -> Iterator[Line]:
        """The lines it sends within so many seconds."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            assert self._lines is not None
            if not select.select([self._lines], [], [], left)[0]:
                return
            if not self._receive(_PATIENCE):
                return
            *whole, self._buffer = self._buffer.split(b"\n")
            yield from (_checked(json.loads(line)) for line in whole)

    def _receive(self, seconds: float) -> bool:
        assert self._lines is not None
        self._lines.settimeout(seconds)
        try:
            data = self._lines.recv(_MOST_BYTES)
        except TimeoutError:
            signal.pidfd_send_signal(self._handle, signal.SIGUSR1)
            time.sleep(1)
            raise AssertionError(
                f"the child {self.pid} was silent for {seconds} s: it hangs; stderr has its stacks"
            ) from None
        except ConnectionResetError:
            data = b""
        self._buffer += data
        return bool(data)

    def kill(self) -> None:
        """End it with SIGKILL, wherever it is; afterwards it is dead."""
        if not self.ended:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
            self.end()

    def end(self) -> int:
        """Wait for its end; the exit code, or the negative number of the signal."""
        self.ended = True
        code = self._server.wait(self)
        os.close(self._handle)
        return code

    def close(self) -> None:
        """Kill it where it lives, and forget its lines."""
        self.kill()
        if self._lines is not None:
            self._lines.close()


def _checked(line: Line) -> Line:
    if "foreign" in line:
        raise AssertionError(f"a foreign exception in the child:\n{line['foreign']}")
    if "wrong" in line:
        raise AssertionError(f"the child saw: {line['wrong']}")
    return line


class ForkServer:
    """The client of `main`; used by one thread, ended by `close`."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        single = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            env={**os.environ, **single},
        )
        theirs.close()
        self._children: list[Child] = []

    def start(self, program: str, *, report_to: socket.socket | None = None, **settings: Any) -> Child:
        """Fork a child that runs `program`.

        Args:
            program: of `programs.PROGRAMS`.
            report_to: what gets its lines; None: the Child that is returned.
            settings: what the program takes.
        """
        ours: socket.socket | None = None
        theirs = report_to
        if theirs is None:
            ours, theirs = socket.socketpair()
        request = json.dumps({"program": program, "settings": settings}).encode()
        socket.send_fds(self._control, [request], [theirs.fileno()])
        if report_to is None:
            theirs.close()
        child = Child(self, self._answer()["pid"], ours)
        self._children.append(child)
        return child

    def wait(self, child: Child) -> int:
        self._control.send(json.dumps({"wait": child.pid}).encode())
        return int(self._answer()["code"])

    def _answer(self) -> Line:
        self._control.settimeout(_PATIENCE)
        answer: Line = json.loads(self._control.recv(_MOST_BYTES))
        return answer

    def close(self) -> None:
        """Kill every child, and end the server."""
        for child in self._children:
            child.close()
        self._control.close()
        self._process.wait()


if __name__ == "__main__":
    main()
