"""The checkpoint: files and views are made to reflect the journal, then the journal is dropped.

It is not the place where changes are acknowledged (`commit`). The order is in `Checkpointer.run`.
"""

from __future__ import annotations

from synthians_memory.codec import version_of
from synthians_memory.engine.commit import Committer
from synthians_memory.engine.entity_files import IntervalFiles
from synthians_memory.engine.index_backup import IndexBackups
from synthians_memory.engine.records import Key, decode_record
from synthians_memory.engine.segment_archive import archive_segment
from synthians_memory.engine.state import StoreState
from synthians_memory.engine.view import NOWHERE
from synthians_memory.errors import DiskError, ReadOnlyError
from synthians_memory.storage.journal import Journal
from synthians_memory.storage.lock import try_exclusive_journal
from synthians_memory.storage.segment import read_journal

__all__ = ["Checkpointer"]

# Beyond so many retained segments a reader that holds them has to start again.
_MOST_RETAINED = 64


class Checkpointer:
    """Makes checkpoints of one store.

    `freeze` and `finish` belong to the writer; `harden`, the slow part, may run in another thread
    between them while the writer goes on. One checkpoint at a time.
    """

    def __init__(self, state: StoreState, committer: Committer, backups: IndexBackups) -> None:
        self._state = state
        self._committer = committer
        self._backups = backups
        self._interval: IntervalFiles | None = None
        self._keys: set[Key] = set()
        self._rewrite: set[Key] = set()
        self._target = 0
        # A repair may want the views written although no entity changed.
        self.wanted = False

    def run(self) -> bool:
        """A whole checkpoint, in the order that loses nothing; False where nothing is to be done.

        1. journal synced, every acknowledged file written (`freeze`)
        2. entity files durable, then their names      (`harden`)
        3. the group durable in both view logs, or new snapshots of the views
        4. what could not be written appended again and synced (`freeze`), then a new segment whose
           header says how far all this reaches, durable (`finish`)
        5. segments it covers dropped, oldest first

        Raises:
            DiskError: some step failed; no segment is dropped, and the next checkpoint writes the
                entities of this one into new files.
        """
        if not self.freeze():
            return False
        self.harden()
        self.finish()
        return True

    def freeze(self) -> bool:
        """Close the interval; False where nothing changed since the last checkpoint."""
        journal = self._journal()
        self._committer.force()
        self._committer.applier.retry_stuck()
        if not self._needed(journal):
            return False
        self._target = journal.synced_through
        self._committer.append_stuck_again()
        self._write_again()
        self._interval = self._state.files.begin_interval()
        self._keys |= self._state.index.dirty_keys()
        position = self._state.position(self._target)
        if self._backups.due():
            self._state.index.snapshot_wanted = True
        self._state.index.freeze(position)
        self._state.vectors.freeze(position)
        return True

    def _journal(self) -> Journal:
        journal = self._state.journal
        if journal is None:
            raise ReadOnlyError("the store is open read-only")
        return journal

    def _needed(self, journal: Journal) -> bool:
        behind = journal.checkpointed_through < journal.synced_through
        reached = self._state.position(journal.synced_through)
        views_behind = self._state.index.position != reached or self._state.vectors.position not in (NOWHERE, reached)
        views_behind = views_behind or self._state.index.dirty_count > 0 or self._state.vectors.dirty
        return behind or views_behind or bool(self._rewrite) or self.wanted

    def harden(self) -> None:
        """Make the frozen interval durable in files, then in views; raises DiskError."""
        interval = self._interval
        if interval is None:
            return
        try:
            interval.sync()
        except DiskError:
            # The pages of these files are in an unknown state; syncing them again would prove nothing.
            self._rewrite |= self._keys
            raise
        self._state.vectors.persist()
        self._state.index.persist()
        self._backups.keep()

    def finish(self) -> None:
        """State in a new segment how far files and views reach, then drop what that covers; raises DiskError."""
        self._keys = set()
        self._interval = None
        self.wanted = False
        journal = self._journal()
        journal.start_segment(self._target)
        self._state.counters.checkpoints += 1
        self.drop_segments()

    def drop_segments(self) -> None:
        """Unlink the segments that are covered, unless a reader beside holds them; raises DiskError."""
        journal = self._journal()
        alone = try_exclusive_journal(self._state.backend)
        try:
            if alone is not None or journal.segment_count > _MOST_RETAINED:
                journal.drop(self._archive if self._state.config.archive_journal else None)
        finally:
            if alone is not None:
                alone.release()

    def _archive(self, number: int) -> None:
        archive_segment(self._state.backend, self._state.superblock.epoch, number)

    def abandon(self) -> None:
        """Give up a frozen checkpoint whose `harden` failed; what it covered stays to be done."""
        if self._interval is not None:
            self._interval.close()
            self._interval = None
            self._rewrite |= self._keys
        self._state.counters.checkpoint_failures += 1

    def _write_again(self) -> None:
        """Write the entities of a failed interval into new files, from the journal."""
        if self._state.files.doubtful:
            self._rewrite |= self._state.index.dirty_keys()
            self._state.files.doubtful = False
        if not self._rewrite:
            return
        identity = (self._state.superblock.store_id, self._state.superblock.epoch)
        latest: dict[Key, bytes | None] = {}
        for entry in read_journal(self._state.backend, identity).entries:
            for record in map(decode_record, entry.records):
                if record.key in self._rewrite and record.key not in self._state.overlay.stuck:
                    latest[record.key] = record.data
        latest |= self._staged_again(self._rewrite - latest.keys())
        for key, data in latest.items():
            if data is None:
                self._state.files.remove_again(*key)
            elif version_of(data) == self._state.index.hash(key):
                self._state.files.write(*key, data)
        self._keys |= self._rewrite
        self._rewrite = set()

    def _staged_again(self, keys: set[Key]) -> dict[Key, bytes | None]:
        """The bytes of those of the entities whose files were written by a conversion."""
        found: dict[Key, bytes | None] = {}
        for key in keys:
            version = None if self._state.is_decided(key) else self._state.staged_version(key)
            if version is not None:
                found[key] = version.data
        return found
