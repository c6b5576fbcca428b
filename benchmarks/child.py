"""The driver's side of one contender's process: start it, ask it, end it.

It knows no workload.
"""

from __future__ import annotations

import select
import subprocess
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parent.parent
LAST_LINES = 3


class ContenderError(Exception):
    """A contender cannot do what it was asked; the message says why."""


class Child:
    """One process that runs one contender."""

    def __init__(self, name: str, python: str, log: Path, limit: float) -> None:
        """Start it; raises ContenderError where there is no such interpreter."""
        self._limit = limit
        self._log = log
        with log.open("ab") as errors:
            try:
                self._process = subprocess.Popen(
                    [python, "-m", "benchmarks.serve", name],
                    cwd=ROOT,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                )
            except OSError as error:
                raise ContenderError(f"cannot start {python}: {error.strerror}") from error

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """Send one command and wait for its answer.

        Raises:
            ContenderError: the contender failed, ended, or took longer than the limit.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            stdin.write(orjson.dumps({"do": do, **arguments}) + b"\n")
            stdin.flush()
        except BrokenPipeError as error:
            raise ContenderError(self._last_words()) from error
        if not select.select([stdout], [], [], self._limit)[0]:
            self._process.kill()
            raise ContenderError(f"{do} took longer than {self._limit:.0f} s")
        line = stdout.readline()
        if not line:
            raise ContenderError(self._last_words())
        answer = orjson.loads(line)
        if "error" in answer:
            raise ContenderError(answer["error"])
        return answer

    def end(self) -> None:
        """Close the store if it will, and wait for the process."""
        try:
            self.ask("close")
        except ContenderError:
            self._process.kill()
        self._process.communicate()

    def _last_words(self) -> str:
        self._process.wait()
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return f"its process ended with {self._process.returncode}: {' / '.join(lines[-LAST_LINES:])}"
