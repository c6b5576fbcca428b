"""The processes that run `killed_workload`, seen from the one that starts and kills them.

It does not know what they do: it passes requests on and returns their lines.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Self

from synthians_memory.errors import DiskError, DiskFullError, SynthiansMemoryError
from synthians_memory.testing import killed_workload

__all__ = ["KilledProcesses", "Line", "can_kill_processes"]

Line = dict[str, Any]

# No disk takes that long for one step: a process that is silent for so many seconds hangs.
_PATIENCE: Final = 120.0
_MOST_BYTES: Final = 1 << 16
# Whatever started threads could not be forked.
_SINGLE: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def can_kill_processes() -> bool:
    """Whether this platform has what it takes."""
    return hasattr(os, "fork") and hasattr(signal, "SIGKILL")


class KilledProcesses:
    """One process at a time, killed in the end; used by one thread, as a context manager.

    They are a session of their own: a Ctrl-C at the terminal reaches only the process that started them.
    """

    def __init__(self) -> None:
        self._server = subprocess.Popen(  # noqa: S603 - our own program
            [sys.executable, "-m", killed_workload.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **_SINGLE},
            start_new_session=True,
        )
        self._buffer = b""
        self._child = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def start(self, **request: Any) -> None:
        """Start a process with this request; the one before must have ended. Raises as `lines`."""
        stdin = self._server.stdin
        if stdin is None or self._child:
            raise RuntimeError("one process at a time")
        stdin.write(json.dumps(request).encode() + b"\n")
        stdin.flush()
        self._child = int(self.wait_for("pid"))

    def wait_for(self, word: str) -> Any:
        """The value of the next line that has `word`. Raises as `lines`; DiskError where there is none."""
        for line in self.lines():
            if word in line:
                return line[word]
        raise _ended(errno.ESRCH, "ended before it answered")

    def lines(self, seconds: float | None = None) -> Iterator[Line]:
        """Its lines up to its end, or of so many seconds.

        Raises:
            DiskFullError: the process met it.
            DiskError: the disk refused it something, it hangs, or somebody else has ended it.
            SynthiansMemoryError: it met another error, which the message names.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while (line := self._line(end)) is not None:
            if "ended" in line:
                self._child = 0
                return
            yield _checked(line)

    def _line(self, end: float | None) -> Line | None:
        """The next line; None when the time is over."""
        while b"\n" not in self._buffer:
            if not self._receive(end):
                return None
        text, _, self._buffer = self._buffer.partition(b"\n")
        line: Line = json.loads(text)
        return line

    def _receive(self, end: float | None) -> bool:
        """Wait for more; False where the time is over. Raises where there will be none."""
        stdout = self._server.stdout
        left = _PATIENCE if end is None else end - time.monotonic()
        if stdout is None or left <= 0:
            return False
        if not select.select([stdout], [], [], left)[0]:
            if end is None:
                raise _ended(errno.ETIMEDOUT, f"was silent for {_PATIENCE:.0f} s: the disk does not answer")
            return False
        data = os.read(stdout.fileno(), _MOST_BYTES)
        if not data:
            raise _ended(errno.ESRCH, "was ended by somebody else")
        self._buffer += data
        return True

    def kill(self) -> Iterator[Line]:
        """End the process with SIGKILL, wherever it is; its last lines. Raises as `lines`."""
        if self._child:
            with suppress(ProcessLookupError):  # it ended by itself
                os.kill(self._child, signal.SIGKILL)
            yield from self.lines()

    def close(self) -> None:
        """Kill all of them; idempotent."""
        if self._server.poll() is None:
            os.killpg(self._server.pid, signal.SIGKILL)
        for pipe in (self._server.stdin, self._server.stdout):
            if pipe is not None:
                pipe.close()
        self._server.wait()


def _checked(line: Line) -> Line:
    if "error" not in line:
        return line
    if line["error"] == DiskFullError.__name__:
        raise DiskFullError(line["message"], errno=line["errno"])
    if line["errno"]:
        raise DiskError(line["message"], errno=line["errno"])
    raise SynthiansMemoryError(f"{line['error']}: {line['message']}")


def _ended(number: int, what: str) -> DiskError:
    return DiskError(f"a process of the crash suite {what}", errno=number)
