"""A purged memory of a row takes the row with it: no byte of it is left, and nothing brings it back."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from collection_samples import word_embedder

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.errors import DiskError
from synthians_memory.layout import set_aside_path
from synthians_memory.maintenance.care import snapshots_in
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.storage.local import LocalBackend
from synthians_memory.tiers import Decision, Goal, Incident, Tiers, eraser
from synthians_memory.tiers.collections import Collections
from synthians_memory.tiers.connections import open_for_writing
from synthians_memory.tiers.reconciliation import reconcile
from synthians_memory.tiers.row_places import read_notes
from synthians_memory.times import SystemClock

# Each in a column of its own; stemming leaves them whole.
SECRETS = [f"heliotrop{n}x" for n in range(12)]
DECISION = Decision(
    id="d",
    context=SECRETS[0],
    options=[SECRETS[1], {"why": SECRETS[2]}],
    chosen=SECRETS[3],
    reasoning=SECRETS[4],
    model_used=SECRETS[5],
    outcome=SECRETS[6],
    timestamp=5,
)
INCIDENT = Incident(id="i", description=SECRETS[7], symptoms=[SECRETS[8]], root_cause=SECRETS[9], timestamp=5)
IDS = ["decisions-d", "incidents-i"]


def holding(folder: Path) -> dict[str, set[bytes]]:
    """Files in which one of the secrets stands, with what stands there."""
    pattern = re.compile(rb"heliotrop\d+x", re.IGNORECASE)
    found = {str(path.relative_to(folder)): set(pattern.findall(path.read_bytes())) for path in files(folder)}
    return {path: secrets for path, secrets in found.items() if secrets}


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def noted(folder: Path) -> set[str]:
    """The ids of the memories of which something is noted."""
    with closing(sqlite3.connect(folder / "tiers" / "longterm.db")) as connection:
        return set(read_notes(connection))


async def fill(tiers: Tiers) -> None:
    """The rows, former versions of them, and others beside."""
    for number in range(30):
        await tiers.working.log_decision(
            Decision(id=f"o{number}", context=f"disk {number}", chosen="wait", timestamp=5)
        )
    for database in tiers._opened().databases:
        # Some builds of SQLite overwrite what they free, others do not.
        await database.run(lambda connection: connection.execute("PRAGMA secure_delete = OFF").fetchone())
    # Longer than a page, so that whole pages are free afterwards.
    await tiers.working.log_decision(replace(DECISION, reasoning=f"{SECRETS[10]} at first " * 1000, outcome=None))
    await tiers.working.log_decision(DECISION)
    await tiers.longterm.store_incident(replace(INCIDENT, resolution=f"{SECRETS[11]} at first " * 1000))
    await tiers.longterm.store_incident(INCIDENT)
    await tiers.longterm.store_incident(Incident(id="other", description="disk full", timestamp=5))


@pytest.mark.parametrize("archived", [True, False], ids=["archived", "in work"])
@pytest.mark.parametrize("embedder", [True, False], ids=["embedder", "words"])
async def test_no_byte_of_a_purged_row_is_left_and_nothing_brings_it_back(
    tmp_path: Path, archived: bool, embedder: bool
) -> None:
    settings: dict[str, Any] = {"embedder": word_embedder()} if embedder else {}
    async with MemoryPersistence(tmp_path, **settings) as store, Tiers(store) as tiers:
        await fill(tiers)
        await reconcile(Collections(store), *tiers._opened().databases)
        assert noted(tmp_path) > set(IDS)
        assert await tiers.longterm.semantic_search(SECRETS[0]) != []
        if archived:
            await tiers.migrate()
        assert holding(tmp_path)
        receipt = await store.purge(IDS)
        assert holding(tmp_path) == {}
        assert receipt.left == ()
        assert noted(tmp_path).isdisjoint(IDS)
        removed = {(place.path, place.what) for place in receipt.removed if place.path.startswith("tiers/")}
        where = ("tiers/longterm.db", "archived_decisions") if archived else ("tiers/working.db", "decisions")
        assert removed == {
            ("tiers/longterm.db", "database of rows"),
            ("tiers/working.db", "database of rows"),
            (where[0], f"the row 'd' of {where[1]}"),
            ("tiers/longterm.db", "the row 'i' of incidents"),
        }
        # What is open goes on.
        assert await tiers.longterm.get_incident("i") is None
        assert [r.id for r in await tiers.longterm.semantic_search("disk full", ["incidents"])] == ["other"]
        assert len(await tiers.working.find_similar_decisions("disk", 50)) == 30
        await tiers.longterm.store_incident(Incident(id="later", description="disk full", timestamp=5))
    assert holding(tmp_path) == {}
    async with MemoryPersistence(tmp_path, **settings) as store, Tiers(store) as tiers:
        assert tiers.reconciled.made == ()
        assert await tiers.longterm.get_incident("i") is None
        assert set(await store.load_memories(IDS)) == set()
        assert [finding for finding in await store.verify_consistency() if finding.severity != "note"] == []


async def test_rows_are_purged_while_the_tiers_are_closed(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        async with Tiers(store) as tiers:
            await fill(tiers)
        await store.purge(IDS)
        assert holding(tmp_path) == {}


async def test_a_row_whose_memory_was_deleted_is_purged_by_the_id_of_the_memory(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store, Tiers(store) as tiers:
        await fill(tiers)
        await store.delete_memories_batch(IDS)
        receipt = await store.purge(IDS)
        assert receipt.not_stored == tuple(IDS)
        assert ("tiers/longterm.db", "the row 'i' of incidents") in {(p.path, p.what) for p in receipt.removed}
        assert holding(tmp_path) == {}


async def test_a_delete_alone_is_undone_by_the_next_opening(tmp_path: Path) -> None:
    """The row is source: whoever wants to be rid of it purges."""
    async with MemoryPersistence(tmp_path) as store:
        async with Tiers(store) as tiers:
            await fill(tiers)
        await store.delete_memories_batch(IDS)
        async with Tiers(store) as tiers:
            assert tiers.reconciled.made == tuple(IDS)


async def test_snapshots_are_purged_on_request_and_their_databases_stay_whole(tmp_path: Path) -> None:
    home = tmp_path / "store"
    async with MemoryPersistence(home) as store, Tiers(store) as tiers:
        await fill(tiers)
        first = await store.backup()
        await tiers.migrate()
        await store.backup()
        receipt = await store.purge(IDS)
        assert {place.path for place in receipt.left} == {"backups/snapshots"}
        assert {path.split("/")[0] for path in holding(home)} == {"backups"}
        receipt = await store.purge(IDS, backups=True)
        assert holding(home) == {}
        assert "databases of 2 snapshots, built anew without its row" in {place.what for place in receipt.removed}
    copies = [path for path in files(home / "backups" / "snapshots") if path.read_bytes().startswith(b"SQLite")]
    assert len(copies) >= 3
    for path in copies:
        shutil.copy(path, tmp_path / "copy.db")
        with sqlite3.connect(tmp_path / "copy.db") as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 5
        connection.close()
    assert first.problems == ()


async def test_rows_that_quote_it_and_databases_in_quarantine_are_named(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store, Tiers(store) as tiers:
        text = "a long story of heliotropes that nobody else may ever read in full, for good reasons"
        await tiers.longterm.store_incident(Incident(id="i", description=text, timestamp=5))
        for number in range(30):
            await tiers.working.store_goal(Goal(id=f"g{number:02}", description=f"Tell: {text}"))
        aside = tmp_path / "quarantine" / "replaced" / "tiers"
        aside.mkdir(parents=True)
        (aside / "longterm.db-wal").write_bytes(b"whatever")
        log = tmp_path / set_aside_path("tiers/working.db-wal", datetime(2026, 1, 1, tzinfo=UTC))
        log.write_bytes(b"whatever")
        receipt = await store.purge(["incidents-i"])
        left = [(place.path, place.why) for place in receipt.left]
        assert left[0] == (
            "quarantine/replaced/tiers/longterm.db-wal",
            "what was set aside of a database may hold the row; remove it",
        )
        assert left[-1] == (f"tiers/{log.name}", "what was set aside of a database may hold the row; remove it")
        assert left[1][0] == "tiers/working.db"
        assert "10 more rows hold a text of it" in {why for _, why in left}
        assert len(left) == 23


async def test_a_purge_that_was_interrupted_is_finished_by_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with MemoryPersistence(tmp_path) as store, Tiers(store) as tiers:
        await fill(tiers)
        with monkeypatch.context() as patch:
            delete = eraser.delete_rows

            def broken(connection: Any, schema: Any, keys: Any) -> Any:
                delete(connection, schema, keys)
                raise DiskError("the disk went away", path=schema.path)

            patch.setattr(eraser, "delete_rows", broken)
            with pytest.raises(DiskError, match="may still hold what is purged"):
                await store.purge(IDS)
        assert (tmp_path / "logs" / "purge_plan.json").exists()
    async with MemoryPersistence(tmp_path) as store, Tiers(store) as tiers:
        assert holding(tmp_path) == {}
        assert tiers.reconciled.made == ()
        assert await tiers.longterm.get_incident("i") is None


async def test_a_damaged_database_holds_a_purge_up(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        async with Tiers(store) as tiers:
            await fill(tiers)
        database = tmp_path / "tiers" / "longterm.db"
        good = database.read_bytes()
        database.write_bytes(b"nothing of the kind" * 1000)
        with pytest.raises(DiskError, match="longterm"):
            await store.purge(IDS)
        database.write_bytes(good)
        await store.purge(IDS)
        assert holding(tmp_path) == {}


async def test_other_purges_leave_the_databases_alone(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store, Tiers(store) as tiers:
        await fill(tiers)
        await store.save_memory(MemoryEntry(memory_id="mine", content="a word of my own"))
        before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "tiers").glob("*[bl]")}
        receipt = await store.purge(["mine"])
        assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "tiers").glob("*[bl]")} == before
        assert not [place for place in receipt.removed if place.path.startswith("tiers")]
        assert await tiers.longterm.get_incident("i") is not None


async def test_a_store_without_tiers_gets_none_by_a_purge(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        await store.save_memory(MemoryEntry(memory_id="incidents-1", content="a word of my own"))
        await store.purge(["incidents-1"])
    assert not (tmp_path / "tiers").exists()


class Failing:
    """A connection of which one statement fails, the database being changed or not by those before."""

    def __init__(self, connection: sqlite3.Connection, counter: list[int]) -> None:
        self._connection = connection
        self._counter = counter

    def _next(self) -> None:
        self._counter[0] -= 1
        if not self._counter[0]:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, *arguments: Any) -> Any:
        self._next()
        return self._connection.execute(*arguments)

    def executemany(self, *arguments: Any) -> Any:
        self._next()
        return self._connection.executemany(*arguments)

    def close(self) -> None:
        self._connection.close()


@pytest.mark.parametrize("step", [6, pytest.param(1, marks=pytest.mark.long)])
async def test_whatever_statement_fails_the_next_opening_finishes_the_purge(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """The last of them fails where there is none any more: the purge goes through."""
    async with MemoryPersistence(tmp_path / "given") as store, Tiers(store) as tiers:
        await fill(tiers)
    failed, at = 0, 1
    while True:
        place = tmp_path / f"store{at}"
        shutil.copytree(tmp_path / "given", place)
        counter = [at]
        with monkeypatch.context() as patch:
            patch.setattr(eraser, "open_for_writing", lambda *a, c=counter: Failing(open_for_writing(*a), c))
            async with MemoryPersistence(place) as store, Tiers(store):
                outcome = await asyncio.gather(store.purge(IDS), return_exceptions=True)
        if counter[0] > 0:
            break
        assert isinstance(outcome[0], DiskError)
        assert "may still hold what is purged" in outcome[0].message
        failed += 1
        async with MemoryPersistence(place) as store, Tiers(store) as tiers:
            assert "finished a purge" in " ".join(store.opening_report.actions)
            assert holding(place) == {}
            assert tiers.reconciled.made == ()
        at += step
    assert holding(place) == {}
    assert failed >= 12 // step


async def test_a_restored_snapshot_from_which_rows_were_purged_has_all_others(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "store", tmp_path / "restored"
    async with MemoryPersistence(home) as store, Tiers(store) as tiers:
        await fill(tiers)
        await store.backup()
        await store.purge(IDS, backups=True)
    with snapshots_in(str(home / "backups" / "snapshots")) as folder:
        restore_store(lambda: LocalBackend(elsewhere, create=True), folder, Wanted(), SystemClock(), elsewhere=True)
    assert holding(elsewhere) == {}
    async with MemoryPersistence(elsewhere) as store, Tiers(store) as tiers:
        assert (tiers.reconciled.rows, tiers.reconciled.made, tiers.reconciled.replaced) == (31, (), ())
        assert await tiers.longterm.get_incident("other") is not None
        assert [finding for finding in await store.verify_consistency() if finding.severity != "note"] == []
