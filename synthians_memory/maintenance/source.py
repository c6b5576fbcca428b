"""What a snapshot is taken of: a store, open in this process or in another one, or closed.

It changes nothing but the reader's lock on the journal, and writes no snapshot.

A snapshot is a fuzzy copy and the frames since: rows and `floor` are taken at one moment; an entity that no frame
above `floor` speaks of is in its file as its row says, now and until such a frame comes; of every other entity the
last of those frames has the version. While the reader's lock is held those frames stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from synthians_memory.codec import unseal, version_of
from synthians_memory.config import StoreConfig
from synthians_memory.engine.documents import read_file
from synthians_memory.engine.index import Rows
from synthians_memory.engine.records import Key, decode_record
from synthians_memory.engine.recovery import read_index
from synthians_memory.engine.store import Store
from synthians_memory.engine.superblock import Superblock, load_superblock
from synthians_memory.errors import DamagedError, DamagedViewError, NotRegularFileError
from synthians_memory.layout import JOURNAL, entity_path
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.lock import ReaderLock
from synthians_memory.storage.segment import JournalContents, read_journal
from synthians_memory.times import Clock

__all__ = ["Base", "Frames", "JournalGoneError", "SnapshotSource", "base_beside", "base_of_open_store", "read_entity"]

_CONVERTED_AT_ONCE: Final = 256
NO_ROWS: Final[Rows] = {"memory": {}, "assembly": {}}


class JournalGoneError(DamagedError):
    """The frames that a snapshot needs were dropped meanwhile, or are damaged; it may be tried again."""

    hint_default = "Try again; if it stays so, run `check`, then `repair`."


@dataclass(frozen=True, slots=True)
class Base:
    """The moment at which a copy begins.

    Attributes:
        superblock: the facts of the store.
        rows: those of the memory index, packed; a copy.
        floor: what frames above it say comes before what rows and files say.
    """

    superblock: Superblock
    rows: Rows
    floor: int


class Frames(NamedTuple):
    """What was written since.

    Attributes:
        last: the version that the last frame gives each entity it speaks of; None where it was deleted.
        sequence: the last of all changes.
        wall_micros: when that was written; 0 where no frame says so.
    """

    last: dict[Key, bytes | None]
    sequence: int
    wall_micros: int


@dataclass(frozen=True)
class SnapshotSource:
    """A store to be copied.

    Attributes:
        backend: the store, through a back end of its own.
        base: takes the moment at which a copy begins; may be asked again.
        clock: source of time.
    """

    backend: Backend
    base: Callable[[], Base]
    clock: Clock

    @contextmanager
    def journal_kept(self) -> Iterator[None]:
        """Have the writer keep its segments meanwhile. Raises StoreLockedError, DiskError."""
        lock = ReaderLock.acquire(self.backend) if self.backend.stat(JOURNAL) is not None else None
        try:
            yield
        finally:
            if lock is not None:
                lock.release()

    def frames_above(self, base: Base) -> Frames:
        """What the journal says above the floor of `base`.

        Raises:
            JournalGoneError: frames are missing.
            DiskError: it cannot be read.
        """
        identity = (base.superblock.store_id, base.superblock.epoch)
        contents = read_journal(self.backend, identity, above=base.floor)
        if contents.damage:
            damage = contents.damage[0]
            raise JournalGoneError(f"changes {damage.first} to {damage.last} are not to be had", path=damage.path)
        return _frames_of(contents, base.floor)

    def facts(self, base: Base) -> Superblock:
        """The superblock as it is now: a vector among the frames may have fixed the dimension.

        Raises:
            JournalGoneError: the model was changed since, so that files hold other embeddings than rows.
        """
        try:
            now = load_superblock(self.backend) or base.superblock
        except (DamagedViewError, NotRegularFileError):
            now = base.superblock
        if now.staged != base.superblock.staged or now.previous != base.superblock.previous:
            raise JournalGoneError("the model of the store was changed meanwhile")
        # A way back lies in files that no snapshot holds.
        return replace(now, previous=None)


def _frames_of(contents: JournalContents, floor: int) -> Frames:
    last: dict[Key, bytes | None] = {}
    for entry in contents.entries:
        for record in map(decode_record, entry.records):
            last[record.key] = record.data
    wall = max((entry.wall_micros for entry in contents.entries), default=0)
    return Frames(last, max(contents.last_sequence, floor), wall)


def base_beside(backend: Backend, clock: Clock) -> Base:
    """Begin a copy of a store that is closed, or that another process has open.

    Raises:
        NotAStoreError, UnsupportedFormatError: it is none, or a newer one.
        DiskError: it cannot be read.
    """
    state, contents = read_index(backend, StoreConfig(), clock)
    if state.superblock.staged is not None:
        raise JournalGoneError("the files of the store are just being converted to another model")
    return Base(state.superblock, state.index.rows, contents.checkpointed_through)


def base_of_open_store(store: Store) -> Base:
    """Begin a copy of a store that this process has open; called in its writer's thread, where it has one."""
    state = store.state
    if state.journal is not None:
        # While files are converted to another model, some are behind their rows.
        while store.convert(_CONVERTED_AT_ONCE):
            pass
    rows: Rows = {kind: rows.copy() for kind, rows in state.index.rows.items()}
    journal = state.journal
    if journal is not None:
        return Base(state.superblock, rows, journal.checkpointed_through)
    return base_beside(state.backend, state.clock)


def read_entity(backend: Backend, key: Key, wanted: bytes) -> tuple[bytes | None, str]:
    """The file of an entity if it holds the version `wanted`, or why not. Raises DiskError."""
    path = entity_path(*key)
    data = read_file(backend, path)
    if data is None:
        return None, f"{path} is missing, or no regular file"
    if version_of(data) == wanted:
        return data, ""
    what = "does not match its content_hash" if None is not unseal(data)[0] != unseal(data)[1] else "is another version"
    return None, f"{path} {what} than was acknowledged"
