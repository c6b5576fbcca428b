"""backup, backups, restore and history, as people and scripts call them."""

from __future__ import annotations

import shutil
from pathlib import Path

from command_lines import ASSEMBLIES, MEMORIES, Called, edit

ID = "pep-0020-000"


def test_a_store_is_backed_up_changed_and_restored(call: Called, store: Path) -> None:
    taken = call("backup")
    assert taken.code == 0
    assert taken.json["snapshot"]["memories"] == MEMORIES
    assert taken.json["directory"] == str(store / "backups" / "snapshots")
    before = call("export").out
    assert call("delete", ID).code == 0
    assert call("remember", "something new").code == 0
    restored = call("restore")
    assert restored.code == 8
    assert (restored.json["memories"], restored.json["assemblies"]) == (MEMORIES, ASSEMBLIES)
    loss = restored.json["loss"]
    assert (loss["newer"], loss["returned"], loss["known"]) == (1, 1, True)
    assert f"memory {ID}" in loss["ids"]
    assert (store / restored.json["quarantine"] / "memories").is_dir()
    assert call("export").out == before
    assert call("check").code == 0
    assert call("stats").json["notes"] == []


def test_people_see_what_was_done(call: Called, store: Path) -> None:
    shown = call.on_terminal("backup").out
    assert f"{MEMORIES} memories, {ASSEMBLIES} assemblies" in shown
    shown = call.on_terminal("backups").out
    assert "manual" in shown
    assert "whole" in shown
    call("remember", "something new")
    shown = call.on_terminal("restore").out
    assert f"restored {MEMORIES} memories" in shown
    assert "1 entities" in shown
    assert "quarantine/" in shown
    assert "hash" not in call.on_terminal("backups", "--verify").out
    assert ID not in call.on_terminal("history", ID).out


def test_one_memory_comes_back(call: Called, store: Path) -> None:
    name = call("backup").json["snapshot"]["name"]
    whole = call("get", ID).json
    call("delete", ID)
    found = call("history", ID)
    assert found.code == 0
    assert found.json["versions"][0]["sources"][0] == f"snapshot {name}"
    assert found.json["versions"][0]["content_hash"].startswith("sha256:")
    assert call("restore", "--memory", ID, "--id", name[:15]).json["changed"]
    again = call("get", ID)
    assert again.code == 0
    assert {**again.json, "updated_at": None} == {**whole, "updated_at": None}
    same = call("restore", "--memory", ID)
    assert same.code == 8
    assert not same.json["changed"]
    assert call("restore", "--memory", "pep-0020", "--assembly").code == 8
    call("restore", "--memory", "nobody").failed(3, "there was no memory 'nobody'", "history")


def test_another_directory_and_a_new_place(call: Called, store: Path, tmp_path: Path) -> None:
    assert call("backup", tmp_path / "to", "--ring", "hourly").code == 0
    shutil.rmtree(store)
    place = tmp_path / "again"
    restored = call("restore", "--from", tmp_path / "to", "--to", place)
    assert restored.code == 8
    assert restored.json["loss"] is None
    assert call.on(place)("stats").json["memories"] == MEMORIES
    # A lost store comes back in its own place too.
    assert call("restore", "--from", tmp_path / "to").code == 8
    assert call("stats").json["memories"] == MEMORIES
    call("restore", "--from", tmp_path / "to", "--to", place).failed(3, "is not empty")
    call("restore", "--from", tmp_path / "to", "--to", place, "--memory", "x").failed(2, "--memory")


def test_a_moment_is_restored(call: Called, store: Path) -> None:
    archive = {"SYNTHIANS_MEMORY_ARCHIVE_JOURNAL": "true"}
    call("backup")
    one = call("remember", "the first", **archive).json
    call("checkpoint", **archive)
    two = call("remember", "the second", **archive).json
    call("checkpoint", **archive)
    # Created a moment before it was written.
    restored = call("restore", "--at", two["created_at"])
    assert (restored.code, restored.json["replayed"], restored.json["problems"]) == (8, 1, [])
    assert call("get", one["id"]).code == 0
    assert call("get", two["id"]).code == 3
    call("restore", "--at", "1999-01-01").failed(3, "no intact snapshot")
    call("restore", "--at", "yesterday").failed(2, "--at")


def test_what_is_damaged_is_said(call: Called, store: Path) -> None:
    call("backup")
    edit(store / "memories" / f"{ID}.json", "content_hash", "Content_hash")
    assert call("backup").code == 0  # its version is stored already
    partial = call("backup", "--full")
    assert partial.code == 5
    assert f"memories/{ID}.json" in partial.err
    rotten = next((store / "backups" / "snapshots" / "entities").rglob("*.json"))
    rotten.write_bytes(b"rot")
    assert call("backups").code == 5
    verified = call("backups", "--verify")
    assert verified.code == 5
    assert rotten.stem in verified.out
    before = {path: path.read_bytes() for path in store.glob("memories/*")}
    call("restore").failed(5, rotten.stem, "backups --verify")
    assert {path: path.read_bytes() for path in store.glob("memories/*")} == before


def test_wrong_places(call: Called, tmp_path: Path) -> None:
    call("backup").failed(3, "holds no store")
    call("backups").failed(3, "holds no store")
    call("restore").failed(3, "holds no store")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "letters.txt").write_text("mine")
    call("backup").failed(3, "holds no store")
    call("restore", "--from", tmp_path / "nowhere").failed(3, "holds no snapshots", "backup")
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["letters.txt"]


def test_a_store_without_snapshots(call: Called, store: Path) -> None:
    assert call("backups").json["snapshots"] == []
    assert "no snapshots" in call.on_terminal("backups").out
    call("restore").failed(3, "holds no snapshots", "backup")
    assert call("history", ID).code == 0
