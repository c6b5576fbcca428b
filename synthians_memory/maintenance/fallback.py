"""The place of last resort for memories that could not be stored: `logs/fallback.jsonl`, on space reserved ahead.

It is not a journal: nothing in it counts as stored before `replay` has stored it.

The file is JSON lines, filled up with empty ones. Parking a memory overwrites empty lines, and removing it makes the line
empty again: the file has the blocks already, so that both work on the very disk that was too full for the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from synthians_memory.codec import line_of, parse_line
from synthians_memory.engine.commit import ABSENT, Expected
from synthians_memory.engine.documents import write_whole
from synthians_memory.errors import ConflictError, InvalidTypeError, InvalidValueError
from synthians_memory.layout import FALLBACK
from synthians_memory.maintenance.logs_folder import PATIENCE, locked_logs
from synthians_memory.models import MemoryEntry
from synthians_memory.storage.backend import Backend

__all__ = ["RESERVED_BYTES", "Fallback", "ReplayReport", "parked_memory", "replay"]

RESERVED_BYTES: Final = 1024 * 1024
_LINE_END: Final = b"\n"
# How a line goes on behind its first byte.
_SPENT: Final = b'"kind":'


@dataclass(frozen=True, slots=True)
class ReplayReport:
    """What `replay` did.

    Attributes:
        stored: ids of the memories that are in the store now.
        known: ids of those that were there before.
        unreadable: lines, as far as they can be shown, that hold no memory; they stay in the file.
    """

    stored: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


class Fallback:
    """The file of parked memories of one store. Each call opens the medium for itself; safe from any thread and process.

    Args:
        open_backend: opens the store's medium.
        patience: how long to wait where somebody else keeps the file busy, seconds.
    """

    def __init__(self, open_backend: Callable[[], Backend], *, patience: float = PATIENCE) -> None:
        self._open_backend = open_backend
        self._patience = patience

    def reserve(self, size: int = RESERVED_BYTES) -> None:
        """Make the file, with room for `size` bytes, where there is none yet; durable, idempotent.

        Raises:
            StoreLockedError: somebody else keeps the file busy.
            DiskError: it cannot be made.
        """
        with locked_logs(self._open_backend, self._patience) as backend:
            stat = backend.stat(FALLBACK)
            if stat is None:
                write_whole(backend, FALLBACK, [_LINE_END * size])

    def park(self, entry: MemoryEntry) -> None:
        """Keep `entry`, durably, until `replay` stores it.

        Raises:
            StoreLockedError: somebody else keeps the file busy.
            DiskError: there is no room, or the file cannot be written; `entry` may not be there.
        """
        line = line_of(entry) + _LINE_END
        with locked_logs(self._open_backend, self._patience) as backend:
            data = backend.read(FALLBACK)
            if data is None:
                write_whole(backend, FALLBACK, [line])
                return
            used = len(data.rstrip(_LINE_END))
            file = backend.open_existing(FALLBACK)
            try:
                # A line that an interrupted call left torn is ended first, and so stays a line of its own.
                file.write_at(used, _LINE_END + line if used else line)
                file.sync()
            finally:
                file.close()

    def lines(self) -> list[bytes]:
        """What is parked, oldest first; nothing where there is no file. Changes nothing; raises DiskError."""
        backend = self._open_backend()
        try:
            return [place.line for place in _places(backend.read(FALLBACK) or b"")]
        finally:
            backend.close()

    def remove(self, lines: Collection[bytes]) -> None:
        """Take `lines` out of the file, where they stand; others, also those parked meanwhile, stay. Takes no space.

        Raises:
            StoreLockedError, DiskError: as `park`; of each line it is unknown whether it is out.
        """
        if not lines:
            return
        with locked_logs(self._open_backend, self._patience) as backend:
            places = [place for place in _places(backend.read(FALLBACK) or b"") if place.line in lines]
            file = backend.open_existing(FALLBACK)
            try:
                # One byte decides, and is never torn: a line without its first one is spent.
                for place in places:
                    file.write_at(place.offset, _LINE_END)
                file.sync()
                for place in places:
                    file.write_at(place.offset, _LINE_END * len(place.line))
                file.sync()
            finally:
                file.close()


class Store(Protocol):
    """What stores one memory, as `searching.remember` does."""

    def __call__(self, entry: MemoryEntry, expected: Expected) -> Awaitable[MemoryEntry]: ...


async def replay(fallback: Fallback, store: Store) -> ReplayReport:
    """Store what is parked in `fallback`, each memory once, however often this is interrupted and repeated.

    Raises:
        DiskError, ReadOnlyError, OverloadedError: `store` still cannot take them; those that are left stay parked.
        StoreLockedError: as `Fallback.remove`.
    """
    stored: list[str] = []
    known: list[str] = []
    unreadable: list[str] = []
    done: set[bytes] = set()
    try:
        for line in await asyncio.to_thread(fallback.lines):
            entry = parked_memory(line)
            if entry is None:
                unreadable.append(line[:80].decode(errors="replace"))
                continue
            (stored if await _store_new(store, entry) else known).append(entry.memory_id)
            done.add(line)
    finally:
        await asyncio.to_thread(fallback.remove, done)
    return ReplayReport(tuple(stored), tuple(known), tuple(unreadable))


class _Place(NamedTuple):
    offset: int
    line: bytes


def _places(data: bytes) -> Iterator[_Place]:
    """The lines of the file that count, and where they begin."""
    offset = 0
    for line in data.rstrip(_LINE_END).split(_LINE_END):
        if line and not line.startswith(_SPENT):
            yield _Place(offset, line)
        offset += len(line) + len(_LINE_END)


def parked_memory(line: bytes) -> MemoryEntry | None:
    """The memory in one line of the file; None where it holds none."""
    try:
        entity = parse_line(line).entity
    except (InvalidValueError, InvalidTypeError):
        return None
    return entity if isinstance(entity, MemoryEntry) else None


async def _store_new(store: Store, entry: MemoryEntry) -> bool:
    """Whether `entry` was stored; not, where its id is known. An id is drawn once, so it was stored already then."""
    try:
        await store(entry, ABSENT)
    except ConflictError:
        return False
    return True
