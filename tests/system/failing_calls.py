"""System calls of a process that fail by order of strace; and which calls a process makes."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

# Everything a store asks of its disk. A failing close is left out: strace would not close, and Linux always does.
CALLS = (
    "openat", "openat2", "pread64", "preadv2", "read", "newfstatat", "statx", "fstat", "getdents64", "readlink",
    "lseek", "fstatfs", "fcntl", "flock", "write", "pwrite64", "fdatasync", "fsync", "syncfs", "renameat",
    "renameat2", "unlinkat", "mkdirat", "mkdir",
)  # fmt: skip
# Of event loops, memory and terminals.
_OTHERS = {"close", "dup", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_wait", "ioctl", "mmap", "poll", "select"}
_ERRORS = {
    "openat": ("EIO", "EMFILE", "ENOSPC", "EACCES"),
    "write": ("EIO", "ENOSPC"),
    "pwrite64": ("EIO", "ENOSPC"),
    "mkdirat": ("EIO", "ENOSPC"),
    "renameat": ("EIO", "ENOSPC"),
    "renameat2": ("EIO", "ENOSPC", "EINVAL"),
    "unlinkat": ("EIO", "EACCES"),
    "flock": ("EIO", "ENOLCK"),
}


@dataclass(frozen=True)
class Failure:
    """One call that fails: the `at`-th of its name in each thread, or from there on all of them."""

    call: str
    error: str
    at: int
    lasting: bool

    def __str__(self) -> str:
        return f"{self.call} number {self.at}{' and later' if self.lasting else ''} fails with {self.error}"

    @property
    def order(self) -> str:
        """As strace takes it."""
        return f"inject={self.call}:error={self.error}:when={self.at}{'+' if self.lasting else ''}"


def require_strace() -> None:
    """Skip the test, with the reason, where no call of another process can be made to fail."""
    if reason := _why_nothing_can_be_traced():
        pytest.skip(reason)


@functools.cache
def _why_nothing_can_be_traced() -> str:
    if shutil.which("strace") is None:
        return "strace is not installed"
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            with traced(other.pid, "-e", "trace=read", "-e", "inject=read:error=EIO:when=9", "-o", "/dev/null"):
                other.kill()
        except AssertionError as error:
            return f"this process may trace no other: {error}"
        finally:
            other.kill()
    return ""


@contextmanager
def traced(pid: int, *options: str) -> Iterator[None]:
    """The process `pid` and all its threads run under strace, from here until they end."""
    command = ["strace", "-f", "-p", str(pid), *options]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    with tracer:
        first = tracer.stderr.readline()
        assert "attached" in first, f"strace: {first}"
        try:
            yield
            tracer.communicate(timeout=60)
        finally:
            tracer.kill()


@contextmanager
def failing(pid: int, failure: Failure) -> Iterator[None]:
    """As `traced`, with that failure."""
    with traced(pid, "-e", f"trace={failure.call}", "-e", failure.order, "-o", "/dev/null"):
        yield


@contextmanager
def counted(pid: int, log: Path) -> Iterator[None]:
    """As `traced`; `calls_in(log)` tells afterwards what was called."""
    with traced(pid, "-e", "trace=%desc,%file", "-o", str(log)):
        yield


def calls_in(log: Path) -> dict[str, int]:
    """Call -> how often the thread made it that made it most. AssertionError for one that is not in `CALLS`."""
    made = Counter(re.findall(r"^(\d+) +(\w+)\(", log.read_text(), re.MULTILINE))
    most: dict[str, int] = {}
    for (_, call), count in made.items():
        most[call] = max(count, most.get(call, 0))
    unknown = most.keys() - _OTHERS - {*CALLS}
    assert not unknown, f"calls that are not made to fail: {unknown}"
    return {call: count for call, count in most.items() if call in CALLS}


def failures(calls: dict[str, int]) -> list[Failure]:
    """Each call in turn, with each error that it may meet, once and for good."""
    return [
        Failure(call, error, at, lasting)
        for call, most in sorted(calls.items())
        for error in _ERRORS.get(call, ("EIO",))
        for at in range(1, most + 1)
        for lasting in (False, True)
    ]
