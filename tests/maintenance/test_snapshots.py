"""Snapshots hold the state of one moment, cost what changed, and are proved when they are taken."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from snapshot_cases import Case, stored_state

from synthians_memory.config import CheckLevel
from synthians_memory.errors import DamagedBackupError, InvalidValueError, StoreLockedError, UsageError
from synthians_memory.layout import STORED_ENTITIES, addressed_path, entity_path, manifest_path
from synthians_memory.maintenance.backup import take_snapshot
from synthians_memory.maintenance.care import own_directory, snapshots_in, snapshots_to
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.snapshots import list_snapshots, verify_snapshots
from synthians_memory.maintenance.source import Base, JournalGoneError, SnapshotSource, base_beside
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.faults import Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_scenarios import SMALL_STORE, assembly, memory
from synthians_memory.testing.stored_files import all_files


def filled(count: int = 40, case: Case | None = None) -> Case:
    case = case or Case()
    case.driven.save(*(memory(f"m{n}") for n in range(count)), assembly("a1", "m1", "m2"))
    return case


def put(backend: Backend, path: str, data: bytes) -> None:
    backend.unlink(path)
    file = backend.create(path)
    file.write(data)
    file.close()


@dataclass(frozen=True)
class Files:
    """A part with the files of one folder."""

    paths: tuple[str, ...]
    name: str = "state"

    def check(self, backend: Backend, level: CheckLevel) -> Sequence[Finding]:
        return ()

    def source_files(self, backend: Backend) -> Sequence[str]:
        return self.paths

    def mark(self, backend: Backend) -> str:
        return f"of {len(self.paths)}"

    def restored(self, backend: Backend, replaced: str) -> None:
        """Nothing."""


@pytest.mark.parametrize("beside", [False, True], ids=["open here", "open elsewhere"])
@pytest.mark.parametrize("checkpointed", [False, True], ids=["in the journal", "in files"])
def test_a_snapshot_holds_what_was_acknowledged(beside: bool, checkpointed: bool) -> None:
    case = filled()
    if checkpointed:
        case.driven.checkpoint()
    taken = case.backup(beside=beside)
    assert stored_state(case.folder, taken.manifest) == case.state()
    assert (taken.manifest.memories, taken.manifest.assemblies, taken.problems) == (40, 1, ())


def test_a_snapshot_of_a_store_whose_files_are_behind() -> None:
    case = Case(replace(SMALL_STORE, write_mode="behind"))
    filled(case=case)
    case.driven.save(memory("m1", 2))
    case.driven.delete(("memory", "m2"))
    assert case.store.committer.ready
    for beside in (False, True):
        assert stored_state(case.folder, case.backup(beside=beside).manifest) == case.state()


def test_a_second_snapshot_costs_what_changed_and_reads_nothing_else() -> None:
    case = filled(400)
    case.driven.checkpoint()
    first = case.backup()
    case.driven.save(memory("m7", 2))
    case.driven.delete(("memory", "m8"))
    case.driven.checkpoint()
    disk = _Reads(case.view())
    source = SnapshotSource(disk, lambda: base_beside(case.view(), case.clock), case.clock)
    second = take_snapshot(source, case.folder)
    assert disk.entities == [entity_path("memory", "m7")]
    # One entity, one or two shards, one manifest.
    assert second.written_files <= 4
    assert second.written_bytes < first.written_bytes / 10
    assert stored_state(case.folder, second.manifest) == case.state()


class _Reads(MemoryBackend):
    """Notes whose entity files are read."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner.medium)
        self.entities: list[str] = []

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes | None:
        if path.startswith(("memories/", "assemblies/")):
            self.entities.append(path)
        return super().read(path, offset, length)


def test_equal_states_share_everything_but_the_manifest() -> None:
    case = filled()
    one, two = case.backup(), case.backup()
    assert two.written_files == 1
    assert one.manifest.shards == two.manifest.shards
    assert one.manifest.name != two.manifest.name


def test_what_is_written_while_it_is_taken_is_in_it_or_not_but_whole() -> None:
    """Between the moment at which a copy begins and its end the writer goes on, also over a checkpoint."""
    case = filled()
    case.driven.checkpoint()
    states = [case.state()]
    step = 0

    def go_on(done: int, total: int) -> None:
        nonlocal step
        step += 1
        case.driven.save(memory(f"m{step % 40}", step + 1), memory(f"new{step}"))
        case.driven.delete(("memory", f"m{(step + 7) % 40}"))
        states.append(case.state())
        if step % 5 == 0:
            case.driven.checkpoint()

    taken = take_snapshot(case.source(), case.folder, progress=go_on)
    assert step > 10
    assert stored_state(case.folder, taken.manifest) == states[-1]
    assert taken.problems == ()


def test_frames_that_were_dropped_meanwhile_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    case = filled()
    base = base_beside(case.view(), case.clock)
    case.driven.checkpoint()
    stale = SnapshotSource(case.view(), lambda: base, case.clock)
    with pytest.raises(JournalGoneError):
        take_snapshot(stale, case.folder)
    assert case.folder.names() == []
    bases = [base]

    def later() -> Base:
        return bases.pop() if bases else base_beside(case.view(), case.clock)

    taken = take_snapshot(SnapshotSource(case.view(), later, case.clock), case.folder)
    assert stored_state(case.folder, taken.manifest) == case.state()


@pytest.mark.parametrize("rotten", [b"", b"{}\n", None], ids=["empty", "another", "gone"])
def test_what_cannot_be_had_is_named_and_the_rest_is_there(rotten: bytes | None) -> None:
    case = filled()
    case.driven.checkpoint()
    path = entity_path("memory", "m3")
    case.medium.unlink(path)
    if rotten is not None:
        put(case.medium, path, rotten)
    taken = case.backup()
    assert taken.manifest.missing == (path,)
    assert path in taken.problems[0]
    wanted = {key: data for key, data in case.state().items() if key != ("memory", "m3")}
    assert stored_state(case.folder, taken.manifest) == wanted
    assert not list_snapshots(case.folder)[0].whole


def test_what_is_stored_already_outlives_the_rot_of_the_file() -> None:
    case = filled()
    case.driven.checkpoint()
    case.backup()
    put(case.medium, entity_path("memory", "m3"), b"rot")
    assert case.backup().manifest.missing == ()
    assert case.backup(full=True).manifest.missing == (entity_path("memory", "m3"),)


# Verification


def test_every_flipped_byte_of_everything_stored_is_found() -> None:
    case = filled(3)
    taken = case.backup()
    (info,) = verify_snapshots(case.folder)
    assert info.whole
    assert (info.name, info.memories, info.assemblies) == (taken.manifest.name, 3, 1)
    for path, data in all_files(case.to).items():
        for at in range(0, len(data), 7):
            put(case.to, path, data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            assert not verify_snapshots(case.folder)[0].whole, (path, at)
        put(case.to, path, data)
    assert verify_snapshots(case.folder)[0].whole


@pytest.mark.parametrize("folder", ["shards", "entities", "snapshots"])
def test_what_is_missing_is_found(folder: str) -> None:
    case = filled(3)
    case.backup()
    path = min(all_files(case.to, folder))
    case.to.unlink(path)
    found = verify_snapshots(case.folder)
    assert not any(info.whole for info in found)


def test_what_is_not_read_back_as_it_was_written_is_no_snapshot() -> None:
    case = filled(4)

    class Lying(MemoryBackend):
        def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes | None:
            data = super().read(path, offset, length)
            return data.replace(b"m2, edition", b"m2, rotten!") if data and path.startswith(STORED_ENTITIES) else data

    folder = SnapshotFolder(Lying())
    with pytest.raises(DamagedBackupError, match="read back"):
        take_snapshot(case.source(), folder)
    assert folder.names() == []


def test_a_full_backup_mends_what_is_rotten_in_all_snapshots() -> None:
    case = filled()
    taken = case.backup()
    digest = case.folder.find(taken.manifest, entity_path("memory", "m1"))
    assert digest is not None
    put(case.to, addressed_path(STORED_ENTITIES, digest), b"rot")
    case.to.unlink(min(all_files(case.to, "shards")))
    assert not verify_snapshots(case.folder)[0].whole
    case.backup(full=True)
    assert all(info.whole for info in verify_snapshots(case.folder))


# The directory


def test_copies_are_independent_private_and_readable_by_anybody(tmp_path: Path) -> None:
    case = filled(5, Case(folder=LocalBackend(tmp_path / "to", create=True)))
    taken = case.backup()
    files = [path for path in (tmp_path / "to").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "to").rglob("*") if path.is_dir()} == {0o700}
    assert {path.stat().st_nlink for path in files} == {1}
    digest = case.folder.find(taken.manifest, entity_path("memory", "m1"))
    assert digest is not None
    kept = (tmp_path / "to" / addressed_path(STORED_ENTITIES, digest)).read_bytes()
    assert kept == case.medium.read(entity_path("memory", "m1"))
    assert taken.manifest.name[:15] == "20231114_221320"
    assert (tmp_path / "to" / manifest_path(taken.manifest.name)).exists()


def test_a_directory_with_something_else_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(InvalidValueError, match=r"letters\.txt"), snapshots_to(str(tmp_path)):
        pass
    assert os.listdir(tmp_path) == ["letters.txt"]


def test_only_one_backup_at_a_time(tmp_path: Path) -> None:
    directory = str(tmp_path / "to")
    with snapshots_to(directory):
        with pytest.raises(StoreLockedError, match="another program"), snapshots_to(directory):
            pass
        with pytest.raises(StoreLockedError), snapshots_in(directory):
            pass
    with snapshots_in(directory), snapshots_in(directory):
        pass


def test_snapshots_of_another_store_are_left_alone() -> None:
    case = filled(3)
    case.backup()
    other = filled(3)
    other.folder = case.folder
    before = all_files(case.to)
    with pytest.raises(UsageError, match="another store"):
        other.backup()
    assert all_files(case.to) == before


def test_a_symlink_in_place_of_the_stores_own_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "store.json").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store" / "backups").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="backups"):
        own_directory(LocalBackend(tmp_path / "store"), create=True)
    assert os.listdir(tmp_path / "elsewhere") == []


# Parts


def test_the_files_of_parts_come_along_and_unchanged_ones_cost_nothing(tmp_path: Path) -> None:
    case = filled(3)
    case.medium.make_folder("state")
    put(case.medium, "state/notes.jsonl", b"one\n" * 100)
    put(case.medium, "state/empty", b"")
    case.clock.advance(10)
    part = Files(("state/notes.jsonl", "state/empty", "state/gone", "../outside"))
    taken = case.backup(parts=[part])
    held = {file.path: b"".join(case.folder.file_pieces(file)) for file in taken.manifest.files}
    assert held == {"state/notes.jsonl": b"one\n" * 100, "state/empty": b""}
    assert taken.manifest.parts == ("state",)
    assert sorted(taken.manifest.missing) == ["../outside", "state/gone"]
    put(case.medium, "state/notes.jsonl", b"one\n" * 100 + b"two\n")
    grown = case.backup(parts=[part]).manifest
    assert [file.size for file in grown.files] == [0, 404]


def test_a_database_is_copied_by_its_own_backup_while_it_is_in_use(tmp_path: Path) -> None:
    store = LocalBackend(tmp_path / "store", create=True)
    store.make_folder("tiers")
    live = sqlite3.connect(tmp_path / "store" / "tiers" / "short.sqlite")
    live.execute("PRAGMA journal_mode=WAL")
    live.execute("CREATE TABLE facts (fact TEXT)")
    live.executemany("INSERT INTO facts VALUES (?)", [("kept",)] * 500)
    live.commit()
    # Not in the database's own file yet, and what is not committed never counts.
    live.execute("INSERT INTO facts VALUES ('not yet')")
    case = filled(3)
    source = replace(case.source(), backend=_With(case.view(), store))
    taken = take_snapshot(source, case.folder, parts=[Files(("tiers/short.sqlite",), "tiers")])
    (file,) = taken.manifest.files
    (tmp_path / "copy.sqlite").write_bytes(b"".join(case.folder.file_pieces(file)))
    copy = sqlite3.connect(tmp_path / "copy.sqlite")
    assert copy.execute("SELECT count(*), min(fact), max(fact) FROM facts").fetchone() == (500, "kept", "kept")
    copy.close()
    live.rollback()
    live.close()


class _With(LocalBackend):
    """The files of parts on a local disk, beside a store in memory."""

    def __init__(self, inner: Backend, parts: LocalBackend) -> None:
        super().__init__(parts.location)
        self._inner = inner

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes | None:
        if path.startswith("tiers/"):
            return super().read(path, offset, length)
        return self._inner.read(path, offset, length)

    def stat(self, path: str):  # type: ignore[no-untyped-def]
        return super().stat(path) if path.startswith("tiers/") else self._inner.stat(path)

    def scan(self, folder: str):  # type: ignore[no-untyped-def]
        return self._inner.scan(folder)

    def lock(self, folder: str, *, exclusive: bool):  # type: ignore[no-untyped-def]
        return self._inner.lock(folder, exclusive=exclusive)


def test_a_database_that_is_none_is_a_problem_and_not_the_end(tmp_path: Path) -> None:
    store = LocalBackend(tmp_path / "store", create=True)
    store.make_folder("tiers")
    put(store, "tiers/short.sqlite", b"SQLite format 3\0" + b"rot" * 1000)
    case = filled(3)
    source = replace(case.source(), backend=_With(case.view(), store))
    taken = take_snapshot(source, case.folder, parts=[Files(("tiers/short.sqlite",), "tiers")])
    assert taken.manifest.missing == ("tiers/short.sqlite",)
    assert stored_state(case.folder, taken.manifest) == case.state()


def test_a_disk_that_fails_leaves_the_snapshots_that_there_were() -> None:
    disk = FaultyDisk()
    case = filled(5, Case(folder=FaultyBackend(disk)))
    name = case.backup().manifest.name
    case.driven.save(*(memory(f"m{n}", 2) for n in range(5)))
    disk.plan(Fault(4, 28, forever=True))
    with pytest.raises(OSError, match="No space left"):
        case.backup()
    disk.clear_plan()
    assert case.folder.names() == [name]
    assert verify_snapshots(case.folder)[0].whole
    assert stored_state(case.folder, case.backup().manifest) == case.state()
