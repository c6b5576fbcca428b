"""Ways to call the program."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import pytest
import typer
from typer.testing import CliRunner

FIXTURES = Path(__file__).resolve().parent.parent.parent / "storage_fixtures"
SAMPLE = FIXTURES / "peps_sample.jsonl"
# Three proposals of the sample, for the tests that need a store and not all of it.
FEW = [line for line in SAMPLE.read_bytes().splitlines() if re.search(rb'"assembly_id": "pep-0(020|257|563)"', line)]
ASSEMBLIES = 3
MEMORIES = len(FEW) - ASSEMBLIES
MODULE = [sys.executable, "-m", "synthians_memory.entrypoints.cli"]


class Outcome(NamedTuple):
    """What a call gave."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]

    def failed(self, code: int, message: str, hint: str = "") -> None:
        """Assert that it failed like this, with something to do, and without a traceback."""
        assert self.code == code, self
        assert "Traceback" not in self.err
        errors = [line for line in self.err.splitlines() if line.startswith("error: ")]
        hints = [line for line in self.err.splitlines() if line.startswith("hint: ")]
        assert message in " ".join(errors), self.err
        assert hints, self.err
        assert hint in " ".join(hints), self.err


class Called:
    """Calls in this process, on one store."""

    def __init__(self, runner: CliRunner, app: typer.Typer, store: Path) -> None:
        self._runner = runner
        self._app = app
        self.store = store

    def __call__(self, *args: object, given: bytes = b"", **environment: str) -> Outcome:
        line = ["--store", str(self.store), *map(str, args)]
        result = self._runner.invoke(self._app, line, input=given, env=environment, catch_exceptions=False)
        return Outcome(result.exit_code, result.stdout, result.stderr)

    def on_terminal(self, *args: object) -> Outcome:
        """As a call, with both outputs on a terminal of 100 columns, and both in `out`."""
        terminal, inside = pty.openpty()
        shown: list[str] = []
        reader = threading.Thread(target=lambda: shown.append(_read_all(terminal)))
        reader.start()
        with (
            open(inside, "w", encoding="utf-8") as stream,
            redirect_stdout(stream),
            redirect_stderr(stream),
            mock.patch.dict(os.environ, {"COLUMNS": "100", "TERM": "xterm"}),
            pytest.raises(SystemExit) as left,
        ):
            self._app(["--store", str(self.store), *map(str, args)], prog_name="synthians-memory")
        reader.join()
        return Outcome(int(str(left.value.code)), shown[0], "")

    def on(self, store: Path) -> Called:
        """The same, on another store."""
        return Called(self._runner, self._app, store)


class Program:
    """Processes of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SYNTHIANS_MEMORY_")},
            "COLUMNS": "100",
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *args: object, command: list[str] | None = None, **options: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [*(command or MODULE), *map(str, args)],
            **{**pipes, "cwd": self.folder, "env": self.environment, **options},
        )
        self._started.append(process)
        return process

    def __call__(self, *args: object, given: bytes = b"", **options: Any) -> Outcome:
        process = self.start(*args, **options)
        out, err = process.communicate(given, timeout=60)
        return Outcome(process.returncode, (out or b"").decode(), (err or b"").decode())

    def on_terminal(self, *args: object, out_piped: bool = False) -> Outcome:
        """Run with standard output (unless piped) and standard error on a terminal of 100 columns; both in `out`."""
        terminal, inside = pty.openpty()
        fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        out = subprocess.PIPE if out_piped else inside
        self.environment["TERM"] = "xterm"
        process = self.start(*args, stdin=inside, stdout=out, stderr=inside)
        os.close(inside)
        shown = _read_all(terminal)
        piped = process.stdout.read() if process.stdout else b""
        return Outcome(process.wait(60), piped.decode() if out_piped else shown, shown if out_piped else "")

    def end_all(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()


def _read_all(terminal: int) -> str:
    shown = b""
    try:
        while data := os.read(terminal, 65536):
            shown += data
    except OSError:  # how Linux tells that nobody holds the other end any more
        pass
    os.close(terminal)
    return shown.decode().replace("\r\n", "\n")


def write_lines(path: Path, lines: list[dict[str, Any]]) -> Path:
    """A JSONL file of `lines`."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def edit(path: Path, old: str, new: str) -> None:
    """Change a file as a person with an editor would: its hash line stays as it was."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
