"""Every file of a small store, damaged: never wrong data, never a foreign error, and only what was hit is concerned."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from synthians_memory.config import StoreConfig
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.errors import ChangedOutsideError, DamagedError
from synthians_memory.layout import ENTITY_FOLDERS, JOURNAL, LOCK_FILE, entity_path
from synthians_memory.models import Entity, MemoryEntry
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_history import DrivenStore, State, StoreHistory, delete, save
from synthians_memory.testing.store_scenarios import SMALL_STORE, assembly, logged_views, memory
from synthians_memory.testing.store_verifier import require_sound
from synthians_memory.testing.stored_files import all_files

CONFIG: StoreConfig = replace(SMALL_STORE, index_backup_count=2)
FULL = replace(CONFIG, startup_check="full")
STRIDE = 96
levels = pytest.mark.parametrize("config", [CONFIG, pytest.param(FULL, marks=pytest.mark.long)], ids=["quick", "full"])

Damage = Callable[[bytes], bytes | None]
DAMAGES: list[tuple[str, Damage]] = [
    ("deleted", lambda _: None),
    ("emptied", lambda _: b""),
    ("cut in half", lambda data: data[: len(data) // 2]),
    ("without its last byte", lambda data: data[:-1]),
    ("zeroed", lambda data: bytes(len(data))),
    ("doubled", lambda data: data + data),
]


def flips(data: bytes, stride: int) -> Iterator[tuple[str, Damage]]:
    for offset in range(len(data) % stride // 2, len(data), stride):
        yield f"flipped at {offset}", lambda old, at=offset: old[:at] + bytes([old[at] ^ 1 << at % 8]) + old[at + 1 :]


def damaged(disk: FaultyDisk, path: str, damage: Damage) -> FaultyBackend:
    life = disk.copy()
    backend = FaultyBackend(life)
    data = damage(backend.read(path) or b"")
    backend.unlink(path)
    if data is not None:
        file = backend.create(path)
        file.write(data)
        file.sync()
    return FaultyBackend(life.crash("keep_all"))


class Subject:
    """A disk with a store on it, and what that should hold."""

    def __init__(self, *, closed: bool) -> None:
        disk = FaultyDisk()
        history = StoreHistory()
        driven = DrivenStore.open(FaultyBackend(disk), CONFIG, ManualClock(), history)
        driven.save(*(memory(f"m{n}") for n in range(5)), assembly("a1", "m1"))
        driven.checkpoint()
        driven.commit([save(memory("m1", 2))], [delete(("memory", "m2")), save(memory("m5"))], [save(memory("m6"))])
        if closed:
            driven.checkpoint()
            driven.save(memory("m6", 2))
            driven.close()
        self.state: State = history.last
        self.states = history.states
        self.disk = disk.crash("keep_all" if closed else "lose_all")

    def files(self) -> dict[str, bytes]:
        return {path: data for path, data in all_files(FaultyBackend(self.disk)).items() if path != LOCK_FILE}


@pytest.fixture(scope="module")
def closed() -> Subject:
    with logged_views(100.0):
        return Subject(closed=True)


@pytest.fixture(scope="module")
def killed() -> Subject:
    return Subject(closed=False)


def owner(subject: Subject, path: str) -> Key | None:
    return next((key for key in subject.state if entity_path(*key) == path), None)


def loaded(store: Store, key: Key) -> Entity | Exception | None:
    try:
        return store.load(key)
    except (DamagedError, ChangedOutsideError) as error:
        return error


def stays_exact(store: Store, state: State, *, but: Key | None) -> None:
    """Every entity but one is served as it was acknowledged, and found."""
    assert {key for kind, rows in store.state.index.rows.items() for key in ((kind, i) for i in rows)} - {but} == {
        key for key in state if key != but
    }
    for key, version in state.items():
        if key != but:
            assert store.load(key) == version.stored_entity()
            assert version.entity.vector is not None
            assert store.search(version.entity.vector, 1, key[0], None)[0].memory_id == key[1]


@levels
def test_a_damaged_derived_file_is_rebuilt(closed: Subject, config: StoreConfig) -> None:
    seen = 0
    for path, data in closed.files().items():
        if path.partition("/")[0] in ENTITY_FOLDERS.values():
            continue
        for what, damage in (*DAMAGES, *flips(data, STRIDE)):
            with logged_views(100.0):
                backend = damaged(closed.disk, path, damage)
                store = Store.open(backend, config, ManualClock())
                try:
                    require_sound(store, closed.state)
                    stays_exact(store, closed.state, but=None)
                    store.close()
                    again = Store.open(FaultyBackend(backend.disk.crash("lose_all")), config, ManualClock())
                    require_sound(again, closed.state)
                    assert not [f for f in again.opening_report.findings if f.severity != "note"]
                except BaseException as error:
                    error.add_note(f"{path} {what}")
                    raise
            seen += 1
    assert seen > 100


@levels
def test_a_damaged_entity_file_is_never_served(closed: Subject, config: StoreConfig) -> None:
    seen = 0
    for path, data in closed.files().items():
        key = owner(closed, path)
        if key is None:
            continue
        for what, damage in (*DAMAGES, *flips(data, STRIDE // 3)):
            store = Store.open(damaged(closed.disk, path, damage), config, ManualClock())
            try:
                stays_exact(store, closed.state, but=key)
                judge_entity(store, closed, key, what)
                assert store.repair().clean
                stays_exact(store, closed.state, but=key)
            except BaseException as error:
                error.add_note(f"{path} {what}")
                raise
            seen += 1
    assert seen > 100


def judge_entity(store: Store, subject: Subject, key: Key, what: str) -> None:
    """It is refused; or it is gone with its file; or the hash line was hit, and the file counts as edited by hand."""
    found = loaded(store, key)
    codes = {f.code for f in store.opening_report.findings if (f.kind, f.entity_id) == key}
    if found is None:
        assert what == "deleted"
        assert codes == {"file_missing"}
    elif isinstance(found, Exception):
        assert codes & {"file_damaged", "file_undecodable"}
    else:
        assert "file_edited" in codes
        entity = subject.state[key].entity
        assert isinstance(found, MemoryEntry) == isinstance(entity, MemoryEntry)
        assert found.__dict__["metadata"] == entity.__dict__["metadata"]
        assert found.vector is not None
        assert entity.vector is not None
        assert found.vector.tobytes() == entity.vector.tobytes()


def test_a_damaged_journal_costs_only_what_it_held(killed: Subject) -> None:
    """Its frames are nowhere else: what cannot be read is named, and never mixed."""
    paths = [path for path in killed.files() if path.startswith(f"{JOURNAL}/")]
    assert paths
    lost = 0
    for path in paths:
        for what, damage in (*DAMAGES, *flips(killed.files()[path].rstrip(b"\0"), STRIDE // 2)):
            store = Store.open(damaged(killed.disk, path, damage), CONFIG, ManualClock())
            try:
                lost += judge_journal(store, killed)
                assert store.repair().clean
            except BaseException as error:
                error.add_note(f"{path} {what}")
                raise
    assert lost


def judge_journal(store: Store, subject: Subject) -> bool:
    """Whether something acknowledged is not there; each entity is one that was acknowledged, or is not there."""
    keys = {key for state in subject.states for key in state}
    differs = False
    for key in keys:
        found = loaded(store, key)
        assert not isinstance(found, Exception), found
        versions = [state.get(key) for state in subject.states]
        assert found in [None if version is None else version.stored_entity() for version in versions]
        latest = subject.state.get(key)
        differs |= found != (None if latest is None else latest.stored_entity())
    if differs:
        assert {note.code for note in store.state.notes} & {"journal_damaged", "journal_torn", "journal_foreign"}
    assert not [f for f in store.check("full") if f.severity != "note"]
    return differs
