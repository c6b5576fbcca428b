"""What becomes of an embedding when the text that it was made from is edited by hand: made anew, or marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from watched_stores import QUICK, SWEEPING, edited, embedder, fields_of, memory, sealed_file, vector, watched

from synthians_memory.embedding import CallableEmbedder
from synthians_memory.engine.stale_embeddings import STALE_KEY, is_stale, marked, need_of, unmarked
from synthians_memory.errors import EmbedderMismatchError
from synthians_memory.facade import MemoryPersistence
from synthians_memory.hashing import embedding_hash
from synthians_memory.maintenance.watch import Watcher, watch
from synthians_memory.models import MemoryEntry


def hash_of(entry: MemoryEntry) -> bytes | None:
    return embedding_hash(entry.embedding)


def test_what_an_edited_memory_needs() -> None:
    stored = memory("a", "text")
    other = stored.replace(content="other")
    bare = stored.replace(embedding=None)
    assert need_of(other, hash_of(stored), stored) == "embedding"
    assert need_of(stored.replace(tags=["t"]), hash_of(stored), stored) == "nothing"
    assert need_of(other.replace(embedding=vector("mine")), hash_of(stored), stored) == "nothing"
    assert need_of(other, hash_of(stored), None) == "comparison"
    assert need_of(stored, None, None) == "nothing"
    assert need_of(bare, None, None) == "embedding"
    assert need_of(bare, None, bare) == "nothing"
    assert need_of(bare.replace(content="other"), None, bare) == "embedding"
    assert need_of(bare, hash_of(stored), stored) == "embedding"
    assert need_of(stored.replace(content=" "), hash_of(stored), stored) == "nothing"
    assert need_of(marked(stored), hash_of(stored), marked(stored)) == "embedding"


def test_the_mark_speaks_of_one_embedding() -> None:
    entry = memory("a", metadata={"topic": "tea"})
    assert not is_stale(entry)
    assert is_stale(marked(entry))
    assert marked(entry).metadata["topic"] == "tea"
    assert not is_stale(marked(entry).replace(embedding=vector("another")))
    assert not is_stale(marked(entry).replace(embedding=None))
    assert unmarked(marked(entry)) == entry
    assert marked(entry.replace(embedding=None)) == entry.replace(embedding=None)


@pytest.mark.parametrize("options", [QUICK, {**SWEEPING, "embedder": embedder()}], ids=["the store's", "the watch's"])
async def test_an_edited_text_is_embedded_anew(tmp_path: Path, options: dict[str, Any]) -> None:
    own = embedder() if "embedder" not in options else None
    async with watched(tmp_path / "s", options=options, embedder=own) as seen:
        seen.path("a").write_bytes(edited(seen.path("a"), "text of a", "green tea"))
        assert (await seen.of("a")).embedding == "made"
        assert (await seen.loaded("a")).embedding == pytest.approx(vector("green tea"))
        assert await seen.nearest("green tea") == "a"
        assert await seen.problems() == []


async def test_other_edits_keep_the_embedding(tmp_path: Path) -> None:
    calls: list[list[str]] = []

    def embed(texts: list[str]) -> Any:
        calls.append(texts)
        return np.array([vector(text) for text in texts])

    async with watched(tmp_path / "s", embedder=CallableEmbedder("drawn:1", 4, embed)) as seen:
        before = await seen.loaded("a")
        seen.path("a").write_bytes(edited(seen.path("a"), '"tags": []', '"tags": ["kept"]'))
        assert (await seen.of("a")).embedding == "kept"
        after = await seen.loaded("a")
        assert after.tags == ("kept",)
        assert hash_of(after) == hash_of(before)
        assert calls == []
        seen.path("b").write_bytes(sealed_file(memory("b", "sealed elsewhere", embedding=vector("other"))))
        assert (await seen.of("b")).embedding == "kept"
        assert await seen.nearest("other") == "b"
        assert calls == []


@pytest.mark.parametrize("change", ["text", "tags"])
async def test_an_edit_of_a_version_that_is_nowhere_else_is_compared(tmp_path: Path, change: str) -> None:
    """After opening neither a cache nor the journal has the earlier text."""
    async with MemoryPersistence(tmp_path / "s", embedder=embedder()) as store:
        stored = await store.save_memory(memory("a"))
    path = tmp_path / "s" / "memories" / "a.json"
    async with MemoryPersistence(tmp_path / "s", embedder=embedder()) as store:
        words = ("text of a", "green tea") if change == "text" else ('"tags": []', '"tags": ["kept"]')
        path.write_bytes(edited(path, *words))
        (told,) = [one async for one in watch(store, once=True, settle=0.01)]
        entry = await store.load_memory("a")
        assert entry is not None
        assert told.embedding == ("made" if change == "text" else "kept")
        assert (hash_of(entry) == hash_of(stored)) is (change == "tags")
        assert STALE_KEY not in entry.metadata


async def test_without_an_embedder_the_embedding_is_marked(tmp_path: Path) -> None:
    async with watched(tmp_path / "s") as seen:
        before = await seen.loaded("a")
        seen.path("a").write_bytes(edited(seen.path("a"), "text of a", "green tea"))
        change = await seen.of("a")
        assert change.embedding == "stale"
        assert "marked as stale" in change.message
        entry = await seen.loaded("a")
        assert is_stale(entry)
        assert hash_of(entry) == hash_of(before)
        assert fields_of(seen.path("a"))["metadata"][STALE_KEY] == entry.metadata[STALE_KEY]
        (finding,) = await seen.store.verify_consistency("full")
        assert (finding.code, finding.severity, finding.entity_id) == ("embedding_stale", "note", "a")
        hits = await seen.store.search(vector("any"), 9, {STALE_KEY: {"$exists": True}})
        assert [hit.memory_id for hit in hits] == ["a"]
        # Who stores another embedding has settled it.
        await seen.store.save_memory(entry.replace(embedding=vector("green tea")))
        assert await seen.store.verify_consistency("full") == []


async def test_a_marked_memory_is_embedded_at_its_next_edit(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "s") as store:
        await store.save_memory(marked(memory("a", "green tea", embedding=vector("black tea"))))
    async with watched(tmp_path / "s", embedder=embedder()) as seen:
        assert len(await seen.store.verify_consistency("full")) == 1
        seen.path("a").write_bytes(edited(seen.path("a"), '"tags": []', '"tags": ["kept"]'))
        assert (await seen.of("a")).embedding == "made"
        assert STALE_KEY not in (await seen.loaded("a")).metadata
        assert await seen.nearest("green tea") == "a"


async def test_a_file_that_is_added_is_embedded(tmp_path: Path) -> None:
    async with watched(tmp_path / "s", embedder=embedder()) as seen:
        seen.path("new").write_bytes(b'{"memory_id": "new", "content": "typed in"}')
        assert (await seen.of("new")).embedding == "made"
        assert await seen.nearest("typed in") == "new"


async def test_what_the_embedder_finds_nothing_in_has_no_embedding(tmp_path: Path) -> None:
    nothing = CallableEmbedder("nothing:1", 4, lambda texts: np.zeros((len(texts), 4)))
    async with watched(tmp_path / "s", embedder=nothing) as seen:
        seen.path("a").write_bytes(edited(seen.path("a"), "text of a", "?"))
        assert (await seen.of("a")).embedding == "none"
        assert (await seen.loaded("a")).embedding is None
        assert await seen.problems() == []


@pytest.mark.parametrize("wrong", ["raises", "shape"])
async def test_an_embedder_that_fails_does_not_lose_the_edit(tmp_path: Path, wrong: str) -> None:
    def embed(_: list[str]) -> Any:
        if wrong == "raises":
            raise LookupError("no such model")
        return np.zeros((9, 9))

    async with watched(tmp_path / "s", embedder=CallableEmbedder("broken:1", 4, embed)) as seen:
        seen.path("a").write_bytes(edited(seen.path("a"), "text of a", "green tea"))
        change = await seen.of("a")
        assert (change.outcome, change.embedding) == ("adopted", "stale")
        assert ("no such model" if wrong == "raises" else "shape (9, 9)") in change.message
        assert (await seen.loaded("a")).content == "green tea"
        assert is_stale(await seen.loaded("a"))


async def test_another_embedder_than_the_stores_is_refused(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "s", embedder=embedder()) as store:
        await store.save_memory(memory("a"))
        with pytest.raises(EmbedderMismatchError):
            Watcher(store, embedder=CallableEmbedder("other:1", 4, lambda texts: np.ones((len(texts), 4))))


async def test_an_embedder_of_another_dimension_is_refused(tmp_path: Path) -> None:
    other = CallableEmbedder("other:1", 5, lambda texts: np.ones((len(texts), 5)))
    async with MemoryPersistence(tmp_path / "s") as store:
        await store.save_memory(memory("a"))
        with pytest.raises(EmbedderMismatchError):
            Watcher(store, embedder=other)


async def test_an_embedding_of_another_length_is_not_adopted(tmp_path: Path) -> None:
    async with watched(tmp_path / "s", options={**QUICK, "adopt_damaged": True}) as seen:
        seen.path("a").write_bytes(b'{"memory_id": "a", "content": "x", "embedding": [1, 2]}')
        change = await seen.of("a")
        assert (change.outcome, change.code) == ("left", "file_undecodable")
        assert "2 numbers" in change.message
