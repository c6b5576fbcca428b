"""Taking a snapshot: what is new since the last one is copied, the rest is named again.

It is not retention, and opens no store.

An entity costs nothing where its shard is as in the snapshot before: its row has the hash under which it is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from synthians_memory.codec import version_of
from synthians_memory.engine.part import Part
from synthians_memory.engine.rows import hash_of
from synthians_memory.errors import (
    DamagedBackupError,
    DamagedFileError,
    InvalidValueError,
    NotRegularFileError,
    UsageError,
)
from synthians_memory.layout import ENTITY_FOLDERS, entity_path, file_name, is_database, key_of_path, stamp_of
from synthians_memory.maintenance.manifest import (
    Manifest,
    Ring,
    StoredFile,
    encode_shard,
    require_part_path,
    shard_digits,
    shard_of,
)
from synthians_memory.maintenance.part_files import part_file_pieces
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.snapshot_writer import SnapshotWriter
from synthians_memory.maintenance.source import Base, Frames, JournalGoneError, SnapshotSource, read_entity
from synthians_memory.storage.backend import EntryStat
from synthians_memory.times import from_micros, to_micros

__all__ = ["Progress", "Taken", "take_snapshot"]

Progress = Callable[[int, int], None]

_MOST_ATTEMPTS: Final = 4
_MOST_MISSING: Final = 1000
# A file that was written shortly before it was copied may have changed since without another time.
_SETTLED_NS: Final = 2_000_000_000
_OF_MEMORIES: Final = entity_path("memory", "x").removesuffix("x.json")

Shards = dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Taken:
    """A snapshot that was taken.

    Attributes:
        manifest: what it holds.
        problems: what could not be had, a sentence each.
        written_files, written_bytes: what it added to its directory.
    """

    manifest: Manifest
    problems: tuple[str, ...]
    written_files: int
    written_bytes: int


@dataclass(slots=True)
class _Copy:
    """A copy under way.

    Attributes:
        shards: what the snapshot is to hold: shard -> path -> content hash.
        changed: shards that differ from those of the snapshot before, or may do so.
        stored: shard -> SHA-256, of those that do not.
        unread: path -> why its file was not what its row says.
    """

    digits: int
    shards: Shards
    changed: dict[str, None] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)


def take_snapshot(
    source: SnapshotSource,
    folder: SnapshotFolder,
    *,
    ring: Ring = "manual",
    parts: Sequence[Part] = (),
    full: bool = False,
    progress: Progress | None = None,
) -> Taken:
    """Take a snapshot of the state at one moment of this call, while writers go on.

    Args:
        source: the store.
        folder: where to; held exclusively by the caller.
        ring: why.
        parts: what lives in the store beside its entities.
        full: read and compare every entity again, whatever is stored; what is missing or rotten is stored anew.
        progress: called with the number of entities looked at so far, and in all.

    Raises:
        UsageError: the directory holds snapshots of another store.
        JournalGoneError: the store changed faster than it could be copied, or its journal is damaged.
        DamagedBackupError: what was written is not read back.
        DiskError: something cannot be read or written. No snapshot was made, and none was touched.
    """
    with source.journal_kept():
        for _ in range(_MOST_ATTEMPTS - 1):
            with suppress(JournalGoneError):
                return _Backup(source, folder, ring, parts, progress).run(full=full)
        return _Backup(source, folder, ring, parts, progress).run(full=full)


class _Backup:
    """One attempt at a snapshot."""

    def __init__(
        self,
        source: SnapshotSource,
        folder: SnapshotFolder,
        ring: Ring,
        parts: Sequence[Part],
        progress: Progress | None,
    ) -> None:
        self._source = source
        self._folder = folder
        self._ring = ring
        self._parts = parts
        self._marks: dict[str, str] = {}
        self._progress = progress
        self._writer = SnapshotWriter(folder)

    def run(self, *, full: bool) -> Taken:
        begun = self._source.clock.micros()
        base = self._source.base()
        manifests = self._folder.listing().manifests
        _require_same_store(manifests, base, self._folder)
        newest = manifests[-1] if manifests else None
        copy = _grouped(base)
        previous = newest if newest is not None and not full and newest.digits == copy.digits else None
        self._writer.prepare()
        self._copy_entities(copy, previous)
        # Before the files, which may have grown since when they are copied.
        self._marks = {part.name: mark for part in self._parts if (mark := part.mark(self._source.backend))}
        files, problems = self._copy_parts(None if full else newest)
        until = self._source.clock.micros()
        frames = self._source.frames_above(base)
        self._copy_frames(copy, frames)
        stored = self._store_shards(copy, previous)
        self._writer.harden()
        missing = [*copy.unread, *problems]
        manifest = self._manifest(copy, base, frames, stored, (files, missing), (self._name(begun), until))
        self._writer.commit(manifest)
        problems |= copy.unread
        return Taken(manifest, tuple(problems.values()), self._writer.written_files, self._writer.written_bytes)

    # Entities

    def _copy_entities(self, copy: _Copy, previous: Manifest | None) -> None:
        total, done = sum(map(len, copy.shards.values())), 0
        for name, entries in copy.shards.items():
            digest, _ = encode_shard(name, entries.items())
            if previous is not None and previous.shards.get(name) == digest:
                copy.stored[name] = digest
            else:
                copy.changed[name] = None
                self._copy_shard(copy, name, self._shard_before(name, previous))
            done += len(entries)
            if self._progress is not None:
                self._progress(done, total)

    def _shard_before(self, name: str, previous: Manifest | None) -> Mapping[str, str]:
        digest = previous.shards.get(name) if previous is not None else None
        if digest is None:
            return {}
        try:
            return self._folder.shard(name, digest)
        except DamagedBackupError:
            # What it named is stored again, or found there.
            return {}

    def _copy_shard(self, copy: _Copy, name: str, before: Mapping[str, str]) -> None:
        for path, digest in copy.shards[name].items():
            if before.get(path) == digest:
                continue
            key = key_of_path(path)
            data, reason = read_entity(self._source.backend, key, bytes.fromhex(digest)) if key else (None, path)
            if data is None:
                copy.unread[path] = reason
            else:
                self._writer.put_entity(digest, data)

    def _copy_frames(self, copy: _Copy, frames: Frames) -> None:
        """Bring the copy from the moment of its base to that of the last frame."""
        for key, data in frames.last.items():
            path = entity_path(*key)
            name = shard_of(path, copy.digits)
            copy.changed[name] = None
            copy.unread.pop(path, None)
            if data is None:
                copy.shards.setdefault(name, {}).pop(path, None)
                continue
            version = version_of(data)
            if version is None:
                raise JournalGoneError(f"the frame of {path} holds no intact version", path=path)
            copy.shards.setdefault(name, {})[path] = version.hex()
            self._writer.put_entity(version.hex(), data)
        for path in copy.unread:
            del copy.shards[shard_of(path, copy.digits)][path]

    def _store_shards(self, copy: _Copy, previous: Manifest | None) -> dict[str, str]:
        stored = dict(copy.stored)
        for name in copy.changed:
            stored.pop(name, None)
            if copy.shards[name]:
                digest, data = encode_shard(name, copy.shards[name].items())
                stored[name] = digest
                if previous is None or previous.shards.get(name) != digest:
                    self._writer.put_shard(digest, data)
        return stored

    # Parts

    def _copy_parts(self, previous: Manifest | None) -> tuple[list[StoredFile], dict[str, str]]:
        """The files of the parts, and of those that could not be had why not."""
        known = {file.path: file for file in previous.files} if previous is not None else {}
        settled = previous.taken_micros * 1000 - _SETTLED_NS if previous is not None else 0
        files: dict[str, StoredFile] = {}
        problems: dict[str, str] = {}
        backend = self._source.backend
        for path in dict.fromkeys(path for part in self._parts for path in part.source_files(backend)):
            try:
                require_part_path(path)
                stat = backend.stat(path)
                before = known.get(path)
                if stat is None:
                    problems[path] = f"{path} is missing"
                elif before and (before.size, before.mtime_ns) == stat[1:] and stat.mtime_ns < settled:
                    files[path] = before
                else:
                    files[path] = self._copy_file(path, stat)
            except (InvalidValueError, DamagedFileError, NotRegularFileError) as error:
                problems[path] = error.message
        return [files[path] for path in sorted(files)], problems

    def _copy_file(self, path: str, stat: EntryStat) -> StoredFile:
        backend = self._source.backend
        mtime_ns = 0 if is_database(path) else stat.mtime_ns
        return self._writer.put_file(path, part_file_pieces(backend, path, stat), mtime_ns)

    # The manifest

    def _name(self, begun: int) -> str:
        """A name that no other snapshot has, also where the clock stands still."""
        names = self._folder.names()
        name = stamp_of(from_micros(begun))
        while name in names:
            begun = to_micros(from_micros(begun) + timedelta(microseconds=1))
            name = stamp_of(from_micros(begun))
        return name

    def _manifest(
        self,
        copy: _Copy,
        base: Base,
        frames: Frames,
        stored: Mapping[str, str],
        others: tuple[Sequence[StoredFile], Sequence[str]],
        moment: tuple[str, int],
    ) -> Manifest:
        (files, missing), (name, until) = others, moment
        paths = [path for entries in copy.shards.values() for path in entries]
        memories = sum(path.startswith(_OF_MEMORIES) for path in paths)
        return Manifest(
            name=name,
            ring=self._ring,
            taken_micros=max(until, frames.wall_micros),
            facts={**self._source.facts(base).facts(), "epoch": base.superblock.epoch},
            sequence=frames.sequence,
            memories=memories,
            assemblies=len(paths) - memories,
            digits=copy.digits,
            shards=stored,
            files=tuple(files),
            parts=tuple(sorted(part.name for part in self._parts)),
            marks=self._marks,
            missing=tuple(sorted(missing))[:_MOST_MISSING],
        )


def _grouped(base: Base) -> _Copy:
    """Every entity with its hash, by shards."""
    digits = shard_digits(sum(map(len, base.rows.values())))
    shards: Shards = {}
    for kind, rows in base.rows.items():
        prefix = f"{ENTITY_FOLDERS[kind]}/"
        for entity_id, packed in rows.items():
            path = prefix + file_name(entity_id)
            name = shard_of(path, digits)
            entries = shards.get(name)
            if entries is None:
                entries = shards[name] = {}
            entries[path] = hash_of(packed).hex()
    return _Copy(digits, shards)


def _require_same_store(manifests: Sequence[Manifest], base: Base, folder: SnapshotFolder) -> None:
    for manifest in manifests:
        if manifest.store_id != base.superblock.store_id:
            raise UsageError(
                f"{folder.backend.location} holds snapshots of another store ({manifest.store_id})",
                hint="Give each store a directory of its own for its snapshots.",
            )
