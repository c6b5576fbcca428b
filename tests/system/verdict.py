"""What must hold for a store after a crash, seen through the facade and in its files; AssertionError names what does not."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from acknowledged import Acknowledged
from editions import Key, State, entity_of
from workload import observe

from synthians_memory import Finding, MemoryPersistence
from synthians_memory.errors import NotAStoreError
from synthians_memory.reports import FINDING_CODES
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.stored_files import StoredFiles

_NEARNESS = 1 - 1e-5


async def seen_by_reader(path: Path) -> State:
    """What somebody sees who opens the store to read only, which changes nothing; nothing where there is no store."""
    store = MemoryPersistence(path, read_only=True)
    try:
        await store.initialize()
    except NotAStoreError:
        return {}
    try:
        return await observe(store)
    finally:
        await store.close()


async def require_kept(path: Path, history: Acknowledged, *, notes_allowed: Iterable[str] = ()) -> State:
    """Read the store as a crash left it, then open, check and close it; it is in `history` what it was found to be.

    Args:
        path: of the store; nobody has it open.
        history: what it was told to keep; settled by this.
        notes_allowed: codes of findings, beside notes, that recovery may have made.

    Returns:
        What it holds.
    """
    seen = await seen_by_reader(path) if path.is_dir() else {}
    history.settle(seen)
    store = MemoryPersistence(path)
    await store.initialize()
    try:
        history.settle(await observe(store))
        await require_sound(store, seen, notes_allowed=notes_allowed)
    finally:
        await store.close()
    require_agreeing_files(path, seen)
    return seen


async def require_sound(store: MemoryPersistence, state: State, *, notes_allowed: Iterable[str] = ()) -> None:
    """`store` was recovered without complaint, a full check has nothing to say, and its views hold `state`."""
    stats = store.stats()
    assert stats["read_only"] is None
    assert stats["pending_files"] == 0, f"files wait to be written: {stats['last_error']}"
    codes = [note["code"] for note in stats["notes"]] + [f.code for f in store.opening_report.findings]
    worse = [code for code in codes if FINDING_CODES[code][0] != "note" and code not in notes_allowed]
    assert not worse, f"recovery reported {stats['notes']} {store.opening_report.findings}"
    findings = worse_than_notes(await store.verify_consistency(level="full"))
    assert not findings, f"check found {findings}"
    assert await store.list_memories() == sorted(i for kind, i in state if kind == "memory")
    assert await store.list_assemblies() == sorted(i for kind, i in state if kind == "assembly")
    embedded = [key for key, edition in state.items() if entity_of(*key, edition).vector is not None]
    assert stats["vectors"] == sum(kind == "memory" for kind, _ in embedded)
    assert stats["assembly_composites"] == sum(kind == "assembly" for kind, _ in embedded)
    for key in embedded:
        await _require_found(store, key, state[key])


def worse_than_notes(findings: Iterable[Finding]) -> list[Finding]:
    """Those that are no mere notes."""
    return [finding for finding in findings if finding.severity != "note"]


async def _require_found(store: MemoryPersistence, key: Key, edition: int) -> None:
    vector = entity_of(*key, edition).vector
    assert vector is not None
    hits = await store.search(vector, 1, kind=key[0])
    assert [hit.memory_id for hit in hits] == [key[1]], f"the vector of {key} finds {hits}"
    assert hits[0].score >= _NEARNESS, f"the vector of {key} finds {hits}"


def require_agreeing_files(path: Path, state: State) -> None:
    """The files of a closed store hold `state`: entities, memory index and vectors, each read on its own."""
    backend = LocalBackend(path)
    try:
        files = StoredFiles.read(backend)
    finally:
        backend.close()
    assert files.entities.keys() == state.keys(), "the entity files are of other ids"
    assert files.index.keys() == state.keys(), "the memory index has other ids"
    embedded = {key for key, edition in state.items() if entity_of(*key, edition).vector is not None}
    assert files.vectors.keys() == embedded, "the vectors are of other ids"
    for key, data in files.entities.items():
        document = json.loads(data)
        assert document["metadata"]["edition"] == state[key], f"the file of {key} is of another edition"
        assert document["content_hash"] == files.index[key]["content_hash"], f"the index has another hash of {key}"
        wanted = files.vectors[key].embedding_hash if key in embedded else None
        assert files.index[key]["embedding_hash"] == wanted, f"index and vectors differ in {key}"
