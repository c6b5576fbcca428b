"""A transaction: changes gathered first, then committed as one batch.

It holds no lock and isolates nothing; `expected_updated_at` is what detects another writer's change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime

from synthians_memory.codec import Version, encode
from synthians_memory.engine.commit import Absent, Expected, Operation
from synthians_memory.engine.expiry import unexpired
from synthians_memory.engine.records import Key
from synthians_memory.errors import InvalidTypeError, UsageError
from synthians_memory.layout import validate_id
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry
from synthians_memory.times import Clock, as_utc

__all__ = [
    "Transaction",
    "checked_expected",
    "require_assembly",
    "require_memory",
    "save_operation",
    "stored_outcome",
]


def require_memory(value: object) -> MemoryEntry:
    """`value`, if it is a MemoryEntry; else InvalidTypeError."""
    if not isinstance(value, MemoryEntry):
        raise InvalidTypeError(f"a MemoryEntry is needed, not {type(value).__name__}")
    return value


def require_assembly(value: object) -> MemoryAssembly:
    """`value`, if it is a MemoryAssembly; else InvalidTypeError."""
    if not isinstance(value, MemoryAssembly):
        raise InvalidTypeError(f"a MemoryAssembly is needed, not {type(value).__name__}")
    return value


def checked_expected(value: datetime | Absent | None) -> Expected:
    """`value` as the writer compares it."""
    return value if value is None or isinstance(value, Absent) else as_utc(value, "expected_updated_at")


def save_operation(entity: Entity, expected: datetime | Absent | None = None) -> Operation:
    """The operation that stores `entity`; raises by what was put into one of its objects."""
    return Operation(entity.kind, entity.entity_id, encode(entity), checked_expected(expected))


def stored_outcome(outcome: Version | bool) -> Entity:
    """The entity that a save has stored."""
    if not isinstance(outcome, Version):
        raise UsageError("a save was answered like a delete")
    return outcome.stored_entity()


class Transaction:
    """Gathers changes; made by `Persistence.transaction`, which commits them at its end."""

    def __init__(self, load: Callable[[Key], Awaitable[Entity | None]], clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._open = True
        self.operations: list[Operation] = []

    def save_memory(self, entry: MemoryEntry, *, expected_updated_at: Expected = None) -> None:
        """Store `entry` at the end of the transaction; raises for what could never be stored."""
        self._add(require_memory(entry), expected_updated_at)

    def save_assembly(self, assembly: MemoryAssembly, *, expected_updated_at: Expected = None) -> None:
        """Store `assembly` at the end of the transaction; raises for what could never be stored."""
        self._add(require_assembly(assembly), expected_updated_at)

    def delete_memory(self, memory_id: str, *, expected_updated_at: Expected = None) -> None:
        """Delete a memory at the end of the transaction; nothing where it is not there."""
        self._delete(("memory", validate_id(memory_id)), expected_updated_at)

    def delete_assembly(self, assembly_id: str, *, expected_updated_at: Expected = None) -> None:
        """Delete an assembly at the end of the transaction; nothing where it is not there."""
        self._delete(("assembly", validate_id(assembly_id)), expected_updated_at)

    async def load_memory(self, memory_id: str) -> MemoryEntry | None:
        """The memory as the transaction leaves it so far; without stamped fields where it was saved in it."""
        found = await self._read(("memory", validate_id(memory_id)))
        return found if isinstance(found, MemoryEntry) else None

    async def load_assembly(self, assembly_id: str) -> MemoryAssembly | None:
        """The assembly as the transaction leaves it so far; as `load_memory`."""
        found = await self._read(("assembly", validate_id(assembly_id)))
        return found if isinstance(found, MemoryAssembly) else None

    async def _read(self, key: Key) -> Entity | None:
        self._require_open()
        for operation in reversed(self.operations):
            if operation.key == key:
                entity = operation.draft.entity if operation.draft else None
                return entity.detached() if entity is not None and unexpired(entity, self._clock) else None
        return await self._load(key)

    def _add(self, entity: Entity, expected: Expected) -> None:
        self._require_open()
        operation = Operation(entity.kind, entity.entity_id, encode(entity), checked_expected(expected))
        self.operations.append(operation)

    def _delete(self, key: Key, expected: Expected) -> None:
        self._require_open()
        self.operations.append(Operation(*key, None, checked_expected(expected)))

    def _require_open(self) -> None:
        if not self._open:
            raise UsageError("the transaction has ended", hint="Begin a new one.")

    def end(self) -> list[Operation]:
        """Take no more changes; returns what was gathered."""
        self._open = False
        return self.operations
