"""An import that is killed or interrupted in the middle, and the same command again."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from command_lines import Called, Program, write_lines

CHUNK = 20
LINES: list[dict[str, Any]] = [
    {
        "id": f"n-{number:03}",
        "content": f"the number {number}",
        "created_at": "2024-01-01T00:00:00Z",
        "updated_at": "2024-01-02T00:00:00Z",
    }
    for number in range(100)
]


def memories_in(store: Path) -> int:
    folder = store / "memories"
    return len([path for path in folder.iterdir() if path.suffix == ".json"]) if folder.is_dir() else 0


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def under_way(program: Program, tmp_path: Path) -> subprocess.Popen[bytes]:
    """An import that has had 70 of the lines, has stored 60 of them, and waits for more."""
    data = write_lines(tmp_path / "lines.jsonl", LINES).read_bytes()
    process = program.start("--store", "store", "import", "-", "--chunk", CHUNK)
    assert process.stdin is not None
    process.stdin.write(b"".join(data.splitlines(keepends=True)[:70]))
    process.stdin.flush()
    until(lambda: memories_in(tmp_path / "store") == 60)
    return process


def finish(call: Called, tmp_path: Path, stored: int) -> None:
    """The same command does the rest, and nothing tells the store from one that was never interrupted."""
    again = call("import", tmp_path / "lines.jsonl", "--chunk", CHUNK)
    assert (again.code, again.json["imported"], again.json["skipped"]) == (0, len(LINES) - stored, stored)
    whole = call.on(tmp_path / "whole")
    whole("import", tmp_path / "lines.jsonl")
    assert call("export").out == whole("export").out
    assert call("check").json["findings"] == []


def test_killed(under_way: subprocess.Popen[bytes], call: Called, tmp_path: Path) -> None:
    under_way.send_signal(signal.SIGKILL)
    assert under_way.wait(60) == -signal.SIGKILL
    found = [line["id"] for line in call("list").lines]
    assert found == [line["id"] for line in LINES[:60]]
    finish(call, tmp_path, 60)


def test_killed_at_any_moment(program: Program, call: Called, tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "lines.jsonl", LINES)
    process = program.start("--store", "store", "import", lines, "--chunk", 1)
    until(lambda: memories_in(tmp_path / "store") >= 5)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    seen = memories_in(tmp_path / "store")
    found = [line["id"] for line in call("list").lines]
    assert found == [line["id"] for line in LINES[: len(found)]]
    assert len(found) >= seen >= 5
    finish(call, tmp_path, len(found))


def test_interrupted_while_it_waits_for_input(under_way: subprocess.Popen[bytes], call: Called, tmp_path: Path) -> None:
    under_way.send_signal(signal.SIGINT)
    # Its standard input is still open: it must not wait for that.
    assert under_way.wait(60) == 130
    assert under_way.stderr is not None
    told = under_way.stderr.read().decode()
    assert told.startswith("interrupted: everything that was acknowledged is kept.\nhint: ")
    assert "Traceback" not in told
    finish(call, tmp_path, 60)


@pytest.mark.parametrize("made", [("memories", "journal", ".scratch-x"), ("store.lock",)])
def test_killed_while_the_store_was_being_made(made: tuple[str, ...], call: Called, tmp_path: Path) -> None:
    call.store.mkdir()
    for name in made:
        path = call.store / name
        path.touch() if "." in name else path.mkdir()
    assert call("import", write_lines(tmp_path / "lines.jsonl", LINES), "--embed").code == 0
    assert call("check").json["memories"] == len(LINES)


def test_what_recovery_did_is_told(call: Called, tmp_path: Path, program: Program) -> None:
    call("import", write_lines(tmp_path / "lines.jsonl", LINES[:3]))
    (call.store / "memory_index.json").write_text("{}")
    outcome = call("delete", "n-000")
    assert outcome.code == 0
    assert "recovered: memory_index.json" in outcome.err
