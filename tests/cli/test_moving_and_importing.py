"""import-legacy, import-mcp, move and migrate at the command line: what they print, and how they end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_lines import MEMORIES, Called


def legacy(root: Path, **files: Any) -> Path:
    (root / "memories").mkdir(parents=True)
    (root / "memories" / "one.json").write_text(json.dumps({"id": "one", "content": "first", "quickrecal_score": 3}))
    for name, text in files.items():
        (root / "memories" / f"{name}.json").write_text(text)
    return root


def test_import_legacy_says_what_it_did(call: Called, tmp_path: Path) -> None:
    source = legacy(tmp_path / "old", broken="{")
    dry = call("import-legacy", source, "--dry-run")
    assert (dry.code, dry.json["imported"], dry.json["dry_run"]) == (1, 1, True)
    assert not call.store.exists()
    outcome = call("import-legacy", source)
    assert outcome.code == 1
    assert [(p["path"], p["code"]) for p in outcome.json["not_imported"]] == [("memories/broken.json", "undecodable")]
    assert (call.store / outcome.json["not_imported"][0]["kept"] / "original").read_text() == "{"
    shown = call.on_terminal("import-legacy", source)
    assert shown.code == 1
    for text in ("imported 0, skipped 1, not imported 1", "undecodable", "quickrecal_score lies outside 0..1"):
        assert text in shown.out
    (source / "memories" / "broken.json").unlink()
    assert call("import-legacy", source).code == 0
    found = call("get", "one").json
    assert found["metadata"]["legacy_import"]["originals"] == {"quickrecal_score": "3"}


def test_import_legacy_of_what_is_none(call: Called, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    call("import-legacy", tmp_path / "nowhere").failed(3, "there is no file")
    call("import-legacy", tmp_path / "empty", "--dry-run").failed(3, "holds no memories of the original code")
    (tmp_path / "file").touch()
    call("import-legacy", tmp_path / "file").failed(2, "is no directory", "import-mcp")
    source = legacy(tmp_path / "old")
    call.on(source / "store")("import-legacy", source).failed(2, "stays as it is")
    assert sorted(path.name for path in source.iterdir()) == ["memories"]


def test_import_legacy_embeds(call: Called, tmp_path: Path) -> None:
    assert call("import-legacy", legacy(tmp_path / "old"), "--embed").code == 0
    assert [hit["id"] for hit in call("search", "first", "--embedder", "default").json["hits"]] == ["one"]


def test_import_mcp(call: Called, tmp_path: Path) -> None:
    line = {"type": "entity", "name": "Ada", "entityType": "person", "observations": ["drinks tea"]}
    data = json.dumps(line).encode()
    assert call("import-mcp", "-", given=data).json["imported"] == 1
    outcome = call("import-mcp", "-", given=data + b"\n{}")
    assert (outcome.code, outcome.json["skipped"]) == (1, 1)
    assert call("get", "Ada").json["content"] == "Ada\ndrinks tea"
    changed = json.dumps({**line, "observations": []}).encode()
    assert call("import-mcp", "-", "--overwrite", given=changed).json["overwritten"] == 1


def test_move(call: Called, store: Path, tmp_path: Path) -> None:
    dry = call("move", tmp_path / "new", "--dry-run")
    assert (dry.code, dry.json["dry_run"], (tmp_path / "new").exists()) == (0, True, False)
    outcome = call("move", tmp_path / "new")
    assert outcome.code == 0
    assert outcome.json["copied"] == outcome.json["files"] == dry.json["files"]
    call("stats").failed(3, f"was moved to {tmp_path / 'new'}", "Open")
    call("remember", "anything").failed(3, "was moved to")
    call("move", tmp_path / "third").failed(3, "was moved to")
    call("migrate").failed(3, "was moved to")
    moved = call.on(tmp_path / "new")
    assert moved("stats").json["memories"] == MEMORIES
    assert moved("check").code == 0
    shown = moved.on_terminal("move", tmp_path / "third")
    assert shown.code == 0
    assert "moved " in shown.out
    assert "is given up" in shown.out


def test_move_that_leaves_something(call: Called, store: Path, tmp_path: Path) -> None:
    (store / "link").symlink_to(tmp_path)
    outcome = call("move", tmp_path / "new")
    assert (outcome.code, outcome.json["left"]) == (1, ["link"])


@pytest.mark.parametrize("target", ["store/inside", "full"])
def test_move_to_where_it_cannot_be(call: Called, store: Path, tmp_path: Path, target: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    call("move", tmp_path / target).failed(2, str(tmp_path / target))
    assert call("stats").code == 0


def test_move_of_nothing(call: Called, tmp_path: Path) -> None:
    call("move", tmp_path / "new").failed(3, "holds no store")


def test_migrate(call: Called, tmp_path: Path) -> None:
    (call.store / "memories").mkdir(parents=True)
    entry = {"memory_id": "Old One", "content": "before there was a superblock", "created_at": "2025-03-15T14:32:01"}
    (call.store / "memories" / "Old One.json").write_text(json.dumps(entry))
    call("stats").failed(3, "holds no store", "`migrate`")
    assert call("migrate", "--dry-run").json["end"] == 1
    outcome = call("migrate")
    assert (outcome.code, outcome.json["start"], outcome.json["remaining"]) == (0, 0, [])
    assert call("get", "Old One").json["content"] == entry["content"]
    assert call("migrate").json["steps"] == []
    assert "already" in call.on_terminal("migrate").out


def test_migrate_that_leaves_damage(call: Called) -> None:
    (call.store / "memories").mkdir(parents=True)
    (call.store / "memories" / "one.json").write_text('{"memory_id": "one", "content": "fine"}')
    (call.store / "memories" / "two.json").write_text('{"memory_id": "two", "con')
    outcome = call("migrate")
    assert outcome.code == 5
    assert "two.json is left as it is" in outcome.json["notes"][0]
    assert [finding["code"] for finding in outcome.json["remaining"]] == ["file_undecodable"]
    assert (call.store / "memories" / "two.json").read_text() == '{"memory_id": "two", "con'
    assert call("get", "one").code == 0
