"""What is acknowledged and not yet in entity files, visible to every load.

It is not a cache: what stands here is nowhere else but in the journal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from synthians_memory.codec import Version
from synthians_memory.engine.records import Key
from synthians_memory.errors import DiskError

__all__ = ["Layer", "Overlay", "Stuck"]

# Changes that become visible together: the latest version of each entity, None where it was deleted.
Layer = dict[Key, Version | None]


class _Undecided(Enum):
    UNDECIDED = "undecided"


_UNDECIDED: Final = _Undecided.UNDECIDED
_EMPTY: Final[Mapping[Key, Version | None]] = {}
# What a delete that waits counts for.
_DELETE_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Stuck:
    """A change that could not be written to its file.

    Attributes:
        version: what should be there; None for a delete.
        known: content hashes that the file may still have without being foreign.
        error: why the last attempt failed.
    """

    version: Version | None
    known: frozenset[bytes]
    error: DiskError

    @property
    def size(self) -> int:
        """Bytes it holds."""
        return len(self.version.data) if self.version else 0


class Overlay:
    """Changes that wait for their files, and those that are stuck; written by one thread, read by any.

    A layer becomes visible by one assignment, so that a batch is seen whole or not at all: `publish` lets
    `_arriving` point to it before the first of its changes is copied to `_waiting`, and away from it only after the
    last one. Readers look at `_arriving` first. Whoever sees one change of the layer, in the one or in the
    other, began to look at the next one later, and finds it too. Looking up and removing one key of a dict are
    atomic, and nobody goes through `_waiting` while it changes.
    """

    def __init__(self) -> None:
        self._arriving: Mapping[Key, Version | None] = _EMPTY
        self._waiting: Layer = {}
        self.waiting_bytes = 0
        self.stuck: dict[Key, Stuck] = {}
        self.stuck_bytes = 0

    @property
    def waiting(self) -> int:
        """Entities with a change that waits for its file."""
        return len(self._waiting)

    def get(self, key: Key) -> tuple[bool, Version | None]:
        """Whether the overlay decides about `key`, and the version; None for a deleted entity. O(1)."""
        found = self._arriving.get(key, _UNDECIDED)
        if found is _UNDECIDED:
            found = self._waiting.get(key, _UNDECIDED)
        if found is not _UNDECIDED:
            return True, found
        stuck = self.stuck.get(key)
        return (False, None) if stuck is None else (True, stuck.version)

    def publish(self, layer: Layer) -> None:
        """Make `layer` visible at once; it takes the place of what waits for the same entities."""
        self._arriving = layer
        for key, version in layer.items():
            self.waiting_bytes += _size(version) - _size_of(self._waiting.get(key, _UNDECIDED))
            self._waiting[key] = version
        self._arriving = _EMPTY

    def settle(self, key: Key) -> None:
        """Take away the change that waits for the file of `key`: it is there, or stuck now."""
        self.waiting_bytes -= _size_of(self._waiting.pop(key, _UNDECIDED))

    def hold(self, key: Key, stuck: Stuck) -> None:
        """Keep a change that could not be applied."""
        self.release(key)
        self.stuck[key] = stuck
        self.stuck_bytes += stuck.size

    def release(self, key: Key) -> None:
        """Forget the stuck change of `key`: it is applied, or superseded."""
        old = self.stuck.pop(key, None)
        if old is not None:
            self.stuck_bytes -= old.size

    def pending(self) -> list[tuple[Key, Stuck]]:
        """What is stuck, in the order in which it got stuck; a copy, for any thread."""
        return list(self.stuck.items())


def _size_of(found: Version | _Undecided | None) -> int:
    return 0 if found is _UNDECIDED else _size(found)


def _size(version: Version | None) -> int:
    return _DELETE_BYTES if version is None else len(version.data)
