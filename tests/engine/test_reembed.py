"""The model of a store is changed while it serves and saves, in one step, with a way back."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from synthians_memory import MemoryAssembly, MemoryEntry, MemoryPersistence
from synthians_memory.engine.part_files import Model
from synthians_memory.engine.superblock import Superblock
from synthians_memory.errors import (
    ConflictError,
    DimensionError,
    EmbedderMismatchError,
    InvalidValueError,
    UnsupportedFormatError,
    UsageError,
)
from synthians_memory.reports import ReembedReport
from synthians_memory.testing.store_reembedding import invented_vector

IDS = [f"m{n:03d}" for n in range(40)]


class Invented:
    """An embedder whose vectors differ by text and model."""

    def __init__(self, name: str, dimension: int) -> None:
        self.name = name
        self.dimension = dimension
        self.embedded: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()
        self.asked = threading.Event()

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.asked.set()
        assert self.go_on.wait(60)
        self.embedded += texts
        return np.stack([self.row(text) for text in texts])

    def row(self, text: str) -> npt.NDArray[np.float32]:
        model = Model(self.name, self.dimension)
        return invented_vector(model, text) if "nothing" not in text else np.zeros(self.dimension, np.float32)


@pytest.fixture
def old() -> Invented:
    return Invented("old:1", 4)


@pytest.fixture
def new() -> Invented:
    return Invented("new:1", 6)


def texts() -> dict[str, str]:
    return {memory_id: f"the text of {memory_id}" for memory_id in IDS}


@pytest.fixture
async def store(tmp_path: Path, old: Invented) -> AsyncIterator[MemoryPersistence]:
    async with MemoryPersistence(tmp_path / "store", embedder=old) as opened:
        await opened.save_memories_batch(
            [MemoryEntry(memory_id=i, content=text, embedding=old.row(text)) for i, text in texts().items()]
        )
        yield opened


def agrees(store: MemoryPersistence, found: dict[str, MemoryEntry], embedder: Invented) -> bool:
    return all(np.array_equal(entry.embedding, embedder.row(entry.content)) for entry in found.values())


async def test_every_embedding_is_of_the_new_model(store: MemoryPersistence, old: Invented, new: Invented) -> None:
    before = await store.load_memories(IDS)
    report = await store.reembed(new)
    assert (report.phase, report.switched, report.embedded, report.converted) == ("done", True, 40, 40)
    after = await store.load_memories(IDS)
    assert agrees(store, after, new)
    assert all(after[i].updated_at > before[i].updated_at for i in IDS)
    assert [hit.memory_id for hit in await store.search(new.row(texts()["m007"]), 1)] == ["m007"]
    assert [hit.memory_id for hit in await store.search(texts()["m008"], 1)] == ["m008"]
    assert [f for f in await store.verify_consistency() if f.severity != "note"] == []
    stats = store.stats()
    assert (stats["embedder"], stats["embedding_dimension"]) == ("new:1", 6)
    with pytest.raises(DimensionError):
        await store.search(old.row("x"))


async def test_what_is_closed_then_is_a_plain_store(tmp_path: Path, store: MemoryPersistence, new: Invented) -> None:
    await store.reembed(new)
    await store.reembed(forget_way_back=True)
    await store.close()
    facts = json.loads((tmp_path / "store" / "store.json").read_text())
    assert (facts["embedder"], facts["embedding_dimension"], facts["mandatory_features"]) == ("new:1", 6, [])
    assert "previous" not in facts
    assert list((tmp_path / "store" / "reembedding").iterdir()) == []
    document = json.loads((tmp_path / "store" / "memories" / "m001.json").read_text())
    assert np.array_equal(np.float32(document["embedding"]), new.row(document["content"]))
    async with MemoryPersistence(tmp_path / "store", embedder=new, startup_check="full") as again:
        assert agrees(again, await again.load_memories(IDS), new)
        assert not again.opening_report.findings


async def test_it_serves_and_saves_meanwhile(store: MemoryPersistence, old: Invented, new: Invented) -> None:
    new.go_on.clear()
    changing = asyncio.create_task(store.reembed(new))
    await asyncio.to_thread(new.asked.wait, 60)
    assert agrees(store, await store.load_memories(IDS), old)
    assert [hit.memory_id for hit in await store.search(old.row(texts()["m003"]), 1)] == ["m003"]
    await store.save_memory(MemoryEntry(memory_id="late", content="a new one", embedding=old.row("a new one")))
    first = await store.load_memory("m000")
    await store.save_memory(first.replace(content="another text", embedding=old.row("another text")))
    await store.save_memory((await store.load_memory("m001")).replace(tags=["only a tag"]))
    assert await store.delete_memory("m002")
    assert not changing.done()
    new.go_on.set()
    assert (await changing).switched
    found = await store.load_all()
    assert len(found) == 40
    assert agrees(store, {entry.memory_id: entry for entry in found}, new)
    assert await store.load_memory("m002") is None
    assert new.embedded.count(texts()["m001"]) == 1, "a text that was embedded already was embedded again"
    assert [f for f in await store.verify_consistency() if f.severity != "note"] == []


async def test_saves_without_pause_do_not_keep_it_from_ending(
    store: MemoryPersistence, old: Invented, new: Invented
) -> None:
    done = asyncio.Event()

    async def saving(n: int) -> int:
        saved = 0
        while not done.is_set():
            await store.save_memory(MemoryEntry(memory_id=f"s{n}", content=f"{n} {saved}"))
            saved += 1
        return saved

    savers = [asyncio.create_task(saving(n)) for n in range(4)]
    await store.reembed(new)
    done.set()
    assert all(saved > 0 for saved in await asyncio.gather(*savers))
    assert agrees(store, await store.load_memories(IDS), new)


async def test_a_save_that_waited_for_the_step_with_an_old_vector_is_refused(
    store: MemoryPersistence, old: Invented
) -> None:
    same = Invented("same:2", 4)
    stale = await store.load_memory("m001")
    same.go_on.clear()
    changing = asyncio.create_task(store.reembed(same))
    await asyncio.to_thread(same.asked.wait, 60)
    remembering = asyncio.create_task(store.remember("said meanwhile"))
    same.go_on.set()
    await changing
    with pytest.raises(EmbedderMismatchError, match="model before"):
        await store.save_memory(stale.replace(tags=["stale"]))
    with pytest.raises(ConflictError):
        await store.save_memory(stale.replace(embedding=None), expected_updated_at=stale.updated_at)
    assert np.array_equal((await remembering).embedding, same.row("said meanwhile")) or agrees(
        store, {"x": await store.load_memory((await remembering).memory_id)}, same
    )
    fresh = await store.load_memory("m001")
    assert (await store.save_memory(fresh.replace(tags=["fresh"]))).tags == ("fresh",)


async def test_the_way_back_needs_no_embedder(
    tmp_path: Path, store: MemoryPersistence, old: Invented, new: Invented
) -> None:
    before = await store.load_memories(IDS)
    report = await store.reembed(new)
    held = sum(path.stat().st_size for path in (tmp_path / "store" / "reembedding").iterdir())
    assert report.previous_bytes == held > 40 * 16
    await store.save_memory((await store.load_memory("m001")).replace(tags=["kept"]))
    back = await store.reembed(back=True)
    assert (back.embedded, back.embedder) == (0, "old:1")
    after = await store.load_memories(IDS)
    assert all(np.array_equal(after[i].embedding, before[i].embedding) for i in IDS)
    assert after["m001"].tags == ("kept",)
    with pytest.raises(UsageError, match="embedder"):
        await store.search("a text")
    forth = await store.reembed(new, back=True)
    assert (forth.embedded, forth.embedder) == (0, "new:1")
    assert [hit.memory_id for hit in await store.search(texts()["m005"], 1)] == ["m005"]


async def test_the_way_back_for_what_was_saved_since_needs_the_embedder(
    store: MemoryPersistence, old: Invented, new: Invented
) -> None:
    await store.reembed(new)
    await store.remember("said since then")
    with pytest.raises(UsageError, match=r"kept for memory .*saved or changed since"):
        await store.reembed(back=True)
    with pytest.raises(EmbedderMismatchError, match="the model before was 'old:1'"):
        await store.reembed(Invented("else:1", 4), back=True)
    assert store.stats()["embedder"] == "new:1"
    old.embedded.clear()
    assert (await store.reembed(old, back=True)).switched
    assert old.embedded == ["said since then"]
    found = await store.load_all()
    assert agrees(store, {entry.memory_id: entry for entry in found}, old)


async def test_the_way_back_to_vectors_without_an_embedder(tmp_path: Path, new: Invented) -> None:
    async with MemoryPersistence(tmp_path / "bare") as bare:
        await bare.save_memory(MemoryEntry(memory_id="a", content="x", embedding=[1.0, 2.0, 3.0]))
        await bare.reembed(new)
    async with MemoryPersistence(tmp_path / "bare", embedder=new) as bare:
        since = await bare.remember("said since then")
        with pytest.raises(UsageError, match="delete them, go back") as raised:
            await bare.reembed(back=True)
        assert "None" not in str(raised.value)
        with pytest.raises(
            EmbedderMismatchError, match="was without the name of an embedder of 3 numbers, not 'new:1'"
        ):
            await bare.reembed(new, back=True)
        # What the hint says is a way.
        assert await bare.delete_memory(since.memory_id)
        assert (await bare.reembed(back=True)).embedder is None


async def test_there_is_no_way_back_where_none_is_kept(store: MemoryPersistence, new: Invented) -> None:
    with pytest.raises(UsageError, match="keeps no embeddings"):
        await store.reembed(back=True)
    await store.reembed(new)
    assert (await store.reembed(forget_way_back=True)).previous_bytes == 0
    with pytest.raises(UsageError, match="keeps no embeddings"):
        await store.reembed(new, back=True)
    with pytest.raises(UsageError, match="no embedder"):
        await store.reembed()


async def test_what_has_no_text_is_not_lost_silently(store: MemoryPersistence, old: Invented, new: Invented) -> None:
    await store.save_memory(MemoryEntry(memory_id="picture", content="", embedding=old.row("p")))
    await store.save_memory(MemoryEntry(memory_id="odd", content="nothing in it", embedding=old.row("o")))
    with pytest.raises(InvalidValueError, match=r"2 entities .*'odd', memory 'picture'"):
        await store.reembed(new)
    assert store.stats()["embedder"] == "old:1"
    assert agrees(store, await store.load_memories(IDS), old)
    report = await store.reembed(new, drop_unembeddable=True)
    assert report.without == ("odd", "picture")
    assert (await store.load_memory("picture")).embedding is None
    await store.reembed(back=True)
    assert np.array_equal((await store.load_memory("picture")).embedding, old.row("p"))


async def test_what_had_no_embedding_gets_one_and_loses_it_on_the_way_back(
    store: MemoryPersistence, new: Invented
) -> None:
    await store.save_memory(MemoryEntry(memory_id="bare", content="bare words"))
    await store.reembed(new)
    assert np.array_equal((await store.load_memory("bare")).embedding, new.row("bare words"))
    report = await store.reembed(back=True)
    assert report.without == ()
    assert (await store.load_memory("bare")).embedding is None


async def test_assemblies_get_the_mean_of_their_members(store: MemoryPersistence, old: Invented, new: Invented) -> None:
    await store.save_assembly(
        MemoryAssembly(assembly_id="a", members=["m001", "m002", "gone"], composite_embedding=old.row("a"))
    )
    await store.save_assembly(
        MemoryAssembly(assembly_id="b", name="Name", description="words", composite_embedding=old.row("b"))
    )
    await store.save_assembly(MemoryAssembly(assembly_id="c", members=["m001"]))
    await store.reembed(new)
    rows = np.stack([new.row(texts()[i]) for i in ("m001", "m002")]).astype(np.float64)
    mean = (rows / np.linalg.norm(rows, axis=1)[:, None]).mean(axis=0)
    assert np.allclose((await store.load_assembly("a")).composite_embedding, mean, atol=1e-6)
    assert np.array_equal((await store.load_assembly("b")).composite_embedding, new.row("Name\nwords"))
    assert (await store.load_assembly("c")).composite_embedding is None


async def test_an_embedder_that_fails_leaves_the_old_model_and_what_it_did(
    store: MemoryPersistence, old: Invented, new: Invented
) -> None:
    failing = Invented("new:1", 6)
    failing.row = lambda text: new.row(text) if "m0" in text else 1 / 0  # type: ignore[method-assign,return-value]
    await store.save_memories_batch([MemoryEntry(memory_id=f"z{n:03d}", content=f"z {n}") for n in range(200)])
    with pytest.raises(ZeroDivisionError):
        await store.reembed(failing)
    assert agrees(store, await store.load_memories(IDS), old)
    assert (await store.reembed(new)).switched
    assert agrees(store, {e.memory_id: e for e in await store.load_all()}, new)


async def test_one_change_at_a_time(store: MemoryPersistence, new: Invented) -> None:
    new.go_on.clear()
    changing = asyncio.create_task(store.reembed(new))
    await asyncio.to_thread(new.asked.wait, 60)
    with pytest.raises(UsageError, match="being changed already"):
        await store.reembed(Invented("third:1", 3))
    new.go_on.set()
    await changing


async def test_a_reader_beside_sees_the_old_model_or_the_new_one(
    tmp_path: Path, store: MemoryPersistence, old: Invented, new: Invented
) -> None:
    await store.checkpoint()
    async with MemoryPersistence(tmp_path / "store", read_only=True) as reader:
        seen: list[ReembedReport] = []
        await store.reembed(new, progress=seen.append)
        found = await reader.load_memories(IDS)
        assert agrees(reader, found, new) or agrees(reader, found, old)
        await reader.refresh()
        assert agrees(reader, await reader.load_memories(IDS), new)
        assert [hit.memory_id for hit in await reader.search(new.row(texts()["m009"]), 1)] == ["m009"]
    assert {report.phase for report in seen} == {"staging", "converting", "done"}


async def test_a_reader_opened_with_the_old_embedder_is_told(
    tmp_path: Path, store: MemoryPersistence, old: Invented, new: Invented
) -> None:
    async with MemoryPersistence(tmp_path / "store", read_only=True, embedder=old) as reader:
        await store.reembed(new)
        with pytest.raises(EmbedderMismatchError, match="new:1"):
            await reader.refresh()


async def test_a_store_that_is_converted_is_refused_by_a_library_that_does_not_know_it(
    tmp_path: Path, store: MemoryPersistence, new: Invented, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[object] = []

    def look(report: ReembedReport) -> None:
        if report.phase == "converting":
            named.append(json.loads((tmp_path / "store" / "store.json").read_text())["mandatory_features"])

    await store.reembed(new, progress=look)
    assert named[0] == ["reembedding"]
    monkeypatch.setattr("synthians_memory.engine.superblock._KNOWN_FEATURES", frozenset())
    async with MemoryPersistence(tmp_path / "store", read_only=True) as reader:
        assert await reader.load_memory("m001") is not None
    text = (tmp_path / "store" / "store.json").read_text()
    assert '"mandatory_features": []' in text
    with pytest.raises(UnsupportedFormatError, match="reembedding"):
        Superblock.from_facts({**json.loads(text), "mandatory_features": ["reembedding"]})


async def test_saves_of_another_dimension_are_refused_after_it(
    store: MemoryPersistence, old: Invented, new: Invented, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": "x", "content": "x", "embedding": [1, 2, 3, 4]}\n', encoding="utf-8")
    await store.reembed(new)
    with pytest.raises(DimensionError, match="4 numbers"):
        await store.save_memory(MemoryEntry(content="x", embedding=old.row("x")))
    report = await store.import_memories(source)
    assert (report.imported, report.problem_count) == (0, 1)
    assert (await store.import_memories(source, overwrite=True)).imported == 0
