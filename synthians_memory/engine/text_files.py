"""The files of the text index: their folder, their removal, and the seal that proves the database after a clean stop.

It opens no database. It is SQLite's door to the disk beside `storage.local`: what lies here is derived and disposable,
is never synced with the entities, and is found again by path, as SQLite needs it.

SQLite's pages carry no checksum. So `seal` notes length and SHA-256 of the file when the store is closed, and the value
of SQLite's change counter at byte 24: a later file with another counter was simply not sealed again (a crash), one
with the same counter and other bytes is damaged.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

import orjson

from synthians_memory.engine.view import NOWHERE, Position
from synthians_memory.errors import disk_error
from synthians_memory.layout import SUPERBLOCK, TEXT, TEXT_FILE, TEXT_JOURNAL, TEXT_SEAL
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend

__all__ = ["Found", "TextFiles"]

State = Literal["fresh", "sealed", "unsealed", "damaged", "unusable"]

_FILES: Final = (TEXT_SEAL, TEXT_JOURNAL, TEXT_FILE)
_COUNTER: Final = slice(24, 28)
_MAGIC: Final = b"SQLite format 3\0"
_PIECE: Final = 1 << 20
_READ: Final = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_CREATE: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_WRITE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


@dataclass(frozen=True, slots=True)
class Found:
    """What stands on disk.

    Attributes:
        state: "fresh": nothing; "sealed": whole, as it was left; "unsealed": changed since it was last sealed;
            "damaged": other bytes than were sealed, or no database; "unusable": something that is none of our files.
        position: how far a sealed one reaches.
    """

    state: State
    position: Position = NOWHERE


class TextFiles:
    """The files of one store's text index; used by one thread at a time.

    Args:
        root: the store's directory.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self.path = os.path.join(root, TEXT_FILE)

    @classmethod
    def of(cls, backend: Backend) -> TextFiles | None:
        """The files of the store in `backend`; None where that is no directory, or was moved away since it was opened."""
        if not isinstance(backend, LocalBackend):
            return None
        held = backend.stat(SUPERBLOCK)
        there = cls(backend.location).lstat(SUPERBLOCK)
        if held is None or there is None or (held.size, held.mtime_ns) != (there.st_size, there.st_mtime_ns):
            return None
        return cls(backend.location)

    def look(self) -> Found:
        """What stands on disk; reads all of a sealed file. Raises DiskError; changes nothing."""
        folder = self.lstat(TEXT)
        if folder is None:
            return Found("fresh")
        entries = {path: self.lstat(path) for path in _FILES}
        if not stat.S_ISDIR(folder.st_mode) or any(e and not stat.S_ISREG(e.st_mode) for e in entries.values()):
            return Found("unusable")
        file = entries[TEXT_FILE]
        if file is None:
            return Found("fresh")
        journal = entries[TEXT_JOURNAL]
        interrupted = journal is not None and journal.st_size > 0
        return self._judge(file.st_size, interrupted=interrupted)

    def _judge(self, size: int, *, interrupted: bool) -> Found:
        header, seal = self._read(TEXT_FILE, 100), self._sealed()
        if not header.startswith(_MAGIC) or not (interrupted or size == _stated_size(header)):
            return Found("damaged")
        if interrupted or seal is None or seal["counter"] != header[_COUNTER].hex():
            return Found("unsealed")
        if (seal["bytes"], seal["sha256"]) != self._digest():
            return Found("damaged")
        return Found("sealed", Position(seal["epoch"], seal["sequence"]))

    def _sealed(self) -> dict[str, Any] | None:
        try:
            found = orjson.loads(self._read(TEXT_SEAL, _PIECE))
            complete = isinstance(found, dict) and {name: type(value) for name, value in found.items()} == _SEAL_TYPES
        except ValueError:
            return None
        return found if complete else None

    def prepare(self, *, fresh: bool) -> None:
        """Make what SQLite shall open; `fresh`: an empty file in place of whatever is there. Raises DiskError."""
        try:
            with suppress(FileExistsError):
                os.mkdir(os.path.join(self._root, TEXT), 0o700)
            if fresh:
                self.remove()
                os.close(os.open(self.path, _CREATE, 0o600))
        except OSError as error:
            raise disk_error(error, "make", TEXT_FILE) from error

    def remove(self) -> None:
        """Remove the files, and no other; nothing where they are not. Raises DiskError."""
        for path in _FILES:
            try:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(self._root, path))
            except OSError as error:
                raise disk_error(error, "remove", path) from error

    def seal(self, position: Position) -> None:
        """Note what the file holds, which nobody has open; `position`: how far it reaches. Raises DiskError."""
        size, digest = self._digest()
        counter = self._read(TEXT_FILE, 100)[_COUNTER].hex()
        facts = {"bytes": size, "sha256": digest, "counter": counter, **position._asdict()}
        target = os.path.join(self._root, TEXT_SEAL)
        try:
            with suppress(FileNotFoundError):
                os.unlink(target)
            with open(os.open(target, _WRITE, 0o600), "wb") as file:
                file.write(orjson.dumps(facts))
        except OSError as error:
            raise disk_error(error, "write", TEXT_SEAL) from error

    def _digest(self) -> tuple[int, str]:
        hasher, size = hashlib.sha256(), 0
        try:
            with open(os.open(self.path, _READ), "rb", buffering=0) as file:
                while piece := file.read(_PIECE):
                    hasher.update(piece)
                    size += len(piece)
        except OSError as error:
            raise disk_error(error, "read", TEXT_FILE) from error
        return size, hasher.hexdigest()

    def lstat(self, path: str) -> os.stat_result | None:
        """The entry at `path`, relative to the store, as it is found by path; None where nothing is. Raises DiskError."""
        try:
            return os.lstat(os.path.join(self._root, path))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise disk_error(error, "stat", path) from error

    def _read(self, path: str, most: int) -> bytes:
        try:
            with open(os.open(os.path.join(self._root, path), _READ), "rb", buffering=0) as file:
                return file.read(most) or b""
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise disk_error(error, "read", path) from error


def _stated_size(header: bytes) -> int:
    """Bytes that the file should have, as its header says: pages times their size, where 1 stands for 65,536."""
    page = int.from_bytes(header[16:18], "big")
    return int.from_bytes(header[28:32], "big") * (65_536 if page == 1 else page)


_SEAL_TYPES: Final = {"bytes": int, "sha256": str, "counter": str, "epoch": str, "sequence": int}
