"""Damaged, edited and missing files: what check, repair, adopt and export make of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from command_lines import FEW, MEMORIES, Called, edit

CHANGED = "pep-0020-001"


@pytest.fixture
def damaged(store: Path) -> Path:
    """The file of a memory in which a word was changed, its hash line not."""
    path = store / "memories" / f"{CHANGED}.json"
    edit(path, "Beautiful", "Plain")
    return path


def codes(document: Any) -> list[str]:
    return [finding["code"] for finding in document["findings"]]


def test_a_sound_store(call: Called, store: Path) -> None:
    check = call("check")
    assert (check.code, check.json["clean"], check.json["findings"], check.json["memories"]) == (0, True, [], MEMORIES)
    repair = call("repair")
    assert (repair.code, repair.json["clean"], repair.json["actions"]) == (0, True, [])


def test_notes_are_no_failure(call: Called, store: Path) -> None:
    call("delete", CHANGED)
    check = call("check")
    assert (check.code, codes(check.json)) == (0, ["member_missing"])


def test_check_finds_and_changes_nothing(call: Called, store: Path, damaged: Path) -> None:
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    check = call("check")
    assert (check.code, check.json["clean"], codes(check.json)) == (1, False, ["file_damaged"])
    assert check.json["findings"][0]["path"] == f"memories/{CHANGED}.json"
    assert call("check", "--level", "quick").code == 1
    planned = call("repair", "--dry-run")
    assert planned.code == 1
    assert planned.json["actions"][0].startswith(f"move memories/{CHANGED}.json to quarantine")
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_a_damaged_entity_is_never_served(call: Called, damaged: Path) -> None:
    call("get", CHANGED).failed(5, f"memories/{CHANGED}.json is damaged", "`adopt`")
    found = call("search", "beautiful is better than ugly")
    assert found.code == 5
    assert f"damaged: memories/{CHANGED}.json" in found.err
    assert "content" not in next(hit for hit in found.json["hits"] if hit["id"] == CHANGED)


def test_export_leaves_it_out_and_says_so(call: Called, store: Path, damaged: Path, tmp_path: Path) -> None:
    exported = call("export")
    assert exported.code == 5
    assert f"damaged: memories/{CHANGED}.json" in exported.err
    assert "hint: Run `check`, then `repair`" in exported.err
    assert len(exported.lines) == len(FEW) - 1
    to_file = call("export", tmp_path / "all.jsonl")
    assert (to_file.code, to_file.json["memories"], to_file.json["damaged"]) == (5, MEMORIES - 1, 1)
    assert (tmp_path / "all.jsonl").read_text() == exported.out
    listed = call("list")
    assert (listed.code, len(listed.lines)) == (5, MEMORIES - 1)


def test_repair_moves_it_aside(call: Called, store: Path, damaged: Path) -> None:
    repair = call("repair")
    assert (repair.code, repair.json["clean"]) == (7, True)
    moved = [path for path in repair.json["quarantined"] if path.endswith(f"{CHANGED}.json")]
    assert "Plain is better" in (store / moved[0]).read_text()
    assert call("check").code == 0
    assert call("repair").code == 0
    call("get", CHANGED).failed(3, "no memory")


def test_adopt_accepts_it(call: Called, damaged: Path) -> None:
    adopted = call("adopt", CHANGED)
    assert adopted.code == 0
    assert (adopted.json["path"], adopted.json["id"]) == (f"memories/{CHANGED}.json", CHANGED)
    assert call("get", CHANGED).json["content"].startswith("Plain is better")
    assert call("check").code == 0


def test_adopt_an_assembly(call: Called, store: Path) -> None:
    path = store / "assemblies" / "pep-0020.json"
    edit(path, "The Zen of Python", "The Zen")
    call("adopt", "pep-0020").failed(3, "memories/pep-0020.json does not exist")
    assert call("adopt", "pep-0020", "--assembly").code == 0
    assert call("get", "pep-0020", "--assembly").json["name"] == "The Zen"


def test_adopt_refuses_what_is_no_entity(call: Called, damaged: Path) -> None:
    damaged.write_text("[")
    call("adopt", CHANGED).failed(5, "cannot be adopted", "Correct the file")


def test_an_edited_file_is_taken_and_told_of(call: Called, store: Path) -> None:
    path = store / "memories" / f"{CHANGED}.json"
    fields = json.loads(path.read_text())
    del fields["content_hash"]
    path.write_text(json.dumps({**fields, "content": "edited"}))
    assert codes(call("check").json) == ["file_edited"]
    deleted = call("delete", "pep-0020-000")
    assert deleted.code == 0
    assert f"repaired: adopt memories/{CHANGED}.json" in deleted.err
    assert call("get", CHANGED).json["content"] == "edited"


def test_what_opening_leaves_is_told_of(call: Called, damaged: Path) -> None:
    deleted = call("delete", "pep-0020-000")
    assert deleted.code == 0
    assert f"found: memories/{CHANGED}.json" in deleted.err
    assert "hint: Run `check`" in deleted.err


def test_a_lost_vector_index_is_rebuilt(call: Called, store: Path) -> None:
    (store / "vector_index" / "mapping.json").write_text("{}")
    check = call("check")
    assert (check.code, codes(check.json)) == (1, ["vectors_damaged"])
    repair = call("repair")
    assert repair.code == 7
    assert "recovered: " in repair.err
    assert call("check").code == 0


def test_a_folder_that_vanished_is_not_a_thousand_deletions(call: Called, store: Path) -> None:
    (store / "memories").rename(store.parent / "elsewhere")
    (store / "memories").mkdir()
    refused = call("delete", "pep-0257", "--assembly")
    refused.failed(5, "read-only", "`repair`")
    (store / "memories").rmdir()
    (store.parent / "elsewhere").rename(store / "memories")
    assert call("check").code == 0
    assert call("delete", "pep-0257", "--assembly").code == 0
