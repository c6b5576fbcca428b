"""Looking back: recall, timeline, differences; the head and restores; the part of a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from ledgers import NOON, chain_holds, fact, lines_of, opened

from synthians_memory.engine.part import Part
from synthians_memory.errors import EntityNotFoundError, InvalidTypeError, InvalidValueError
from synthians_memory.ledger.artifacts import ArtifactTable
from synthians_memory.ledger.ledger import Ledger
from synthians_memory.ledger.part import LedgerPart
from synthians_memory.ledger.timeline import drawn_timeline
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.clock import ManualClock

SVG = "{http://www.w3.org/2000/svg}"


def three_kinds(ledger: Ledger, folder: Path) -> tuple[str, str]:
    first = ledger.write_log({"task": "Sky:1", "outputs": {"summary": "looked up"}})
    second = ledger.write_log({"task": "sea:1", "tool_calls": ["look", "at the SKY"]})
    ledger.promote_fact(fact(first, id="sky-is-blue"))
    backend = LocalBackend(folder)
    ArtifactTable(backend, "").add("sky:2", [{"path": "docs/s.md", "sha256": "0" * 64}], first, known=True)
    backend.close()
    return first, second


# Recall


def test_recall_finds_all_kinds_newest_first(ledger: Ledger, folder: Path) -> None:
    first, second = three_kinds(ledger, folder)
    hits = ledger.recall("sKy")
    assert [hit["kind"] for hit in hits] == ["log", "fact", "artifact", "log"]
    assert [hit.get("run_id", hit.get("source_run")) for hit in hits] == [second, first, first, first]
    assert hits[0] == {**ledger.entry(second), "kind": "log"}
    assert hits[1] == {**fact(first), "kind": "fact"}
    assert hits[2] == {"path": "docs/s.md", "sha256": "0" * 64, "run_id": first, "task": "sky:2", "kind": "artifact"}


@pytest.mark.parametrize(
    ("query", "count"), [("docs/s.md", 1), ("looked", 1), ("sea:1", 1), ("tool_calls", 0), ("", 4), ("nowhere", 0)]
)
def test_values_are_searched_and_names_of_fields_are_not(query: str, count: int, ledger: Ledger, folder: Path) -> None:
    three_kinds(ledger, folder)
    assert len(ledger.recall(query)) == count


def test_hashes_are_not_searched(ledger: Ledger, folder: Path) -> None:
    three_kinds(ledger, folder)
    head = ledger.head().hash_self
    assert head is not None
    assert ledger.recall(head) == []


def test_recall_is_bounded(ledger: Ledger) -> None:
    runs = [ledger.write_log({"task": "t"}) for _ in range(8)]
    assert [hit["run_id"] for hit in ledger.recall("t")] == runs[:2:-1]
    assert [hit["run_id"] for hit in ledger.recall("t", limit=1)] == runs[-1:]
    for limit, kind in (
        (0, InvalidValueError),
        (-1, InvalidValueError),
        (True, InvalidTypeError),
        ("5", InvalidTypeError),
    ):
        with pytest.raises(kind):
            ledger.recall("t", limit=limit)  # type: ignore[arg-type]
    with pytest.raises(InvalidTypeError):
        ledger.recall(None)  # type: ignore[arg-type]


def test_what_is_damaged_is_not_recalled(ledger: Ledger, folder: Path) -> None:
    ledger.write_log({"task": "one"})
    ledger.write_log({"task": "one too"})
    data = (folder / "log.jsonl").read_bytes()
    (folder / "log.jsonl").write_bytes(data.replace(b'"one"', b'"One"'))
    assert [hit["task"] for hit in ledger.recall("one")] == ["one too"]


def test_an_empty_ledger_is_fine(ledger: Ledger) -> None:
    assert (ledger.recall("x"), ledger.timeline(), ledger.check(), ledger.check("quick")) == ([], [], [], [])
    assert (ledger.facts(), ledger.artifacts(), list(ledger.entries())) == ([], {}, [])
    assert ledger.head().to_dict() == {"length": 0, "hash_self": None, "run_id": ""}


# Timeline and differences


def test_the_timeline_ends_with_the_latest(ledger: Ledger) -> None:
    runs = [ledger.write_log({"task": f"t{number % 2}"}) for number in range(15)]
    assert [entry["run_id"] for entry in ledger.timeline()] == runs[5:]
    assert [entry["run_id"] for entry in ledger.timeline(task="t1", limit=2)] == [runs[11], runs[13]]


def test_the_drawing_is_well_formed_whatever_entries_say(ledger: Ledger) -> None:
    ledger.write_log({"task": "<script>&\x00\x1b", "outputs": {"summary": "x" * 500}, "exit_status": 1})
    ledger.write_log({"outputs": "none"})
    drawn = drawn_timeline(ledger.timeline())
    root = ET.fromstring(drawn)  # noqa: S314 - our own
    assert len(root.findall(f"{SVG}circle")) == 2
    texts = [element.text or "" for element in root.iter(f"{SVG}text")]
    assert any("<script>&" in text for text in texts)
    assert max(map(len, texts)) <= 90
    assert drawn == drawn_timeline(ledger.timeline())
    assert ET.fromstring(drawn_timeline([])).tag == f"{SVG}svg"  # noqa: S314


def test_runs_are_compared_by_fields_and_output_files(ledger: Ledger) -> None:
    before = ledger.write_run({"task": "t", "x": 1}, outputs={"stdout": b"a\nb\n", "gone": b"1", "same": b"s"})
    after = ledger.write_run({"task": "t", "y": 2}, outputs={"stdout": b"a\nc\n", "new": b"\xff", "same": b"s"})
    found = ledger.compare(after, before)
    assert found.fields == {"x": (1, None), "y": (None, 2)}
    assert [(one.name, one.before is None, one.after is None) for one in found.outputs] == [
        ("gone", False, True),
        ("new", True, False),
        ("stdout", False, False),
    ]
    assert found.outputs[2].lines[-2:] == ("-b", "+c")
    assert found.outputs[1].lines == ()
    assert not found.equal
    assert ledger.compare(before).to_dict()["fields"] == {
        "x": {"before": None, "after": 1},
        "y": {"before": 2, "after": None},
    }
    assert ledger.compare(after).equal
    assert ledger.compare(after, "latest").against == after


def test_only_runs_that_are_there_are_compared(ledger: Ledger) -> None:
    with pytest.raises(EntityNotFoundError):
        ledger.compare("20200101T000000Z-000000")
    run_id = ledger.write_log({})
    with pytest.raises(EntityNotFoundError):
        ledger.compare(run_id, "20200101T000000Z-000000")


# Restores


def test_a_restore_keeps_what_it_cut_and_says_so(folder: Path, tmp_path: Path) -> None:
    with opened(LocalBackend(tmp_path / "newer", create=True)) as newer:
        newer.write_log({"task": "before"})
        older = b"".join(newer.chunks())
        head = newer.head()
        for number in range(2):
            newer.write_log({"task": f"lost {number}"})
        lost = b"".join(newer.chunks())
        last = newer.head()
    folder.mkdir()
    (folder / "log.jsonl").write_bytes(older)
    with opened(LocalBackend(folder)) as ledger:
        run_id = ledger.cut_after_restore([lost[:100], lost[100:]])
        assert run_id is not None
        entry = ledger.entry(run_id)
        assert entry["hash_prev"] == head.hash_self
        cut = entry["cut"]
        assert (cut["entries"], cut["head"], cut["head_run"]) == (2, last.hash_self, last.run_id)
        assert (folder / cut["kept_as"]).read_bytes() == lost
        assert ledger.check() == []
        assert ledger.reaches(head)
        assert not ledger.reaches(last)
        assert chain_holds((folder / "log.jsonl").read_bytes())
        (folder / "log.cut-20200101_000000_000000.jsonl").write_bytes(lost)
        assert [one.code for one in ledger.check()] == ["ledger_cut_unrecorded"]


@pytest.mark.parametrize("entries", [0, 1, 3])
def test_a_log_that_holds_all_of_the_newer_one_is_not_cut(entries: int, ledger: Ledger, folder: Path) -> None:
    for number in range(3):
        ledger.write_log({"task": str(number)})
    data = (folder / "log.jsonl").read_bytes()
    assert ledger.cut_after_restore(data.splitlines(keepends=True)[:entries]) is None
    assert (folder / "log.jsonl").read_bytes() == data
    assert [path.name for path in folder.iterdir()] == ["log.jsonl"]


def test_a_snapshot_that_cut_a_line_in_two_is_gone_on_from(ledger: Ledger, folder: Path) -> None:
    for number in range(3):
        ledger.write_log({"task": str(number)})
    data = (folder / "log.jsonl").read_bytes()
    (folder / "log.jsonl").write_bytes(data[:-20])
    assert ledger.cut_after_restore([data]) is not None
    assert [entry["task"] for entry in lines_of(folder / "log.jsonl")] == ["0", "1", "restore"]
    assert lines_of(folder / "log.jsonl")[-1]["cut"]["entries"] == 1
    assert [one.code for one in ledger.check()] == ["ledger_set_aside"]


# The part of a store


def test_the_part_names_every_file_that_counts(tmp_path: Path) -> None:
    part: Part = LedgerPart(ManualClock(NOON))
    backend = LocalBackend(tmp_path, create=True)
    assert (part.name, list(part.source_files(backend)), list(part.check(backend, "full"))) == ("ledger", [], [])
    with opened(LocalBackend(tmp_path / "ledger", create=True)) as ledger:
        run_id = ledger.write_run({}, outputs={"stdout": b"x"})
        ledger.promote_fact(fact(run_id))
        ArtifactTable(backend, "ledger").add("t", [{"path": "p", "sha256": "0"}], run_id, known=True)
        with open(tmp_path / "ledger" / "log.jsonl", "ab") as file:
            file.write(b"torn")
        ledger.write_log({})
        ledger.begin_capsule().put("outputs", "stdout", b"under way")
        kept = ledger.set_aside[0]
        ledger.cut_after_restore([b"of another life\n"])
    files = list(part.source_files(backend))
    cut = json.loads((tmp_path / "ledger" / "log.jsonl").read_bytes().splitlines()[-1])["cut"]["kept_as"]
    expected = ["artifacts.json", "log.jsonl", "state.json", cut, kept]
    expected += [f"runs/{run_id}/{name}" for name in ("context.json", "meta.json", "outputs/stdout")]
    assert sorted(files) == sorted(f"ledger/{name}" for name in expected)
    assert {one.severity for one in part.check(backend, "full")} == {"note"}
    backend.close()


@pytest.mark.parametrize(("level", "codes"), [("off", []), ("quick", ["ledger_damaged"]), ("full", ["ledger_damaged"])])
def test_the_part_checks_as_closely_as_it_is_told(level: Any, codes: list[str]) -> None:
    backend = MemoryBackend()
    with opened(backend, "ledger") as ledger:
        ledger.write_log({"task": "t"})
        file = backend.open_existing("ledger/log.jsonl")
        file.write_at(2, b"X")
        file.close()
        assert [one.code for one in LedgerPart(ManualClock(NOON)).check(backend, level)] == codes


def test_a_quick_check_does_not_read_the_whole_log(ledger: Ledger, folder: Path) -> None:
    for number in range(3):
        ledger.write_log({"task": str(number)})
    data = (folder / "log.jsonl").read_bytes()
    (folder / "log.jsonl").write_bytes(data.replace(b'"0"', b'"9"'))
    assert ledger.check("quick") == []
    assert [one.code for one in ledger.check("full")] == ["ledger_damaged"]


def test_a_fact_of_no_run_and_a_run_named_twice_are_found(ledger: Ledger, folder: Path) -> None:
    first = ledger.write_log({"task": "t"})
    ledger.write_log({})
    ledger.write_log({"run_id": first})
    ledger.promote_fact(fact(first, id="a"))
    table = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    table["facts"].append(fact("20200101T000000Z-000000", id="b"))
    (folder / "state.json").write_text(json.dumps(table), encoding="utf-8")
    found = {one.code: one.message for one in ledger.check()}
    assert found.keys() == {"ledger_duplicate", "fact_unsupported"}
    assert f"line 3 of log.jsonl names the run {first}" in found["ledger_duplicate"]
    assert "'b'" in found["fact_unsupported"]
