"""Rows and their memories: what opening makes of every way in which they differ, and what a check says of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from collection_samples import OpenRows, opened, upserted, word_embedder

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.embedding import CallableEmbedder
from synthians_memory.tiers import reconciliation
from synthians_memory.tiers.collections import Collections
from synthians_memory.tiers.records import Decision, Incident, Knowledge, Procedure
from synthians_memory.tiers.tables import ARCHIVED, DECISIONS, INCIDENTS

IDS = ["decisions-d", "incidents-i", "knowledge-k", "procedures-p"]
DECISION = Decision(id="d", context="disk full", chosen="buy", timestamp=5)


async def fill(rows: OpenRows) -> None:
    await rows.memory.store_incident(Incident(id="i", description="disk full"))
    await rows.memory.store_procedure(Procedure(id="p", name="deploy"))
    await rows.memory.add_knowledge(Knowledge(id="k", title="Disks", content="They fill."))
    await rows.log(DECISION)


async def codes(store: MemoryPersistence, level: Any = "full") -> list[tuple[str, str | None]]:
    return [(f.code, f.entity_id) for f in await store.verify_consistency(level) if f.code.startswith("tier_memory")]


async def test_where_all_agrees_nothing_is_done_and_nothing_found(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        await fill(rows)
        sequence = rows.store.stats()["sequence"]
        assert await codes(rows.store) == await codes(rows.store, "quick") == []
        for _ in range(2):
            report = await rows.reconcile()
            assert (report.rows, report.made, report.replaced, report.left, report.failure) == (4, (), (), (), "")
        assert rows.store.stats()["sequence"] == sequence


async def test_memories_that_were_deleted_are_made_again(tmp_path: Path) -> None:
    async with opened(tmp_path, embedder=word_embedder()) as rows:
        await fill(rows)
        before = await rows.store.load_memories(IDS)
        await rows.reconcile()
        await rows.store.delete_memories_batch(IDS)
        missing = [("tier_memory_missing", memory_id) for memory_id in IDS]
        assert sorted(await codes(rows.store)) == sorted(await codes(rows.store, "quick")) == missing
        assert (await rows.reconcile()).made == tuple(IDS)
        after = await rows.store.load_memories(IDS)
        assert await codes(rows.store) == []
        for memory_id in IDS:
            assert after[memory_id].replace(updated_at=None) == before[memory_id].replace(updated_at=None)


@pytest.mark.parametrize(
    "change",
    [
        lambda entry: entry.replace(content="something else"),
        lambda entry: entry.replace(created_at=datetime(2000, 1, 1, tzinfo=UTC)),
        lambda entry: entry.replace(expires_at=datetime.now(UTC) + timedelta(hours=1)),
        lambda entry: entry.replace(expires_at=datetime.now(UTC) - timedelta(hours=1)),
        lambda entry: entry.replace(metadata={**entry.metadata, "resolved_by": "eve"}),
    ],
    ids=["text", "time", "to expire", "expired", "metadata"],
)
@pytest.mark.parametrize("noted", [True, False], ids=["noted before", "not noted"])
async def test_a_memory_that_says_something_else_is_replaced(
    tmp_path: Path, change: Callable[[MemoryEntry], MemoryEntry], noted: bool
) -> None:
    async with opened(tmp_path) as rows:
        await fill(rows)
        if noted:
            await rows.reconcile()
        before = await rows.store.load_memory("incidents-i")
        assert before is not None
        await rows.store.save_memory(change(before))
        assert await codes(rows.store) == await codes(rows.store, "quick") == [("tier_memory_stale", "incidents-i")]
        assert (await rows.reconcile()).replaced == ("incidents-i",)
        after = await rows.store.load_memory("incidents-i")
        assert after is not None
        assert after.replace(updated_at=None) == before.replace(updated_at=None)
        assert await codes(rows.store) == []


async def test_what_others_add_to_a_memory_is_no_difference(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        await fill(rows)
        entry = await rows.store.load_memory("incidents-i")
        assert entry is not None
        own = await rows.store.save_memory(entry.replace(tags=("x",), metadata={**entry.metadata, "stars": 1}))
        assert await codes(rows.store) == []
        assert (await rows.reconcile()).replaced == ()
        assert await rows.store.load_memory("incidents-i") == own


async def test_a_file_that_a_person_edited_is_put_right(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        await fill(rows)
        await rows.reconcile()
    file = tmp_path / "memories" / "incidents-i.json"
    lines = [line for line in file.read_text().splitlines() if "content_hash" not in line]
    file.write_text("\n".join(lines).replace("disk full", "disk dull").rstrip("},\n") + "\n}\n")
    async with opened(tmp_path) as rows:
        await rows.store.verify_and_repair_consistency()
        entry = await rows.store.load_memory("incidents-i")
        assert entry is not None
        assert entry.content == "disk dull"
        assert (await rows.reconcile()).replaced == ("incidents-i",)
        entry = await rows.store.load_memory("incidents-i")
        assert entry is not None
        assert entry.content == "disk full"


async def test_a_damaged_memory_is_left_to_repair_and_made_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        await fill(rows)
    file = tmp_path / "memories" / "incidents-i.json"
    file.write_bytes(file.read_bytes().replace(b"disk", b"dusk"))
    async with opened(tmp_path, auto_repair=False, startup_check="off") as rows:
        report = await rows.reconcile()
        assert [(left.collection, left.id) for left in report.left] == [("incidents", "i")]
        assert await codes(rows.store) == []
        await rows.store.verify_and_repair_consistency()
        await rows.reconcile()
        entry = await rows.store.load_memory("incidents-i")
        assert entry is not None
        assert entry.content == "disk full"


async def test_a_damaged_row_keeps_its_memory(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        await fill(rows)
    with sqlite3.connect(tmp_path / "tiers" / "longterm.db") as connection:
        connection.execute("UPDATE incidents SET description = 'other'")
    connection.close()
    async with opened(tmp_path) as rows:
        report = await rows.reconcile()
        assert [(left.collection, left.id) for left in report.left] == [("incidents", "i")]
        entry = await rows.store.load_memory("incidents-i")
        assert entry is not None
        assert entry.content == "disk full"
        assert await codes(rows.store) == []


async def test_somebodys_own_memory_is_left_and_named(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        await fill(rows)
        await rows.store.delete_memory("incidents-i")
        own = await rows.store.save_memory(MemoryEntry(memory_id="incidents-i", content="mine"))
        report = await rows.reconcile()
        assert [(left.collection, left.id) for left in report.left] == [("incidents", "i")]
        assert await rows.store.load_memory("incidents-i") == own
        (finding,) = await rows.store.verify_consistency()
        assert (finding.code, finding.severity) == ("tier_memory_missing", "inconsistency")
        assert "somebody's own" in finding.message


async def test_a_memory_without_a_row_stays_and_is_named(tmp_path: Path) -> None:
    """It may have come with an import, or be all that is left of a database that was lost."""
    async with opened(tmp_path) as rows:
        await fill(rows)
        for number in range(7):
            await rows.collections.put("incidents", f"x{number}", "disk full", {}, 5)
        assert (await rows.reconcile()).made == ()
        assert len(await rows.store.list_memories()) == 11
        (finding,) = await rows.store.verify_consistency()
        assert (finding.code, finding.severity) == ("tier_memory_orphan", "note")
        assert finding.message.startswith("7 memories of incidents have no row: incidents-x0, incidents-x1")
        assert "incidents-x5" not in finding.message


async def test_losing_the_databases_deletes_no_memory(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        await fill(rows)
        await rows.reconcile()
    for path in (tmp_path / "tiers").iterdir():
        path.unlink()
    async with opened(tmp_path) as rows:
        assert (await rows.reconcile()).rows == 0
        assert await rows.store.list_memories() == IDS
        assert {code for code, _ in await codes(rows.store)} == {"tier_memory_orphan"}
        assert [r.id for r in await rows.memory.semantic_search("disk full", ["incidents"])] == ["i"]


@pytest.mark.parametrize("both", [True, False], ids=["in both", "archived"])
async def test_an_archived_decision_keeps_its_memory(tmp_path: Path, both: bool) -> None:
    async with opened(tmp_path) as rows:
        await fill(rows)
        await rows.reconcile()
        sequence = rows.store.stats()["sequence"]
        await rows.longterm.transact(upserted(ARCHIVED["decisions"], DECISION, archived_at=9, summary=None))
        if not both:
            await rows.working.transact(lambda connection: connection.execute("DELETE FROM decisions"))
        assert await codes(rows.store) == []
        report = await rows.reconcile()
        assert (report.rows, report.made, report.replaced) == (4, (), ())
        assert rows.store.stats()["sequence"] == sequence
        assert [r.id for r in await rows.memory.semantic_search("disk full", ["decisions"])] == ["d"]


async def test_of_a_decision_in_both_databases_that_of_working_memory_counts(tmp_path: Path) -> None:
    old = Decision(id="d", context="something old", chosen="no", timestamp=5)
    async with opened(tmp_path) as rows:
        await rows.longterm.transact(upserted(ARCHIVED["decisions"], old, archived_at=9, summary=None))
        await rows.working.transact(upserted(DECISIONS, DECISION))
        await rows.reconcile()
        entry = await rows.store.load_memory("decisions-d")
        assert entry is not None
        assert entry.content.startswith("disk full")
        assert await codes(rows.store) == []


async def test_a_row_that_somebody_else_has_put_there_with_an_impossible_id_is_left(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        await fill(rows)
        long = Incident(id="x" * 199, description="disk", timestamp=5)
        await rows.longterm.transact(upserted(INCIDENTS, long))
        report = await rows.reconcile()
        assert [left.id for left in report.left] == [long.id]
        assert report.failure == ""


async def test_an_embedder_that_fails_does_not_keep_the_tiers_shut(tmp_path: Path) -> None:
    broken = False

    def embed(texts: Any) -> Any:
        if broken:
            raise RuntimeError("no model today")
        return np.ones((len(texts), 2), np.float32)

    async with opened(tmp_path, embedder=CallableEmbedder("moody", 2, embed)) as rows:
        await fill(rows)
        await rows.store.delete_memories_batch(IDS)
        broken = True
        report = await rows.reconcile()
        assert (report.made, report.failure) == ((), "no model today")
        broken = False
        assert (await rows.reconcile()).made == tuple(IDS)


async def test_only_what_has_changed_is_looked_at_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    look = reconciliation._Reconciler._see_to

    async def counted(self: Any, keys: Any) -> None:
        looked.append(len(keys))
        await look(self, keys)

    monkeypatch.setattr(reconciliation._Reconciler, "_see_to", counted)
    async with opened(tmp_path) as rows:
        await fill(rows)
        await rows.reconcile()
        await rows.reconcile()
        assert looked == [4]
        await rows.memory.record_procedure_run("p", True)
        await rows.reconcile()
        await rows.reconcile()
        assert looked == [4, 1]
    async with opened(tmp_path) as rows:
        await rows.store.reembed(word_embedder())
        await rows.reconcile()
        assert looked[:2] == [4, 1]
        assert sum(looked[2:]) == len([e for e in await rows.store.load_all() if e.embedding is not None])


async def test_many_memories_are_made_in_chunks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciliation, "_AT_ONCE", 7)
    monkeypatch.setattr(reconciliation, "_SAVED_AT_ONCE", 3)
    async with opened(tmp_path) as rows:
        for number in range(20):
            incident = Incident(id=f"{number:02}", description=f"disk {number}", timestamp=5)
            await rows.longterm.transact(upserted(INCIDENTS, incident))
        report = await rows.reconcile()
        assert report.made == tuple(f"incidents-{number:02}" for number in range(20))
        assert report.to_dict()["rows"] == 20
        assert await codes(rows.store) == []
        assert (await rows.reconcile()).made == ()


async def test_memories_follow_a_new_model(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        await fill(rows)
        await rows.store.reembed(word_embedder())
        assert await codes(rows.store) == []
        assert (await rows.reconcile()).replaced == ()
        (best, *_) = await rows.memory.semantic_search("full disk")
        assert (best.collection, best.relevance) in [("incidents", 1.0), ("decisions", 1.0)]


async def test_a_store_without_tiers_has_nothing_to_find(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        await Collections(store).put("incidents", "1", "disk full", {}, 5)
        assert await codes(store) == []
    assert not (tmp_path / "tiers").exists()


async def test_a_check_beside_the_writer_finds_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        await fill(rows)
        await rows.store.delete_memory("incidents-i")
        async with MemoryPersistence(tmp_path, read_only=True) as reader:
            assert await codes(reader) == [("tier_memory_missing", "incidents-i")]


async def test_damaged_databases_are_not_its_business(tmp_path: Path) -> None:
    async with opened(tmp_path) as rows:
        await fill(rows)
    (tmp_path / "tiers" / "longterm.db").write_bytes(b"nothing of the kind" * 1000)
    async with MemoryPersistence(tmp_path) as store:
        assert await codes(store) == []
