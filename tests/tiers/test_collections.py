"""Rows as memories of the store: their ids, what a put keeps, whose memory is left alone, and cancelled callers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from collection_samples import word_embedder

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.errors import (
    BatchTooLargeError,
    ConflictError,
    DamagedFileError,
    InvalidIdError,
    InvalidTypeError,
    InvalidValueError,
    ReadOnlyError,
)
from synthians_memory.tiers.collections import COLLECTIONS, Collections, RowMemory, SearchResult, memory_id_of, row_of

AT = 1_700_000_000


def wanted(row_id: str = "1", text: str = "disk full", **changes: Any) -> RowMemory:
    return RowMemory(**{"collection": "incidents", "row_id": row_id, "text": text, "created_at": AT, **changes})


# What a memory says


def test_a_row_memory_has_a_prefixed_id_and_its_collection_and_row() -> None:
    memory = wanted("a", metadata={"resolved_by": "ann"})
    assert memory.memory_id == "incidents-a"
    assert memory.metadata == {"resolved_by": "ann", "collection": "incidents", "row_id": "a"}
    assert memory.created == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    assert row_of(memory.told_in(None)) == ("incidents", "a")


@pytest.mark.parametrize("row_id", ["x" * 191, "", "A" * 82, "a\nb", "\ud800"])
def test_an_id_that_no_memory_can_have_is_refused(row_id: str) -> None:
    with pytest.raises(InvalidIdError):
        wanted(row_id)


def test_the_longest_id_is_taken() -> None:
    assert len(wanted("x" * 190).memory_id) == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"collection": "goals"}, InvalidValueError),
        ({"text": "\ud800"}, InvalidValueError),
        ({"text": None}, InvalidTypeError),
        ({"created_at": 10**12}, InvalidValueError),
        ({"created_at": "today"}, InvalidValueError),
        ({"metadata": {"a": float("nan")}}, InvalidValueError),
        ({"metadata": []}, InvalidTypeError),
    ],
)
def test_what_no_memory_can_say_is_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        wanted(**changes)


@pytest.mark.parametrize(
    ("entry", "row"),
    [
        (MemoryEntry(memory_id="incidents-a", content="", metadata={"collection": "incidents", "row_id": "a"}), True),
        (MemoryEntry(memory_id="incidents-a", content=""), False),
        (MemoryEntry(memory_id="incidents-a", content="", metadata={"collection": "incidents", "row_id": "b"}), False),
        (MemoryEntry(memory_id="mine-a", content="", metadata={"collection": "mine", "row_id": "a"}), False),
        (MemoryEntry(memory_id="incidents-1", content="", metadata={"collection": "incidents", "row_id": 1}), False),
    ],
    ids=["of a row", "bare", "of another row", "of no collection", "no id"],
)
def test_only_the_memory_of_a_row_is_taken_for_one(entry: MemoryEntry, row: bool) -> None:
    assert (row_of(entry) is not None) is row


# Put


async def test_a_put_is_an_embedded_memory_of_the_store(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path, embedder=word_embedder()) as store:
        stored = await Collections(store).put("incidents", "1", "disk full", {"resolved_by": "ann"}, AT)
        assert await store.load_memory("incidents-1") == stored
        assert stored.content == "disk full"
        assert stored.embedding is not None
        assert stored.created_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
        hits = await store.search("disk", where={"collection": "incidents"})
        assert [hit.memory_id for hit in hits] == ["incidents-1"]


async def test_putting_the_same_again_writes_nothing(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        collections = Collections(store)
        first = await collections.follow(wanted())
        sequence = store.stats()["sequence"]
        assert (await collections.follow(wanted())).updated_at == first.updated_at
        assert store.stats()["sequence"] == sequence


async def test_a_changed_row_changes_its_memory_and_keeps_what_others_put_there(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path, embedder=word_embedder()) as store:
        collections = Collections(store)
        first = await collections.follow(wanted(metadata={"resolved_by": "ann"}))
        noted = first.replace(tags=("seen",), quickrecal_score=0.9, metadata={**first.metadata, "stars": 3})
        await store.save_memory(noted)
        second = await collections.follow(wanted(text="network slow", metadata={"resolved_by": None}))
        assert (second.content, second.tags, second.quickrecal_score) == ("network slow", ("seen",), 0.9)
        assert second.metadata == {"collection": "incidents", "row_id": "1", "stars": 3, "resolved_by": None}
        assert second.embedding is not None
        assert second.embedding.tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_memory_of_a_row_does_not_expire(tmp_path: Path, hours: int) -> None:
    async with MemoryPersistence(tmp_path) as store:
        collections = Collections(store)
        first = await collections.follow(wanted())
        await store.save_memory(first.replace(expires_at=datetime.now(UTC) + timedelta(hours=hours)))
        await collections.follow(wanted())
        found = await store.load_memory("incidents-1")
        assert found is not None
        assert found.expires_at is None


async def test_somebodys_own_memory_is_not_touched(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        collections = Collections(store)
        own = await store.save_memory(MemoryEntry(memory_id="incidents-1", content="mine"))
        written: list[str] = []

        async def write() -> None:
            written.append("row")

        with pytest.raises(ConflictError, match="not that of a row"):
            await collections.store_row(wanted(), write)
        with pytest.raises(ConflictError):
            await collections.follow(wanted())
        with pytest.raises(ConflictError):
            await collections.remove("incidents", "1")
        assert written == []
        assert await store.load_memory("incidents-1") == own
        assert await collections.search("mine", COLLECTIONS) == []


@pytest.mark.parametrize(
    "long",
    [wanted(text="x" * (1 << 20)), wanted(text='"' * (1 << 19)), wanted(metadata={"chosen": "x" * (1 << 20)})],
    ids=["text", "escaped", "metadata"],
)
async def test_what_the_store_cannot_take_at_once_is_refused_before_the_row(tmp_path: Path, long: RowMemory) -> None:
    written: list[str] = []

    async def write() -> None:
        written.append("row")

    async with MemoryPersistence(tmp_path, max_batch_bytes=1 << 20) as store:
        with pytest.raises(BatchTooLargeError):
            await Collections(store).store_row(long, write)
    assert written == []


async def test_the_row_is_written_before_its_memory(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        seen: list[Any] = []

        async def write() -> str:
            seen.append(await store.load_memory("incidents-1"))
            return "row"

        assert await Collections(store).store_row(wanted(), write) == "row"
        assert seen == [None]
        assert await store.load_memory("incidents-1") is not None


async def test_a_memory_whose_file_is_damaged_does_not_keep_the_row_from_being_stored(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        await Collections(store).follow(wanted())
    file = tmp_path / "memories" / "incidents-1.json"
    file.write_bytes(file.read_bytes().replace(b"disk", b"dusk"))
    rows: list[str] = []

    async def write() -> None:
        rows.append("row")

    async with MemoryPersistence(tmp_path, auto_repair=False, startup_check="off") as store:
        with pytest.raises(DamagedFileError):
            await Collections(store).store_row(wanted(text="network slow"), write)
    assert rows == ["row"]


async def test_a_row_that_cannot_be_written_leaves_no_memory(tmp_path: Path) -> None:
    async def write() -> None:
        raise ReadOnlyError("no")

    async with MemoryPersistence(tmp_path) as store:
        with pytest.raises(ReadOnlyError):
            await Collections(store).store_row(wanted(), write)
        assert await store.list_memories() == []


async def test_rows_of_one_id_are_written_one_after_the_other(tmp_path: Path) -> None:
    """Also where the first takes its time, the memory is that of the last row."""
    async with MemoryPersistence(tmp_path) as store:
        collections = Collections(store)
        rows: list[str] = []

        async def write(text: str, turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            rows.append(text)

        await asyncio.gather(
            *(
                collections.store_row(wanted(text=text), lambda text=text, turns=turns: write(text, turns))
                for text, turns in (("first", 50), ("second", 0), ("third", 20))
            )
        )
        found = await store.load_memory("incidents-1")
        assert found is not None
        assert found.content == rows[-1] == "third"


async def test_a_cancelled_caller_leaves_row_and_memory_to_be_written(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        collections = Collections(store)
        begun, go_on = asyncio.Event(), asyncio.Event()

        async def write() -> None:
            begun.set()
            await go_on.wait()

        task = asyncio.create_task(collections.store_row(wanted(), write))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await collections.settle()
        assert await store.load_memory("incidents-1") is not None


async def test_a_memory_that_others_save_meanwhile_says_what_the_row_says(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        collections = Collections(store)
        await collections.follow(wanted())

        async def scribble() -> None:
            for count in range(20):
                found = await store.load_memory("incidents-1")
                assert found is not None
                await store.save_memory(found.replace(access_count=count))

        await asyncio.gather(scribble(), collections.follow(wanted(text="network slow")))
        found = await store.load_memory("incidents-1")
        assert found is not None
        assert (found.content, found.access_count) in [("network slow", 19), ("disk full", 19)]
        assert (await collections.follow(wanted(text="network slow"))).content == "network slow"


async def test_remove_deletes_the_memory_of_a_row_once(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        collections = Collections(store)
        await collections.follow(wanted())
        assert await collections.remove("incidents", "1") is True
        assert await collections.remove("incidents", "1") is False
        assert await store.load_memory("incidents-1") is None


async def test_a_reader_finds_and_does_not_write(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        await Collections(store).follow(wanted())
    async with MemoryPersistence(tmp_path, read_only=True) as store:
        collections = Collections(store)
        (found,) = await collections.search("disk")
        assert found == SearchResult(
            collection="incidents",
            id="1",
            content="disk full",
            relevance=found.relevance,
            metadata={"collection": "incidents", "row_id": "1"},
        )
        with pytest.raises(ReadOnlyError):
            await collections.follow(wanted("2"))


async def test_memories_of_rows_go_through_export_and_import(tmp_path: Path) -> None:
    lines: list[bytes] = []
    async with MemoryPersistence(tmp_path / "one") as store:
        await Collections(store).follow(wanted(metadata={"resolved_by": "ann"}))
        saved = await store.load_memory("incidents-1")
        from_file = (tmp_path / "one" / "memories" / "incidents-1.json").read_bytes()
        lines.append(from_file.replace(b"\n", b""))

    async def stream() -> Any:
        yield lines

    async with MemoryPersistence(tmp_path / "two") as store:
        await store.import_memories(stream())
        found = await store.load_memory("incidents-1")
        assert found == saved
        (result,) = await Collections(store).search("disk")
        assert (result.id, result.metadata["resolved_by"]) == ("1", "ann")


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"query": 1}, InvalidTypeError),
        ({"query": "x", "collections": "incidents"}, InvalidTypeError),
        ({"query": "x", "collections": []}, InvalidValueError),
        ({"query": "x", "collections": ["goals"]}, InvalidValueError),
        ({"query": "x", "n_results": 0}, InvalidValueError),
        ({"query": "x", "min_relevance": 1.1}, InvalidValueError),
        ({"query": "x", "min_relevance": "1"}, InvalidTypeError),
    ],
)
async def test_wrong_questions_are_refused(tmp_path: Path, arguments: dict[str, Any], error: type[Exception]) -> None:
    async with MemoryPersistence(tmp_path) as store:
        with pytest.raises(error):
            await Collections(store).search(**arguments)


def test_the_prefixes_are_unlike_each_other() -> None:
    ids = [memory_id_of(name, "x") for name in COLLECTIONS]
    assert sum(i.startswith(f"{name}-") for i in ids for name in COLLECTIONS) == len(COLLECTIONS)
