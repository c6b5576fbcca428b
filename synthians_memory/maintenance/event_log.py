"""Logs of a store for people and programs: one JSON object a line, in a file of `logs/`, rotated by size.

It is not the journal, and nothing is ever recovered from it. No log holds the content of a memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import orjson

from synthians_memory.maintenance.logs_folder import locked_logs
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock, format_time, from_micros

__all__ = ["MOST_LOG_BYTES", "EventLog"]

MOST_LOG_BYTES: Final = 1024 * 1024
_KEPT: Final = 3


class EventLog:
    """One log of one store. Each call opens the medium for itself; safe from any thread and process.

    Args:
        open_backend: opens the store's medium.
        path: the file, in `logs/`.
        clock: source of time.
        most_bytes: size from which the file is set aside as `<name>.1` before the next line, and those before it move
            on to `.2` and `.3`; older ones are dropped.
    """

    def __init__(
        self, open_backend: Callable[[], Backend], path: str, clock: Clock, *, most_bytes: int = MOST_LOG_BYTES
    ) -> None:
        self._open_backend = open_backend
        self._path = path
        self._clock = clock
        self._most_bytes = most_bytes

    def append(self, **fields: Any) -> None:
        """Add one line: the time as `at`, then `fields`. Not synced: a power cut may lose the last lines.

        Raises:
            StoreLockedError: somebody else keeps the logs busy.
            DiskError: it cannot be written.
        """
        now = format_time(from_micros(self._clock.micros()))
        line = orjson.dumps({"at": now, **fields}) + b"\n"
        with locked_logs(self._open_backend) as backend:
            self._rotate(backend)
            stat = backend.stat(self._path)
            file = backend.create(self._path) if stat is None else backend.open_existing(self._path)
            try:
                # A line that a killed process left torn is ended first.
                torn = stat is not None and stat.size > 0 and backend.read(self._path, stat.size - 1) != b"\n"
                file.write(b"\n" + line if torn else line)
            finally:
                file.close()

    def rotate(self) -> None:
        """Set the file aside where it has grown to its bound, as the next line would. Raises as `append`."""
        with locked_logs(self._open_backend) as backend:
            self._rotate(backend)

    def _rotate(self, backend: Backend) -> None:
        stat = backend.stat(self._path)
        if stat is None or stat.size < self._most_bytes:
            return
        names = [self._path, *(f"{self._path}.{number}" for number in range(1, _KEPT + 1))]
        for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
            if backend.stat(newer) is not None:
                backend.replace(newer, older)
