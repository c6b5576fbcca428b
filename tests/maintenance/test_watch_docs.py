"""docs/api.md and docs/by_hand.md agree with the watch."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest
from watched_stores import QUICK, edited, memory, watched

from synthians_memory.engine.stale_embeddings import STALE_KEY
from synthians_memory.maintenance.watch import Watcher, watch
from synthians_memory.maintenance.watched_change import WatchedChange

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
API = (DOCS / "api.md").read_text(encoding="utf-8")
BY_HAND = (DOCS / "by_hand.md").read_text(encoding="utf-8")
CALLS = {"Watcher": Watcher, "changes": Watcher.changes, "watch": watch}


def section(title: str) -> str:
    found = re.search(rf"^### {title}\n(.*?)(?=^#)", API, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


@pytest.mark.parametrize("name", CALLS)
def test_signatures(name: str) -> None:
    (call,) = re.findall(rf"^- `(?:async for )?{name}\((.*?)\)(?: -> \w+)?`", section("Watcher"), re.MULTILINE)
    given = [parameter for parameter in inspect.signature(CALLS[name]).parameters.values() if parameter.name != "self"]
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in given]
    assert f"({call})" == str(inspect.Signature(plain))


def test_public_names_of_a_watcher() -> None:
    public = {name for name in vars(Watcher) if not name.startswith("_")}
    assert public == {"changes", "notified"}
    assert all(f"`{name}" in section("Watcher") for name in (*public, "failure"))


def test_fields() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", section("WatchedChange"), re.MULTILINE)
    declared = [(f.name, f.default) for f in fields(WatchedChange)]
    assert [(n, MISSING if d == "required" else ast.literal_eval(d.strip("`"))) for n, d in rows] == declared


def test_the_mark_is_called_so() -> None:
    assert f"`{STALE_KEY}`" in BY_HAND


async def test_the_sentence_that_a_person_waits_for(tmp_path: Path) -> None:
    (sentence,) = re.findall(r"`adopted: memories/<id>\.json (.+?)`", BY_HAND)
    async with watched(tmp_path / "s", options=QUICK) as seen:
        seen.path("a").write_bytes(edited(seen.path("a"), '"tags": []', '"tags": ["t"]'))
        assert (await seen.of("a")).message == f"memories/a.json {sentence}"
        # The example of a file that is added.
        seen.path("x").write_text(re.findall(r"`(\{.*?\})` as", BY_HAND)[0], encoding="utf-8")
        assert (await seen.of("x")).outcome == "adopted"
        assert (await seen.loaded("x")).content == "..."
        assert memory("a").content == (await seen.loaded("a")).content
