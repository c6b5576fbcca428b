"""The command reembed: to another embedder and back, its report, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

from command_lines import FEW, MEMORIES, Called, write_lines

MODEL = "wordllama:l2_supercat_256"


def embedding_of(store: Path) -> object:
    document = json.loads((store / "memories" / "pep-0020-001.json").read_text(encoding="utf-8"))
    return document["embedding"]


def test_a_store_without_embeddings_gets_them_and_gives_them_back(call: Called) -> None:
    assert call("import", "-", given=b"\n".join(FEW)).code == 0
    assert embedding_of(call.store) is None
    there = call("reembed")
    assert (there.code, there.json["phase"], there.json["switched"]) == (0, "done", True)
    assert (there.json["embedder"], there.json["embedding_dimension"]) == (MODEL, 256)
    assert there.json["embedded"] == MEMORIES
    assert there.json["previous_bytes"] > 0
    assert len(embedding_of(call.store)) == 256  # type: ignore[arg-type]
    assert call("search", "beautiful is better", "-k", "1").code == 0
    assert (call("stats").json["embedder"], call("check").json["findings"]) == (MODEL, [])
    back = call("reembed", "--back")
    assert (back.code, back.json["embedder"], back.json["embedded"]) == (0, None, 0)
    assert embedding_of(call.store) is None
    assert call("reembed", "--forget-way-back").json["previous_bytes"] == 0
    call("reembed", "--back").failed(2, "keeps no embeddings")


def test_what_would_lose_its_embedding_is_named(call: Called, tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "in.jsonl", [{"id": "picture", "content": "", "embedding": [1, 2]}])
    assert call("import", lines).code == 0
    call("reembed").failed(2, "memory 'picture'", "drop_unembeddable")
    dropped = call("reembed", "--drop-unembeddable")
    assert (dropped.code, dropped.json["without"]) == (0, ["picture"])


def test_there_has_to_be_a_store_and_one_wish(call: Called) -> None:
    call("reembed").failed(3, "holds no store")
    call("reembed", "--forget-way-back", "--back").failed(2, "changes no model")
    assert not call.store.exists()


def test_on_a_terminal_the_report_is_for_people(call: Called, store: Path) -> None:
    shown = call.on_terminal("reembed", "--embedder", "default")
    assert shown.code == 0
    assert "previous bytes" in shown.out
    assert "without" in shown.out
