"""Expired memories on the command line, and what removes them; purge asks before it removes everything."""

from __future__ import annotations

import json
import os
import pty
from pathlib import Path

import pytest
from command_lines import MEMORIES, Called, Program

GONE = {"memory_id": "gone", "content": "faded zebra words", "expires_at": "2001-01-01T00:00:00Z"}
LATER = {"memory_id": "later", "content": "lasting zebra words", "expires_at": "9999-01-01T00:00:00Z"}


@pytest.fixture
def fading(call: Called, store: Path) -> Called:
    """A store with one memory that has expired, and one that will."""
    lines = "\n".join(json.dumps(line) for line in (GONE, LATER))
    assert call("import", "-", given=lines.encode()).json["imported"] == 2
    return call


def test_no_command_shows_it(fading: Called) -> None:
    fading("get", "gone").failed(3, "there is no memory 'gone'")
    assert "gone" not in [line["id"] for line in fading("list").lines]
    assert f"of {MEMORIES + 1}" in fading.on_terminal("list", "--limit", 1).out
    hits = fading("recall", "zebra", "--mode", "text").json["hits"]
    assert [hit["id"] for hit in hits] == ["later"]
    stats = fading("stats").json
    assert (stats["memories"], stats["expired"]) == (MEMORIES + 2, 1)
    assert fading("check").json["clean"]


def test_export_leaves_it_out_and_says_so(fading: Called, tmp_path: Path) -> None:
    exported = fading("export")
    assert "gone" not in [line.get("memory_id") for line in exported.lines]
    assert exported.err == "expired: 1 memories were left out; --expired writes them as well\n"
    document = fading("export", tmp_path / "all.jsonl").json
    assert (document["memories"], document["expired_left_out"]) == (MEMORIES + 1, 1)


def test_export_writes_it_on_request_and_import_brings_it_back(fading: Called, tmp_path: Path) -> None:
    exported = fading("export", "--expired")
    assert exported.err == ""
    assert "gone" in [line.get("memory_id") for line in exported.lines]
    second = fading.on(tmp_path / "second")
    second("import", "-", given=exported.out.encode())
    assert second("export", "--expired").out == exported.out
    again = second("import", "-", given=exported.out.encode()).json
    assert (again["imported"], again["problem_count"]) == (0, 0)


def test_an_import_replaces_it_without_a_conflict(fading: Called) -> None:
    line = json.dumps({**GONE, "content": "alive again", "expires_at": None})
    assert fading("import", "-", given=line.encode()).json["imported"] == 1
    assert fading("get", "gone").json["content"] == "alive again"


def test_sweep_expired(fading: Called) -> None:
    assert fading("sweep-expired", "--dry-run").json == {"expired": 1, "deleted": 0}
    assert fading("stats").json["memories"] == MEMORIES + 2
    assert fading("sweep-expired").json == {"expired": 1, "deleted": 1}
    assert fading("stats").json["memories"] == MEMORIES + 1
    assert "gone" not in [line.get("memory_id") for line in fading("export", "--expired").lines]
    assert "deleted 0 expired memories" in fading.on_terminal("sweep-expired").out


def test_purge_needs_a_yes(fading: Called) -> None:
    fading("purge", "later").failed(2, "there is nobody to ask", "--yes")
    assert fading("get", "later").code == 0


def test_purge_prints_the_receipt_and_keeps_it(fading: Called, store: Path) -> None:
    purged = fading("purge", "--yes", "later")
    assert (purged.code, purged.err) == (0, "")
    receipt = purged.json
    kept = json.loads((store / receipt["path"]).read_bytes())
    del kept["content_hash"]
    assert kept == receipt
    assert {"path": "memories/later.json", "what": "entity file", "action": "removed"}.items() <= next(
        place for place in receipt["removed"] if place["path"] == "memories/later.json"
    ).items()
    texts = [path for path in store.rglob("*") if path.is_file() and b"lasting" in path.read_bytes()]
    assert texts == []
    assert fading("check").json["clean"]
    assert fading("stats").json["memories"] == MEMORIES + 1


def test_purge_tells_of_what_is_not_stored_or_left(fading: Called, store: Path) -> None:
    missing = fading("purge", "--yes", "gone", "nowhere")
    assert (missing.code, missing.json["not_stored"]) == (3, ["nowhere"])
    missing.failed(3, "there is no memory 'nowhere'", "`list`")
    left = fading("purge", "--yes", "pep-0020-000")
    assert left.code == 1
    assert left.err.startswith("left: assemblies/pep-0020.json: assembly 'pep-0020' lists its id")
    assert "no store" in fading.on(store / "elsewhere")("purge", "--yes", "x").err


@pytest.mark.parametrize(("answer", "code"), [(b"n\n", 130), (b"y\n", 0)])
def test_purge_asks(fading: Called, store: Path, program: Program, answer: bytes, code: int) -> None:
    terminal, inside = pty.openpty()
    process = program.start("--store", store, "purge", "later", stdin=inside)
    os.write(terminal, answer)
    out, err = process.communicate(timeout=60)
    os.close(inside)
    os.close(terminal)
    assert process.returncode == code, err
    assert b"Remove every trace of the memory 'later'? This cannot be undone." in err
    assert (b'"removed"' in out) is (code == 0)
    assert (fading("get", "later").code == 0) is (code != 0)


def test_purge_on_a_terminal_is_a_table(fading: Called) -> None:
    shown = fading.on_terminal("purge", "--yes", "later").out
    assert "memories/later.json" in shown
    assert "the receipt is logs/purge-" in shown
