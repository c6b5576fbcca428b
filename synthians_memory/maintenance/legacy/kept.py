"""What could not be imported, kept in the store beside what was: its bytes as they are, and the reason.

It is not the quarantine of repair, though it lies there too: nothing of the store was in the way.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Final

import orjson

from synthians_memory.engine.documents import write_whole
from synthians_memory.layout import NOT_IMPORTED, QUARANTINE
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock, format_time, from_micros

__all__ = ["KeptBeside", "Pieces", "digest_of", "printable"]

# Reads the same bytes each time it is called.
Pieces = Callable[[], Iterator[bytes]]

_ORIGINAL: Final = "original"
_NOTE: Final = "reason.json"


def printable(path: str) -> str:
    """A path or an id of the source for messages: what is not UTF-8 as escapes."""
    return path.encode("utf-8", "backslashreplace").decode()


def digest_of(path: str, pieces: Pieces | None) -> str:
    """What tells one thing of the source from all others: 32 hexadecimal digits. Raises what reading raises."""
    hasher = hashlib.sha256(printable(path).encode() + b"\0")
    for piece in pieces() if pieces is not None else ():
        hasher.update(piece)
    return hasher.hexdigest()[:32]


class KeptBeside:
    """Sets aside in one store; used in the thread of its writer."""

    def __init__(self, backend: Backend, clock: Clock, source: str) -> None:
        self._backend = backend
        self._clock = clock
        self._source = source

    def keep(self, path: str, pieces: Pieces | None, digest: str, reason: str) -> str:
        """Put the bytes aside, durably, with a note; what is there already stays as it is.

        Args:
            path: where they were, in the source.
            pieces: the bytes; None for what has none: there is only the note then.
            digest: of both, as `digest_of` says.
            reason: why they are not in the store.

        Returns:
            The folder.

        Raises:
            DiskError: they cannot be read or written.
        """
        folder = f"{NOT_IMPORTED}/{digest}"
        self._make(folder)
        if pieces is not None and self._backend.stat(f"{folder}/{_ORIGINAL}") is None:
            write_whole(self._backend, f"{folder}/{_ORIGINAL}", pieces())
        # The note stands for the whole, so it comes last.
        if self._backend.stat(f"{folder}/{_NOTE}") is None:
            write_whole(self._backend, f"{folder}/{_NOTE}", [self._note(path, reason)])
        self._backend.sync_folder(folder)
        return folder

    def _make(self, folder: str) -> None:
        for path in (QUARANTINE, NOT_IMPORTED, folder):
            self._backend.make_folder(path)
            self._backend.sync_folder(path.rpartition("/")[0])

    def _note(self, path: str, reason: str) -> bytes:
        time = format_time(from_micros(self._clock.micros()))
        note = {"source": printable(self._source), "path": printable(path), "reason": reason, "time": time}
        return orjson.dumps(note, option=orjson.OPT_INDENT_2) + b"\n"
