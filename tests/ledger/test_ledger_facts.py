"""Facts: what is promoted, what is refused, what expires, and the memories of them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ledgers import NOON, fact, opened

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.embedding import CallableEmbedder
from synthians_memory.errors import (
    ConflictError,
    DamagedError,
    EntityNotFoundError,
    InvalidIdError,
    InvalidTypeError,
    InvalidValueError,
    SynthiansMemoryError,
    UnsupportedFormatError,
)
from synthians_memory.ledger.fact_memories import forgotten_facts, remember_facts
from synthians_memory.ledger.ledger import Ledger
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.clock import ManualClock


def table(folder: Path) -> Any:
    return json.loads((folder / "state.json").read_text(encoding="utf-8"))


def test_a_fact_is_inserted_and_replaced_in_its_place(ledger: Ledger, folder: Path) -> None:
    run_id = ledger.write_log({"derived_facts": ["a", "b", "c"]})
    for name in "abc":
        ledger.promote_fact(fact(run_id, id=name, extra={"kept": [1]}))
    ledger.promote_fact(fact(run_id, id="b", statement="b says more"))
    document = table(folder)
    assert document.keys() == {"version", "last_updated", "facts"}
    assert (document["version"], document["last_updated"]) == (0, "2026-11-20T12:00:00.000000Z")
    assert [row["id"] for row in document["facts"]] == ["a", "b", "c"]
    assert document["facts"][0] == fact(run_id, id="a", extra={"kept": [1]})
    assert document["facts"][1] == fact(run_id, id="b", statement="b says more")
    assert ledger.facts() == document["facts"]


def test_the_same_fact_once_more_changes_nothing(folder: Path) -> None:
    clock = ManualClock(NOON)
    with opened(LocalBackend(folder, create=True), clock=clock) as ledger:
        run_id = ledger.write_log({})
        ledger.promote_fact(fact(run_id))
        before = (folder / "state.json").read_bytes()
        clock.advance(60)
        ledger.promote_fact(fact(run_id))
        assert (folder / "state.json").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"id": ""}, InvalidValueError),
        ({"id": "  "}, InvalidValueError),
        ({"id": 7}, InvalidTypeError),
        ({"id": "a\nb"}, InvalidIdError),
        ({"id": "x" * 196}, InvalidIdError),
        ({"statement": ""}, InvalidValueError),
        ({"statement": None}, InvalidTypeError),
        ({"confidence": None}, InvalidValueError),
        ({"confidence": 1.01}, InvalidValueError),
        ({"confidence": -0.01}, InvalidValueError),
        ({"confidence": math.nan}, InvalidValueError),
        ({"confidence": True}, InvalidTypeError),
        ({"confidence": "0.9"}, InvalidTypeError),
        ({"confidence": 0.79}, InvalidValueError),
        ({"confidence": 0.5, "reviewed_by": " "}, InvalidValueError),
        ({"confidence": 1.5, "reviewed_by": "ada"}, InvalidValueError),
        ({"confidence": None, "reviewed_by": "ada"}, InvalidValueError),
        ({"source_run": None}, InvalidValueError),
        ({"source_run": "../x"}, InvalidIdError),
        ({"source_run": "20200101T000000Z-000000"}, EntityNotFoundError),
        ({"expires_at": "tomorrow"}, InvalidValueError),
        ({"expires_at": 7}, InvalidTypeError),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_is_refused_leaves_the_file_untouched(
    changes: dict[str, Any], kind: type[Exception], ledger: Ledger, folder: Path
) -> None:
    run_id = ledger.write_log({})
    ledger.promote_fact(fact(run_id, id="before"))
    before = (folder / "state.json").read_bytes()
    with pytest.raises(kind):
        ledger.promote_fact(fact(run_id, **changes))
    assert (folder / "state.json").read_bytes() == before


@pytest.mark.parametrize("missing", ["id", "statement", "confidence", "source_run"])
def test_what_is_missing_is_refused(missing: str, ledger: Ledger, folder: Path) -> None:
    given = fact(ledger.write_log({}))
    del given[missing]
    with pytest.raises(SynthiansMemoryError):
        ledger.promote_fact(given)
    assert not (folder / "state.json").exists()


def test_a_run_that_is_only_mentioned_is_not_in_the_log(ledger: Ledger) -> None:
    ledger.write_log({"inputs": {"run_id": "20200101T000000Z-000000"}})
    with pytest.raises(EntityNotFoundError):
        ledger.promote_fact(fact("20200101T000000Z-000000"))


def test_thresholds_and_reviews(ledger: Ledger) -> None:
    run_id = ledger.write_log({})
    ledger.promote_fact(fact(run_id, id="at", confidence=0.8))
    ledger.promote_fact(fact(run_id, id="low", confidence=0.3), threshold=0.3)
    ledger.promote_fact(fact(run_id, id="reviewed", confidence=0, reviewed_by="ada"))
    assert [known["id"] for known in ledger.facts()] == ["at", "low", "reviewed"]
    with pytest.raises(InvalidValueError):
        ledger.promote_fact(fact(run_id, id="x"), threshold=1.1)


def test_facts_expire(folder: Path) -> None:
    clock = ManualClock(NOON)
    with opened(LocalBackend(folder, create=True), clock=clock) as ledger:
        run_id = ledger.write_log({})
        ledger.promote_fact(fact(run_id, id="brief", expires_at="2026-11-20T12:00:01Z"))
        ledger.promote_fact(fact(run_id, id="lasting"))
        assert [known["id"] for known in ledger.facts()] == ["brief", "lasting"]
        clock.advance(1)
        assert [known["id"] for known in ledger.facts()] == ["lasting"]
        assert [known["id"] for known in ledger.facts(expired=True)] == ["brief", "lasting"]
        assert [hit["id"] for hit in ledger.recall("blue") if hit["kind"] == "fact"] == ["lasting"]
        (found,) = ledger.check()
        assert (found.code, "'brief'" in found.message, run_id in found.message) == ("fact_stale", True, True)


@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'{"version": 0}', b'{"version": 0, "facts": [7]}', b"\xff", b'{"facts":{}}']
)
def test_a_damaged_table_is_never_written_over(damage: bytes, ledger: Ledger, folder: Path) -> None:
    run_id = ledger.write_log({})
    (folder / "state.json").write_bytes(damage)
    with pytest.raises(DamagedError):
        ledger.promote_fact(fact(run_id))
    assert (folder / "state.json").read_bytes() == damage
    assert [one.code for one in ledger.check()] == ["ledger_table_damaged"]
    assert [one.code for one in ledger.check("quick")] == ["ledger_table_damaged"]


def test_a_table_of_another_version_is_left_alone(ledger: Ledger, folder: Path) -> None:
    run_id = ledger.write_log({})
    (folder / "state.json").write_text('{"version": 1, "facts": []}', encoding="utf-8")
    with pytest.raises(UnsupportedFormatError):
        ledger.promote_fact(fact(run_id))


def test_further_members_of_the_table_are_kept(ledger: Ledger, folder: Path) -> None:
    run_id = ledger.write_log({})
    (folder / "state.json").write_text('{"owner": "ada", "version": 0, "facts": []}', encoding="utf-8")
    ledger.promote_fact(fact(run_id))
    assert table(folder)["owner"] == "ada"


# Memories


async def test_a_fact_is_also_a_memory(tmp_path: Path) -> None:
    embedder = CallableEmbedder("length:1", 2, lambda texts: [[len(text), 1] for text in texts])
    wanted = fact("20261120T120000Z-000000", expires_at="2027-01-01T00:00:00Z")
    async with MemoryPersistence(tmp_path, embedder=embedder) as store:
        assert await forgotten_facts(store, [wanted]) == [wanted]
        (saved,) = await remember_facts(store, [wanted], embedder)
        assert (saved.memory_id, saved.content, saved.tags) == ("fact-sky-is-blue", wanted["statement"], ("fact",))
        assert saved.metadata["fact_id"] == wanted["id"]
        assert saved.metadata["source_run"] == wanted["source_run"]
        assert saved.quickrecal_score == 0.9
        assert str(saved.expires_at) == "2027-01-01 00:00:00+00:00"
        assert saved.embedding is not None
        hits = await store.recall("blue noon", mode="text", where={"fact_id": wanted["id"]})
        assert [hit.entry.memory_id for hit in hits] == [saved.memory_id]
        assert await forgotten_facts(store, [wanted]) == []


async def test_remembering_is_idempotent_and_follows_the_fact(tmp_path: Path) -> None:
    embedder = CallableEmbedder("length:1", 2, lambda texts: [[len(text), 1] for text in texts])
    async with MemoryPersistence(tmp_path, embedder=embedder) as store:
        (first,) = await remember_facts(store, [fact("r")], embedder)
        assert await remember_facts(store, [fact("r")], embedder) == []
        await store.save_memory(first.replace(tags=("mine", "fact"), metadata={**first.metadata, "own": 1}))
        (second,) = await remember_facts(store, [fact("r2", statement="The sky is grey")], embedder)
        assert (second.created_at, second.content) == (first.created_at, "The sky is grey")
        assert second.tags == ("fact", "mine")
        assert second.metadata["own"] == 1
        assert second.embedding is not None
        assert first.embedding is not None
        assert not np.array_equal(second.embedding, first.embedding)
        assert await remember_facts(store, [fact("r2", statement="The sky is grey")], embedder) == []
        assert await store.list_memories() == ["fact-sky-is-blue"]


async def test_a_memory_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        await store.save_memory(MemoryEntry(memory_id="fact-sky-is-blue", content="mine"))
        with pytest.raises(ConflictError):
            await remember_facts(store, [fact("r")])
        found = await store.load_memory("fact-sky-is-blue")
        assert found is not None
        assert found.content == "mine"
