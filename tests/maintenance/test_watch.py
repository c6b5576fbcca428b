"""A store that is open and watched: what a person, an editor or another program does to its files is adopted, or told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from watched_stores import (
    NOON,
    QUICK,
    SWEEPING,
    edited,
    fields_of,
    memory,
    quarantined,
    sealed_file,
    vector,
    watched,
    without_seal,
)

from synthians_memory.errors import (
    InvalidValueError,
    ReadOnlyError,
    StoreClosedError,
    UsageError,
)
from synthians_memory.facade import MemoryPersistence
from synthians_memory.maintenance.watch import Watcher, watch
from synthians_memory.times import from_micros

WAYS = [pytest.param(QUICK, id="notified"), pytest.param(SWEEPING, id="sweeping")]
ways = pytest.mark.parametrize("options", WAYS)


# The cases of a file that changed outside


@ways
async def test_an_edited_file_is_adopted_and_found(tmp_path: Path, options: dict[str, Any]) -> None:
    async with watched(tmp_path / "s", options=options) as seen:
        stored = await seen.loaded("a")
        seen.path("a").write_bytes(edited(seen.path("a"), "text of a", "written by hand"))
        change = await seen.of("a")
        assert (change.outcome, change.code, change.path) == ("adopted", "file_edited", "memories/a.json")
        entry = await seen.loaded("a")
        assert entry.content == "written by hand"
        assert stored.updated_at is not None
        assert entry.updated_at is not None
        assert entry.updated_at > stored.updated_at
        assert fields_of(seen.path("a"))["content_hash"] == entry.content_hash
        assert [hit.entry.memory_id for hit in await seen.store.recall("hand", mode="text")] == ["a"]
        assert await seen.problems() == []
    assert quarantined(tmp_path / "s") == []


@ways
async def test_an_older_version_in_its_place_keeps_its_update_time(tmp_path: Path, options: dict[str, Any]) -> None:
    async with watched(tmp_path / "s", options=options) as seen:
        older = sealed_file(memory("a", "as it was"), NOON)
        seen.path("a").write_bytes(older)
        change = await seen.of("a")
        assert (change.outcome, change.code, change.embedding) == ("adopted", "file_replaced", "kept")
        assert (await seen.loaded("a")).updated_at == from_micros(NOON)
        assert await seen.nearest("as it was") == "a"
        assert seen.path("a").read_bytes() == older
        assert await seen.problems() == []


@ways
@pytest.mark.parametrize("sealed", [False, True])
async def test_a_file_that_is_added_is_adopted(tmp_path: Path, options: dict[str, Any], sealed: bool) -> None:
    async with watched(tmp_path / "s", options=options) as seen:
        data = sealed_file(memory("new"))
        seen.path("new").write_bytes(data if sealed else b'{"memory_id": "new", "content": "typed in"}')
        change = await seen.of("new")
        assert (change.outcome, change.code) == ("adopted", "file_not_indexed")
        assert change.embedding == ("kept" if sealed else "none")
        assert (await seen.loaded("new")).content == ("text of new" if sealed else "typed in")
        assert (seen.path("new").read_bytes() == data) is sealed
        assert await seen.problems() == []


@ways
async def test_a_file_that_is_removed_is_a_deletion(tmp_path: Path, options: dict[str, Any]) -> None:
    async with watched(tmp_path / "s", options=options) as seen:
        await seen.loaded("a")
        seen.path("a").unlink()
        change = await seen.of("a")
        assert (change.outcome, change.code) == ("adopted", "file_missing")
        assert await seen.store.load_memory("a") is None
        assert await seen.store.list_memories() == ["b", "c"]
        assert "a" not in [hit.memory_id for hit in await seen.store.search(vector("text of a"), 9)]
        assert await seen.problems() == []
    async with MemoryPersistence(tmp_path / "s") as store:
        assert await store.list_memories() == ["b", "c"]
        assert store.opening_report.findings == ()


@ways
async def test_an_assembly_is_watched_as_well(tmp_path: Path, options: dict[str, Any]) -> None:
    async with watched(tmp_path / "s", options=options) as seen:
        path = seen.root / "assemblies" / "tea.json"
        path.write_bytes(b'{"assembly_id": "tea", "name": "Tea", "members": ["a"]}')
        assert (await seen.of("tea")).kind == "assembly"
        found = await seen.store.load_assembly("tea")
        assert found is not None
        assert found.members == ("a",)


@ways
async def test_a_wrong_hash_line_waits_for_a_person(tmp_path: Path, options: dict[str, Any]) -> None:
    async with watched(tmp_path / "s", options=options) as seen:
        wrong = seen.path("a").read_bytes().replace(b"text of a", b"text of z")
        seen.path("a").write_bytes(wrong)
        change = await seen.of("a")
        assert (change.outcome, change.code) == ("left", "file_damaged")
        assert "adopt" in change.message
        assert seen.path("a").read_bytes() == wrong
        # What makes it right is noticed.
        seen.path("a").write_bytes(without_seal(wrong))
        assert (await seen.of("a", 2)).outcome == "adopted"
        assert (await seen.loaded("a")).content == "text of z"


@ways
async def test_a_wrong_hash_line_is_adopted_where_that_is_asked_for(tmp_path: Path, options: dict[str, Any]) -> None:
    async with watched(tmp_path / "s", options={**options, "adopt_damaged": True}) as seen:
        seen.path("a").write_bytes(seen.path("a").read_bytes().replace(b"text of a", b"text of z"))
        assert (await seen.of("a")).code == "file_damaged"
        assert (await seen.loaded("a")).content == "text of z"
        assert await seen.problems() == []
        seen.path("b").write_bytes(b"no json at all")
        assert (await seen.of("b")).outcome == "left"


async def test_a_touched_file_is_as_it_was(tmp_path: Path) -> None:
    async with watched(tmp_path / "s") as seen:
        before = await seen.loaded("a")
        reads = seen.store.stats()["since_open"]["saves"]
        os.utime(seen.path("a"), ns=(1, 1))
        seen.path("b").write_bytes(edited(seen.path("b"), "text of b", "another"))
        await seen.of("b")
        await seen.store.flush()
        assert await seen.loaded("a") == before
        assert [change.entity_id for change in seen.told] == ["b"]
        assert seen.store.stats()["since_open"]["saves"] == reads + 1
        assert await seen.store.verify_consistency("quick") == []


async def test_a_rename_is_a_removal_and_a_file_of_another_id(tmp_path: Path) -> None:
    async with watched(tmp_path / "s") as seen:
        seen.path("a").rename(seen.path("z"))
        assert (await seen.of("a")).code == "file_missing"
        # Its content still says whose it is.
        assert (await seen.of("z")).code == "file_undecodable"
        assert await seen.store.list_memories() == ["b", "c"]
        assert b"text of a" in seen.path("z").read_bytes()
        seen.path("z").rename(seen.path("a"))
        assert (await seen.of("a", 2)).code == "file_not_indexed"
        assert (await seen.loaded("a")).content == "text of a"


async def test_one_pass_adopts_what_changed_before(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "s", auto_repair=False, startup_check="off") as store:
        await store.save_memories_batch([memory(i) for i in "abc"])
        folder = tmp_path / "s" / "memories"
        (folder / "a.json").unlink()
        (folder / "b.json").write_bytes(edited(folder / "b.json", "text of b", "by hand"))
        (folder / "c.json").write_bytes(b"{")
        told = [change async for change in watch(store, once=True, settle=0.01)]
        assert [(change.entity_id, change.outcome) for change in sorted(told, key=lambda c: str(c.path))] == [
            ("a", "adopted"),
            ("b", "adopted"),
            ("c", "left"),
        ]
        again = [change async for change in watch(store, once=True, settle=0.01)]
        assert [(change.entity_id, change.code) for change in again] == [("c", "file_undecodable")]


# How editors save


def in_place(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.truncate()
        for start in range(0, len(data), 100):
            file.write(data[start : start + 100])
            file.flush()


def by_rename(path: Path, data: bytes) -> None:
    scratch = path.with_name(f".{path.name}.swp")
    scratch.write_bytes(data)
    os.replace(scratch, path)


def with_a_backup(path: Path, data: bytes) -> None:
    path.rename(path.with_name(f"{path.name}~"))
    path.write_bytes(data)


def anew(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


@ways
@pytest.mark.parametrize("write", [in_place, by_rename, with_a_backup, anew], ids=lambda f: f.__name__)
async def test_however_an_editor_saves(
    tmp_path: Path, options: dict[str, Any], write: Callable[[Path, bytes], None]
) -> None:
    async with watched(tmp_path / "s", options=options) as seen:
        for turn in (1, 2):
            text = f"turn {turn}"
            write(seen.path("a"), edited(seen.path("a"), (await seen.loaded("a")).content, text))
            assert (await seen.of("a", turn)).outcome == "adopted"
            assert (await seen.loaded("a")).content == text
        assert len(seen.told) == 2
        assert await seen.problems() == []
    assert quarantined(tmp_path / "s") == []


async def test_a_file_that_is_being_written_is_not_adopted_half(tmp_path: Path) -> None:
    """Each piece alone would be a memory; only the last one is what the writer meant."""
    async with watched(tmp_path / "s", options={**QUICK, "settle": 0.4}) as seen:
        pieces = [b'{"memory_id": "n", "content": "piece %d"}' % n for n in range(8)]
        for piece in pieces:
            seen.path("n").write_bytes(piece)
            await asyncio.sleep(0.1)
        await seen.of("n")
        assert (await seen.loaded("n")).content == "piece 7"
        assert len(seen.told) == 1


async def test_a_writer_that_pauses_is_waited_for(tmp_path: Path) -> None:
    async with watched(tmp_path / "s") as seen:
        with seen.path("n").open("wb") as file:
            file.write(b'{"memory_id": "n", "content": "begun')
            file.flush()
            assert (await seen.of("n")).code == "file_undecodable"
            file.write(b' and ended"}')
        assert (await seen.of("n", 2)).outcome == "adopted"
        assert (await seen.loaded("n")).content == "begun and ended"


# What is left alone


def put_symlink(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def put_fifo(path: Path) -> None:
    os.mkfifo(path)


def put_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("put", [put_symlink, put_fifo, put_folder], ids=lambda f: f.__name__)
@pytest.mark.parametrize("entity_id", ["a", "new"])
async def test_what_is_no_file_is_left_and_told(tmp_path: Path, put: Callable[[Path], None], entity_id: str) -> None:
    async with watched(tmp_path / "s") as seen:
        seen.path(entity_id).unlink(missing_ok=True)
        put(seen.path(entity_id))
        change = await seen.of(entity_id)
        assert (change.outcome, change.code) == ("left", "not_a_file")
        mode = seen.path(entity_id).lstat().st_mode
        seen.path("b").write_bytes(edited(seen.path("b"), "text of b", "another"))
        await seen.of("b")
        assert seen.path(entity_id).lstat().st_mode == mode
        assert len(seen.told) == 2


async def test_names_of_no_entity_are_told_where_they_look_meant(tmp_path: Path) -> None:
    async with watched(tmp_path / "s", options=SWEEPING) as seen:
        for name in ("My Note.json", ".a.json.swp", "a.json~", "4913"):
            seen.path("a").with_name(name).write_bytes(b"{}")
        await seen.until(lambda: seen.told)
        assert (await seen.store.load_memory("a")) is not None
        assert [(change.code, change.path) for change in seen.told] == [("foreign_name", "memories/My Note.json")]


async def test_another_superblock_is_told_and_left(tmp_path: Path) -> None:
    async with watched(tmp_path / "s", options=SWEEPING) as seen:
        path = seen.root / "store.json"
        was = path.read_bytes()
        path.write_bytes(b"{}")
        await seen.until(lambda: seen.told)
        assert [(change.outcome, change.code) for change in seen.told] == [("left", "superblock_damaged")]
        assert path.read_bytes() == b"{}"
        path.write_bytes(was)


# Removals in masses


def emptied(folder: Path) -> None:
    for path in folder.glob("*.json"):
        path.unlink()


def moved_away(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def mounted_over(folder: Path) -> None:
    moved_away(folder)
    folder.mkdir()


MANY = [f"m{n}" for n in range(30)]


@ways
async def test_a_folder_that_lost_everything_is_no_deletion(tmp_path: Path, options: dict[str, Any]) -> None:
    async with watched(tmp_path / "s", options=options) as seen:
        await seen.store.save_memories_batch([memory(i) for i in MANY])
        emptied(seen.root / "memories")
        await seen.until(lambda: seen.told)
        assert [(change.outcome, change.code) for change in seen.told] == [("left", "repair_refused")]
        assert "33 files are gone" in seen.told[0].message
        assert len(await seen.store.list_memories()) == 33


@pytest.mark.parametrize("vanish", [moved_away, mounted_over], ids=lambda f: f.__name__)
async def test_a_folder_that_is_gone_is_told_and_comes_back(tmp_path: Path, vanish: Callable[[Path], None]) -> None:
    async with watched(tmp_path / "s", options=SWEEPING) as seen:
        folder = seen.root / "memories"
        vanish(folder)
        await seen.until(lambda: seen.told)
        assert (seen.told[0].outcome, seen.told[0].path) == ("failed", "memories")
        assert "memories was moved, removed or replaced" in seen.told[0].message
        assert len(await seen.store.list_memories()) == 3
        if folder.exists():
            folder.rmdir()
        folder.with_name("elsewhere").rename(folder)
        seen.path("a").write_bytes(edited(seen.path("a"), "text of a", "by hand"))
        await seen.of("a")
        assert len(seen.told) == 2


async def test_so_many_removals_as_are_allowed(tmp_path: Path) -> None:
    async with watched(tmp_path / "s", options={**SWEEPING, "most_removed": 33}) as seen:
        await seen.store.save_memories_batch([memory(i) for i in MANY])
        emptied(seen.root / "memories")
        await seen.until(lambda: len(seen.told) == 33)
        assert await seen.store.list_memories() == []
        assert await seen.problems() == []


async def test_a_slow_removal_is_one_in_masses(tmp_path: Path) -> None:
    async with watched(tmp_path / "s", options=QUICK) as seen:
        await seen.store.save_memories_batch([memory(i) for i in MANY])
        for number, entity_id in enumerate(MANY, 1):
            if any(change.code == "repair_refused" for change in seen.told):
                break
            seen.path(entity_id).unlink()
            await seen.until(lambda n=number: len(seen.told) == n)  # type: ignore[misc]
        assert [change.outcome for change in seen.told] == ["adopted"] * 10 + ["left"]
        assert len(await seen.store.list_memories()) == 23


async def test_what_comes_back_was_never_gone(tmp_path: Path) -> None:
    async with watched(tmp_path / "s", options=SWEEPING) as seen:
        await seen.store.save_memories_batch([memory(i) for i in MANY])
        kept = {path: path.read_bytes() for path in (seen.root / "memories").glob("*.json")}
        emptied(seen.root / "memories")
        await seen.until(lambda: seen.told)
        for path, data in kept.items():
            path.write_bytes(data)
        seen.path("a").write_bytes(edited(seen.path("a"), "text of a", "by hand"))
        await seen.of("a")
        assert [change.code for change in seen.told] == ["repair_refused", "file_edited"]
        assert await seen.problems() == []


# Life


async def test_a_read_only_store_cannot_be_watched(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "s") as store:
        await store.save_memory(memory("a"))
        async with MemoryPersistence(tmp_path / "s", read_only=True) as reader:
            with pytest.raises(ReadOnlyError, match=r"read-only.*open the store for writing"):
                Watcher(reader)


async def test_a_store_that_is_not_open_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(StoreClosedError):
        Watcher(MemoryPersistence(tmp_path / "s"))


@pytest.mark.parametrize(
    "options", [{"interval": 0}, {"settle": -1}, {"settle": float("nan")}, {"most_removed": -1}], ids=str
)
async def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    async with MemoryPersistence(tmp_path / "s") as store:
        with pytest.raises(InvalidValueError):
            Watcher(store, **options)


async def ended(store: MemoryPersistence, watcher: Watcher, *, close: bool = False) -> None:
    async with watcher:
        if close:
            await store.close()
        async with asyncio.timeout(30):
            while watcher.failure is None:  # noqa: ASYNC110 - what it waits for is the end of what would tell
                await asyncio.sleep(0.01)


async def test_a_store_that_is_closed_under_a_watch_ends_it(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "s") as store:
        with pytest.raises(StoreClosedError):
            await ended(store, Watcher(store, **SWEEPING), close=True)


@ways
async def test_a_loop_that_is_left_leaves_nothing_behind(tmp_path: Path, options: dict[str, Any]) -> None:
    async with MemoryPersistence(tmp_path / "s") as store:
        await store.save_memory(memory("a"))
        tasks = asyncio.all_tasks()
        changes = watch(store, **options)
        path = tmp_path / "s" / "memories" / "a.json"
        path.write_bytes(edited(path, "text of a", "by hand"))
        async for change in changes:
            assert change.outcome == "adopted"
            break
        await changes.aclose()
        assert asyncio.all_tasks() == tasks


async def test_a_watch_that_is_cancelled_ends(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "s") as store:
        tasks = asyncio.all_tasks()

        async def consume() -> None:
            async for _ in watch(store, **QUICK):
                raise AssertionError("nothing changed")

        consumer = asyncio.create_task(consume())
        await asyncio.sleep(0.2)
        consumer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await consumer
        assert asyncio.all_tasks() == tasks


async def test_a_watch_runs_once_at_a_time(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "s") as store:
        async with Watcher(store, **SWEEPING) as watcher:
            await asyncio.sleep(0.05)
            with pytest.raises(UsageError, match="running already"):
                await anext(watcher.changes())
        assert [change async for change in watcher.changes(once=True)] == []


async def test_the_consumers_error_ends_the_watch_and_is_raised(tmp_path: Path) -> None:
    def refuse(_: object) -> None:
        raise LookupError("mine")

    async with MemoryPersistence(tmp_path / "s") as store:
        await store.save_memory(memory("a"))
        (tmp_path / "s" / "memories" / "a.json").unlink()
        with pytest.raises(LookupError, match="mine"):
            await ended(store, Watcher(store, refuse, **SWEEPING))
