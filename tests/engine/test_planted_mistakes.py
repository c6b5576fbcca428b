"""Mistakes that stores make, planted into this one: the suites of crashes and faults see each of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from synthians_memory.codec import Version
from synthians_memory.engine import index, vectors
from synthians_memory.engine.checkpoint import Checkpointer
from synthians_memory.engine.commit import Committer
from synthians_memory.engine.entity_files import EntityFiles, IntervalFiles
from synthians_memory.engine.records import Key, encode_record
from synthians_memory.engine.vectors import VectorView
from synthians_memory.engine.view_log import ViewLog
from synthians_memory.errors import DiskError
from synthians_memory.layout import ASSEMBLIES, JOURNAL, MEMORIES
from synthians_memory.storage.backend import WritableFile
from synthians_memory.storage.journal import Journal
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_crash import StoreSweep
from synthians_memory.testing.store_scenarios import SCENARIOS

Plant = Callable[[pytest.MonkeyPatch], None]


def sweep(name: str) -> StoreSweep:
    return StoreSweep(next(scenario for scenario in SCENARIOS if scenario.name == name))


def no_folder_sync(*folders: str) -> Plant:
    sync_folder = FaultyBackend.sync_folder

    def sync_some(self: FaultyBackend, path: str) -> None:
        if path not in folders:
            sync_folder(self, path)

    return lambda patch: patch.setattr(FaultyBackend, "sync_folder", sync_some)


def acknowledge_before_sync(patch: pytest.MonkeyPatch) -> None:
    def pretend(self: Journal) -> None:
        self.synced_through = self.last_sequence

    patch.setattr(Journal, "sync", pretend)


def files_before_the_journal(patch: pytest.MonkeyPatch) -> None:
    sync = Committer._sync

    def apply_then_sync(self: Committer, written: list[Any]) -> bool:
        for prepared in written:
            for key, version in prepared.layer.items():
                self.apply_file(key, version, frozenset())
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


def drop_before_the_header(patch: pytest.MonkeyPatch) -> None:
    start_segment = Journal.start_segment

    def drop_first(self: Journal, checkpointed_through: int, **options: Any) -> None:
        if checkpointed_through > self.checkpointed_through and self._file is not None:
            self.checkpointed_through = checkpointed_through
            self.drop()
        start_segment(self, checkpointed_through, **options)

    patch.setattr(Journal, "start_segment", drop_first)


def one_frame_per_record(patch: pytest.MonkeyPatch) -> None:
    def append(self: Committer, prepared: list[Any], *, deletes_only: bool) -> int:
        journal = self._state.journal
        assert journal is not None
        journal.append([[encode_record(r)] for p in prepared for r in p.records], deletes_only=deletes_only)
        return len(prepared)

    patch.setattr(Committer, "_append_frames", append)


def forget_failed_files(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Committer, "append_stuck_again", lambda self: None)


def forget_failed_files_at_once(patch: pytest.MonkeyPatch) -> None:
    apply_file = Committer.apply_file

    def forget(self: Committer, key: Key, version: Version | None, *rest: Any) -> bool:
        done = apply_file(self, key, version, *rest)
        self._state.overlay.release(key)
        return done

    patch.setattr(Committer, "apply_file", forget)


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


def append_to_a_log_that_may_be_torn(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ViewLog, "clean", property(lambda self: True))
    patch.setattr(ViewLog, "_clean", True, raising=False)
    adopt = ViewLog.adopt

    def trusting(self: ViewLog, header: bytes, committed: int, total: int) -> None:
        adopt(self, header, total if total >= 0 else committed, total)

    patch.setattr(ViewLog, "adopt", trusting)


def a_log_without_commit_lines(patch: pytest.MonkeyPatch) -> None:
    commit_of = index._commit_of

    def trusting(line: bytes, group: list[bytes]) -> Any:
        found = commit_of(line, group)
        return found

    patch.setattr(index, "_commit_of", trusting)
    replay_log = index.MemoryIndex._replay_log

    def every_line(self: index.MemoryIndex, lines: list[bytes], snapshot: Any) -> int:
        size = replay_log(self, lines, snapshot)
        for line in lines[1:-1]:
            if line.startswith((b'{"put"', b'{"remove"')):
                self._apply_line(line)
        return size

    patch.setattr(index.MemoryIndex, "_replay_log", every_line)


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


CRASHES: list[tuple[Plant, str]] = [
    (acknowledge_before_sync, "saves one by one"),
    (files_before_the_journal, "updates of the same id"),
    (no_folder_sync(JOURNAL), "checkpoints between saves"),
    (no_folder_sync(MEMORIES, ASSEMBLIES), "checkpoints between saves"),
    (no_folder_sync(""), "a store is made"),
    (drop_before_the_views_are_durable, "checkpoints between saves"),
    (drop_before_the_files_are_durable, "checkpoints between saves"),
    (drop_before_the_header, "checkpoints between saves"),
    (one_frame_per_record, "a transaction"),
    (a_log_without_commit_lines, "views are logged"),
    (vector_ids_begin_again, "recovery with logged views"),
    (views_renamed_before_they_are_synced, "checkpoints between saves"),
]
FAULTS: list[tuple[Plant, str]] = [
    (forget_failed_files, "updates of the same id"),
    (forget_failed_files_at_once, "checkpoints between saves"),
    (sync_the_journal_again, "saves one by one"),
    (sync_files_again_after_a_failed_checkpoint, "checkpoints between saves"),
    (a_removal_is_not_made_again, "checkpoints between saves"),
]


@pytest.mark.parametrize(("plant", "name"), CRASHES, ids=lambda value: getattr(value, "__name__", None))
def test_a_mistake_is_seen_by_crashes(monkeypatch: pytest.MonkeyPatch, plant: Plant, name: str) -> None:
    prepared = sweep(name)
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        prepared.crashes(seeds=(0, 1, 2))


@pytest.mark.parametrize(("plant", "name"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_mistake_is_seen_by_faults(monkeypatch: pytest.MonkeyPatch, plant: Plant, name: str) -> None:
    prepared = sweep(name)
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        prepared.faults(mended=True)
