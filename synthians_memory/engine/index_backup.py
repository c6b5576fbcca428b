"""Rotating copies of memory_index.json, for people and as a hint when it has to be rebuilt.

It is not a backup of the store: it holds no memory.
"""

from __future__ import annotations

from synthians_memory.engine.documents import write_whole
from synthians_memory.layout import INDEX, INDEX_BACKUPS, index_backup_moment, index_backup_path
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock, from_micros, to_micros

__all__ = ["IndexBackups", "index_backups"]


def index_backups(backend: Backend) -> list[str]:
    """Names of the copies, oldest first; raises DiskError."""
    entries = backend.scan(INDEX_BACKUPS)
    return sorted(name for name, stat in entries if stat.kind == "file" and index_backup_moment(name) is not None)


class IndexBackups:
    """Keeps the newest `count` copies, at least `interval` seconds apart."""

    def __init__(self, backend: Backend, clock: Clock, count: int, interval: float) -> None:
        self._backend = backend
        self._clock = clock
        self._count = count
        self._interval_micros = int(interval * 1_000_000)
        self._last_micros: int | None = None
        self._looked = False

    def names(self) -> list[str]:
        """As `index_backups`."""
        return index_backups(self._backend)

    def due(self) -> bool:
        """Whether a copy is to be taken at this checkpoint."""
        if self._count == 0:
            return False
        if not self._looked:
            self._last_micros = self._newest_micros()
            self._looked = True
        # A clock that went backwards makes a copy due, never impossible.
        age = None if self._last_micros is None else self._clock.micros() - self._last_micros
        return age is None or age < 0 or age >= self._interval_micros

    def _newest_micros(self) -> int | None:
        moments = [moment for name in self.names() if (moment := index_backup_moment(name)) is not None]
        return to_micros(moments[-1]) if moments else None

    def keep(self) -> None:
        """Copy memory_index.json if that is due, and drop the oldest copies beyond the count; raises DiskError."""
        if not self.due():
            return
        data = self._backend.read(INDEX)
        if data is None:
            return
        now = self._clock.micros()
        path = index_backup_path(from_micros(now))
        write_whole(self._backend, path, [data])
        self._last_micros = now
        made = path.rpartition("/")[2]
        # Where the clock went backwards, those of the future are older than the one just made.
        for name in sorted(self.names(), key=lambda name: (name <= made, name))[: -self._count]:
            self._backend.unlink(f"{INDEX_BACKUPS}/{name}")
