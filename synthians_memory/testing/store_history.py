"""What a store was asked to hold, call by call, and the states in which a crash may leave it.

It is not a store, and it reads no file: it remembers what it saw go in, and which of that was acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NoReturn

from synthians_memory.codec import Version, content_hash_text, encode
from synthians_memory.config import StoreConfig
from synthians_memory.engine.commit import Batch, Expected, Operation
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.errors import ChangedOutsideError, DamagedError, JournalFailedError
from synthians_memory.models import Entity
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock

__all__ = ["DrivenStore", "State", "StoreHistory", "delete", "fail", "observe", "require", "save"]

# What a store holds: the version of each entity that is there.
State = Mapping[Key, Version]
Observed = Mapping[Key, Entity]


def require(condition: object, complaint: str) -> None:
    """Raise AssertionError with `complaint` unless `condition` holds."""
    if not condition:
        fail(complaint)


def fail(complaint: str) -> NoReturn:
    """Raise AssertionError: a promise of the store is broken."""
    raise AssertionError(complaint)


def save(entity: Entity, expected: Expected = None) -> Operation:
    """The operation that saves `entity`."""
    return Operation(entity.kind, entity.entity_id, encode(entity), expected)


def delete(key: Key, expected: Expected = None) -> Operation:
    """The operation that deletes an entity."""
    return Operation(*key, None, expected)


def observe(store: Store) -> dict[Key, Entity]:
    """Everything that `store` holds, expired or not, loaded through it.

    Raises:
        AssertionError: something in it cannot be served.
        DiskError: something cannot be read.
    """
    found: dict[Key, Entity] = {}
    for kind, rows in store.state.index.rows.items():
        for entity_id in rows:
            try:
                entity = store.stored((kind, entity_id))
            except (DamagedError, ChangedOutsideError) as error:
                raise AssertionError(error.message) from error
            if entity is not None:
                found[kind, entity_id] = entity
    return found


@dataclass
class StoreHistory:
    """The states of one store in the order in which its batches led to them.

    A crash must leave one of `states[certain:]`: nothing acknowledged is lost, and of the rest a
    beginning is there, batch by batch, never a hole and never a part.

    Attributes:
        states: the first is where it began; each later one is one batch further.
        visible: index of the state that was acknowledged last.
        certain: index of the state that was acknowledged last as durable; at most `visible`.
        sequence: the highest acknowledged sequence of the journal.
        journal_failed: whether the present life may acknowledge nothing any more.
    """

    states: list[State] = field(default_factory=lambda: [{}])
    visible: int = 0
    certain: int = 0
    sequence: int = 0
    journal_failed: bool = False

    def copy(self) -> StoreHistory:
        """A history of its own with the same past."""
        return replace(self, states=list(self.states))

    def note(self, batches: Sequence[Batch], *, returned: bool, durable: bool) -> None:
        """Record a group that was committed, or died in it.

        Args:
            batches: with their outcomes, as far as they came.
            returned: whether the commit returned, so that every batch without an error is acknowledged.
            durable: whether acknowledged means durable.
        """
        for batch in batches:
            if not self._may_be_written(batch):
                continue
            self.states.append(_after(self.states[-1], batch))
            if returned and batch.error is None:
                require(not self.journal_failed, "a batch was acknowledged after the journal had failed")
                self.visible = len(self.states) - 1
        self.journal_failed |= any(isinstance(batch.error, JournalFailedError) for batch in batches)
        if durable:
            self.certain = self.visible

    def _may_be_written(self, batch: Batch) -> bool:
        # A refused batch stopped at the operation that was refused, or lacks room in the journal altogether.
        complete = len(batch.outcomes) == len(batch.operations)
        return complete and (batch.error is None or isinstance(batch.error, JournalFailedError))

    def match(self, observed: Observed, *, at_least: int | None = None) -> int:
        """Index of the state that `observed` is; AssertionError where it is none that may be left.

        Args:
            observed: what a store holds.
            at_least: the oldest state admitted; default `certain`.
        """
        first = self.certain if at_least is None else at_least
        for index in range(len(self.states) - 1, first - 1, -1):
            if not _differences(self.states[index], observed):
                return index
        complaints = "; ".join(_differences(self.states[first], observed))
        return fail(
            f"the store holds none of {len(self.states) - first} possible states; against the oldest: {complaints}"
        )

    def settle(self, index: int) -> None:
        """A new life of the store began with the state of that index: it is the only possible one now."""
        self.states = [self.states[index]]
        self.visible = self.certain = 0
        self.journal_failed = False

    @property
    def last(self) -> State:
        """The state that was acknowledged last."""
        return self.states[self.visible]


def _after(state: State, batch: Batch) -> State:
    changed = dict(state)
    for operation, outcome in zip(batch.operations, batch.outcomes, strict=True):
        if isinstance(outcome, Version):
            changed[operation.key] = outcome
        else:
            changed.pop(operation.key, None)
    return changed


def _differences(state: State, observed: Observed) -> list[str]:
    """In which entities the two differ, and how."""
    found: list[str] = []
    for key in sorted(state.keys() | observed.keys()):
        version, entity = state.get(key), observed.get(key)
        if version is None or entity is None:
            found.append(f"{key} is {'there' if entity is not None else 'missing'}")
        elif entity.__dict__["content_hash"] != content_hash_text(version.hash):
            found.append(f"{key} is another version")
        elif entity != version.stored_entity():
            found.append(f"{key} has the right hash and another value")
    return found


class DrivenStore:
    """An open store whose every change goes into a history before its caller hears of it."""

    def __init__(self, store: Store, history: StoreHistory) -> None:
        self.store = store
        self.history = history
        self.is_open = True

    @classmethod
    def open(cls, backend: Backend, config: StoreConfig, clock: Clock, history: StoreHistory) -> DrivenStore:
        """Open the store; once that returned, what it holds is certain. Raises as `Store.open`."""
        store = Store.open(backend, config, clock)
        history.settle(history.match(observe(store)))
        return cls(store, history)

    def commit(self, *batches: Sequence[Operation]) -> list[Batch]:
        """Commit one group; its batches with their outcomes. Raises as `Store.commit`."""
        made = [Batch(operations) for operations in batches]
        returned = False
        try:
            self.store.commit(made)
            returned = True
        finally:
            self.history.note(made, returned=returned, durable=self._forced())
            self._note_sequence(returned=returned)
        return made

    def _forced(self) -> bool:
        committer = self.store.committer
        return self.store.state.config.durability == "commit" or committer.unforced == 0

    def _note_sequence(self, *, returned: bool) -> None:
        journal = self.store.state.journal
        if returned and journal is not None:
            self.history.sequence = max(self.history.sequence, journal.synced_through)

    def save(self, *entities: Entity) -> list[Batch]:
        """Commit one batch that saves them."""
        return self.commit([save(entity) for entity in entities])

    def delete(self, *keys: Key) -> list[Batch]:
        """Commit one batch that deletes them."""
        return self.commit([delete(key) for key in keys])

    def flush(self) -> None:
        """As `Store.flush`; what was acknowledged is certain then."""
        self._durably(self.store.flush)

    def checkpoint(self) -> None:
        """As `Store.checkpoint`; what was acknowledged is certain then."""
        self._durably(self.store.checkpoint)

    def close(self) -> None:
        """As `Store.close`; what was acknowledged is certain then."""
        self.is_open = False
        self._durably(self.store.close)

    def _durably(self, step: Callable[[], object]) -> None:
        try:
            step()
        except JournalFailedError:
            self.history.journal_failed = True
            raise
        self.history.certain = self.history.visible
        self._note_sequence(returned=True)

    def require_readable(self) -> None:
        """What was acknowledged is served at once, whatever the disk refuses."""
        self.history.match(observe(self.store), at_least=self.history.visible)

    def require_peace(self) -> None:
        """Nothing of its own was taken for a version written outside, and set aside."""
        conflicts = [note.message for note in self.store.state.notes if note.code == "conflict"]
        require(not conflicts, f"without anybody outside: {conflicts}")

    def require_alive(self) -> None:
        """On a disk that fails no more it makes a checkpoint, or says that only opening it again helps."""
        journal = self.store.state.journal
        if self.is_open and journal is not None and journal.failure is None:
            self.checkpoint()
            require(not self.store.state.overlay.stuck, "what waited for its files still waits")
