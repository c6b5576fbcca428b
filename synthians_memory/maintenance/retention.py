"""Retention: which snapshots stay, and the removal of the others with all that only they needed.

It takes no snapshot.

Three rings: of "hourly" snapshots the last of each of the latest 24 hours that have any; of "hourly" and "daily" ones
the last of each of the latest days, as many as are asked for; of "manual" ones the last 7. A snapshot that one ring
wants stays. One that lacks something counts in none of them, so that it never takes the place of a whole one; of
those the last few stay as well. What is damaged beyond reading is left where it is, and nothing stored is removed while
such a manifest is there, since nobody knows what it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from synthians_memory.errors import DamagedBackupError
from synthians_memory.layout import (
    MANIFESTS,
    SHARDS,
    STORED_ENTITIES,
    STORED_FILES,
    addressed_path,
    is_scratch,
    manifest_path,
    scratch_path,
)
from synthians_memory.maintenance.manifest import Manifest, StoredFile
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder

__all__ = ["DAILY", "HOURLY", "MANUAL", "Removed", "apply_retention", "sweep", "to_keep"]

HOURLY: Final = 24
DAILY: Final = 7
MANUAL: Final = 7
_INCOMPLETE: Final = 3
# YYYYMMDD_HH and YYYYMMDD
_HOUR: Final = 11
_DAY: Final = 8


@dataclass(slots=True)
class Removed:
    """What a retention did.

    Attributes:
        snapshots: names of those that were removed.
        files, bytes: how much of what was stored went with them.
        problems: why something was left, a sentence each.
    """

    snapshots: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    problems: list[str] = field(default_factory=list)


def to_keep(manifests: Sequence[Manifest], *, days: int = DAILY) -> set[str]:
    """The names of the snapshots that stay.

    Args:
        manifests: oldest first.
        days: how many days the daily ring has.
    """
    whole = [manifest for manifest in manifests if not manifest.missing]
    hourly = [manifest.name for manifest in whole if manifest.ring == "hourly"]
    scheduled = [manifest.name for manifest in whole if manifest.ring != "manual"]
    manual = [manifest.name for manifest in whole if manifest.ring == "manual"]
    incomplete = [manifest.name for manifest in manifests if manifest.missing]
    return {
        *_last_of_each(hourly, HOURLY, lambda name: name[:_HOUR]),
        *_last_of_each(scheduled, days, lambda name: name[:_DAY]),
        *manual[-MANUAL:],
        *incomplete[-_INCOMPLETE:],
    }


def _last_of_each(names: Iterable[str], most: int, period: Callable[[str], str]) -> list[str]:
    """The last name of each of the latest `most` periods that have any."""
    last: dict[str, str] = {}
    for name in names:
        last[period(name)] = name
    return [last[key] for key in sorted(last)[-most:]]


def apply_retention(folder: SnapshotFolder, *, days: int = DAILY) -> Removed:
    """Remove the snapshots that no ring wants, and what only they needed.

    Those that stay are looked at first: what they hold and one that goes does not is read and hashed. One that is
    damaged counts no longer, so that no good snapshot goes for it.

    Args:
        folder: held exclusively by the caller.
        days: as in `to_keep`.

    Raises:
        DiskError: something could not be read or removed; it is gone on with the next time.
    """
    removed = Removed()
    listing = folder.listing()
    removed.problems += listing.damaged.values()
    counting = list(listing.manifests)
    while True:
        keep = to_keep(counting, days=days)
        going = [manifest for manifest in counting if manifest.name not in keep]
        damaged = _damaged(folder, [m for m in counting if m.name in keep], going)
        if not damaged:
            break
        removed.problems += damaged.values()
        counting = [manifest for manifest in counting if manifest.name not in damaged]
    for manifest in going:
        folder.backend.unlink(manifest_path(manifest.name))
        removed.snapshots.append(manifest.name)
    if going:
        # Gone for ever before anything that they name is.
        folder.backend.sync_folder(MANIFESTS)
        sweep(folder, removed)
    return removed


def _damaged(folder: SnapshotFolder, staying: Sequence[Manifest], going: Sequence[Manifest]) -> dict[str, str]:
    """Name -> why, of those that stay and do not hold what they have beyond those that go."""
    if not going:
        return {}
    found: dict[str, str] = {}
    proved: set[str] = set()
    # A rotten entity that all of those hold as well is no reason to keep them.
    shared_shards = set.intersection(*(set(manifest.shards.items()) for manifest in going))
    shared_files = set.intersection(*(set(manifest.files) for manifest in going))
    known = _entities_of_changed(folder, going, shared_shards)
    for manifest in staying:
        try:
            for name, digest in manifest.shards.items():
                if (name, digest) in shared_shards or digest in proved:
                    continue
                for entity in folder.shard(name, digest).values():
                    if entity not in known and entity not in proved:
                        folder.entity(entity)
                        proved.add(entity)
                proved.add(digest)
            _read_files(folder, set(manifest.files) - shared_files)
        except DamagedBackupError as error:
            found[manifest.name] = f"the snapshot {manifest.name} is damaged: {error.message}"
    return found


def _read_files(folder: SnapshotFolder, files: Iterable[StoredFile]) -> None:
    for file in files:
        for _ in folder.file_pieces(file):
            pass


def _entities_of_changed(folder: SnapshotFolder, going: Sequence[Manifest], shared: set[tuple[str, str]]) -> set[str]:
    """Hashes of the entities that all of those that go hold, in the shards that not all of them share."""
    common: set[str] | None = None
    for manifest in going:
        held: set[str] = set()
        for name, digest in manifest.shards.items():
            if (name, digest) not in shared:
                try:
                    held.update(folder.shard(name, digest).values())
                except DamagedBackupError:
                    continue
        common = held if common is None else common & held
    return common or set()


def sweep(folder: SnapshotFolder, removed: Removed) -> None:
    """Remove what no manifest needs, and scratch; nothing while any manifest or shard is damaged. Idempotent.

    Args:
        folder: held exclusively by the caller.
        removed: grows by what was done.
    """
    listing = folder.listing()
    try:
        needed = _needed(folder, listing.manifests)
    except DamagedBackupError as error:
        removed.problems.append(f"nothing stored was removed: {error.message}")
        return
    if listing.damaged:
        removed.problems.append("nothing stored was removed, since a manifest is damaged")
        return
    for top in (MANIFESTS, SHARDS, STORED_ENTITIES, STORED_FILES):
        for fan, stat in list(folder.backend.scan(top)):
            if stat.kind == "folder":
                _sweep_folder(folder, f"{top}/{fan}", needed, removed)
            elif is_scratch(fan):
                folder.backend.unlink(scratch_path(top, fan.removeprefix(scratch_path("", ""))))


def _needed(folder: SnapshotFolder, manifests: Iterable[Manifest]) -> set[str]:
    shards = {(name, digest) for manifest in manifests for name, digest in manifest.shards.items()}
    needed = {addressed_path(SHARDS, digest) for _, digest in shards}
    for name, digest in shards:
        needed.update(addressed_path(STORED_ENTITIES, entity) for entity in folder.shard(name, digest).values())
    needed.update(addressed_path(STORED_FILES, file.sha256) for manifest in manifests for file in manifest.files)
    return needed


def _sweep_folder(folder: SnapshotFolder, path: str, needed: set[str], removed: Removed) -> None:
    for name, stat in list(folder.backend.scan(path)):
        if f"{path}/{name}" not in needed and stat.kind == "file":
            folder.backend.unlink(f"{path}/{name}")
            removed.files += 1
            removed.bytes += stat.size
