"""A conversion that goes on: which staged versions stand before the entity files, and which of these are still to be written.

It is not what writes them (`converter`), nor what decided that they count (`reembedding`).
"""

from __future__ import annotations

from synthians_memory.codec import Version, version_of
from synthians_memory.engine.documents import read_file
from synthians_memory.engine.index import MemoryIndex
from synthians_memory.engine.records import Key
from synthians_memory.engine.rows import hash_of, stat_of, with_version
from synthians_memory.engine.staged import StagedEntry, StagedVersions, read_staged
from synthians_memory.engine.superblock import Superblock
from synthians_memory.engine.view import describe
from synthians_memory.layout import REEMBEDDING, entity_path
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend

__all__ = ["Conversion", "take_up_conversion"]

_UNSEEN = (0, 0)


class Conversion:
    """Changed by the writer, read by any thread.

    Attributes:
        staged: the versions.
        pending: whose files are still to be written, and size and mtime_ns of the present one where that is known.
    """

    def __init__(self, staged: StagedVersions, pending: dict[Key, tuple[int, int] | None]) -> None:
        self.staged = staged
        self.pending = pending

    def stands_in(self, key: Key, wanted: bytes | None) -> bool:
        """Whether the staged version of an entity stands for its file; `wanted`: the acknowledged content hash."""
        return key in self.pending and self.staged.entries[key].hash == wanted

    def version(self, key: Key, wanted: bytes | None) -> Version | None:
        """The staged version where it is the acknowledged one; None where it is not. Raises DiskError."""
        entry = self.staged.entries.get(key)
        return self.staged.version(key) if entry is not None and entry.hash == wanted else None

    def hashes(self, key: Key) -> frozenset[bytes]:
        """What the file of an entity may hold because of the conversion."""
        entry = self.staged.entries.get(key)
        return frozenset() if entry is None else frozenset((entry.hash, entry.predecessor))


def take_up_conversion(
    backend: Backend, superblock: Superblock, index: MemoryIndex, *, rebuilt: bool
) -> tuple[Conversion | None, int, list[Finding]]:
    """Bring the staged versions, where any count, into the memory index; idempotent.

    To be done before the journal is replayed: what it retains is newer.

    Args:
        backend: where they are.
        superblock: says whether there are any.
        index: as it was read, or made of the files.
        rebuilt: whether it was made of the files. A file that is torn then is not one that was deleted.

    Returns:
        What is to be converted, how many rows were changed, and what is wrong.

    Raises:
        DiskError: they cannot be read.
    """
    facts = superblock.staged
    if facts is None:
        return None, 0, []
    staged = read_staged(backend, superblock.store_id, facts.token)
    changed = 0
    if rebuilt or index.position.sequence <= facts.sequence:
        changed = sum(_bring_in(backend, staged, key, entry, index, rebuilt) for key, entry in staged.entries.items())
    if changed:
        # No sequence stands for them, so they cannot be a group of the log.
        index.forget_files()
    pending: dict[Key, tuple[int, int] | None] = {}
    for key, entry in staged.entries.items():
        row = index.packed(key)
        if row is not None and hash_of(row) == entry.hash and (rebuilt or stat_of(row) == _UNSEEN):
            pending[key] = None
    return Conversion(staged, pending), changed, _lost(staged, facts.frames)


def _bring_in(
    backend: Backend, staged: StagedVersions, key: Key, entry: StagedEntry, index: MemoryIndex, rebuilt: bool
) -> bool:
    row = index.packed(key)
    if row is not None:
        if hash_of(row) != entry.predecessor:
            return False
        index.put_row(key, with_version(row, entry.updated_micros, entry.hash, entry.embedding_hash))
        return True
    data = read_file(backend, entity_path(*key)) if rebuilt else None
    # The file is torn, or has a vector of the model before, which the store cannot take any more.
    unconverted = data is not None and version_of(data) in (None, entry.predecessor)
    version = staged.version(key) if unconverted else None
    if version is not None:
        index.apply([describe(version)])
    return version is not None


def _lost(staged: StagedVersions, frames: int) -> list[Finding]:
    if staged.frames >= frames:
        return []
    message = (
        f"{frames - staged.frames} frames of staged versions are not intact; their entities keep the old embedding"
    )
    return [Finding("staged_damaged", message, REEMBEDDING)]
