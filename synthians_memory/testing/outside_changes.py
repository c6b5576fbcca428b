"""What somebody else does to the files of a store, durably and behind its back: a person, git, or a bad disk.

It is not the store's own writing, and plans no fault: the calls of the disk are not counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from synthians_memory.codec import Inspection, Version, content_hash_text, encode, inspect
from synthians_memory.engine.records import Key
from synthians_memory.layout import QUARANTINE, entity_path
from synthians_memory.models import Entity, MemoryEntry
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.volume import Volume

__all__ = ["OutsideChange", "OutsideHand", "edited_bytes", "minimal_bytes"]

_SCRATCH = "written outside"
_INSIDE = "inside"


@dataclass(frozen=True)
class OutsideChange:
    """What stands in the place of one entity's file instead of what the store put there.

    Attributes:
        key: whose file.
        what: "file" with other bytes, "removed", or "folder" with one file in it.
        data: the bytes; of a folder those of the file in it; None where the file is gone.
        found: what `data` means; None for what is no file.
    """

    key: Key
    what: Literal["file", "removed", "folder"]
    data: bytes | None
    found: Inspection | None

    @classmethod
    def file(cls, key: Key, data: bytes) -> OutsideChange:
        """A file with `data` in it."""
        return cls(key, "file", data, inspect(*key, data))

    @classmethod
    def removed(cls, key: Key) -> OutsideChange:
        """No file."""
        return cls(key, "removed", None, None)

    @classmethod
    def folder(cls, key: Key) -> OutsideChange:
        """A folder with a file in it."""
        return cls(key, "folder", f"in the place of {key}".encode(), None)

    def unusable(self) -> OutsideChange:
        """The same bytes, for a store that cannot compare the vector in them."""
        found = self.found and replace(self.found, state="damaged", entity=None)
        return replace(self, found=found)

    @property
    def parses(self) -> bool:
        """Whether it is a version of the entity, whoever wrote it."""
        return self.found is not None and self.found.entity is not None

    @property
    def is_sealed(self) -> bool:
        """Whether it is intact by its own hash line."""
        return self.found is not None and self.found.state == "sealed"

    @property
    def adoptable(self) -> bool:
        """Whether repair takes it over without asking: the hash line is right, or there is none."""
        return self.parses and self.found is not None and self.found.state != "damaged"

    def is_taken_over_as(self, version: Version) -> bool:
        """Whether `version` is what adopting it gives: a sealed one as it is, another one with a new stamp."""
        if self.found is None or self.found.entity is None:
            return False
        if self.found.state == "sealed":
            return version.hash == self.found.hash
        created_at = self.found.entity.__dict__["created_at"] if b'"created_at"' in self.found.data else None
        # Without one in the file it is the time of the adoption.
        created_at = created_at or version.entity.__dict__["created_at"]
        return encode(version.entity).head == encode(self.found.entity.replace(created_at=created_at)).head

    def code(self, *, known: bool) -> str:
        """The code of the finding that names it; `known`: the memory index has the entity."""
        if self.what == "folder":
            return "not_a_file"
        if self.what == "removed":
            return "file_missing"
        if not self.parses:
            return "file_undecodable"
        if not self.adoptable:
            return "file_damaged"
        if not known:
            return "file_not_indexed"
        return "file_edited" if self.found is not None and self.found.state == "edited" else "file_replaced"


class OutsideHand:
    """Reads and writes the files on a disk past its faults and counts; everything it writes is durable."""

    def __init__(self, disk: FaultyDisk) -> None:
        self._volume: Volume = disk.volume

    def read(self, path: str) -> bytes | None:
        """The bytes of a file; None where there is none."""
        inode = self._find(path)
        return self._volume.read(inode, 0, None) if inode is not None and inode in self._volume.files else None

    def _find(self, path: str) -> int | None:
        with suppress(NotADirectoryError):
            return self._volume.find(path)
        return None

    def write(self, path: str, data: bytes) -> None:
        """Put a new file in the place of whatever is there."""
        self.remove(path)
        folder = path.rpartition("/")[0]
        scratch = f"{folder}/{_SCRATCH}" if folder else _SCRATCH
        inode = self._volume.create(scratch)
        self._volume.write(inode, 0, data)
        self._volume.sync(inode)
        self._volume.replace(scratch, path)
        self._sync_folder(path)

    def overwrite(self, path: str, offset: int, data: bytes) -> None:
        """Change some bytes of the file that is there."""
        inode = self._volume.find_file(path)
        if inode is not None:
            self._volume.write(inode, offset, data)
            self._volume.sync(inode)

    def remove(self, path: str) -> None:
        """Take away whatever is there."""
        inode = self._volume.find(path)
        if inode in self._volume.folders:
            for name, _ in self._volume.entries(inode):
                self._volume.unlink(f"{path}/{name}")
            self._volume.remove_folder(path)
        elif inode is not None:
            self._volume.unlink(path)
        self._sync_folder(path)

    def make_folder(self, path: str, inside: bytes) -> None:
        """Put a folder with one file in the place of whatever is there."""
        self.remove(path)
        self._volume.make_folder(path)
        self._sync_folder(path)
        self.write(f"{path}/{_INSIDE}", inside)

    def _sync_folder(self, path: str) -> None:
        self._volume.sync(self._volume.find_folder(path.rpartition("/")[0]))

    def apply(self, change: OutsideChange) -> None:
        """Bring `change` about."""
        path = entity_path(*change.key)
        if change.what == "removed" or change.data is None:
            self.remove(path)
        elif change.what == "folder":
            self.make_folder(path, change.data)
        else:
            self.write(path, change.data)

    def is_in_place(self, change: OutsideChange) -> bool:
        """Whether nobody has touched it since."""
        path = entity_path(*change.key)
        if change.what == "removed":
            return self._find(path) is None
        return self.read(f"{path}/{_INSIDE}" if change.what == "folder" else path) == change.data

    def names(self, folder: str) -> list[str]:
        """The names in a folder, in order."""
        return sorted(name for name, _ in self._volume.entries(self._volume.find_folder(folder)))

    def set_aside(self) -> set[bytes]:
        """The bytes of every file in quarantine."""
        return {data for path in self._paths_below(QUARANTINE) if (data := self.read(path)) is not None}

    def _paths_below(self, folder: str) -> Iterator[str]:
        inode = self._volume.find(folder)
        if inode not in self._volume.folders:
            return
        for name, stat in self._volume.entries(inode):
            if stat.kind == "folder":
                yield from self._paths_below(f"{folder}/{name}")
            else:
                yield f"{folder}/{name}"


def edited_bytes(entity: Entity, micros: int) -> bytes:
    """The file that a person leaves who changes a stored one to `entity` and takes the hash line away."""
    version = encode(entity).stamp(micros)
    line = f',\n  "content_hash": "{content_hash_text(version.hash)}"'.encode()
    return version.data.replace(line, b"")


def minimal_bytes(entity: Entity) -> bytes:
    """What a person may write by hand: the id and the text."""
    text = {"content": entity.content} if isinstance(entity, MemoryEntry) else {"name": "by hand"}
    return json.dumps({entity.id_field: entity.entity_id, **text}).encode()
