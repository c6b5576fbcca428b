"""Group commit: batches go to the journal, become visible, and reach their files, in this order.

It is not the thread that calls it (`writer`), and it makes nothing but the journal durable (`checkpoint`).

    validate and encode (at the call) -> expected_updated_at, stamp -> journal, one sync for the group
    -> overlay and views in memory -> entity files (`apply`) -> acknowledge

In write mode "behind" the last two change places.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Final, NamedTuple

from synthians_memory.codec import Draft, Version
from synthians_memory.engine.apply import Applier
from synthians_memory.engine.overlay import Layer
from synthians_memory.engine.records import NO_HASH, Key, Record, encode_record, record_size
from synthians_memory.engine.rows import NEVER, UNKNOWN, expires_of, expiry_of, hash_of, updated_of
from synthians_memory.engine.state import Cached, StoreState
from synthians_memory.engine.vectors import VectorView
from synthians_memory.engine.view import Change, describe
from synthians_memory.errors import (
    BatchTooLargeError,
    ConflictError,
    DimensionError,
    DiskError,
    EmbedderMismatchError,
    InvalidValueError,
    OverloadedError,
    ReadOnlyError,
    SynthiansMemoryError,
)
from synthians_memory.layout import Kind
from synthians_memory.models import Vector
from synthians_memory.storage.framing import packed_size
from synthians_memory.times import from_micros, to_micros

__all__ = ["ABSENT", "Absent", "Batch", "Committer", "Expected", "Operation", "require_vector"]


class Absent(Enum):
    """The type of `ABSENT`."""

    ABSENT = "absent"


ABSENT: Final = Absent.ABSENT
Expected = datetime | Absent | None


@dataclass(slots=True)
class Operation:
    """One change asked for.

    Attributes:
        kind, entity_id: of what.
        draft: the encoded entity; None to delete.
        expected: the update time that must be stored; ABSENT: nothing may be; None: whatever is.
        keep_micros: an update time to keep where it does not lie before the stored one; None: now.
        exact: a sealed version to store byte for byte (adoption); overrides draft and keep_micros.
    """

    kind: Kind
    entity_id: str
    draft: Draft | None
    expected: Expected = None
    keep_micros: int | None = None
    exact: Version | None = None

    @property
    def key(self) -> Key:
        """Kind and id."""
        return self.kind, self.entity_id


@dataclass(slots=True)
class Batch:
    """Changes that take effect together or not at all.

    Attributes:
        operations: in order; a later one of the same entity sees the earlier.
        outcomes: for each operation the stored version, or for a delete whether it was there.
        made_for: the vector index that its vectors were made for; None: whichever the store has.
        error: why the batch was refused; nothing of it is stored then.
        size: bytes of its journal payload, within a few per record.
        deletes_only: whether it can only free space.
    """

    operations: Sequence[Operation]
    outcomes: list[Version | bool] = field(default_factory=list)
    error: SynthiansMemoryError | None = None
    made_for: VectorView | None = None
    size: int = field(init=False)
    deletes_only: bool = field(init=False)

    def __post_init__(self) -> None:
        drafts = [operation.draft for operation in self.operations]
        sizes = [record_size(o.entity_id, d.size if d else 0) for o, d in zip(self.operations, drafts, strict=True)]
        self.size = packed_size(sizes)
        self.deletes_only = not any(drafts)


class _Stored(NamedTuple):
    updated_micros: int
    hash: bytes
    expires_micros: int


class _Prepared(NamedTuple):
    """A batch as it goes to the journal: its records, and the state it leaves."""

    batch: Batch
    records: list[Record]
    layer: Layer


class Committer:
    """Commits groups of batches; used by one thread, the writer."""

    def __init__(self, state: StoreState) -> None:
        self._state = state
        self.applier = Applier(state)
        self.unforced = 0

    def commit(self, batches: Sequence[Batch]) -> None:
        """Commit a group; afterwards each batch has its outcomes or its error.

        With durability "commit" every acknowledged batch is durable. Write mode "through": it is in its files
        as well, or stuck in the overlay; "behind": changes of up to behind_bytes wait for their files.
        With "interval" it is in the journal, and the rest follows at `end_interval`.

        Raises:
            JournalFailedError: with "interval", the sync failed; the batches stay visible, and may be lost at
                a crash.
        """
        prepared = self._prepare(batches)
        written = self._append(prepared)
        durable = self._state.config.durability == "commit"
        if durable and not self._sync(written):
            return
        self._publish(written)
        if durable or self.unforced >= self._state.config.flush_threshold:
            self.end_interval()
        elif self._state.config.write_mode == "behind":
            self._keep_bound()

    def end_interval(self) -> None:
        """Make everything acknowledged durable in the journal, and write the files that may not wait.

        Raises:
            JournalFailedError: as `force`.
        """
        self._sync_journal()
        if self._state.config.write_mode == "through":
            self.applier.write(self.applier.waiting)
        else:
            self._keep_bound()

    def force(self) -> None:
        """Make everything acknowledged durable in the journal and write its files.

        Raises:
            JournalFailedError: the sync failed; what it covered stays visible, and may be lost at a crash.
        """
        self._sync_journal()
        self.applier.write(self.applier.waiting)

    @property
    def ready(self) -> int:
        """Entities with a change that waits for its file, and is durable in the journal."""
        return 0 if self.unforced else self.applier.waiting

    def write_files(self, most: int) -> int:
        """Write the files of up to `most` changes that are `ready`, the oldest first; returns how many."""
        return self.applier.write(min(most, self.ready))

    def _keep_bound(self) -> None:
        """Write files until no more than behind_bytes wait: whoever adds to them is acknowledged after that."""
        while self._state.overlay.waiting_bytes > self._state.config.behind_bytes:
            self._sync_journal()
            self.applier.write(1)

    def _sync_journal(self) -> None:
        journal = self._state.journal
        if journal is None:
            return
        try:
            journal.sync()
        except DiskError:
            self.note_journal_failure()
            raise
        self.unforced = 0

    def append_stuck_again(self) -> None:
        """Give what is still stuck a new sequence, durably, so that the old one may be dropped.

        Raises:
            DiskError: that failed; the old sequence must not be passed.
        """
        journal = self._state.journal
        if not self._state.overlay.stuck or journal is None:
            return
        frames = [[encode_record(record) for record in records] for records in self.applier.records_again()]
        while frames:
            # What finds no room is tried once more, for the error that says why.
            frames = frames[len(journal.append(frames)) :]
        journal.sync()

    # Preparing

    def _prepare(self, batches: Sequence[Batch]) -> list[_Prepared]:
        ahead: dict[Key, _Stored | None] = {}
        prepared: list[_Prepared] = []
        for batch in batches:
            try:
                self._admit(batch)
                prepared.append(self._stamp(batch, ahead))
            except SynthiansMemoryError as error:
                batch.error = error
        return prepared

    def _admit(self, batch: Batch) -> None:
        state = self._state
        if state.read_only_reason:
            raise ReadOnlyError(f"the store is read-only: {state.read_only_reason}")
        if batch.size > state.config.max_batch_bytes:
            raise BatchTooLargeError(f"the batch has {batch.size} bytes, over {state.config.max_batch_bytes}")
        if not batch.deletes_only and state.overlay.stuck_bytes > state.config.overlay_bytes:
            raise OverloadedError(f"{state.overlay.stuck_bytes} bytes wait for files that cannot be written")
        self._admit_vectors(batch)

    def _admit_vectors(self, batch: Batch) -> None:
        superblock = self._state.superblock
        dimension = superblock.embedding_dimension or self._state.config.embedding_dimension
        for operation in batch.operations:
            vector = operation.draft.entity.vector if operation.draft else None
            if vector is not None:
                dimension = dimension or len(vector)
                self._require_model(batch, operation)
                require_vector(vector, dimension, superblock.metric, operation.entity_id)
        if dimension is not None and superblock.embedding_dimension is None:
            # Durable before the first vector is acknowledged.
            self._state.change_superblock(embedding_dimension=dimension)

    def _require_model(self, batch: Batch, operation: Operation) -> None:
        """Refuse a vector that is known to be of the model before: EmbedderMismatchError."""
        draft, state = operation.draft, self._state
        late = batch.made_for is not None and batch.made_for is not state.vectors
        if late or (draft is not None and state.is_superseded(operation.key, draft.embedding_hash)):
            raise EmbedderMismatchError(
                f"the vector of {operation.entity_id!r} is of the model before; the store was changed to "
                f"{state.superblock.embedder!r}",
                hint="Load the entity again, or embed its text with the present embedder, and save that.",
            )

    def _stamp(self, batch: Batch, ahead: dict[Key, _Stored | None]) -> _Prepared:
        """Check expectations and stamp versions; `ahead` is what earlier batches of the group leave."""
        own: dict[Key, _Stored | None] = {}
        now = self._state.clock.micros()
        prepared = _Prepared(batch, [], {})
        for operation in batch.operations:
            key = operation.key
            stored = own[key] if key in own else ahead[key] if key in ahead else self._stored(key)
            there = stored if stored is not None and now < stored.expires_micros else None
            _require_expected(operation, there)
            if operation.draft is None:
                batch.outcomes.append(there is not None)
                if stored is not None:
                    own[key] = None
                    prepared.layer[key] = None
                    prepared.records.append(Record(*key, None, self._state.clock.micros(), stored.hash))
                continue
            version = operation.exact or operation.draft.stamp(self._update_time(operation, stored))
            own[key] = _Stored(version.updated_micros, version.hash, expiry_of(version.entity))
            prepared.layer[key] = version
            predecessor = stored.hash if stored else NO_HASH
            prepared.records.append(Record(*key, version.data, version.updated_micros, predecessor))
            batch.outcomes.append(version)
        ahead.update(own)
        return prepared

    def _stored(self, key: Key) -> _Stored | None:
        row = self._state.index.packed(key)
        if row is None:
            return None
        expires = expires_of(row)
        return _Stored(updated_of(row), hash_of(row), NEVER if expires == UNKNOWN else expires)

    def _is_there(self, key: Key) -> bool:
        """Whether an entity is stored that has not expired."""
        stored = self._stored(key)
        return stored is not None and self._state.clock.micros() < stored.expires_micros

    def _update_time(self, operation: Operation, stored: _Stored | None) -> int:
        wanted = self._state.clock.micros() if operation.keep_micros is None else operation.keep_micros
        return wanted if stored is None else max(wanted, stored.updated_micros + 1)

    # The journal

    def _append(self, prepared: list[_Prepared]) -> list[_Prepared]:
        """Write the frames; returns what was written. Those that found no room are tried again one by one."""
        todo = [p for p in prepared if p.records]
        written = self._append_together(todo) if todo else 0
        failed: SynthiansMemoryError | None = None
        for one in todo[written:]:
            # A batch that only deletes may still find room in the reserve; a later save must not overtake.
            if one.batch.error is None and (failed is None or one.batch.deletes_only):
                self._append_alone(one)
            one.batch.error = one.batch.error or (None if one.batch.deletes_only else failed)
            failed = failed or one.batch.error
        if failed is not None:
            self._refuse_misled([p for p in prepared if not p.records], failed)
        return [p for p in prepared if p.batch.error is None]

    def _refuse_misled(self, unrecorded: list[_Prepared], error: SynthiansMemoryError) -> None:
        """Refuse what had nothing to record because of what earlier batches of the group would have done."""
        lost = self.note_journal_failure()
        for one in unrecorded:
            if lost or any(self._state.index.hash(o.key) is not None for o in one.batch.operations):
                one.batch.error = error

    def _append_together(self, todo: list[_Prepared]) -> int:
        """How many of the batches were written, from the first on."""
        try:
            return self._append_frames(todo, deletes_only=all(one.batch.deletes_only for one in todo))
        except SynthiansMemoryError as error:
            if self.note_journal_failure():
                _fail_all(todo, error)
            return 0

    def _append_alone(self, one: _Prepared) -> None:
        try:
            self._append_frames([one], deletes_only=one.batch.deletes_only)
        except SynthiansMemoryError as error:
            self.note_journal_failure()
            one.batch.error = error
            return
        if one.batch.deletes_only:
            # What an earlier batch of the group would have stored may not have been.
            one.batch.outcomes[:] = [self._is_there(o.key) for o in one.batch.operations]

    def _append_frames(self, prepared: list[_Prepared], *, deletes_only: bool) -> int:
        journal = self._state.journal
        if journal is None:
            raise ReadOnlyError("the store is open read-only")
        frames = [[encode_record(r) for r in p.records] for p in prepared]
        return len(journal.append(frames, deletes_only=deletes_only))

    def note_journal_failure(self) -> bool:
        """Whether the journal has failed; the store is read-only from then on."""
        journal = self._state.journal
        if journal is not None and journal.failure is not None:
            self._state.read_only_reason = f"{journal.failure.message}; close it and open it again"
            return True
        return False

    def _sync(self, written: list[_Prepared]) -> bool:
        try:
            if self._state.journal is not None:
                self._state.journal.sync()
        except DiskError as error:
            self.note_journal_failure()
            _fail_all(written, error)
            return False
        return True

    # Becoming visible

    def _publish(self, written: list[_Prepared]) -> None:
        layer: Layer = {}
        for prepared in written:
            layer.update(prepared.layer)
            self.unforced += len(prepared.records)
        if not layer:
            return
        self.applier.publish(layer)
        changes = [describe(version) if version else Change(key, None) for key, version in layer.items()]
        self._state.index.apply(changes)
        self._state.vectors.apply(changes)
        self._state.text.note(changes, self._state.journal.last_sequence if self._state.journal else 0)
        self._fill_cache(layer)
        self._state.counters.groups += 1

    def _fill_cache(self, layer: Layer) -> None:
        for key, version in layer.items():
            if version is None:
                self._state.cache.discard(key)
                self._state.counters.deletes += 1
            else:
                self._state.cache.put(
                    key, Cached(version.hash, version.entity, version.updated_micros), len(version.data)
                )
                self._state.counters.saves += 1


def _fail_all(prepared: Iterable[_Prepared], error: SynthiansMemoryError) -> None:
    for one in prepared:
        one.batch.error = error


def require_vector(vector: Vector, dimension: int, metric: str, entity_id: str) -> None:
    """Refuse a vector that the store cannot compare: DimensionError, or InvalidValueError for a zero one."""
    if len(vector) != dimension:
        raise DimensionError(
            f"the vector of {entity_id!r} has {len(vector)} numbers, the store's have {dimension}",
            hint="Embed it with the embedder that made the store.",
        )
    if metric == "cosine" and not vector.any():
        raise InvalidValueError(
            f"the vector of {entity_id!r} is zero, which has no direction to compare by cosine",
            hint="Leave the vector out, or make the store with another metric.",
        )


def _require_expected(operation: Operation, stored: _Stored | None) -> None:
    expected = operation.expected
    if expected is None:
        return
    at = None if stored is None else from_micros(stored.updated_micros)
    if isinstance(expected, Absent):
        if stored is not None:
            raise ConflictError(
                f"{operation.kind} {operation.entity_id!r} exists already", entity_id=operation.entity_id, stored=at
            )
    elif stored is None or stored.updated_micros != to_micros(expected):
        what = "does not exist" if at is None else f"was updated at {at.isoformat()}"
        raise ConflictError(
            f"{operation.kind} {operation.entity_id!r} {what}, not at {expected.isoformat()}",
            entity_id=operation.entity_id,
            stored=at,
        )
