"""Other processes for the tests of stores: forked children, and programs that hold a store open."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_HOLD = """
import asyncio, sys
from synthians_memory import MemoryEntry, MemoryPersistence

async def main():
    async with MemoryPersistence(sys.argv[1]) as store:
        await store.save_memory(MemoryEntry(memory_id="of the other", content="acknowledged"))
        print("open", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""


class ForkedChild:
    """A child that runs a function and waits to be told to go."""

    def __init__(self, pid: int, report: int, leash: int) -> None:
        self.pid = pid
        self._report = report
        self._leash = leash

    def report(self) -> str:
        """What the function returned."""
        with os.fdopen(self._report, encoding="utf-8") as pipe:
            return pipe.readline().rstrip("\n")

    def end(self) -> int:
        """Let it go; its exit code."""
        os.close(self._leash)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def fork(function: Callable[[], str]) -> ForkedChild:
    """Run `function` in a forked child, which then stays until `end`."""
    report, report_in = os.pipe()
    leash, leash_in = os.pipe()
    with warnings.catch_warnings():
        # That there are threads is the point.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _be_the_child(function, report_in, leash, leash_in)
    os.close(report_in)
    os.close(leash)
    return ForkedChild(pid, report, leash_in)


def _be_the_child(function: Callable[[], str], report: int, leash: int, leash_in: int) -> None:
    code = 1
    try:
        os.close(leash_in)
        os.write(report, f"{function()}\n".encode())
        os.read(leash, 1)
        code = 0
    finally:
        os._exit(code)


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has opened the store at `path`, and saved one memory in it; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield process
        finally:
            process.kill()
