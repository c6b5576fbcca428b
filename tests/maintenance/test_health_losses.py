"""Whole parts of a store are gone: a pass brings back what any copy still has, names the rest, and the next one is healthy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from health_cases import held, in_memory, place_of, put, snapshot, source_bytes

from synthians_memory.config import StoreConfig
from synthians_memory.engine.records import Key
from synthians_memory.errors import NotAStoreError
from synthians_memory.layout import (
    BACKUPS,
    INDEX,
    INDEX_LOG,
    JOURNAL,
    MEMORIES,
    QUARANTINE,
    STORED_ENTITIES,
    SUPERBLOCK,
    VECTORS,
    entity_path,
    manifest_path,
)
from synthians_memory.maintenance.health import health_pass
from synthians_memory.maintenance.health_place import HealthSettings, local_place
from synthians_memory.maintenance.health_report import HealthReport
from synthians_memory.maintenance.manifest import encode_manifest
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import Medium, MemoryBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_history import DrivenStore, StoreHistory
from synthians_memory.testing.store_scenarios import SMALL_STORE, assembly, memory
from synthians_memory.testing.stored_files import all_files

HOUR = 3600.0


class Lived:
    """A store with a snapshot, and what was changed since."""

    def __init__(self, *, snapshots: int = 1, closed: bool = True) -> None:
        self.clock = ManualClock()
        self.disk = MemoryBackend(Medium(clock=self.clock))
        self.snapshots = MemoryBackend(Medium(clock=self.clock))
        self.driven = DrivenStore.open(self.disk.reopen(), SMALL_STORE, self.clock, StoreHistory())
        self.driven.save(*(memory(f"m{n}") for n in range(14)), assembly("a1", "m1"))
        self.driven.checkpoint()
        for edition in range(snapshots):
            self.clock.advance(HOUR)
            self.driven.save(memory("m0", edition + 2))
            snapshot(self.disk, self.snapshots, self.clock)
            self.copied = self.acknowledged()
        self.clock.advance(60)
        self.driven.save(memory("new"), memory("m1", 2))
        self.driven.delete(("memory", "m2"))
        self.last = self.acknowledged()
        if closed:
            self.driven.close()
        else:
            self.driven.store.release()

    def acknowledged(self) -> dict[Key, str]:
        return {key: f"sha256:{version.hash.hex()}" for key, version in self.driven.history.last.items()}

    def loses(self, *names: str) -> None:
        """Every file of these names, or in a folder of these names, is gone, and the folders as well."""
        left = {path: data for path, data in all_files(self.disk.reopen()).items() if path.split("/")[0] not in names}
        self.disk = in_memory(left, self.clock)

    def passes(self, **settings: Any) -> HealthReport:
        self.clock.advance(HOUR)
        place = place_of(self.disk.reopen, self.snapshots, self.clock, SMALL_STORE)
        return health_pass(place, HealthSettings(**settings))

    def held(self) -> dict[Key, str]:
        return held(self.disk.reopen(), SMALL_STORE, self.clock)


def differences(wanted: dict[Key, str], found: dict[Key, str]) -> set[str]:
    return {key[1] for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)}


class Loss(NamedTuple):
    """What is gone, and what cannot come back.

    Attributes:
        names: at the top of the store.
        outcome: of the first pass.
        changed: ids that are not as they were acknowledged last.
    """

    names: tuple[str, ...]
    outcome: str
    changed: frozenset[str] = frozenset()


SINCE = frozenset(["new", "m1", "m2"])
LOSSES = {
    "everything": Loss(
        (SUPERBLOCK, JOURNAL, INDEX, INDEX_LOG, VECTORS, MEMORIES, "assemblies", QUARANTINE, BACKUPS), "restored", SINCE
    ),
    "superblock": Loss((SUPERBLOCK,), "mended"),
    "superblock and journal": Loss((SUPERBLOCK, JOURNAL), "mended"),
    "superblock, journal and index": Loss((SUPERBLOCK, JOURNAL, INDEX, INDEX_LOG), "restored", frozenset(["m2"])),
    "all but the memories": Loss(
        (SUPERBLOCK, JOURNAL, INDEX, INDEX_LOG, VECTORS, "assemblies"), "restored", frozenset(["m2"])
    ),
    "memories": Loss((MEMORIES,), "restored", frozenset(["new", "m1"])),
    "memories and vectors": Loss((MEMORIES, VECTORS), "restored", frozenset(["new", "m1"])),
    "memories and index": Loss((MEMORIES, INDEX, INDEX_LOG), "restored", SINCE),
    "memories and journal": Loss((MEMORIES, JOURNAL), "restored", frozenset(["new", "m1"])),
    "memories, journal and index": Loss((MEMORIES, JOURNAL, INDEX, INDEX_LOG), "restored", SINCE),
    "memories and superblock": Loss((MEMORIES, SUPERBLOCK), "restored", frozenset(["new", "m1"])),
    "memories, superblock and journal": Loss((MEMORIES, SUPERBLOCK, JOURNAL), "restored", frozenset(["new", "m1"])),
    "journal and views": Loss((JOURNAL, INDEX, INDEX_LOG, VECTORS), "restored", frozenset(["m2"])),
}


@pytest.mark.parametrize("what", LOSSES)
def test_what_any_copy_has_comes_back(what: str) -> None:
    lived, loss = Lived(), LOSSES[what]
    lived.loses(*loss.names)
    report = lived.passes()
    assert report.outcome == loss.outcome, report
    found = lived.held()
    assert differences(lived.last, found) == loss.changed
    # Older, or back, but never anything else; what is gone is in no copy.
    assert all(lived.copied.get(key) == version or lived.last.get(key) == version for key, version in found.items())
    assert lived.copied.keys() - {("memory", "m2")} <= found.keys()
    if loss.changed:
        assert report.lost
    assert [lived.passes().outcome, lived.passes().outcome] == ["healthy", "healthy"]
    assert lived.held() == found


@pytest.mark.parametrize("what", LOSSES)
def test_without_a_backup_nothing_is_given_up(what: str) -> None:
    lived, loss = Lived(snapshots=0), LOSSES[what]
    lived.loses(*loss.names)
    before = all_files(lived.disk.reopen())
    if what == "everything":
        with pytest.raises(NotAStoreError):
            lived.passes(backup_enabled=False)
        assert all_files(lived.disk.reopen()) == before
        return
    report = lived.passes(backup_enabled=False)
    entities = {data for path, data in before.items() if path.split("/")[0] in (MEMORIES, "assemblies")}
    assert entities <= set(all_files(lived.disk.reopen()).values())
    again = lived.passes(backup_enabled=False)
    if report.outcome == "failed":
        assert again.outcome == "failed"
        assert report.steps
    else:
        assert again.outcome == "healthy"


def test_a_store_that_was_left_open_and_lost_its_memories_has_what_its_journal_has() -> None:
    lived = Lived(closed=False)
    lived.loses(MEMORIES)
    assert lived.passes().outcome == "restored"
    assert differences(lived.last, lived.held()) == set()
    assert lived.passes().outcome == "healthy"


def lose_files(lived: Lived, *keys: Key) -> None:
    left = all_files(lived.disk.reopen())
    for key in keys:
        del left[entity_path(*key)]
    lived.disk = in_memory(left, lived.clock)


def test_a_file_and_the_index_that_told_of_it_come_back_and_what_was_deleted_does_not() -> None:
    lived = Lived()
    lived.loses(INDEX, INDEX_LOG)
    lose_files(lived, ("memory", "m5"), ("assembly", "a1"))
    report = lived.passes()
    assert report.outcome == "restored"
    assert lived.held() == lived.last
    assert [lived.passes().outcome, lived.passes().outcome] == ["healthy", "healthy"]
    assert lived.held() == lived.last


def test_a_version_that_no_snapshot_has_is_named_where_the_index_is_gone_as_well() -> None:
    lived = Lived()
    lived.loses(INDEX, INDEX_LOG)
    lose_files(lived, ("memory", "m1"), ("memory", "new"))
    report = lived.passes()
    assert report.outcome == "restored"
    assert differences(lived.last, lived.held()) == {"m1", "new"}
    assert lived.held()["memory", "m1"] == lived.copied["memory", "m1"]
    assert any("'new'" in sentence for sentence in report.lost)
    assert any("1 entities that it holds are back" in sentence for sentence in report.lost)
    assert lived.passes().outcome == "healthy"


def test_where_no_view_tells_of_deletions_what_a_snapshot_holds_is_back() -> None:
    lived = Lived()
    lived.loses(INDEX, INDEX_LOG, VECTORS)
    lose_files(lived, ("memory", "m5"))
    assert lived.passes().outcome == "restored"
    assert differences(lived.last, lived.held()) == {"m2"}
    assert lived.passes().outcome == "healthy"


def test_an_index_that_is_gone_alone_brings_nothing_back() -> None:
    lived = Lived()
    lived.loses(INDEX, INDEX_LOG)
    assert lived.passes().outcome == "mended"
    assert lived.held() == lived.last


def rot_newest(lived: Lived, edition: int) -> None:
    """The copy of m0 that only the newest snapshot holds is another one."""
    folder = lived.snapshots.reopen()
    (path,) = [
        p for p, data in all_files(folder, STORED_ENTITIES).items() if memory("m0", edition).content.encode() in data
    ]
    put(folder, path, all_files(folder)[path].replace(b"m0", b"mX"))


def test_an_older_snapshot_takes_the_place_of_a_rotten_one() -> None:
    lived = Lived(snapshots=3)
    rot_newest(lived, 4)
    lived.loses(*LOSSES["everything"].names)
    report = lived.passes()
    assert report.outcome == "restored"
    assert report.rollback is not None
    assert any("would not do" in problem for problem in report.problems)
    assert len(lived.held()) == 15
    assert lived.passes().outcome in ("healthy", "findings")


def test_where_every_snapshot_is_rotten_nothing_is_changed() -> None:
    lived = Lived()
    rot_newest(lived, 2)
    lived.loses(*LOSSES["everything"].names)
    put(lived.disk, "quarantine/keep", b"kept")
    report = lived.passes()
    assert report.outcome == "failed"
    assert all_files(lived.disk.reopen())["quarantine/keep"] == b"kept"


@pytest.mark.parametrize(
    "names",
    [LOSSES["everything"].names, (SUPERBLOCK, JOURNAL, INDEX, INDEX_LOG), (MEMORIES,)],
    ids=["all", "facts", "memories"],
)
def test_without_auto_rollback_the_command_is_named(names: tuple[str, ...]) -> None:
    lived = Lived()
    lived.loses(*names)
    put(lived.disk, "memories/stranger.json" if MEMORIES not in names else "notes/stranger", b"{")
    report = lived.passes(auto_rollback=False)
    assert report.outcome == "failed"
    assert "auto_rollback is false" in " ".join(report.steps)
    assert not report.rollback
    # What comes back file by file is no rollback.
    assert bool(report.restored) == (names == (MEMORIES,))


def test_what_no_backup_has_is_set_aside_only_where_there_are_backups() -> None:
    lived = Lived()
    path = entity_path("memory", "new")
    put(lived.disk, path, all_files(lived.disk.reopen())[path].replace(b"new", b"nex"))
    damaged = all_files(lived.disk.reopen())[path]
    assert lived.passes(auto_rollback=False).outcome == "failed"
    assert all_files(lived.disk.reopen())[path] == damaged
    report = lived.passes()
    assert report.outcome == "restored"
    assert "new" in report.lost[0]
    assert damaged in all_files(lived.disk.reopen(), QUARANTINE).values()
    assert lived.passes().outcome == "healthy"
    assert differences(lived.last, lived.held()) == {"new"}


def test_a_version_that_no_copy_has_is_named_and_the_newest_one_takes_its_place() -> None:
    lived = Lived()
    path = entity_path("memory", "m1")
    put(lived.disk, path, b"{")
    report = lived.passes()
    assert [(putback.path, putback.exact) for putback in report.restored] == [(path, False)]
    assert "memory 'm1' of " in report.lost[0]
    assert lived.held()["memory", "m1"] == lived.copied["memory", "m1"]
    assert lived.passes().outcome == "healthy"


def test_a_store_that_is_lost_without_a_backup_is_no_new_one() -> None:
    lived = Lived(snapshots=0)
    lived.loses(*LOSSES["everything"].names)
    put(lived.disk, "backups/index/memory_index.20261120_120000_000000.json", b"{}")
    report = lived.passes(backup_enabled=False)
    assert report.outcome == "failed"
    assert report.steps
    left = {path for path in all_files(lived.disk.reopen()) if path.split("/")[0] not in ("logs", "issues")}
    assert left == {"backups/index/memory_index.20261120_120000_000000.json"}


def test_facts_of_another_model_are_not_given_to_a_store() -> None:
    lived = Lived()
    lived.loses(SUPERBLOCK, JOURNAL, INDEX, INDEX_LOG, VECTORS)
    folder = SnapshotFolder(lived.snapshots.reopen())
    (manifest,) = folder.listing().manifests
    other = replace(manifest, facts={**manifest.facts, "embedding_dimension": 3})
    put(lived.snapshots.reopen(), manifest_path(manifest.name), encode_manifest(other))
    before = set(source_bytes(lived.disk.reopen()))
    report = lived.passes()
    # Nor is it replaced by a snapshot of another directory, since it is none that can be told from somebody else's.
    assert (report.outcome, report.rollback) == ("failed", None)
    assert not any("facts" in action for action in report.actions)
    assert before <= set(all_files(lived.disk.reopen()).values())


# On a local disk, where the snapshots are in the store's own directory


def write_store(path: Path, config: StoreConfig, clock: ManualClock, history: StoreHistory) -> DrivenStore:
    driven = DrivenStore.open(LocalBackend(path, create=True), config, clock, history)
    driven.save(*(memory(f"m{n}") for n in range(5)))
    return driven


def all_but_backups(path: Path) -> None:
    for entry in path.iterdir():
        if entry.name != BACKUPS:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@pytest.mark.parametrize("archived", [False, True], ids=["the snapshot", "the archived journal"])
def test_a_directory_of_which_only_the_backups_are_left(tmp_path: Path, archived: bool) -> None:
    path, clock = tmp_path / "store", ManualClock()
    config = StoreConfig(storage_path=str(path), embedding_dimension=4, archive_journal=archived)
    place = local_place(config, clock=clock)
    history = StoreHistory()
    write_store(path, config, clock, history).close()
    assert health_pass(place).outcome == "healthy"
    clock.advance(60)
    driven = DrivenStore.open(LocalBackend(path), config, clock, history)
    driven.save(memory("late"))
    driven.close()
    all_but_backups(path)
    clock.advance(HOUR)
    report = health_pass(place)
    assert (report.outcome, report.memories) == ("restored", 6 if archived else 5)
    assert report.lost
    clock.advance(HOUR)
    assert health_pass(place).outcome == "healthy"


def test_the_archived_journal_has_what_was_saved_since_the_last_snapshot(tmp_path: Path) -> None:
    path, clock, history = tmp_path / "store", ManualClock(), StoreHistory()
    config = StoreConfig(storage_path=str(path), embedding_dimension=4, archive_journal=True)
    place = local_place(config, clock=clock)
    write_store(path, config, clock, history).close()
    assert health_pass(place).outcome == "healthy"
    clock.advance(60)
    driven = DrivenStore.open(LocalBackend(path), config, clock, history)
    driven.save(memory("m1", 2), memory("late"))
    driven.close()
    (path / entity_path("memory", "m1")).write_bytes(b"{")
    (path / entity_path("memory", "late")).unlink()
    report = health_pass(place)
    assert report.outcome == "restored"
    assert {putback.origin for putback in report.restored} == {"the archived journal"}
    assert not report.lost
    wanted = {key: f"sha256:{version.hash.hex()}" for key, version in history.last.items()}
    assert held(LocalBackend(path), config, clock) == wanted


def test_a_directory_that_is_gone_comes_back_from_snapshots_elsewhere(tmp_path: Path) -> None:
    path, clock = tmp_path / "store", ManualClock()
    config = StoreConfig(storage_path=str(path), embedding_dimension=4)
    place = local_place(config, clock=clock, snapshots=tmp_path / "copies")
    write_store(path, config, clock, StoreHistory()).close()
    assert health_pass(place).outcome == "healthy"
    shutil.rmtree(path)
    for name in ("config.yaml", "logs/health.log", "ledger/log.jsonl", "quarantine/kept"):
        # What else is left, or is written by others since, keeps nobody from it.
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("")
    clock.advance(HOUR)
    report = health_pass(place)
    assert (report.outcome, report.memories) == ("restored", 5)
    clock.advance(HOUR)
    assert health_pass(place).outcome == "healthy"


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["nothing", "an empty directory"])
def test_where_there_never_was_a_store_none_is_made(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "store"
    make(path)
    with pytest.raises(NotAStoreError):
        health_pass(local_place(StoreConfig(storage_path=str(path))))
    assert not path.exists() or not any(path.iterdir())
