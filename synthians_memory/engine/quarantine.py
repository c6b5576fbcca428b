"""Quarantine: where things are moved that are in the way, never to be deleted by the store.

It is not a backup: nothing in it is read again.
"""

from __future__ import annotations

import orjson

from synthians_memory.engine.documents import write_whole
from synthians_memory.layout import QUARANTINE, quarantine_path, stamp_of
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock, format_time, from_micros

__all__ = ["Quarantine"]

_NOTE = "reason.json"


class Quarantine:
    """Sets files aside, each in a folder of its own with a note of where it came from and why."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock

    def move(self, path: str, reason: str) -> str:
        """Move the entry at `path` (of any kind) aside, durably.

        Returns:
            Its new path.

        Raises:
            DiskError: it is still where it was.
        """
        target = self._prepare(path, reason)
        self._backend.replace(path, target)
        self._backend.sync_folder(target.rpartition("/")[0])
        self._backend.sync_folder(path.rpartition("/")[0])
        return target

    def sync(self) -> None:
        """Make durable what an interrupted process moved here and may not have synced; raises DiskError."""
        for name, stat in self._backend.scan(QUARANTINE):
            if stat.kind == "folder":
                self._backend.sync_folder(f"{QUARANTINE}/{name}")
        self._backend.sync_folder(QUARANTINE)

    def keep(self, path: str, data: bytes, reason: str) -> str:
        """Put a copy of `data`, found at `path`, aside, durably; returns its path."""
        target = self._prepare(path, reason)
        write_whole(self._backend, target, [data])
        return target

    def keep_beside(self, target: str, name: str, data: bytes) -> str:
        """Put `data` into the folder of an earlier `target`, under `name`; returns its path."""
        folder, slash, moved = target.rpartition("/")
        path = folder + slash + _beside(moved, name)
        write_whole(self._backend, path, [data])
        return path

    def _prepare(self, path: str, reason: str) -> str:
        micros = self._clock.micros()
        folder, name = path.rpartition("/")[::2]
        self._backend.make_folder(QUARANTINE)
        stamp = stamp_of(from_micros(micros))
        while not self._backend.make_folder(quarantine_path(stamp, "").rstrip("/")):
            micros += 1
            stamp = stamp_of(from_micros(micros))
        note = {"path": path, "folder": folder, "reason": reason, "time": format_time(from_micros(micros))}
        write_whole(self._backend, quarantine_path(stamp, _beside(name, _NOTE)), [orjson.dumps(note) + b"\n"])
        self._backend.sync_folder(QUARANTINE)
        return quarantine_path(stamp, name)


def _beside(moved: str, name: str) -> str:
    """`name`, or another one where what was moved is itself called so: the file of the id "reason", say."""
    return name if name != moved else f"of_{name}"
