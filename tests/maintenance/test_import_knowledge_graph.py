"""The MCP memory server's file comes in whole: entities as memories, relations with them, and the rest is told and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from legacy_stores import LONE, footprint

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.engine.import_chunk import ImportOptions
from synthians_memory.engine.store import Store
from synthians_memory.maintenance.legacy.knowledge_graph import graph_conveyor, import_knowledge_graph
from synthians_memory.maintenance.legacy.report import LegacyReport
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import POWER_CUTS, Policy
from synthians_memory.testing.store_history import observe
from synthians_memory.testing.store_scenarios import SMALL_STORE
from synthians_memory.testing.sweep import for_each_crash


def entity(name: Any, *observations: Any, **changes: Any) -> dict[str, Any]:
    return {"type": "entity", "name": name, "entityType": "person", "observations": list(observations), **changes}


def relation(start: str, end: str, how: str = "knows", **changes: Any) -> dict[str, Any]:
    return {"type": "relation", "from": start, "to": end, "relationType": how, **changes}


GRAPH = [
    entity("Ada_Lovelace", "drinks tea", "wrote the first program"),
    relation("Ada_Lovelace", "Charles", weight=2),
    relation("Ada_Lovelace", "somebody"),
    entity("Charles", entityType="inventor", since=1837),
]


def written(path: Path, lines: list[Any]) -> Path:
    raw = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(raw))
    return path


async def imported(store: Path, file: Path, **options: Any) -> tuple[LegacyReport, dict[str, MemoryEntry]]:
    async with MemoryPersistence(store) as opened:
        report = await import_knowledge_graph(opened, file, **options)
        return report, {entry.memory_id: entry for entry in await opened.load_all()}


async def test_entities_are_memories_and_keep_their_relations(tmp_path: Path) -> None:
    report, found = await imported(tmp_path / "store", written(tmp_path / "memory.jsonl", GRAPH))
    assert (report.imported, report.complete, report.note_count) == (2, True, 0)
    ada, charles = found["Ada_Lovelace"], found["Charles"]
    assert ada.content == "Ada_Lovelace\ndrinks tea\nwrote the first program"
    assert ada.tags == ("person",)
    assert ada.metadata == {
        "knowledge_graph": {
            "name": "Ada_Lovelace",
            "entityType": "person",
            "observations": ["drinks tea", "wrote the first program"],
            "relations": [
                {"to": "Charles", "relationType": "knows", "weight": 2},
                {"to": "somebody", "relationType": "knows"},
            ],
        }
    }
    assert charles.metadata["knowledge_graph"]["other"] == {"since": 1837}


async def test_importing_again_and_after_a_change(tmp_path: Path) -> None:
    file = written(tmp_path / "memory.jsonl", GRAPH)
    await imported(tmp_path / "store", file)
    again, _ = await imported(tmp_path / "store", file)
    assert (again.imported, again.skipped) == (0, 2)
    written(file, [*GRAPH, relation("Charles", "Ada_Lovelace")])
    changed, _ = await imported(tmp_path / "store", file)
    assert [(p.path, p.code) for p in changed.not_imported] == [("line 4", "conflict")]
    replaced, found = await imported(tmp_path / "store", file, overwrite=True)
    assert (replaced.overwritten, replaced.complete) == (1, True)
    assert found["Charles"].metadata["knowledge_graph"]["relations"]


async def test_what_is_wrong_is_told_line_by_line_and_kept(tmp_path: Path) -> None:
    wrong = [
        b'{"type": "entity", "na',
        b"\xff\xfe",
        b"[" * 100_000,
        {"type": "entity", "entityType": "nameless"},
        {"type": "note", "name": "of another kind"},
        relation("nobody", "Charles"),
        entity("Charles", "another one"),
        b"7",
    ]
    lines = [*GRAPH, b"", *wrong, GRAPH[0], GRAPH[1]]
    file = written(tmp_path / "memory.jsonl", lines)
    before = footprint(tmp_path)
    report, found = await imported(tmp_path / "store", file)
    assert set(found) == {"Ada_Lovelace", "Charles"}
    assert report.skipped == 2
    codes = {p.path: p.code for p in report.not_imported}
    assert codes == {
        **dict.fromkeys(("line 6", "line 7", "line 8"), "undecodable"),
        **dict.fromkeys(("line 9", "line 10", "line 11", "line 13"), "no_entity"),
        "line 12": "duplicate",
    }
    raw = file.read_bytes().split(b"\n")
    for problem in report.not_imported:
        number = int(problem.path.removeprefix("line "))
        assert (tmp_path / "store" / str(problem.kept) / "original").read_bytes() == raw[number - 1]
    assert footprint(tmp_path).items() >= before.items()


async def test_strange_values_stay_visible(tmp_path: Path) -> None:
    lines = [
        entity(f"lone{LONE}", f"x{LONE}"),
        entity("nul\0", 7, None),
        entity("odd", observations="no list", entityType=None, n=float("nan")),
        {"name": "typeless", "observations": []},
    ]
    report, found = await imported(tmp_path / "store", written(tmp_path / "memory.jsonl", lines))
    assert report.complete
    assert len(found) == 4
    odd = found["odd"]
    assert odd.metadata["legacy_import"]["originals"] == {"observations": '"no list"', "other.n": "NaN"}
    assert odd.tags == ()
    substitutes = [entry for name, entry in found.items() if name.startswith("legacy-")]
    names = {json.loads(entry.metadata["legacy_import"]["originals"]["name"]) for entry in substitutes}
    assert names == {f"lone{LONE}", "nul\0"}


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.long)])
def test_power_cuts(step: int) -> None:
    lines = [*(json.dumps(line).encode() for line in GRAPH), b"{"]
    options = ImportOptions(1, None, overwrite=False, stop_on_error=False)

    def run(backend: FaultyBackend) -> LegacyReport:
        store = Store.open(backend, SMALL_STORE, ManualClock())
        try:
            report = graph_conveyor(store, lines, options, "memory.jsonl").run()
            store.close()
        finally:
            store.release()
        return report

    def look(backend: FaultyBackend, number: int, policy: Policy, seed: int) -> None:
        report = run(FaultyBackend(backend.disk))
        assert report.imported + report.skipped == 2
        after = FaultyBackend(backend.disk.crash("lose_all"))
        assert after.read(f"{report.not_imported[0].kept}/original") == b"{"
        store = Store.open(after, SMALL_STORE, ManualClock())
        assert {key[1] for key in observe(store)} == {"Ada_Lovelace", "Charles"}
        store.release()

    assert for_each_crash(run, look, policies=("killed", *POWER_CUTS), seeds=(0,), step=step) > 50
