"""A purged memory of a row takes the row with it: no byte of it is left, and nothing brings it back."""

from __future__ import annotations

import re
import shutil
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from collection_samples import word_embedder

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.errors import DiskError
from synthians_memory.tiers import Decision, Goal, Incident, Tiers, eraser

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


async def fill(tiers: Tiers) -> None:
    """The rows, former versions of them, and others beside."""
    for number in range(30):
        await tiers.working.log_decision(
            Decision(id=f"o{number}", context=f"disk {number}", chosen="wait", timestamp=5)
        )
    await tiers.working.log_decision(replace(DECISION, reasoning=f"{SECRETS[10]} at first", outcome=None))
    await tiers.working.log_decision(DECISION)
    await tiers.longterm.store_incident(replace(INCIDENT, resolution=f"{SECRETS[11]} at first"))
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
        assert await tiers.longterm.semantic_search(SECRETS[0]) != []
        if archived:
            await tiers.migrate()
        assert holding(tmp_path)
        receipt = await store.purge(IDS)
        assert holding(tmp_path) == {}
        assert receipt.left == ()
        removed = {(place.path, place.what) for place in receipt.removed if place.path.startswith("tiers/")}
        where = ("tiers/longterm.db", "archived_decisions") if archived else ("tiers/working.db", "decisions")
        assert removed == {
            (where[0], f"the row 'd' of {where[1]}; the database was built anew"),
            ("tiers/longterm.db", "the row 'i' of incidents; the database was built anew"),
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
        assert holding(tmp_path) == {}


async def test_a_delete_alone_is_undone_by_the_next_opening(tmp_path: Path) -> None:
    """The row is source: whoever wants to be rid of it purges."""
    async with MemoryPersistence(tmp_path) as store:
        async with Tiers(store) as tiers:
            await fill(tiers)
        await store.delete_memories_batch(IDS)
        async with Tiers(store) as tiers:
            assert tiers.reconciled.made == tuple(IDS)


async def test_snapshots_are_purged_on_request_and_can_be_restored(tmp_path: Path) -> None:
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
        receipt = await store.purge(["incidents-i"])
        left = [(place.path, place.why) for place in receipt.left]
        assert left[0] == (
            "quarantine/replaced/tiers/longterm.db-wal",
            "a database that was replaced may hold the row; remove it",
        )
        assert left[1][0] == "tiers/working.db"
        assert "10 more rows hold a text of it" in {why for _, why in left}
        assert len(left) == 22


async def test_a_purge_that_was_interrupted_is_finished_by_the_next_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with MemoryPersistence(tmp_path) as store, Tiers(store) as tiers:
        await fill(tiers)
        with monkeypatch.context() as patch:
            delete = eraser._deleted

            def broken(connection: Any, schema: Any, keys: Any) -> Any:
                delete(connection, schema, keys)
                raise DiskError("the disk went away", path=schema.path)

            patch.setattr(eraser, "_deleted", broken)
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
