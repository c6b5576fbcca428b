"""What is acknowledged and not yet in entity files, visible to every load.

It is not a cache: what stands here is nowhere else but in the journal.
"""

from __future__ import annotations

from dataclasses import dataclass

from synthians_memory.codec import Version
from synthians_memory.engine.records import Key
from synthians_memory.errors import DiskError

__all__ = ["Overlay", "Stuck"]

_Layer = dict[Key, Version | None]


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
    """Layers of changes, newest first; written by one thread, read by any.

    A layer becomes visible by one assignment, so that a batch is seen whole or not at all.
    """

    def __init__(self) -> None:
        self._layers: tuple[_Layer, ...] = ()
        self.stuck: dict[Key, Stuck] = {}
        self.stuck_bytes = 0

    def get(self, key: Key) -> tuple[bool, Version | None]:
        """Whether the overlay decides about `key`, and the version; None for a deleted entity."""
        for layer in self._layers:
            if key in layer:
                return True, layer[key]
        stuck = self.stuck.get(key)
        return (False, None) if stuck is None else (True, stuck.version)

    def publish(self, layer: _Layer) -> None:
        """Make `layer` visible at once; it must not change afterwards."""
        self._layers = (layer, *self._layers)

    def settle(self, layer: _Layer) -> None:
        """Take away `layer`, whose changes are in files or stuck now."""
        self._layers = tuple(other for other in self._layers if other is not layer)

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
