"""After a purge no byte of what was purged is under the store's directory, and nothing else is missing."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthians_memory import MemoryAssembly, MemoryEntry, MemoryPersistence
from synthians_memory.engine.exact import prepare
from synthians_memory.engine.traces import Traces
from synthians_memory.errors import InvalidIdError, InvalidTypeError, InvalidValueError, ReadOnlyError
from synthians_memory.hashing import embedding_hash
from synthians_memory.layout import PURGE_PLAN
from synthians_memory.models import as_vector
from synthians_memory.reports import LeftPlace, PurgedPlace
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_scenarios import logged_views

CONTENT = 'The "Zwiebelfisch" sleeps\nunder a quokka\\bridge of ünïcödé'
EARLIER = "An earlier Axolotlversion stood here for a while, and was replaced"
WORDS = ["zwiebelfisch", "quokka", "axolotlvers"]
VECTOR = [0.123456789, -2.718281828, 3.14159265, 0.577215664]
OLD_VECTOR = [1.618033988, 0.693147180, -1.41421356, 2.236067977]
ID = "the-secret-one"


def needles(*texts: str, vectors: tuple[list[float], ...] = (VECTOR, OLD_VECTOR), entity_id: str = ID) -> list[bytes]:
    """Whatever may tell of it: its texts plain and escaped, its words, its numbers as floats and as text, its id."""
    found = [entity_id.encode()] if entity_id else []
    for text in texts:
        found += [text.encode(), json.dumps(text)[1:-1].encode(), json.dumps(text, ensure_ascii=False)[1:-1].encode()]
        found += [text.encode()[:16], text.encode()[-16:]]
    for numbers in vectors:
        vector = as_vector(numbers)
        found += [vector.tobytes(), prepare(vector[None, :], "cosine")[0].tobytes(), embedding_hash(vector)]
        found += [json.dumps(float(str(number))).encode()[:9] for number in vector]
    return found


def everything(root: Path) -> Iterator[tuple[Path, bytes]]:
    for path in sorted(root.rglob("*")):
        yield path, path.read_bytes() if path.is_file() else b""


def traces(root: Path, wanted: list[bytes], *, but: tuple[str, ...] = ()) -> list[str]:
    """Where one of the needles stands, in a name or in bytes; words also in any case."""
    found: list[str] = []
    for path, data in everything(root):
        place = path.relative_to(root).as_posix()
        if place in but:
            continue
        lowered = data.lower() + place.lower().encode()
        hits = [needle for needle in wanted if needle in data or needle in place.encode()]
        hits += [word.encode() for word in WORDS if word.encode() in lowered]
        found += [f"{place}: {hit!r}" for hit in hits]
    return found


def secret(**fields: Any) -> MemoryEntry:
    return MemoryEntry(**{"memory_id": ID, "content": CONTENT, "embedding": VECTOR, "tags": ("quokka",), **fields})


def other(number: int, **fields: Any) -> MemoryEntry:
    vector = [1.0, float(number), 2.0, 3.0]
    return MemoryEntry(memory_id=f"other-{number}", content=f"other words {number}", embedding=vector, **fields)


class TestThatNothingIsLeft:
    async def test_of_a_memory_that_was_updated(self, tmp_path: Path) -> None:
        clock = ManualClock()
        root = tmp_path / "store"
        settings: dict[str, Any] = {"clock": clock, "backup_interval": 1.0}
        async with MemoryPersistence(root, **settings) as store:
            kept = await store.save_memories_batch([other(n) for n in range(5)])
            await store.save_memory(secret(content=EARLIER, embedding=OLD_VECTOR))
            await store.recall("axolotlversion", mode="text")
            await store.checkpoint()
            clock.advance(5)
            await store.save_memory(secret(content=CONTENT + " once more"))
            await store.checkpoint()
        clock.advance(5)
        async with MemoryPersistence(root, **settings) as store:
            await store.save_memory(secret())
            assert [hit.entry.memory_id for hit in await store.recall("zwiebelfisch", mode="text")] == [ID]
            assert traces(root, needles(CONTENT, EARLIER))
            receipt = await store.purge([ID])
            assert traces(root, needles(CONTENT, EARLIER), but=(receipt.path,)) == []
            assert await store.load_memory(ID) is None
            assert await store.load_all() == kept
            assert await store.verify_consistency() == []
            assert [hit.entry.memory_id for hit in await store.recall("words", 9, "text")]
            assert traces(root, needles(CONTENT, EARLIER), but=(receipt.path,)) == []
        assert traces(root, needles(CONTENT, EARLIER), but=(receipt.path,)) == []
        async with MemoryPersistence(root, **settings) as store:
            assert await store.load_all() == kept
            assert await store.verify_consistency() == []

    async def test_of_one_that_was_deleted_before(self, tmp_path: Path) -> None:
        root = tmp_path / "store"
        async with MemoryPersistence(root, clock=ManualClock()) as store:
            await store.save_memories_batch([secret(), other(1), other(2)])
            await store.recall("zwiebelfisch", mode="text")
            await store.checkpoint()
            await store.delete_memory(ID)
            assert traces(root, needles(CONTENT))
            receipt = await store.purge([ID])
            assert receipt.not_stored == (ID,)
            assert traces(root, needles(CONTENT), but=(receipt.path,)) == []
            assert await store.list_memories() == ["other-1", "other-2"]

    async def test_of_an_expired_one(self, tmp_path: Path) -> None:
        clock = ManualClock()
        async with MemoryPersistence(tmp_path / "store", clock=clock) as store:
            await store.save_memories_batch([secret(expires_at=secret().created_at - timedelta(days=9999)), other(1)])
            receipt = await store.purge([ID])
            assert receipt.not_stored == ()
            assert traces(tmp_path / "store", needles(CONTENT), but=(receipt.path,)) == []

    async def test_of_an_assembly(self, tmp_path: Path) -> None:
        root = tmp_path / "store"
        async with MemoryPersistence(root) as store:
            await store.save_assembly(
                MemoryAssembly(assembly_id=ID, name=CONTENT, description=EARLIER, composite_embedding=VECTOR)
            )
            kept = await store.save_assembly(MemoryAssembly(assembly_id="kept", composite_embedding=[1.0, 1, 1, 1]))
            receipt = await store.purge([ID], kind="assembly")
            assert traces(root, needles(CONTENT, EARLIER), but=(receipt.path,)) == []
            assert await store.load_assembly("kept") == kept

    @pytest.mark.parametrize("settings", [{"write_mode": "behind"}, {"durability": "interval"}], ids=str)
    async def test_in_other_modes(self, tmp_path: Path, settings: dict[str, Any]) -> None:
        root = tmp_path / "store"
        async with MemoryPersistence(root, **settings) as store:
            await store.save_memories_batch([secret(), other(1)])
            await store.save_memory(secret(content=EARLIER))
            receipt = await store.purge([ID])
            assert traces(root, needles(CONTENT, EARLIER), but=(receipt.path,)) == []
            assert await store.list_memories() == ["other-1"]

    async def test_of_what_is_in_quarantine(self, tmp_path: Path) -> None:
        root = tmp_path / "store"
        async with MemoryPersistence(root) as store:
            await store.save_memories_batch([secret(), other(1).replace(memory_id="kept", content="kept content")])
        path = root / "memories" / f"{ID}.json"
        data = path.read_bytes()
        path.write_bytes(data.replace(b"quokka\\\\bridge", b"quokka\\\\bRidge"))
        kept = root / "memories" / "kept.json"
        kept.write_bytes(kept.read_bytes().replace(b"kept content", b"kept cOntent"))
        async with MemoryPersistence(root, auto_repair=False) as store:
            await store.verify_and_repair_consistency()
            aside = sorted(p.name for p in (root / "quarantine").rglob("*") if p.is_file())
            assert aside.count("salvaged.json") == 2
            assert traces(root / "quarantine", needles(CONTENT))
            await store.save_memory(secret(content=EARLIER))
            # As an editor, or a person, leaves copies.
            (root / "memories" / "copy of it.json").write_bytes(data)
            (root / "memories" / ".scratch-memory").write_bytes(data[:200])
            receipt = await store.purge([ID])
            assert traces(root, needles(CONTENT, EARLIER, vectors=()), but=(receipt.path,)) == []
            # What was another's stays.
            assert sorted(p.name for p in (root / "quarantine").rglob("*.json")) == [
                "kept.json", "reason.json", "salvaged.json",
            ]  # fmt: skip

    async def test_of_a_torn_tail_and_a_spare_segment(self, tmp_path: Path) -> None:
        root = tmp_path / "store"
        async with MemoryPersistence(root) as store:
            await store.save_memories_batch([other(1), secret()])
            await store.save_memory(secret(content=EARLIER))
            await store.save_memory(other(2))
            (segment,) = sorted((root / "journal").glob("*.wal"))[-1:]
            torn = segment.read_bytes()
        async with MemoryPersistence(root) as store:
            await store.save_memory(other(3))
            image = {path.relative_to(root): data for path, data in everything(root) if path.is_file()}
        crashed = tmp_path / "crashed"
        for path, data in image.items():
            (crashed / path).parent.mkdir(parents=True, exist_ok=True)
            (crashed / path).write_bytes(data)
        newest = max((crashed / "journal").glob("*.wal"))
        written = newest.read_bytes().rstrip(b"\0")
        # Frames that were never claimed to be synced, of another segment: they do not count here. The last one is cut.
        tail = torn[4096:].rstrip(b"\0")
        newest.write_bytes(written + bytes(-len(written) % 8) + tail[: len(tail) - 100])
        (crashed / "journal" / ".scratch-spare").write_bytes(torn)
        async with MemoryPersistence(crashed) as store:
            assert traces(crashed / "quarantine", needles(CONTENT, EARLIER))
            receipt = await store.purge([ID])
            assert traces(crashed, needles(CONTENT, EARLIER), but=(receipt.path,)) == []
            assert await store.list_memories() == ["other-1", "other-2", "other-3"]
            # The records of others stay in what was set aside.
            assert b"other words 1" in b"".join(data for _, data in everything(crashed / "quarantine"))

    async def test_of_remains_that_name_nobody(self, tmp_path: Path) -> None:
        """A stretch of a torn record whose first sector never reached the disk."""
        root = tmp_path / "store"
        text = "".join(f"sentence {n} of a long zwiebelfisch story. " for n in range(100))
        async with MemoryPersistence(root) as store:
            await store.save_memories_batch([secret(content=text), other(1)])
        folder = root / "quarantine" / "20260101_000000_000000"
        folder.mkdir()
        (folder / "reason.json").write_text(
            '{"path":"journal/0000000001.wal","folder":"journal","reason":"r","time":"t"}'
        )
        (folder / "0000000001.wal").write_bytes(bytes(512) + text.encode()[700:2100] + b"SMR1" + b"what is another's")
        async with MemoryPersistence(root) as store:
            receipt = await store.purge([ID])
        assert traces(root, needles(text), but=(receipt.path,)) == []
        assert (folder / "0000000001.wal").read_bytes().endswith(b"SMR1what is another's")

    @pytest.mark.parametrize("embedding", [VECTOR, None], ids=["embedded", "plain"])
    async def test_the_magic_bytes_in_a_text_hide_nothing(self, tmp_path: Path, embedding: list[float] | None) -> None:
        root = tmp_path / "store"
        hiding = secret(content=f"SMR1SMF1 {CONTENT} SMR1 quokka", embedding=embedding)
        async with MemoryPersistence(root) as store:
            await store.save_memories_batch([other(1), hiding, other(2)])
            (segment,) = sorted((root / "journal").glob("*.wal"))[-1:]
            data = segment.read_bytes()
        folder = root / "quarantine" / "20260101_000000_000000"
        folder.mkdir()
        (folder / "reason.json").write_text(json.dumps({"path": f"journal/{segment.name}", "reason": "r"}))
        (folder / segment.name).write_bytes(data)
        async with MemoryPersistence(root) as store:
            receipt = await store.purge([ID])
        assert traces(root, needles(CONTENT), but=(receipt.path,)) == []
        kept = (folder / segment.name).read_bytes()
        assert b"other words 1" in kept
        assert b"other words 2" in kept

    async def test_of_a_spare_that_an_earlier_life_has_left(self, tmp_path: Path) -> None:
        root = tmp_path / "store"
        async with MemoryPersistence(root) as store:
            await store.save_memories_batch([secret(), other(1)])
        for name in ("reserve", ".scratch-spare"):
            (root / "journal" / name).write_bytes(CONTENT.encode().ljust(65536, b"\0"))
        async with MemoryPersistence(root) as store:
            assert (root / "journal" / ".scratch-spare").exists()
            receipt = await store.purge([ID])
            assert traces(root, needles(CONTENT), but=(receipt.path,)) == []
            await store.save_memory(other(2))

    async def test_of_the_logs_of_the_views(self, tmp_path: Path) -> None:
        root = tmp_path / "store"
        with logged_views(100.0):
            async with MemoryPersistence(root, index_backup_count=0) as store:
                await store.save_memories_batch([other(n) for n in range(9)])
                await store.checkpoint()
                await store.save_memory(secret(content=EARLIER, embedding=OLD_VECTOR))
                await store.checkpoint()
                await store.save_memory(secret())
                await store.checkpoint()
                for name in ("memory_index.log", "vector_index/vectors.log"):
                    assert ID.encode() in (root / name).read_bytes()
                receipt = await store.purge([ID])
                assert traces(root, needles(CONTENT, EARLIER), but=(receipt.path,)) == []
                assert len(await store.load_all()) == 9

    async def test_a_reader_beside_does_not_keep_segments(self, tmp_path: Path) -> None:
        root = tmp_path / "store"
        async with MemoryPersistence(root) as store:
            await store.save_memories_batch([secret(), other(1)])
            async with MemoryPersistence(root, read_only=True) as reader:
                receipt = await store.purge([ID])
                assert traces(root, needles(CONTENT), but=(receipt.path,)) == []
                await reader.refresh()
                assert await reader.list_memories() == ["other-1"]

    async def test_the_words_are_in_no_page_of_the_text_index(self, tmp_path: Path) -> None:
        root = tmp_path / "store"
        async with MemoryPersistence(root) as store:
            await store.save_memories_batch([secret(), *(other(n) for n in range(50))])
            await store.recall("zwiebelfisch", mode="text")
        assert b"zwiebelfisch" in (root / "text_index" / "text.sqlite").read_bytes()
        async with MemoryPersistence(root) as store:
            await store.purge([ID])
            assert len(await store.recall("words", 50, "text")) == 50
        with sqlite3.connect(root / "text_index" / "text.sqlite") as database:
            assert database.execute("SELECT count(*) FROM entity").fetchone() == (50,)
        database.close()
        assert traces(root / "text_index", needles(CONTENT)) == []


class TestReceipt:
    async def test_it_names_each_place_and_holds_no_text(self, tmp_path: Path) -> None:
        root = tmp_path / "store"
        clock = ManualClock()
        async with MemoryPersistence(root, clock=clock) as store:
            stored = await store.save_memory(secret())
            await store.recall("zwiebelfisch", mode="text")
            await store.save_assembly(MemoryAssembly(assembly_id="pair", members=(ID, "other")))
            await store.checkpoint()
            receipt = await store.purge([ID, "never there"])
        data = (root / receipt.path).read_bytes()
        assert os.stat(root / receipt.path).st_mode & 0o777 == 0o600
        assert os.stat(root / "logs").st_mode & 0o777 == 0o700
        assert not any(needle in data for needle in needles(CONTENT, entity_id=""))
        document = json.loads(data)
        assert document.pop("content_hash").startswith("sha256:")
        assert document == json.loads(json.dumps(receipt.to_dict()))
        assert (receipt.ids, receipt.not_stored) == ((ID, "never there"), ("never there",))
        assert stored.content_hash is not None
        assert stored.content_hash.removeprefix("sha256:") in receipt.content_hashes
        paths = {place.path for place in receipt.removed}
        wanted = {f"memories/{ID}.json", "memory_index.json", "memory_index.log", "text_index/text.sqlite"}
        wanted |= {"vector_index/memory_vectors.faiss", "vector_index/mapping.json", "vector_index/vectors.log"}
        assert wanted <= paths
        assert any(path.startswith("journal/") for path in paths)
        assert all(place.bytes >= 0 and place.what for place in receipt.removed)
        assert [place.path for place in receipt.left] == ["assemblies/pair.json"]
        assert not (root / PURGE_PLAN).exists()

    async def test_what_is_not_the_stores_own_is_named(self, tmp_path: Path) -> None:
        root = tmp_path / "store"
        async with MemoryPersistence(root) as store:
            await store.save_memory(secret())
            (root / "state").mkdir()
            (root / "state" / "notes.txt").write_text(f"remember: {CONTENT}")
            (root / "state" / "harmless.txt").write_text("nothing of it")
            (root / "backups" / "snapshots" / "one").mkdir(parents=True)
            receipt = await store.purge([ID])
        assert [place.path for place in receipt.left] == ["backups/snapshots", "state/notes.txt"]

    async def test_two_purges_have_two(self, tmp_path: Path) -> None:
        async with MemoryPersistence(tmp_path / "store", clock=ManualClock()) as store:
            await store.save_memories_batch([other(1), other(2)])
            first = await store.purge(["other-1"])
            second = await store.purge(["other-2"])
        assert first.path != second.path
        assert {p.name for p in (tmp_path / "store" / "logs").iterdir()} == {
            first.path.removeprefix("logs/"),
            second.path.removeprefix("logs/"),
        }


class Shelf:
    """A part of the directory that answers for itself."""

    folder = "backups/snapshots"
    of_backups = True

    def left(self, backend: Backend, traces: Traces) -> list[LeftPlace]:
        return []

    def erase(self, backend: Backend, traces: Traces) -> list[PurgedPlace]:
        found = [f"{self.folder}/{name}" for name, _ in backend.scan(self.folder)]
        own = [path for path in found if traces.quoted_in(backend.read(path) or b"")]
        for path in own:
            backend.unlink(path)
        backend.sync_folder(self.folder)
        return [PurgedPlace(path, "a copy on a shelf", "removed", 7) for path in own]


class TestBackups:
    @pytest.mark.parametrize("backups", [True, False])
    async def test_they_are_purged_on_request(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backups: bool
    ) -> None:
        monkeypatch.setattr(MemoryPersistence, "_erasers", (Shelf(),))
        shelf = tmp_path / "store" / "backups" / "snapshots"
        async with MemoryPersistence(tmp_path / "store") as store:
            stored = await store.save_memory(secret())
            shelf.mkdir()
            (shelf / "one").write_bytes((tmp_path / "store" / "memories" / f"{ID}.json").read_bytes())
            (shelf / "two").write_text("what is another's")
            receipt = await store.purge([stored.memory_id], backups=backups)
        assert {path.name for path in shelf.iterdir()} == ({"two"} if backups else {"one", "two"})
        assert [place.path for place in receipt.left] == ([] if backups else ["backups/snapshots"])
        assert ("backups/snapshots/one" in {place.path for place in receipt.removed}) is backups


class TestAround:
    async def test_a_purged_id_can_be_saved_anew(self, tmp_path: Path) -> None:
        async with MemoryPersistence(tmp_path / "store") as store:
            await store.save_memory(secret())
            await store.purge([ID])
            again = await store.save_memory(secret(content="anew"))
        async with MemoryPersistence(tmp_path / "store") as store:
            assert await store.load_memory(ID) == again
            assert [hit.memory_id for hit in await store.search(VECTOR)] == [ID]

    async def test_arguments(self, tmp_path: Path) -> None:
        async with MemoryPersistence(tmp_path / "store") as store:
            with pytest.raises(InvalidTypeError):
                await store.purge("one string")
            with pytest.raises(InvalidValueError):
                await store.purge([])
            with pytest.raises(InvalidIdError):
                await store.purge([""])
            kind: Any = "vector"
            with pytest.raises(InvalidValueError):
                await store.purge(["a"], kind=kind)
        async with MemoryPersistence(tmp_path / "store", read_only=True) as store:
            with pytest.raises(ReadOnlyError):
                await store.purge(["a"])
        assert not (tmp_path / "store" / "logs").exists()

    async def test_progress(self, tmp_path: Path) -> None:
        seen: list[tuple[int, int]] = []
        async with MemoryPersistence(tmp_path / "store") as store:
            await store.save_memory(secret())
            await store.purge([ID], progress=lambda done, total: seen.append((done, total)))
        assert seen == [(n, 8) for n in range(1, 9)]

    async def test_rows_of_dead_vectors_go_from_memory(self, tmp_path: Path) -> None:
        async with MemoryPersistence(tmp_path / "store") as store:
            await store.save_memories_batch([secret(), other(1)])
            await store.purge([ID])
            space = store._opened().store.state.vectors._spaces["memory"]
            assert (space.total, space.dead, len(space.index)) == (1, 0, 1)
            assert np.isfinite(space.index.rows(0, 1)).all()
