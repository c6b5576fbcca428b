"""A pass that is cut off, or whose disk fails, is gone on with by the next: everything comes back, and nothing is thrown away."""

from __future__ import annotations

from contextlib import suppress

import pytest
from health_cases import Files, held, place_of, put, snapshot, source_files

from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.errors import DiskFullError
from synthians_memory.layout import (
    HEALTH_LOG,
    INDEX,
    INDEX_LOG,
    JOURNAL,
    MEMORIES,
    SUPERBLOCK,
    VECTORS,
    entity_path,
)
from synthians_memory.maintenance.health import health_pass
from synthians_memory.maintenance.health_place import HealthSettings
from synthians_memory.maintenance.health_report import HealthReport
from synthians_memory.storage.memory import Medium, MemoryBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import Policy
from synthians_memory.testing.store_history import DrivenStore, StoreHistory
from synthians_memory.testing.store_scenarios import SMALL_STORE, assembly, memory
from synthians_memory.testing.stored_files import all_files
from synthians_memory.testing.sweep import for_each_crash, for_each_fault

LONG = 3600
POLICIES: tuple[Policy, ...] = ("killed", "lose_all", "keep_all", "lose_content", "lose_names", "sampled")
ONE, TWO, THREE = (entity_path("memory", f"m{n}") for n in (1, 2, 3))


def without(files: Files, *names: str) -> Files:
    return {path: data for path, data in files.items() if path.split("/")[0] not in names}


def damage_files(files: Files) -> Files:
    files = {**files, ONE: files[ONE].replace(b"m1", b"mX"), TWO: files[TWO][:150]}
    del files[THREE]
    return files


def flip_journal(files: Files) -> Files:
    """The frames of what was saved last are not intact, and something claims that they were durable."""
    path = max(path for path in files if path.startswith(f"{JOURNAL}/") and path.endswith(".wal"))
    place = files[path].index(b"m1, edition 2") if b"m1, edition 2" in files[path] else files[path].index(b"edition 2")
    return {**files, path: files[path][:place] + b"E" + files[path][place + 1 :]}


def lose_index(files: Files) -> Files:
    return without(files, MEMORIES, INDEX, INDEX_LOG)


DAMAGES = {
    "files": damage_files,
    "memories": lambda files: without(files, MEMORIES),
    "facts": lambda files: without(files, SUPERBLOCK, JOURNAL, INDEX, INDEX_LOG, VECTORS),
    "everything": lambda files: without(files, *{path.split("/")[0] for path in files}),
    "journal": flip_journal,
    "memories and index": lose_index,
    "memories and facts": lambda files: {
        path: data for path, data in without(files, SUPERBLOCK, JOURNAL, INDEX, INDEX_LOG).items() if path != ONE
    },
}


class Interrupted:
    """A damaged store on a disk that fails while a pass mends it; its snapshots are in memory."""

    def __init__(self, damage: str) -> None:
        self.damage = damage
        self.clock = ManualClock()
        sound = MemoryBackend(Medium(clock=self.clock))
        self.snapshots = MemoryBackend(Medium(clock=self.clock))
        driven = DrivenStore.open(sound.reopen(), SMALL_STORE, self.clock, StoreHistory())
        driven.save(*(memory(f"m{n}") for n in range(13)), assembly("a1", "m1"))
        driven.checkpoint()
        before = source_files(sound.reopen())
        driven.save(memory("m1", 2))
        driven.save(memory("m4", 2))
        snapshot(sound, self.snapshots, self.clock)
        if damage == "journal":
            driven.store.release()
        else:
            driven.close()
        self.model = held(sound.reopen(), SMALL_STORE, self.clock)
        files = DAMAGES[damage](all_files(sound.reopen()))
        if damage == "journal":
            # As a power cut leaves them: what was saved last has reached the journal only.
            files |= before
        self.clock.advance(3600)
        self.disk = FaultyDisk()
        backend = FaultyBackend(self.disk)
        for path, data in files.items():
            put(backend, path, data)
        self.disk = self.disk.crash("keep_all")
        self.damaged = [data for path, data in files.items() if path in (ONE, TWO)] if damage == "files" else []

    def run(self, backend: FaultyBackend) -> HealthReport:
        place = place_of(lambda: FaultyBackend(backend.disk), self.snapshots, self.clock, SMALL_STORE)
        return health_pass(place, HealthSettings(backup_enabled=False))

    def held(self, disk: FaultyDisk) -> dict[Key, str]:
        return held(FaultyBackend(disk), SMALL_STORE, self.clock)

    def verify(self, backend: FaultyBackend, *_: object) -> None:
        if self.damage == "files":
            self._verify_beside_an_agent(FaultyBackend(backend.disk.copy()))
        report = self.run(backend)
        assert report.outcome in ("healthy", "mended", "restored"), report
        assert self.run(backend).outcome == "healthy"
        assert self.held(backend.disk.copy().crash("lose_all")) == self.model
        kept = all_files(FaultyBackend(backend.disk.copy().crash("lose_all"))).values()
        assert all(data in kept for data in self.damaged)
        assert not backend.disk.retried_syncs

    def _verify_beside_an_agent(self, backend: FaultyBackend) -> None:
        """Whoever opens the store between the two passes, and mends what it can without backups, takes no damaged file away."""
        store = Store.open(FaultyBackend(backend.disk), SMALL_STORE, self.clock)
        lost = {
            key
            for key in self.model
            if key not in {(k, i) for k, found in store.state.index.rows.items() for i in found}
        }
        store.close()
        # A file that is gone is taken for deleted, as by any opening.
        assert lost <= {("memory", "m3")}
        self.run(backend)
        assert self.held(backend.disk) == {key: version for key, version in self.model.items() if key not in lost}


each_damage = pytest.mark.parametrize("damage", DAMAGES)


@each_damage
def test_a_pass_that_is_not_interrupted(damage: str) -> None:
    interrupted = Interrupted(damage)
    life = FaultyBackend(interrupted.disk.copy())
    assert interrupted.run(life).outcome == "restored"
    assert interrupted.held(life.disk) == interrupted.model
    interrupted.verify(FaultyBackend(life.disk.crash("lose_all")))


@each_damage
@pytest.mark.parametrize("policy", ["killed", "lose_all", "sampled"])
def test_a_crash_of_a_pass_is_gone_on_with(damage: str, policy: Policy) -> None:
    interrupted = Interrupted(damage)
    assert for_each_crash(
        interrupted.run, interrupted.verify, disk=interrupted.disk, policies=[policy], seeds=[3], step=29
    )


@each_damage
def test_a_fault_during_a_pass_is_gone_on_with(damage: str) -> None:
    interrupted = Interrupted(damage)
    assert for_each_fault(interrupted.run, interrupted.verify, disk=interrupted.disk, policies=["lose_all"], step=149)


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_damage
def test_a_crash_at_every_call_of_a_pass_is_gone_on_with(damage: str) -> None:
    interrupted = Interrupted(damage)
    assert for_each_crash(
        interrupted.run, interrupted.verify, disk=interrupted.disk, policies=POLICIES, seeds=[0, 1], step=2
    )


@pytest.mark.long
@pytest.mark.timeout(LONG)
@each_damage
def test_every_fault_during_a_pass_is_gone_on_with(damage: str) -> None:
    interrupted = Interrupted(damage)
    assert for_each_fault(interrupted.run, interrupted.verify, disk=interrupted.disk, policies=["lose_all"], step=7)


@each_damage
def test_a_full_disk_loses_nothing_and_the_next_pass_mends(damage: str) -> None:
    interrupted = Interrupted(damage)
    life = interrupted.disk.copy()
    before = set(all_files(FaultyBackend(life)).values())
    used = sum(map(len, before))
    life.capacity_bytes = used + 2000
    with suppress(DiskFullError):
        assert interrupted.run(FaultyBackend(life)).outcome in ("failed", "findings", "restored")
    life.capacity_bytes = None
    interrupted.verify(FaultyBackend(life.crash("lose_all")))


def test_the_log_of_a_pass_that_was_killed_stays_readable() -> None:
    interrupted = Interrupted("files")

    def verify(backend: FaultyBackend, *_: object) -> None:
        interrupted.run(backend)
        lines = [line for line in all_files(backend).get(HEALTH_LOG, b"").splitlines() if line]
        assert lines[-1].startswith(b'{"at"')
        assert lines[-1].endswith(b"}")

    for_each_crash(
        interrupted.run, verify, disk=interrupted.disk, policies=["killed", "lose_content"], seeds=[1], step=23
    )
