"""Mistakes that stores make, planted into this one: the suites of crashes and faults see each of them."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
import test_bit_rot
import test_faults

from synthians_memory.codec import Version
from synthians_memory.engine import index, recovery, vectors
from synthians_memory.engine.apply import Applier
from synthians_memory.engine.checkpoint import Checkpointer
from synthians_memory.engine.commit import Committer
from synthians_memory.engine.entity_files import EntityFiles, IntervalFiles
from synthians_memory.engine.overlay import Layer
from synthians_memory.engine.records import Key, encode_record
from synthians_memory.engine.vectors import VectorView
from synthians_memory.engine.view import Position
from synthians_memory.errors import DiskError
from synthians_memory.layout import ASSEMBLIES, JOURNAL, MEMORIES, VECTORS, segment_path
from synthians_memory.storage.backend import WritableFile
from synthians_memory.storage.framing import Frame, scan
from synthians_memory.storage.journal import Journal
from synthians_memory.storage.segment import HEADER_BLOCK, segment_salt
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_crash import StoreSweep
from synthians_memory.testing.store_history import save
from synthians_memory.testing.store_scenarios import SCENARIOS, SMALL_STORE, StoreScenario, memory

Plant = Callable[[pytest.MonkeyPatch], None]


def no_folder_sync(*folders: str) -> Plant:
    sync_folder = FaultyBackend.sync_folder

    def sync_some(self: FaultyBackend, path: str) -> None:
        if path not in folders:
            sync_folder(self, path)

    def no_sync_of_folders(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(FaultyBackend, "sync_folder", sync_some)

    return no_sync_of_folders


def acknowledge_before_sync(patch: pytest.MonkeyPatch) -> None:
    def pretend(self: Journal) -> None:
        self.synced_through = self.last_sequence

    patch.setattr(Journal, "sync", pretend)


def files_before_the_journal(patch: pytest.MonkeyPatch) -> None:
    sync = Committer._sync

    def apply_then_sync(self: Committer, written: list[Any]) -> bool:
        for prepared in written:
            for key, version in prepared.layer.items():
                self.applier.apply_file(key, version, frozenset())
        return sync(self, written)

    patch.setattr(Committer, "_sync", apply_then_sync)


def drop_before_the_views_are_durable(patch: pytest.MonkeyPatch) -> None:
    def run(self: Checkpointer) -> bool:
        if not self.freeze():
            return False
        harden = self._interval, self._keys
        self.finish()
        self._interval, self._keys = harden
        self.harden()
        return True

    patch.setattr(Checkpointer, "run", run)


def drop_before_the_files_are_durable(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(IntervalFiles, "sync", IntervalFiles.close)


def one_frame_per_record(patch: pytest.MonkeyPatch) -> None:
    def append(self: Committer, prepared: list[Any], *, deletes_only: bool) -> int:
        journal = self._state.journal
        assert journal is not None
        journal.append([[encode_record(r)] for p in prepared for r in p.records], deletes_only=deletes_only)
        return len(prepared)

    patch.setattr(Committer, "_append_frames", append)


def forget_failed_files_at_once(patch: pytest.MonkeyPatch) -> None:
    apply_file = Applier.apply_file

    def forget(self: Applier, key: Key, version: Version | None, *rest: Any) -> bool:
        done = apply_file(self, key, version, *rest)
        self._state.overlay.release(key)
        return done

    patch.setattr(Applier, "apply_file", forget)


def a_checkpoint_does_not_wait_for_files(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Committer, "force", Committer._sync_journal)


def what_waits_is_forgotten_at_the_checkpoint(patch: pytest.MonkeyPatch) -> None:
    freeze = Checkpointer.freeze

    def forgetful(self: Checkpointer) -> bool:
        applier = self._committer.applier
        for key in list(applier._before):
            del applier._before[key]
            self._state.overlay.settle(key)
        return freeze(self)

    patch.setattr(Checkpointer, "freeze", forgetful)


def files_before_the_sync_of_an_interval(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Committer, "ready", property(lambda self: self.applier.waiting))


def the_version_before_what_waits_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    publish = Applier.publish

    def forget(self: Applier, layer: Layer) -> None:
        for key in layer:
            self._before.pop(key, None)
        publish(self, layer)

    patch.setattr(Applier, "publish", forget)


def a_failed_file_that_followed_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    write = Applier.write

    def forget(self: Applier, most: int) -> int:
        done = write(self, most)
        for key, _ in self._state.overlay.pending():
            self._state.overlay.release(key)
        return done

    patch.setattr(Applier, "write", forget)


def sync_again(sync: Callable[[Any], None]) -> Callable[[Any], None]:
    def twice(self: Any) -> None:
        try:
            sync(self)
        except DiskError:
            sync(self)

    return twice


def sync_the_journal_again(patch: pytest.MonkeyPatch) -> None:
    with_header = Journal._with_header

    def persistent(self: Journal, path: str, header: Any) -> WritableFile:
        file = with_header(self, path, header)
        patch.setattr(type(file), "sync", sync_again(type(file).sync), raising=True)
        patch.setattr(Journal, "_with_header", with_header)
        return file

    patch.setattr(Journal, "_with_header", persistent)


def sync_files_again_after_a_failed_checkpoint(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Checkpointer, "_write_again", lambda self: None)


def a_removal_is_not_made_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(EntityFiles, "remove_again", EntityFiles.remove)


def a_log_without_checksums(patch: pytest.MonkeyPatch) -> None:
    commit_of = index._commit_of

    def trusting(line: bytes, group: list[bytes]) -> Position | None:
        found = commit_of(line, group)
        if found is None and line.startswith(b'{"commit":'):
            fields = orjson.loads(line)
            return Position(fields["epoch"], fields["commit"])
        return found

    patch.setattr(index, "_commit_of", trusting)


def vector_ids_begin_again(patch: pytest.MonkeyPatch) -> None:
    load = VectorView.load

    def forgetful(self: VectorView) -> str:
        problem = load(self)
        self._next_vector_id = 1
        return problem

    patch.setattr(VectorView, "load", forgetful)


def views_renamed_before_they_are_synced(patch: pytest.MonkeyPatch) -> None:
    def write_carelessly(backend: Any, path: str, chunks: Any) -> Any:
        backend.unlink(path + ".new")
        file = backend.create(path + ".new")
        for chunk in chunks:
            file.write(chunk)
        stat = file.stat()
        file.close()
        backend.replace(path + ".new", path)
        backend.sync_folder(path.rpartition("/")[0])
        return stat

    patch.setattr(index, "write_whole", write_carelessly)
    patch.setattr(vectors, "write_whole", write_carelessly)


def go_on_in_the_old_segment(patch: pytest.MonkeyPatch) -> None:
    """Recovery writes nothing anew, and the journal goes on behind the last frame of the process before."""
    make_room = Journal._make_room

    def go_on(self: Journal, size: int, deletes_only: bool, *, needed: bool) -> bool:
        if self._file is not None or not self._old:
            return make_room(self, size, deletes_only, needed=needed)
        self._number = max(self._old)
        path = segment_path(self._number)
        data = self._backend.read(path) or b""
        self._salt = segment_salt(self._store_id, self._epoch, self._number)
        frames = [part for part in scan(data, HEADER_BLOCK, self._salt).parts if isinstance(part, Frame)]
        self._offset = max((f.end for f in frames if f.sequence <= self._last_counted), default=HEADER_BLOCK)
        self._limit = max(len(data), self._offset + size)
        self._file = self._backend.open_existing(path)
        return True

    patch.setattr(Journal, "_make_room", go_on)
    patch.setattr(recovery, "_settle", lambda *_, **__: None)


CHECKPOINTED = StoreScenario(
    "changes and a checkpoint",
    (
        lambda driven: driven.save(memory("m0", 2)),
        lambda driven: driven.delete(("memory", "m1")),
        lambda driven: driven.checkpoint(),
    ),
    (lambda driven: driven.save(*(memory(f"m{n}") for n in range(3))), lambda driven: driven.checkpoint()),
)


LONG_BATCH = StoreScenario(
    "a batch of many sectors",
    (lambda driven: driven.save(*(memory(f"b{n}", length=1_500) for n in range(8))),),
    CHECKPOINTED.before,
)


FOLLOWING = StoreScenario(
    "a checkpoint of files that follow",
    (
        lambda driven: driven.save(memory("m0", 2), memory("m2", 2)),
        lambda driven: driven.save(memory("m0", 3)),
        lambda driven: driven.store.committer.write_files(1),
        lambda driven: driven.checkpoint(),
    ),
    CHECKPOINTED.before,
    config=replace(SMALL_STORE, write_mode="behind"),
)


AHEAD = StoreScenario(
    "files that follow before the journal is synced",
    (
        lambda driven: driven.save(memory("m0", 2)),
        lambda driven: driven.save(memory("m1", 2)),
        lambda driven: driven.save(memory("m0", 3)),
        lambda driven: driven.store.committer.write_files(9),
    ),
    CHECKPOINTED.before,
    config=replace(SMALL_STORE, durability="interval", write_mode="behind"),
)


def named(name: str) -> StoreScenario:
    return next(scenario for scenario in SCENARIOS if scenario.name == name)


CRASHES: list[tuple[Plant, StoreScenario]] = [
    (acknowledge_before_sync, named("saves one by one")),
    (go_on_in_the_old_segment, named("recovery")),
    (files_before_the_journal, named("updates of the same id")),
    (no_folder_sync(JOURNAL), CHECKPOINTED),
    (no_folder_sync(MEMORIES, ASSEMBLIES), CHECKPOINTED),
    (no_folder_sync(VECTORS), CHECKPOINTED),
    (no_folder_sync(""), named("a store is made")),
    (drop_before_the_views_are_durable, CHECKPOINTED),
    (drop_before_the_files_are_durable, CHECKPOINTED),
    (one_frame_per_record, LONG_BATCH),
    (vector_ids_begin_again, named("recovery with logged views")),
    (views_renamed_before_they_are_synced, CHECKPOINTED),
    (files_before_the_sync_of_an_interval, AHEAD),
    (the_version_before_what_waits_is_forgotten, FOLLOWING),
]
# Seen only once the journal is dropped.
LATE: list[tuple[Plant, StoreScenario]] = [
    (a_checkpoint_does_not_wait_for_files, FOLLOWING),
    (what_waits_is_forgotten_at_the_checkpoint, FOLLOWING),
]
FAULTS: list[tuple[Plant, StoreScenario]] = [
    (forget_failed_files_at_once, CHECKPOINTED),
    (sync_the_journal_again, CHECKPOINTED),
    (sync_files_again_after_a_failed_checkpoint, CHECKPOINTED),
    (a_removal_is_not_made_again, CHECKPOINTED),
    (a_failed_file_that_followed_is_forgotten, FOLLOWING),
]


def name_of(value: object) -> str | None:
    return value.name if isinstance(value, StoreScenario) else getattr(value, "__name__", None)


@pytest.mark.parametrize(("plant", "scenario"), CRASHES, ids=name_of)
def test_a_mistake_is_seen_by_crashes(monkeypatch: pytest.MonkeyPatch, plant: Plant, scenario: StoreScenario) -> None:
    sweep = StoreSweep(scenario)
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        sweep.crashes(policies=["lose_all", "keep_all", "sampled"])


@pytest.mark.parametrize(("plant", "scenario"), LATE, ids=name_of)
def test_a_mistake_is_seen_at_the_end(monkeypatch: pytest.MonkeyPatch, plant: Plant, scenario: StoreScenario) -> None:
    sweep = StoreSweep(scenario)
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        sweep.crashes(seeds=[0], policies=["lose_all"])


@pytest.mark.parametrize(("plant", "scenario"), FAULTS, ids=name_of)
def test_a_mistake_is_seen_by_faults(monkeypatch: pytest.MonkeyPatch, plant: Plant, scenario: StoreScenario) -> None:
    sweep = StoreSweep(scenario)
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        sweep.faults(errnos=[errno.EIO], policies=["lose_all"], mended=True)


def test_none_of_this_is_seen_without_a_mistake() -> None:
    for scenario in (CHECKPOINTED, LONG_BATCH, FOLLOWING, AHEAD):
        assert StoreSweep(scenario).crashes(seeds=[0], step=7)
    assert StoreSweep(CHECKPOINTED).faults(errnos=[errno.EIO], policies=["lose_all"], mended=True, step=3)


def test_a_file_that_failed_and_is_forgotten_at_the_checkpoint_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    disk = FaultyDisk()
    backend = test_faults.RefusingBackend(disk)
    store = test_faults.opened(backend)
    assert test_faults.commit(store, *(save(memory(f"m{n}")) for n in range(3))).error is None
    store.checkpoint()
    monkeypatch.setattr(Committer, "append_stuck_again", lambda self: None)
    with pytest.raises(AssertionError):
        test_faults.test_a_failed_apply_survives_checkpoints_and_a_crash(store, backend, disk, checkpoints=1)


def test_a_log_without_checksums_is_seen_by_bit_rot(monkeypatch: pytest.MonkeyPatch) -> None:
    with test_bit_rot.logged_views(100.0):
        subject = test_bit_rot.Subject(closed=True)
    a_log_without_checksums(monkeypatch)
    with pytest.raises((AssertionError, ValueError, KeyError)):
        test_bit_rot.test_a_damaged_derived_file_is_rebuilt(subject, test_bit_rot.CONFIG)
