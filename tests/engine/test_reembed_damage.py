"""What a change of the model keeps on disk is damaged, lost or left behind: said so, and never served."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest

from synthians_memory.engine.part_files import Model, Series, list_series, read_part
from synthians_memory.engine.reembedding import switch
from synthians_memory.engine.stager import Stager
from synthians_memory.engine.store import Store
from synthians_memory.engine.vectors import MadeWith
from synthians_memory.errors import ChangedOutsideError, UnsupportedFormatError
from synthians_memory.layout import REEMBEDDING, SUPERBLOCK, part_of_name, part_path
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_history import DrivenStore, StoreHistory, observe
from synthians_memory.testing.store_reembedding import converts, invented_vector, stages, switches
from synthians_memory.testing.store_scenarios import SMALL_STORE, memory
from synthians_memory.testing.store_verifier import require_sound
from synthians_memory.testing.stored_files import read_vector_ids

CONFIG = replace(SMALL_STORE, embedding_dimension=None)
NEW = Model("new:1", 6)


def switched(*, converted: bool = False) -> tuple[FaultyDisk, StoreHistory]:
    """What a killed process leaves right behind the change of the model, or behind the conversion."""
    disk, history = FaultyDisk(), StoreHistory()
    driven = DrivenStore.open(FaultyBackend(disk), CONFIG, ManualClock(), history)
    for n in range(4):
        driven.save(memory(f"m{n}"))
    switches(NEW)(driven)
    if converted:
        converts(20)(driven)
    return disk.crash("lose_all"), history


def rewrite(disk: FaultyDisk, path: str, at: int) -> None:
    """Flip one bit of a durable file."""
    backend = FaultyBackend(disk)
    data = backend.read(path)
    assert data is not None
    file = backend.open_existing(path)
    file.write_at(at, bytes([data[at] ^ 1]))
    file.sync()
    file.close()


def the_part(disk: FaultyDisk, role: str) -> str:
    (name,) = [name for name, _ in FaultyBackend(disk).scan(REEMBEDDING) if f".{role}." in name]
    return f"{REEMBEDDING}/{name}"


def opened(disk: FaultyDisk, *, read_only: bool = False) -> Store:
    return Store.open(FaultyBackend(disk), CONFIG, ManualClock(), read_only=read_only)


def codes(store: Store) -> set[str]:
    findings = [*store.state.notes, *store.check("full")]
    return {finding.code for finding in findings if finding.severity != "note"}


def test_damaged_staged_versions_are_named_and_the_others_are_served() -> None:
    disk, history = switched()
    rewrite(disk, the_part(disk, "staged"), 400)
    reader = opened(disk.copy(), read_only=True)
    assert "staged_damaged" in codes(reader)
    store = opened(disk)
    assert "staged_damaged" in codes(store)
    served = 0
    for key, version in history.last.items():
        with suppress(ChangedOutsideError):
            assert store.load(key) == version.stored_entity()
            served += 1
    assert 0 < served < 4
    store.close()


def test_a_damaged_way_back_is_found_and_not_taken() -> None:
    disk, history = switched(converted=True)
    rewrite(disk, the_part(disk, "previous"), 400)
    store = opened(disk)
    assert codes(store) == {"way_back_damaged"}
    assert {key: entity.vector is not None for key, entity in observe(store).items()} == dict.fromkeys(
        history.last, True
    )
    store.close()


def test_a_lost_superblock_is_rebuilt_with_what_is_staged() -> None:
    disk, history = switched()
    backend = FaultyBackend(disk)
    backend.unlink(SUPERBLOCK)
    backend.sync_folder("")
    store = opened(disk)
    assert (store.state.superblock.embedder, store.state.superblock.embedding_dimension) == NEW
    assert store.state.conversion is not None
    history.match(observe(store))
    store.close()


def test_a_lost_superblock_is_rebuilt_without_it_behind_the_conversion() -> None:
    disk, history = switched(converted=True)
    backend = FaultyBackend(disk)
    backend.unlink(SUPERBLOCK)
    backend.sync_folder("")
    store = opened(disk)
    assert store.state.superblock.staged is None
    assert store.state.superblock.previous is not None
    history.match(observe(store))
    store.close()


def test_a_lost_memory_index_is_made_of_files_and_staged_versions() -> None:
    disk, history = switched()
    backend = FaultyBackend(disk)
    for name in ("memory_index.json", "memory_index.log"):
        backend.unlink(name)
    backend.sync_folder("")
    # And a file that a power cut tore while it was converted.
    file = backend.open_existing("memories/m1.json")
    file.write_at(0, bytes(200))
    file.sync()
    file.close()
    store = opened(disk)
    history.match(observe(store))
    store.close()
    require_sound(opened(disk.crash("lose_all")), history.last)


def test_a_library_that_does_not_know_the_feature_refuses_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    disk, _ = switched()
    monkeypatch.setattr("synthians_memory.engine.superblock._KNOWN_FEATURES", frozenset())
    with pytest.raises(UnsupportedFormatError, match="reembedding"):
        opened(disk)


def test_what_an_interrupted_attempt_has_left_is_gone_on_with_or_removed() -> None:
    disk, history = FaultyDisk(), StoreHistory()
    driven = DrivenStore.open(FaultyBackend(disk), CONFIG, ManualClock(), history)
    for n in range(4):
        driven.save(memory(f"m{n}"))
    stages(NEW, 2)(driven)
    backend = driven.store.state.backend
    (first,) = {series.token for series in list_series(backend)}
    stages(NEW, 1)(driven)
    assert list_series(backend) == {Series(first, "staged"): 2, Series(first, "previous"): 2}
    stages(Model("else:1", 3), 1)(driven)
    (second,) = {series.token for series in list_series(backend)}
    assert second != first
    driven.close()


def test_a_torn_frame_does_not_count_and_hides_none_before_it() -> None:
    disk, history = FaultyDisk(), StoreHistory()
    driven = DrivenStore.open(FaultyBackend(disk), CONFIG, ManualClock(), history)
    for n in range(4):
        driven.save(memory(f"m{n}"))
    stages(NEW)(driven)
    store_id = driven.store.state.superblock.store_id
    path = the_part(disk, "staged")
    token, role, number = part_of_name(path.partition("/")[2]) or ("", "staged", 0)
    assert part_path(token, role, number) == path
    whole = read_part(FaultyBackend(disk), store_id, Series(token, role), number)
    rewrite(disk, path, len(FaultyBackend(disk).read(path) or b"") - 20)
    torn = read_part(FaultyBackend(disk), store_id, Series(token, role), number)
    assert (torn.model, torn.frames, torn.bodies) == (NEW, whole.frames - 1, whole.bodies[:2])
    switches(NEW)(driven)
    converts(20)(driven)
    require_sound(driven.store, history.last)


def test_no_vector_id_is_given_twice() -> None:
    disk, history = FaultyDisk(), StoreHistory()
    driven = DrivenStore.open(FaultyBackend(disk), CONFIG, ManualClock(), history)
    driven.save(memory("m0"), memory("m1"))
    driven.checkpoint()
    state = driven.store.state
    given = set(read_vector_ids(state.backend))
    stager = Stager(state, NEW, None)
    for n in range(2, 5):
        works = stager.work(stager.todo())
        stager.put(works, {work.text: invented_vector(NEW, work.text) for work in works})
        driven.save(memory(f"m{n}"))
        driven.checkpoint()
        given |= set(read_vector_ids(state.backend))
    works = stager.work(stager.todo())
    stager.put(works, {work.text: invented_vector(NEW, work.text) for work in works})
    assert not switch(state, driven.store.checkpointer, stager, NEW, MadeWith(None))
    stager.close()
    assert len(given) == 5
    assert not given & set(read_vector_ids(state.backend))
    driven.close()
