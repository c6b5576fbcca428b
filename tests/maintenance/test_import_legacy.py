"""Stores of the original code come in whole, whatever their files hold, and what cannot is told and kept."""

from __future__ import annotations

import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from legacy_stores import EPOCH, LONE, assembly, footprint, later_layout, memory, older_layout, vector, write

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.embedding import CallableEmbedder
from synthians_memory.errors import InvalidValueError, NotAStoreError
from synthians_memory.maintenance.legacy.report import LegacyReport
from synthians_memory.maintenance.legacy.synthians import import_legacy

BORN = datetime(2025, 3, 15, 14, 32, 1, 123456, tzinfo=UTC)
HUGE = 10**30


async def imported(store: Path, source: Path, **options: Any) -> LegacyReport:
    async with MemoryPersistence(store) as opened:
        return await import_legacy(opened, source, **options)


async def contents(store: Path) -> tuple[dict[str, MemoryEntry], dict[str, Any]]:
    async with MemoryPersistence(store, read_only=True) as opened:
        memories = {entry.memory_id: entry for entry in await opened.load_all()}
        return memories, {a.assembly_id: a async for a in opened.iter_assemblies()}


def originals(entity: Any) -> dict[str, str]:
    found: dict[str, str] = entity.metadata["legacy_import"]["originals"]
    return found


def problems(report: LegacyReport) -> dict[str, str]:
    return {problem.path: problem.code for problem in report.not_imported}


# The two layouts


async def test_every_field_of_the_later_layout_has_its_place(tmp_path: Path) -> None:
    report = await imported(tmp_path / "store", later_layout(tmp_path / "old"))
    assert (report.imported, report.complete, report.note_count) == (4, True, 0)
    memories, assemblies = await contents(tmp_path / "store")
    one, group = memories["mem:one"], assemblies["asm:0f"]
    assert list(memories) == ["mem:one", "mem:two", "unindexed"]
    assert (one.content, one.created_at, one.quickrecal_score, one.access_count) == ("what mem:one says", BORN, 0.75, 3)
    assert one.embedding is not None
    assert one.embedding.tolist() == vector(1.0, 0.5)
    assert one.hyperbolic_embedding is not None
    assert one.hyperbolic_embedding.tolist() == [0.125, 0.25]
    assert one.quickrecal_updated == datetime(2025, 3, 16, 8, 12, 35, 789012, tzinfo=UTC)
    assert one.last_access_time == datetime(2025, 3, 17, 9, tzinfo=UTC)
    assert one.metadata == {"source": "chat", "emotion": {"joy": 0.25}}
    assert group.members == ("mem:one", "mem:two")
    assert group.merged_from == ("asm:old",)
    assert (group.keywords, group.tags, group.topics) == (("tea",), ("kitchen", "morning"), ())
    assert group.composite_embedding.tolist() == vector(0.25, 0.25)
    times = (group.created_at, group.last_access_time, group.last_activation, group.vector_index_updated_at)
    assert times == (BORN,) * 4
    assert (group.activation_count, group.activation_level, group.is_active) == (2, 0.5, True)
    assert group.extra == {"assembly_schema_version": "1.8", "last_activated": EPOCH}
    assert report.ignored == ("memory_index.json", "faiss_index.bin", "faiss_index.bin.mapping.json")


async def test_the_older_layout_takes_from_the_index_what_its_files_lack(tmp_path: Path) -> None:
    report = await imported(tmp_path / "store", older_layout(tmp_path / "old"))
    assert (report.imported, report.complete) == (4, True)
    memories, assemblies = await contents(tmp_path / "store")
    moment = datetime.fromtimestamp(EPOCH, UTC)
    assert [(m.created_at, m.quickrecal_score) for m in memories.values()] == [
        (moment, 0.5 + number / 8) for number in range(3)
    ]
    assert assemblies["asm_1"].members == ("mem_0", "mem_2", "mem_gone")
    assert assemblies["asm_1"].created_at == moment


async def test_importing_again_stores_nothing_twice(tmp_path: Path) -> None:
    source = later_layout(tmp_path / "old")
    write(source, "memories/broken.json", b'{"id": "x", ')
    first = await imported(tmp_path / "store", source)
    kept = footprint(tmp_path / "store" / "quarantine" / "not_imported")
    again = await imported(tmp_path / "store", source)
    assert (first.imported, again.imported, again.skipped) == (4, 0, 4)
    assert again.not_imported == first.not_imported
    assert footprint(tmp_path / "store" / "quarantine" / "not_imported") == kept


async def test_a_changed_entity_is_a_conflict_unless_it_is_to_be_overwritten(tmp_path: Path) -> None:
    source = later_layout(tmp_path / "old")
    await imported(tmp_path / "store", source)
    write(source, "memories/mem-one.json", memory("mem:one", content="newer"))
    report = await imported(tmp_path / "store", source)
    # The member that stands whole in the assembly is not what its memory says any more.
    assert problems(report) == {"memories/mem-one.json": "conflict", "assemblies/asm-0f.json": "conflict"}
    report = await imported(tmp_path / "store", source, overwrite=True)
    assert (report.imported, report.overwritten, report.complete) == (2, 2, True)
    memories, _ = await contents(tmp_path / "store")
    assert memories["mem:one"].content == "newer"


async def test_a_dry_run_changes_nothing_and_says_the_same(tmp_path: Path) -> None:
    source = later_layout(tmp_path / "old")
    write(source, "memories/broken.json", b"[]")
    async with MemoryPersistence(tmp_path / "store"):
        pass
    before = footprint(tmp_path / "store")
    async with MemoryPersistence(tmp_path / "store", read_only=True) as opened:
        dry = await import_legacy(opened, source, dry_run=True)
    assert footprint(tmp_path / "store") == before
    wet = await imported(tmp_path / "store", source)
    assert (dry.imported, problems(dry), dry.dry_run) == (wet.imported, problems(wet), True)
    assert [problem.kept for problem in dry.not_imported] == [None]


# Values that the store cannot hold as they are


def strange(root: Path) -> Path:
    """Entities with all that such files may hold, and more that the issue of a bad day may leave."""
    source = later_layout(root)
    write(
        source, "memories/nan.json", memory("nan", quickrecal_score=float("nan"), metadata={"a": [float("inf"), HUGE]})
    )
    write(source, "memories/lone.json", memory("lone", content=f"x{LONE}y", metadata={LONE: {"k": LONE}}))
    write(source, "memories/no-vector.json", memory("no-vector", embedding=None))
    write(source, "memories/short.json", memory("short", embedding=[1.0, 2.0]))
    write(source, "memories/nan-vector.json", memory("nan-vector", embedding=vector(float("nan"))))
    write(source, "memories/zero.json", memory("zero", embedding=vector()))
    write(source, "memories/wide.json", memory("wide", embedding=vector(0.1)))
    write(source, "memories/nul.json", memory("nul\0id", content=""))
    write(source, "memories/long.json", memory("L" * 201))
    write(source, "memories/grüße.json", memory("grüße 🌍"))
    write(source, "memories/odd.json", memory("odd", access_count=-1, quickrecal_score=7, timestamp="tomorrow", tags=3))
    write(source, "memories/extra.json", memory("extra", custom={"deep": [1]}, kind="note", none=None))
    write(source, "memories/twice.json", b'{"id": "twice", "content": "a", "content": "b"}')
    write(source, "memories/deep.json", memory("deep", metadata={"d": json.loads("[" * 200 + "]" * 200)}))
    write(source, "memories/huge.json", b'{"id": "huge", "content": "h", "metadata": {"n": ' + b"9" * 5000 + b"}}")
    write(source, "memories/nameless.json", {"content": "no id"})
    write(source, "memories/number.json", {"id": 5, "content": "id is a number"})
    return source


async def test_strange_values_are_stored_in_a_visible_form(tmp_path: Path) -> None:
    report = await imported(tmp_path / "store", strange(tmp_path / "old"))
    assert problems(report) == {}
    memories, _ = await contents(tmp_path / "store")
    nan, lone, odd = memories["nan"], memories["lone"], memories["odd"]
    assert nan.quickrecal_score == 0.5
    assert originals(nan)["quickrecal_score"] == "NaN"
    assert nan.metadata["a"] == ["Infinity", str(HUGE)]
    assert lone.content == "x\N{REPLACEMENT CHARACTER}y"
    assert json.loads(originals(lone)["content"]) == f"x{LONE}y"
    assert lone.metadata["\N{REPLACEMENT CHARACTER}"] == {"k": "\N{REPLACEMENT CHARACTER}"}
    assert {"metadata.\\ud800 (key)", "metadata.\\ud800.k"} <= originals(lone).keys()
    assert (odd.access_count, odd.quickrecal_score, odd.tags) == (0, 1.0, ())
    assert originals(odd) == {"timestamp": '"tomorrow"', "quickrecal_score": "7", "access_count": "-1", "tags": "3"}
    assert memories["extra"].extra == {"custom": {"deep": [1]}, "none": None}
    assert originals(memories["extra"]) == {"kind": '"note"'}
    assert memories["twice"].content == "b"
    assert json.loads(originals(memories["twice"])["(repeated keys)"]) == [["content", "a"]]
    assert originals(memories["huge"])["metadata.n"] == '"' + "9" * 5000 + '"'
    assert json.loads(next(iter(originals(memories["deep"]).values())))
    assert memories["nameless"].content == "no id"
    assert originals(memories["5"]) == {"id": "5"}
    assert {note.path for note in report.notes} >= {
        "memories/wide.json",
        "memories/nameless.json",
        "memories/zero.json",
    }


async def test_vectors_that_cannot_be_compared_are_kept_as_text(tmp_path: Path) -> None:
    await imported(tmp_path / "store", strange(tmp_path / "old"))
    memories, _ = await contents(tmp_path / "store")
    for name, text in {"short": "[1.0,2.0]", "nan-vector": "[NaN,0.0,0.0,0.0]", "zero": "[0.0,0.0,0.0,0.0]"}.items():
        assert memories[name].embedding is None
        assert originals(memories[name])["embedding"] == text
    assert memories["no-vector"].embedding is None
    assert "legacy_import" not in memories["no-vector"].metadata
    wide = memories["wide"].embedding
    assert wide is not None
    assert wide[0] == np.float32(0.1)


async def test_the_usual_dimension_wins_and_not_the_first(tmp_path: Path) -> None:
    source = later_layout(tmp_path / "old")
    write(source, "memories/aaa.json", memory("aaa", embedding=[1.0]))
    await imported(tmp_path / "store", source)
    memories, _ = await contents(tmp_path / "store")
    assert memories["aaa"].embedding is None
    assert memories["mem:one"].embedding is not None


async def test_an_embedder_gives_vectors_to_those_without_a_usable_one(tmp_path: Path) -> None:
    source = later_layout(tmp_path / "old")
    write(source, "memories/aaa.json", memory("aaa", embedding=[1.0]))
    embedder = CallableEmbedder("ones", 4, lambda texts: np.ones((len(texts), 4), dtype=np.float32))
    async with MemoryPersistence(tmp_path / "store", embedder=embedder) as store:
        await import_legacy(store, source, embedder=embedder)
        entry = await store.load_memory("aaa")
    assert entry is not None
    assert entry.embedding is not None
    assert entry.embedding.tolist() == [1.0] * 4
    assert originals(entry)["embedding"] == "[1.0]"


async def test_ids_that_the_store_refuses_get_a_substitute(tmp_path: Path) -> None:
    await imported(tmp_path / "store", strange(tmp_path / "old"))
    memories, _ = await contents(tmp_path / "store")
    assert "grüße 🌍" in memories
    substitutes = {json.loads(originals(m)["id"]): name for name, m in memories.items() if name.startswith("legacy-")}
    assert set(substitutes) == {"nul\0id", "L" * 201}
    assert memories[substitutes["nul\0id"]].content == ""


# Files that are no entities


async def test_whatever_is_no_entity_is_reported_and_kept(tmp_path: Path) -> None:
    source = later_layout(tmp_path / "old")
    broken = {
        "memories/cut.json": b'{"id": "cut", "content": "half a f',
        "memories/latin.json": '{"content": "ü"}'.encode("latin-1"),
        "memories/bottomless.json": b'{"content": ' + b"[" * 100_000,
        "memories/list.json": b"[1, 2]",
        "memories/other.json": b'{"nothing": "of ours"}',
        "memories/mem.tmp": b"half",
        "notes.txt": b"of somebody",
        "empty.json": b"",
    }
    for path, data in broken.items():
        write(source, path, data)
    report = await imported(tmp_path / "store", source)
    assert report.imported == 4
    assert problems(report).keys() == broken.keys()
    for problem in report.not_imported:
        assert problem.kept is not None
        assert problem.reason
        folder = tmp_path / "store" / problem.kept
        assert (folder / "original").read_bytes() == broken[problem.path]
        assert json.loads((folder / "reason.json").read_bytes())["path"] == problem.path


async def test_nothing_is_followed_opened_or_waited_for(tmp_path: Path) -> None:
    source = later_layout(tmp_path / "old")
    outside = write(tmp_path, "outside/secret.json", memory("secret"))
    (source / "memories" / "link.json").symlink_to(outside)
    (source / "linked").symlink_to(outside.parent)
    os.mkfifo(source / "memories" / "fifo.json")
    (source / "loop").symlink_to(source)
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(str(source / "socket.json"))
    bound.close()
    index = json.loads((source / "memory_index.json").read_bytes())
    index["secret"] = {"path": "../outside/secret.json", "type": "memory"}
    index["plain"] = "memories/plain.json"
    index["absolute"] = {"path": str(outside), "type": "memory"}
    write(source, "memory_index.json", index)
    report = await imported(tmp_path / "store", source)
    special = {"memories/link.json", "linked", "memories/fifo.json", "loop", "socket.json"}
    assert {path for path, code in problems(report).items() if code == "not_regular"} == special
    missing = {path for path, code in problems(report).items() if code == "missing"}
    assert missing == {f"memory_index.json: {name}" for name in ("secret", "absolute", "plain")}
    memories, _ = await contents(tmp_path / "store")
    assert "secret" not in memories
    assert all(problem.kept for problem in report.not_imported)


async def test_names_that_are_not_utf_8(tmp_path: Path) -> None:
    source = later_layout(tmp_path / "old")
    write(source, os.fsdecode(b"memories/caf\xe9.json"), {"content": "coffee"})
    write(source, os.fsdecode(b"b\xff.bin"), b"\xff")
    report = await imported(tmp_path / "store", source)
    assert problems(report) == {"b\\udcff.bin": "no_entity"}
    memories, _ = await contents(tmp_path / "store")
    assert memories["caf\\udce9"].content == "coffee"


async def test_a_damaged_index_hides_nothing(tmp_path: Path) -> None:
    source = later_layout(tmp_path / "old")
    (source / "memory_index.json").write_bytes(b'{"mem:one": {"pa')
    report = await imported(tmp_path / "store", source)
    assert (report.imported, problems(report)) == (4, {"memory_index.json": "undecodable"})


# Two of the same


async def test_of_two_files_with_one_id_the_indexed_one_counts_and_the_other_is_kept(tmp_path: Path) -> None:
    source = later_layout(tmp_path / "old")
    write(source, "memories/aaa.json", memory("mem:one", content="another"))
    write(source, "memories/copy.json", memory("mem:two", embedding=vector(0.0, 1.0)))
    report = await imported(tmp_path / "store", source)
    assert (report.imported, report.skipped, problems(report)) == (4, 1, {"memories/aaa.json": "duplicate"})
    memories, _ = await contents(tmp_path / "store")
    assert memories["mem:one"].content == "what mem:one says"


async def test_members_that_differ_or_stand_alone_are_not_lost(tmp_path: Path) -> None:
    source = later_layout(tmp_path / "old")
    stale, alone = memory("mem:one", access_count=1), memory("alone")
    write(source, "assemblies/asm-two.json", assembly("asm:two", [stale, alone, "mem:two", {"content": "anonymous"}]))
    other = memory("alone", content="says otherwise")
    write(source, "assemblies/asm-zzz.json", assembly("asm:zzz", [alone, other]))
    report = await imported(tmp_path / "store", source)
    assert problems(report) == {}
    memories, assemblies = await contents(tmp_path / "store")
    group, last = assemblies["asm:two"], assemblies["asm:zzz"]
    assert memories["alone"].content == "what alone says"
    assert memories["mem:one"].access_count == 3
    assert group.members[:3] == ("mem:one", "alone", "mem:two")
    assert memories[group.members[3]].content == "anonymous"
    assert json.loads(originals(group)["memories[0]"]) == stale
    assert json.loads(originals(last)["memories[1]"]) == other
    again = await imported(tmp_path / "store", source)
    assert (again.imported, again.complete) == (0, True)


# The source, and what is none


async def test_the_source_is_never_changed(tmp_path: Path) -> None:
    source = strange(tmp_path / "old")
    write(source, "memories/cut.json", b"{")
    os.mkfifo(source / "fifo")
    for path in source.rglob("*.json"):
        path.chmod(0o400)
    before = footprint(source)
    await imported(tmp_path / "store", source)
    await imported(tmp_path / "store", source, overwrite=True)
    assert footprint(source) == before


@pytest.mark.parametrize("kind", ["empty", "strangers", "missing"])
async def test_a_directory_of_somebody_else_is_refused(tmp_path: Path, kind: str) -> None:
    source = tmp_path / "old"
    if kind != "missing":
        source.mkdir()
    if kind == "strangers":
        write(source, "package.json", {"name": "not ours"})
    with pytest.raises(NotAStoreError if kind != "missing" else OSError):
        await imported(tmp_path / "store", source)
    memories, assemblies = await contents(tmp_path / "store")
    assert not memories
    assert not assemblies


async def test_a_store_of_this_library_is_refused(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "ours"):
        pass
    with pytest.raises(InvalidValueError, match="store of this library"):
        await imported(tmp_path / "store", tmp_path / "ours")


async def test_a_store_in_the_source_is_refused(tmp_path: Path) -> None:
    source = later_layout(tmp_path / "old")
    with pytest.raises(InvalidValueError, match="stays as it is"):
        await imported(source / "store", source)


async def test_an_entity_larger_than_a_batch_is_told(tmp_path: Path) -> None:
    source = later_layout(tmp_path / "old")
    write(source, "memories/large.json", memory("large", content="x" * 5000))
    async with MemoryPersistence(tmp_path / "store", max_batch_bytes=12_000) as store:
        report = await import_legacy(store, source)
    assert (report.imported, problems(report)) == (4, {"memories/large.json": "too_large"})
