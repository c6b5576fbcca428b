"""A repair that is interrupted, or refused by the disk: the next one ends as this one would have, and nothing is thrown away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from synthians_memory.codec import encode
from synthians_memory.engine.commit import Batch
from synthians_memory.engine.store import Store
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.layout import MAPPING, QUARANTINE, entity_path
from synthians_memory.models import MemoryAssembly, MemoryEntry
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import Policy
from synthians_memory.testing.store_history import DrivenStore, StoreHistory, delete, observe, save
from synthians_memory.testing.store_scenarios import SMALL_STORE, assembly, memory
from synthians_memory.testing.stored_files import all_files
from synthians_memory.testing.sweep import for_each_crash, for_each_fault

LONG = 3600
BY_HAND = replace(SMALL_STORE, auto_repair=False, startup_check="off")
NOON = 1_795_176_000_000_000

# What the damaged store holds once it is repaired: id -> content.
REPAIRED = {
    **{f"m{n}": f"m{n}, edition 1 " for n in (4, 5, 6, 7)},
    "m1": "m1, edition 2 ",
    "m2": "m2, edited by hand",
    "stray": "stray, edition 1 ",
    "a1": "a1, edition 1",
}


def put(backend: Backend, path: str, data: bytes) -> None:
    backend.unlink(path)
    file = backend.create(path)
    file.write(data)
    file.sync()
    file.close()


def damaged(backend: Backend) -> dict[str, bytes]:
    """Do to a closed store what happens to stores; returns the bytes that must not be thrown away."""
    backend.unlink(entity_path("memory", "m0"))
    put(backend, entity_path("memory", "m1"), encode(memory("m1", 2)).stamp(NOON).data)
    edited = (backend.read(entity_path("memory", "m2")) or b"").replace(b"m2, edition 1 ", b"m2, edited by hand")
    lines = [line for line in edited.split(b"\n") if b"content_hash" not in line]
    put(backend, entity_path("memory", "m2"), b"\n".join(lines).replace(b",\n}", b"\n}"))
    rotten = (backend.read(entity_path("memory", "m3")) or b"").replace(b"edition 1 ", b"edition 9 ")
    put(backend, entity_path("memory", "m3"), rotten)
    put(backend, entity_path("memory", "stray"), encode(memory("stray")).stamp(NOON).data)
    put(backend, entity_path("assembly", "torn"), b'{\n  "assembly_id": "torn",\n  "name": "whi')
    backend.unlink(MAPPING)
    return {"m3": rotten, "torn": b'{\n  "assembly_id": "torn",\n  "name": "whi'}


@pytest.fixture(scope="module")
def disk() -> FaultyDisk:
    disk = FaultyDisk()
    driven = DrivenStore.open(FaultyBackend(disk), SMALL_STORE, ManualClock(), StoreHistory())
    driven.save(*(memory(f"m{n}") for n in range(8)), assembly("a1", "m1", "m4"))
    driven.close()
    KEPT.update(damaged(FaultyBackend(disk)))
    return disk.crash("keep_all")


KEPT: dict[str, bytes] = {}


def contents(store: Store) -> dict[str, str]:
    found: dict[str, str] = {}
    for (_, entity_id), entity in observe(store).items():
        assert isinstance(entity, MemoryEntry | MemoryAssembly)
        found[entity_id] = entity.content if isinstance(entity, MemoryEntry) else entity.name
    return found


def repair(backend: FaultyBackend) -> None:
    store = Store.open(backend, BY_HAND, ManualClock())
    assert store.repair().clean
    store.close()


def verify(backend: FaultyBackend, *_: object) -> None:
    """After whatever happened to the repair: opening the store and repairing it ends where it should."""
    store = Store.open(backend, SMALL_STORE, ManualClock())
    report = store.repair()
    assert report.clean, report.remaining
    require_repaired(store)
    again = Store.open(FaultyBackend(backend.disk.crash("lose_all")), SMALL_STORE, ManualClock())
    assert not [finding for finding in again.opening_report.findings if finding.severity != "note"]
    require_repaired(again)
    again.close()


def require_repaired(store: Store) -> None:
    assert contents(store) == REPAIRED
    assert not [finding for finding in store.check("full") if finding.severity != "note"]
    for name in REPAIRED:
        kind = "assembly" if name == "a1" else "memory"
        entity = store.load((kind, name))
        assert entity is not None
        assert entity.vector is not None
        assert store.search(entity.vector, 1, kind, None)[0].memory_id == name
    kept = [data for path, data in all_files(store.state.backend).items() if path.startswith(QUARANTINE)]
    assert all(data in kept for data in KEPT.values())


def test_a_repair_that_is_not_interrupted(disk: FaultyDisk) -> None:
    life = disk.copy()
    repair(FaultyBackend(life))
    verify(FaultyBackend(life.crash("lose_all")))


@pytest.mark.parametrize("policy", ["killed", "lose_all", "sampled"])
def test_a_crash_of_a_repair_is_made_up_for(disk: FaultyDisk, policy: Policy) -> None:
    assert for_each_crash(repair, verify, disk=disk, seeds=[4], policies=[policy], step=5)


def test_a_fault_during_a_repair_is_made_up_for(disk: FaultyDisk) -> None:
    assert for_each_fault(repair, verify, disk=disk, policies=["lose_all"], step=59)


def test_a_repair_goes_on_where_the_disk_is_mended(disk: FaultyDisk) -> None:
    def repair_twice(backend: FaultyBackend) -> None:
        store = Store.open(backend, BY_HAND, ManualClock())
        try:
            store.repair()
        except SynthiansMemoryError:
            backend.disk.clear_plan()
        if store.state.journal is None or store.state.journal.failure is None:
            assert store.repair().clean
            assert contents(store) == REPAIRED

    assert for_each_fault(repair_twice, verify, disk=disk, forever=[False], policies=["lose_all"], step=37)


@pytest.mark.long
@pytest.mark.timeout(LONG)
def test_a_crash_at_every_call_of_a_repair_is_made_up_for(disk: FaultyDisk) -> None:
    assert for_each_crash(repair, verify, disk=disk, policies=["killed", "lose_all", "keep_all", "sampled"])


@pytest.mark.long
@pytest.mark.timeout(LONG)
def test_every_fault_during_a_repair_is_made_up_for(disk: FaultyDisk) -> None:
    assert for_each_fault(repair, verify, disk=disk)


def test_a_crash_during_the_repair_at_open_is_made_up_for(disk: FaultyDisk) -> None:
    def open_and_die(backend: FaultyBackend) -> None:
        Store.open(backend, SMALL_STORE, ManualClock())

    assert for_each_crash(
        open_and_die, verify, disk=disk, seeds=[1], policies=["killed", "lose_all", "sampled"], step=9
    )


def test_a_fault_of_the_plan_leaves_the_store_open_and_says_so(disk: FaultyDisk) -> None:
    life = disk.copy()
    life.plan(Fault(1, 28, forever=True, verbs=frozenset(["write"])))
    store = Store.open(FaultyBackend(life), SMALL_STORE, ManualClock())
    assert store.opening_report.remaining
    assert "No space left" in store.state.last_error
    found = store.load(("memory", "m4"))
    assert isinstance(found, MemoryEntry)
    assert found.content == "m4, edition 1 "


@pytest.mark.parametrize("deletes", [False, True], ids=["replaced", "deleted"])
def test_a_version_from_outside_outlives_every_crash_of_the_change_that_meets_it(deletes: bool) -> None:
    disk = FaultyDisk()
    driven = DrivenStore.open(FaultyBackend(disk), SMALL_STORE, ManualClock(), StoreHistory())
    driven.save(memory("m0"), memory("m1"))
    driven.close()
    foreign = encode(memory("m0", 5)).stamp(NOON).data
    put(FaultyBackend(disk), entity_path("memory", "m0"), foreign)

    def change(backend: FaultyBackend) -> None:
        done.clear()
        store = Store.open(backend, BY_HAND, ManualClock())
        batch = Batch([delete(("memory", "m0")) if deletes else save(memory("m0", 2))])
        store.commit([batch])
        done.append(batch.error is None)
        store.close()

    def verify_foreign(backend: FaultyBackend, *_: object) -> None:
        store = Store.open(backend, SMALL_STORE, ManualClock())
        assert foreign in all_files(store.state.backend).values()
        wanted = None if deletes else "m0, edition 2 "
        found = contents(store).get("m0")
        assert found == wanted or (not done and found == "m0, edition 5 ")
        assert not [finding for finding in store.check("full") if finding.severity != "note"]

    done: list[bool] = []
    assert for_each_crash(change, verify_foreign, disk=disk.crash("keep_all"), seeds=[3], step=3)
