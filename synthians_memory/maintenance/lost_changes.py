"""What a store is about to forget when it is opened, and a snapshot still has: found before the opening, and noted durably.

It brings nothing back (`mending`), and repairs no journal.

Recovery makes the best of a damaged journal, and of a memory index that has to be made from files that are gone: afterwards
nothing tells any more that something was there. So a plan is written before it, and removed when all of it has come back.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import orjson

from synthians_memory.codec import Version
from synthians_memory.config import StoreConfig
from synthians_memory.engine.documents import read_document, write_document
from synthians_memory.engine.index import MemoryIndex
from synthians_memory.engine.rebuild import entity_files
from synthians_memory.engine.records import Key, decode_record
from synthians_memory.engine.rows import hash_of, updated_of
from synthians_memory.engine.store import Store
from synthians_memory.engine.superblock import Superblock
from synthians_memory.engine.vectors import VectorView
from synthians_memory.engine.view import Position
from synthians_memory.errors import DamagedViewError, NotRegularFileError
from synthians_memory.json_values import JsonObject
from synthians_memory.layout import ENTITY_FOLDERS, HEALTH_PLAN, LOGS, Kind, entity_path
from synthians_memory.maintenance.copies import Copies, Copy
from synthians_memory.maintenance.health_place import HealthPlace
from synthians_memory.maintenance.logs_folder import locked_logs
from synthians_memory.maintenance.manifest import Manifest
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.segment import JournalContents, read_journal
from synthians_memory.times import Clock

__all__ = ["Held", "LostChanges", "drop_plan", "find_lost_changes", "held_by", "save_plan", "saved_plan", "versions_of"]

_MOST_NAMED: Final = 20


class Held(NamedTuple):
    """What a store holds of an entity: content hash as hexadecimal digits, and update time."""

    digest: str
    updated_micros: int


@dataclass(slots=True)
class LostChanges:
    """What is about to be forgotten.

    Attributes:
        snapshot: name of the snapshot that has it; "" for none.
        entries: entity -> content hash of the version that comes back.
        lost: what no snapshot has, a sentence each.
        notes: what a person has to know, a sentence each.
    """

    snapshot: str = ""
    entries: dict[Key, str] = field(default_factory=dict)
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.entries or self.lost or self.notes)


# The plan


def save_plan(place: HealthPlace, changes: LostChanges) -> None:
    """Note them durably. Raises StoreLockedError, DiskError."""
    fields = {
        "snapshot": changes.snapshot,
        "entries": [[*key, digest] for key, digest in sorted(changes.entries.items())],
        "lost": changes.lost,
        "notes": changes.notes,
    }
    with locked_logs(place.open_store) as backend:
        write_document(backend, HEALTH_PLAN, (b'  "%s": %s' % (n.encode(), orjson.dumps(v)) for n, v in fields.items()))


def saved_plan(backend: Backend) -> LostChanges | None:
    """The plan of a pass that was interrupted; None where there is none, or none that is intact. Raises DiskError."""
    try:
        found = read_document(backend, HEALTH_PLAN)
        return None if found is None else _changes_of(found)
    except (DamagedViewError, NotRegularFileError, KeyError, TypeError, ValueError):
        return None


def _changes_of(found: JsonObject) -> LostChanges:
    entries: dict[Key, str] = {(kind, str(entity_id)): str(digest) for kind, entity_id, digest in found["entries"]}
    if any(kind not in ENTITY_FOLDERS for kind, _ in entries):
        raise ValueError("an entry is of no kind of entity")
    return LostChanges(str(found["snapshot"]), entries, list(map(str, found["lost"])), list(map(str, found["notes"])))


def drop_plan(backend: Backend) -> None:
    """Remove the plan: all of it is done, durably. Raises DiskError."""
    if backend.unlink(HEALTH_PLAN):
        backend.sync_folder(LOGS)


def versions_of(changes: LostChanges, copies: Copies, known: Mapping[Key, Held]) -> Iterator[tuple[Key, Copy]]:
    """Those of the versions that the store lacks, or has only in an older one. Raises DiskError."""
    for key, copy in copies.named(changes.entries, f"the snapshot {changes.snapshot}"):
        if _is_newer(copy.version, known.get(key)):
            yield key, copy


def _is_newer(version: Version, held: Held | None) -> bool:
    return held is None or version.updated_micros > held.updated_micros


def held_by(store: Store) -> dict[Key, Held]:
    """What an open store holds of each entity."""
    rows = store.state.index.rows
    return {
        (kind, i): Held(hash_of(row).hex(), updated_of(row)) for kind, found in rows.items() for i, row in found.items()
    }


# Finding


def find_lost_changes(
    open_store: Callable[[], Backend], superblock: Superblock, copies: Copies, clock: Clock
) -> LostChanges:
    """What opening this store for writing would forget; nothing, and hardly any work, where all is well.

    Args:
        open_store: opens the store, which nobody changes meanwhile.
        superblock: its facts.
        copies: its snapshots.
        clock: source of time.

    Raises:
        DamagedError, StoreFormatError, DiskError: the store cannot be read.
    """
    backend = copies.store
    contents = read_journal(backend, (superblock.store_id, superblock.epoch))
    suspect = bool(contents.damage or contents.unreadable or contents.torn or contents.headless or not contents.newest)
    index = MemoryIndex(backend, superblock.facts, clock.micros)
    trusted = not index.load() and _reaches(index.position, superblock, contents)
    if not suspect and trusted:
        return LostChanges()
    beyond = LostChanges()
    if suspect and (trusted or contents.newest):
        settled = max(contents.checkpointed_through, index.position.sequence if trusted else 0)
        beyond = _beyond_journal(open_store, copies, contents, (superblock.epoch, settled), clock)
        if trusted or beyond.entries:
            return beyond
    empty = tuple(kind for kind in ENTITY_FOLDERS if next(entity_files(backend, kind), None) is None)
    kinds = empty if contents.newest else tuple(ENTITY_FOLDERS)
    vectors = _vectors(backend, superblock, contents)
    changes = _without_trace(_known(open_store(), clock), copies, kinds, contents, vectors)
    changes.lost[:0] = beyond.lost
    return changes


def _vectors(backend: Backend, superblock: Superblock, contents: JournalContents) -> VectorView | None:
    """The vector index as it is on disk; None where it does not reach the journal, and so tells nothing."""
    vectors = VectorView(backend, superblock.store_id, superblock.metric, superblock.embedding_dimension)
    return None if vectors.load() or not _reaches(vectors.position, superblock, contents) else vectors


def _reaches(position: Position, superblock: Superblock, contents: JournalContents) -> bool:
    """Whether a view holds all that was checkpointed, as far as the journal, which may be gone, still tells."""
    return position.epoch == superblock.epoch and position.sequence >= contents.checkpointed_through


def _known(backend: Backend, clock: Clock) -> dict[Key, Held]:
    """What the store would hold."""
    store = Store.open(backend, StoreConfig(), clock, read_only=True)
    try:
        return held_by(store)
    finally:
        store.release()


def _newer(copies: Copies, wanted: Mapping[Key, str], known: Mapping[Key, Held]) -> Iterator[tuple[Key, Copy]]:
    """Those that the store lacks, or has only in an older version."""
    other = {key: digest for key, digest in wanted.items() if key not in known or known[key].digest != digest}
    for key, copy in copies.named(other, ""):
        if _is_newer(copy.version, known.get(key)):
            yield key, copy


def _without_trace(
    known: Mapping[Key, Held],
    copies: Copies,
    kinds: Collection[Kind],
    contents: JournalContents,
    vectors: VectorView | None,
) -> LostChanges:
    """What a snapshot holds, and no memory index tells of any more, but for what the journal speaks of.

    Of `kinds` everything may be gone, and all comes back. Of others what has no file: unless the vector index, which a
    deletion leaves, shows that it was deleted since.
    """
    manifest = _newest_whole(copies.manifests)
    if manifest is None:
        return LostChanges()
    spoken = {decode_record(body).key for entry in contents.entries for body in entry.records}
    held = copies.held(manifest)
    wanted = {
        key: digest for key, digest in held.items() if key not in spoken and (key[0] in kinds or key not in known)
    }
    changes, untold = LostChanges(manifest.name), 0
    for key, copy in _newer(copies, wanted, known):
        proved = vectors is not None and vectors.slot_hash(key) == copy.version.embedding_hash
        if key[0] not in kinds and not proved and _was_deleted(vectors, key, copy.version):
            continue
        changes.entries[key] = wanted[key]
        untold += key not in known and not (proved and copy.version.embedding_hash is not None)
    if untold:
        what = f"nothing tells what was saved or deleted since the snapshot {manifest.name}"
        changes.lost.append(f"{what}: {untold} entities that it holds are back")
    changes.lost += _in_no_copy(known, held, spoken, kinds, vectors)
    return changes


def _was_deleted(vectors: VectorView | None, key: Key, version: Version) -> bool:
    """Whether the vector index shows that the entity is no more; it tells nothing of one without an embedding."""
    return vectors is not None and version.embedding_hash is not None and vectors.slot_hash(key) is None


def _in_no_copy(
    known: Mapping[Key, Held],
    held: Mapping[Key, str],
    spoken: Collection[Key],
    kinds: Collection[Kind],
    vectors: VectorView | None,
) -> list[str]:
    """What only the vector index still names, a sentence each."""
    if vectors is None:
        return []
    named: set[Key] = {(kind, i) for kind in ENTITY_FOLDERS if kind not in kinds for i in vectors.hashes(kind)}
    gone = sorted(named - known.keys() - held.keys() - set(spoken))
    return [f"{kind} {entity_id!r} is gone, and in no snapshot" for kind, entity_id in gone]


def _newest_whole(manifests: tuple[Manifest, ...]) -> Manifest | None:
    return next((manifest for manifest in manifests if not manifest.missing), next(iter(manifests), None))


def _beyond_journal(
    open_store: Callable[[], Backend], copies: Copies, contents: JournalContents, reached: tuple[str, int], clock: Clock
) -> LostChanges:
    """What a damaged journal has lost, and a snapshot holds that was taken after it had been written.

    Up to `reached`, epoch and number, the store knows better than any snapshot, deletions included.
    """
    epoch, settled = reached
    manifest = next((manifest for manifest in copies.manifests if manifest.epoch == epoch), None)
    reaches = manifest.sequence if manifest is not None else 0
    changes = LostChanges(lost=_beyond_snapshots(contents, settled, reaches))
    if manifest is None or reaches <= settled:
        return changes
    known, held = _known(open_store(), clock), copies.held(manifest)
    later = {
        decode_record(body).key for entry in contents.entries if entry.sequence > reaches for body in entry.records
    }
    back = [
        key
        for key in known.keys() - held.keys() - later
        if known[key].updated_micros <= manifest.taken_micros and entity_path(*key) not in manifest.missing
    ]
    if back:
        names = ", ".join(f"{kind} {entity_id!r}" for kind, entity_id in sorted(back)[:_MOST_NAMED])
        changes.notes.append(f"Deleted before, as the snapshot {manifest.name} says, and back: {names}.")
    wanted = {key: digest for key, digest in held.items() if key not in later}
    changes.snapshot = manifest.name
    changes.entries = {key: wanted[key] for key, _ in _newer(copies, wanted, known)}
    return changes


def _beyond_snapshots(contents: JournalContents, settled: int, reaches: int) -> list[str]:
    if contents.unreadable or not contents.newest:
        what = f"changes numbered above {max(settled, reaches)} may have been lost with the journal"
        return [what]
    if contents.damage and reaches < max(damage.last for damage in contents.damage):
        numbers = ", ".join(f"{damage.first} to {damage.last}" for damage in contents.damage)
        return [f"changes numbered {numbers} of the journal are not to be had, but for what proves itself"]
    return []
