"""Taking one entity out of backups: out of every snapshot of a directory, and out of the archive of the journal.

It does not touch the store, its journal or its quarantine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from synthians_memory.engine.documents import read_file, write_whole
from synthians_memory.engine.records import Key, decode_record
from synthians_memory.errors import DamagedBackupError
from synthians_memory.layout import ARCHIVE, SHARDS, STORED_ENTITIES, STORED_FILES, TIERS, entity_path, segment_number
from synthians_memory.maintenance.manifest import Manifest, StoredFile, encode_shard, shard_of
from synthians_memory.maintenance.retention import Removed, sweep
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.snapshot_writer import SnapshotWriter
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.framing import Frame, frame_pieces, scan, unpack_records
from synthians_memory.storage.segment import HEADER_BLOCK, SegmentHeader, segment_salt

__all__ = ["Without", "forget_in_archive", "forget_in_files", "forget_in_snapshots"]

Without = Callable[[str, Callable[[], bytes]], bytes | None]


def forget_in_snapshots(folder: SnapshotFolder, key: Key) -> int:
    """Remove every version of an entity from all snapshots, which stay whole; idempotent, also when it is interrupted.

    Args:
        folder: held exclusively by the caller.
        key: whose.

    Returns:
        How many snapshots held it.

    Raises:
        DamagedBackupError: a manifest or shard is damaged, so that nobody knows whether it holds the entity, or what
            is still needed; what could be changed before is.
        DiskError: something could not be written or removed; it can be tried again.
    """
    listing = folder.listing()
    holding = [manifest for manifest in listing.manifests if folder.find(manifest, entity_path(*key)) is not None]
    for manifest in holding:
        _forget_in(folder, manifest, key)
    _drop_unused(folder)
    return len(holding)


def forget_in_files(folder: SnapshotFolder, without: Without) -> int:
    """Replace other files than those of entities in all snapshots, which stay whole; idempotent, also when it is interrupted.

    Args:
        folder: held exclusively by the caller.
        without: gives, of the path of a database in the store and what reads it, the bytes that are to take its place;
            None: it stays.

    Returns:
        How many snapshots were changed.

    Raises:
        As `forget_in_snapshots`.
    """
    changed = 0
    for manifest in folder.listing().manifests:
        writer = SnapshotWriter(folder)
        files = tuple(_replaced(folder, writer, file, without) for file in manifest.files)
        if files != manifest.files:
            writer.harden()
            writer.commit(replace(manifest, files=files))
            changed += 1
    _drop_unused(folder)
    return changed


def _replaced(folder: SnapshotFolder, writer: SnapshotWriter, file: StoredFile, without: Without) -> StoredFile:
    if not file.path.startswith(f"{TIERS}/"):
        return file
    data = without(file.path, lambda: b"".join(folder.file_pieces(file)))
    return file if data is None else writer.put_file(file.path, [data], 0)


def _drop_unused(folder: SnapshotFolder) -> None:
    removed = Removed()
    sweep(folder, removed)
    if removed.problems:
        raise DamagedBackupError(removed.problems[0])
    _make_durable(folder.backend)


def _make_durable(backend: Backend) -> None:
    """A removal that was not synced comes back after a power cut; also one that an interrupted call has left."""
    if not backend.sync_filesystem():
        for top in (SHARDS, STORED_ENTITIES, STORED_FILES):
            for name, stat in backend.scan(top):
                if stat.kind == "folder":
                    backend.sync_folder(f"{top}/{name}")


def _forget_in(folder: SnapshotFolder, manifest: Manifest, key: Key) -> None:
    path = entity_path(*key)
    name = shard_of(path, manifest.digits)
    entries = folder.shard(name, manifest.shards[name])
    del entries[path]
    writer = SnapshotWriter(folder)
    shards = {shard: digest for shard, digest in manifest.shards.items() if shard != name}
    if entries:
        shards[name], data = encode_shard(name, entries.items())
        writer.put_shard(shards[name], data)
        writer.harden()
    of_memory = key[0] == "memory"
    memories, assemblies = manifest.memories - of_memory, manifest.assemblies - (not of_memory)
    writer.commit(replace(manifest, shards=shards, memories=memories, assemblies=assemblies))


def forget_in_archive(store: Backend, key: Key) -> int:
    """Remove every change of an entity from the archived segments; the other changes in them stay. Idempotent.

    Args:
        store: whose archive.
        key: of which entity.

    Returns:
        How many segments were written anew.

    Raises:
        DamagedBackupError: a segment has bytes that are no frame, and may hold the entity; remove it by hand.
        DiskError: something could not be written; it can be tried again.
    """
    written = 0
    for folder in [f"{ARCHIVE}/{name}" for name, stat in store.scan(ARCHIVE) if stat.kind == "folder"]:
        for name, _ in list(store.scan(folder)):
            number = segment_number(name)
            if number is not None:
                written += _rewrite(store, f"{folder}/{name}", number, key)
    return written


def _rewrite(store: Backend, path: str, number: int, key: Key) -> bool:
    data = read_file(store, path) or b""
    header = SegmentHeader.decode(data, number)
    if header is None:
        raise DamagedBackupError(f"{path} has no intact header", path=path)
    salt = segment_salt(header.store_id, header.epoch, number)
    pieces, found = [data[:HEADER_BLOCK]], False
    for part in scan(data, HEADER_BLOCK, salt).parts:
        if not isinstance(part, Frame):
            raise DamagedBackupError(f"{path} has bytes at {part.offset} that are no frame", path=path)
        bodies = list(unpack_records(part.payload))
        kept = [body for body in bodies if decode_record(body).key != key]
        found |= len(kept) < len(bodies)
        # A frame of which nothing is left stays, for its number.
        pieces += frame_pieces(salt, part.sequence, part.wall_micros, part.synced_through, kept)
    if found:
        write_whole(store, path, pieces)
    return found
