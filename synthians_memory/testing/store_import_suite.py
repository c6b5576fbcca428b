"""The part of the stores' conformance suite that is about importing JSONL.

It is not to be derived from directly: `StoreSuite` has all parts.
"""

# ruff: noqa: S101

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

import orjson
import pytest

from synthians_memory.codec import line_of
from synthians_memory.engine.commit import ABSENT
from synthians_memory.engine.persistence import Persistence
from synthians_memory.errors import ConflictError, InvalidValueError, UsageError
from synthians_memory.reports import ImportReport
from synthians_memory.storage.streams import write_lines
from synthians_memory.testing.store_entity_suite import (
    OpenStore,
    StoreFixture,
    assembly,
    full_assembly,
    full_memory,
    memory,
)
from synthians_memory.testing.store_search_suite import LetterEmbedder, found

__all__ = ["ImportChunkSuite", "ImportSuite"]

EARLY = "2001-02-03T04:05:06.000007Z"
BAD_LINES = [
    b"no json", b"[]", b"null", b"{}", b'{"content": 7}', b'{"content": "a", "content": "b"}', b'{"content": NaN}',
    b'{"content": "a", "metadata": {"n": 18446744073709551616}}', b'{"content": "a", "id": ""}', b"\xff",
    b'{"content": "a", "kind": "segment"}', b'{"content": "a", "id": "x", "memory_id": "y"}', b"[" * 100_000,
    b'{"content": "a", "embedding": [1.0]}', b'{"content": "a", "embedding": [0.0, 0.0]}', b'{"content": "a"',
    b'{"content": "a", "created_at": "yesterday"}',
]  # fmt: skip


async def lines(*objects: Any, at_once: int = 1000) -> AsyncIterator[list[bytes]]:
    """A source of lines: bytes as they are, everything else as JSON; `at_once` in one step."""
    encoded = [value if isinstance(value, bytes) else orjson.dumps(value) for value in objects]
    for start in range(0, len(encoded), at_once):
        yield encoded[start : start + at_once]


def counts(report: ImportReport) -> tuple[int, int, int]:
    """What was imported, skipped, and not stored."""
    return report.imported, report.skipped, report.problem_count


class ImportSuite(StoreFixture):
    """What lines become."""

    async def test_kinds_are_told_apart(self, store: Persistence) -> None:
        report = await store.import_memories(
            lines(
                {"kind": "memory", "id": "m1", "content": "a"},
                {"memory_id": "m2", "content": "b"},
                {"kind": "assembly", "id": "a1"},
                {"assembly_id": "a2", "members": ["m1"]},
                {"id": "m3", "content": "c", "members": ["kept as an unknown field"]},
            )
        )
        assert counts(report) == (5, 0, 0)
        assert await store.list_memories() == ["m1", "m2", "m3"]
        assert await store.list_assemblies() == ["a1", "a2"]

    async def test_every_field_comes_over(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            one = await store.save_memory(full_memory("m"))
            two = await store.save_assembly(full_assembly("a"))
            await store.delete_memory("m")
            await store.delete_assembly("a")
            await store.import_memories(lines(line_of(one), line_of(two)))
            again = (await store.load_memory("m"), await store.load_assembly("a"))
        assert again == (one, two)
        assert again[0] is not None
        assert again[0].content_hash == one.content_hash

    async def test_times_are_kept(self, store: Persistence) -> None:
        await store.import_memories(lines({"id": "m", "content": "a", "created_at": EARLY, "updated_at": EARLY}))
        loaded = await store.load_memory("m")
        assert loaded is not None
        assert loaded.created_at == loaded.updated_at == datetime(2001, 2, 3, 4, 5, 6, 7, tzinfo=UTC)

    async def test_a_line_without_an_id_is_imported_once(self, store: Persistence) -> None:
        source = [{"content": "same"}, {"content": "other"}, {"content": "same"}, {"content": "same", "tags": ["t"]}]
        assert counts(await store.import_memories(lines(*source))) == (3, 1, 0)
        ids = await store.list_memories()
        assert counts(await store.import_memories(lines(*source))) == (0, 4, 0)
        assert await store.list_memories() == ids

    async def test_the_assembly_of_a_memory_goes_to_its_metadata(self, store: Persistence) -> None:
        line = {"id": "m", "content": "a", "assembly_id": "group", "metadata": {"x": 1}}
        assert counts(await store.import_memories(lines(line, line))) == (1, 1, 0)
        loaded = await store.load_memory("m")
        assert loaded is not None
        assert loaded.metadata == {"x": 1, "assembly_id": "group"}

    async def test_equal_content_is_skipped(self, store: Persistence) -> None:
        stored = await store.save_memory(memory("m", "a", tags=["t"], metadata={"x": 1}))
        report = await store.import_memories(
            lines({"id": "m", "content": "a"}, {"id": "m", "content": "a", "tags": ["t"]}, line_of(stored))
        )
        assert counts(report) == (0, 3, 0)
        assert await store.load_memory("m") == stored

    async def test_other_content_is_a_conflict(self, store: Persistence) -> None:
        stored = await store.save_memory(memory("m", "a"))
        report = await store.import_memories(lines({"id": "n", "content": "n"}, {"id": "m", "content": "b"}))
        assert counts(report) == (1, 0, 1)
        assert [(p.line, p.code) for p in report.problems] == [(2, "conflict")]
        assert "'m'" in report.problems[0].reason
        assert await store.load_memory("m") == stored

    async def test_overwrite_replaces(self, store: Persistence) -> None:
        stored = await store.save_memory(memory("m", "a", tags=["t"]))
        line = {"id": "m", "content": "b", "updated_at": EARLY}
        report = await store.import_memories(lines(line, {"id": "n", "content": "n"}), overwrite=True)
        assert (*counts(report), report.overwritten) == (2, 0, 0, 1)
        loaded = await store.load_memory("m")
        assert loaded is not None
        assert (loaded.content, loaded.tags) == ("b", ())
        assert loaded.updated_at is not None
        assert stored.updated_at is not None
        assert loaded.updated_at > stored.updated_at

    async def test_one_id_twice_in_a_file(self, store: Persistence) -> None:
        source = [{"id": "m", "content": "a"}, {"id": "m", "content": "a"}, {"id": "m", "content": "b"}]
        report = await store.import_memories(lines(*source))
        assert (counts(report), [(p.line, p.code) for p in report.problems]) == ((1, 1, 1), [(3, "conflict")])
        loaded = await store.load_memory("m")
        assert loaded is not None
        assert loaded.content == "a"
        await store.import_memories(lines(*source), overwrite=True)
        loaded = await store.load_memory("m")
        assert loaded is not None
        assert loaded.content == "b"

    async def test_bad_lines_are_reported_by_number(self, store: Persistence) -> None:
        await store.save_memory(memory("sets the dimension", embedding=[1.0, 0.0]))
        source: list[Any] = [b"", b"  "]
        for bad in BAD_LINES:
            source += [bad, {"id": f"good{len(source)}", "content": "a"}, b""]
        report = await store.import_memories(lines(*source, at_once=7), chunk=5)
        assert counts(report) == (len(BAD_LINES), 0, len(BAD_LINES))
        assert [(p.line, p.code) for p in report.problems] == [(3 + 3 * n, "invalid") for n in range(len(BAD_LINES))]
        assert all(problem.reason for problem in report.problems)
        assert len(await store.list_memories()) == len(BAD_LINES) + 1

    async def test_a_file_is_read(self, store: Persistence, tmp_path: Path) -> None:
        objects: Iterable[dict[str, Any]] = ({"id": f"m{n}", "content": "ä"} for n in range(10))
        path = tmp_path / "lines.jsonl"
        async with write_lines(path) as file:
            await file.write(map(orjson.dumps, objects))
        assert counts(await store.import_memories(path)) == (10, 0, 0)
        assert counts(await store.import_memories(str(path))) == (0, 10, 0)

    async def test_nothing_is_no_error(self, store: Persistence) -> None:
        assert await store.import_memories(lines()) == ImportReport()

    async def test_what_was_imported_is_found(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.import_memories(
                lines({"id": "m", "content": "a", "embedding": [1.0, 0.0]}, {"id": "n", "content": "b"})
            )
            assert found(await store.search([1.0, 0.0])) == ["m"]
        async with open_store() as store:
            assert await store.verify_consistency() == []
            assert await store.list_memories() == ["m", "n"]


class ImportChunkSuite(StoreFixture):
    """Chunks, progress, embedding, and stopping."""

    async def test_the_size_of_chunks_changes_nothing(self, store: Persistence) -> None:
        for chunk, at_once in product((1, 3, 10, 1000), (1, 4, 1000)):
            source = [{"id": f"m{n}", "content": f"{n}"} for n in range(10)]
            report = await store.import_memories(lines(*source, at_once=at_once), chunk=chunk)
            assert counts(report) == (10, 0, 0)
            ids = await store.list_memories()
            assert ids == [f"m{n}" for n in range(10)]
            await store.delete_memories_batch(ids)

    async def test_a_chunk_is_stored_whole_or_not_at_all(self, store: Persistence) -> None:
        source = [*({"id": f"m{n}", "content": "a"} for n in range(7)), b"no json", {"id": "m8", "content": "a"}]
        with pytest.raises(InvalidValueError, match="line 8"):
            await store.import_memories(lines(*source), chunk=3, stop_on_error=True)
        assert await store.list_memories() == [f"m{n}" for n in range(6)]

    async def test_a_stopped_import_goes_on_when_repeated(self, store: Persistence) -> None:
        source: list[Any] = [{"id": f"m{n}", "content": "a"} for n in range(10)]
        with pytest.raises(InvalidValueError):
            await store.import_memories(lines(*source[:7], b"no json"), chunk=2, stop_on_error=True)
        stored = await store.load_all()
        assert counts(await store.import_memories(lines(*source), chunk=2, stop_on_error=True)) == (4, 6, 0)
        assert (await store.load_all())[:6] == stored

    async def test_a_conflict_stops_it_too(self, store: Persistence) -> None:
        await store.save_memory(memory("m1", "stored"))
        source = [{"id": f"m{n}", "content": "a"} for n in range(3)]
        with pytest.raises(InvalidValueError, match="line 2"):
            await store.import_memories(lines(*source), stop_on_error=True)
        assert await store.list_memories() == ["m1"]

    async def test_progress_is_told_after_each_chunk(self, store: Persistence) -> None:
        told: list[tuple[int, int, int]] = []
        source = [{"id": f"m{n}", "content": "a"} for n in range(5)]
        await store.import_memories(lines(*source), chunk=2, progress=lambda report: told.append(counts(report)))
        assert told == [(2, 0, 0), (4, 0, 0), (5, 0, 0)]

    async def test_memories_are_embedded(self, open_store: OpenStore) -> None:
        async with open_store(embedder=LetterEmbedder()) as store:
            own = LetterEmbedder().embed(["own"])[0].tolist()
            source = [
                {"id": "abc", "content": "abc"},
                {"id": "given", "content": "abc", "embedding": own},
                {"id": "nothing in it", "content": "1234"},
                {"id": "empty", "content": ""},
                {"kind": "assembly", "id": "a", "name": "abc"},
            ]
            assert counts(await store.import_memories(lines(*source), embed=True)) == (5, 0, 0)
            assert found(await store.search("cba")) == ["abc", "given"]
            assert await store.search("cba", kind="assembly") == []
            assert counts(await store.import_memories(lines(*source), embed=True)) == (0, 5, 0)

    async def test_embedding_needs_an_embedder(self, store: Persistence) -> None:
        with pytest.raises(UsageError):
            await store.import_memories(lines({"content": "a"}), embed=True)
        assert await store.list_memories() == []

    async def test_a_bad_chunk_is_refused(self, store: Persistence) -> None:
        bad: list[Any] = [0, -1, 1.5, True]
        for chunk in bad:
            with pytest.raises(InvalidValueError):
                await store.import_memories(lines({"content": "a"}), chunk=chunk)

    async def test_an_import_does_not_undo_what_is_saved_meanwhile(self, store: Persistence) -> None:
        ids = [f"m{n:03}" for n in range(600)]
        won: list[str] = []

        async def save(some: list[str]) -> None:
            for entity_id in some:
                try:
                    await store.save_memory(memory(entity_id, "saved"), expected_updated_at=ABSENT)
                except ConflictError:
                    continue
                won.append(entity_id)

        source = lines(*({"id": i, "content": "imported"} for i in ids), at_once=50)
        saves = (save(ids[::-1][n::4]) for n in range(4))
        importing = asyncio.ensure_future(store.import_memories(source, chunk=50))
        await asyncio.gather(importing, *saves)
        report = importing.result()
        saved = [entry.memory_id for entry in await store.load_all() if entry.content == "saved"]
        assert saved == sorted(won)
        assert counts(report) == (600 - len(won), 0, len(won))

    async def test_an_error_of_the_source_leaves_whole_chunks(self, store: Persistence) -> None:
        async def source() -> AsyncIterator[list[bytes]]:
            yield [orjson.dumps({"id": f"m{n}", "content": "a"}) for n in range(5)]
            raise ConnectionError

        with pytest.raises(ConnectionError):
            await store.import_memories(source(), chunk=2)
        assert await store.list_memories() == ["m0", "m1", "m2", "m3"]

    async def test_assemblies_and_memories_share_a_chunk(self, store: Persistence) -> None:
        await store.save_assembly(assembly("a", name="stored"))
        source = [{"id": "a", "content": "a memory"}, {"kind": "assembly", "id": "a", "name": "stored"}]
        assert counts(await store.import_memories(lines(*source))) == (1, 1, 0)
