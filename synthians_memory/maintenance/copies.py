"""Where an entity's version is still to be had when its file is not: snapshots, and the archived journal.

It brings nothing back, and believes nothing without its hash.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from synthians_memory.codec import Version, inspect, sealed_version, version_of
from synthians_memory.engine.records import Key
from synthians_memory.errors import DamagedBackupError
from synthians_memory.layout import ARCHIVE, entity_path, key_of_path
from synthians_memory.maintenance.manifest import Manifest
from synthians_memory.maintenance.past import Past, epochs_of
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.storage.backend import Backend

__all__ = ["Copies", "Copy"]

_ARCHIVE: Final = "the archived journal"


@dataclass(frozen=True, slots=True)
class Copy:
    """A version that is still to be had.

    Attributes:
        version: proved by its hash.
        origin: where it is, for people.
        exact: whether it is the version that was asked for.
    """

    version: Version
    origin: str
    exact: bool


@dataclass(slots=True)
class Copies:
    """The copies of one store's entities.

    Attributes:
        store: whose archived journal is looked into.
        store_id: what is of another store is left out.
        folder: the snapshots, held by the caller; None for none.
        problems: grows by what is damaged among them, a sentence each.
    """

    store: Backend
    store_id: str
    folder: SnapshotFolder | None
    problems: list[str] = field(default_factory=list)

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        """The intact manifests of the store's snapshots, newest first."""
        if self.folder is None:
            return ()
        listing = self.folder.listing()
        return tuple(reversed([manifest for manifest in listing.manifests if manifest.store_id == self.store_id]))

    def find(self, wanted: Mapping[Key, bytes | None], dimension: int | None) -> dict[Key, Copy]:
        """The versions with these content hashes; where one is not to be had, or not known, the newest there is.

        Args:
            wanted: of each entity the hash of its acknowledged version; None where nobody knows it.
            dimension: of the store's vectors: a version with another one is of a model before.

        Raises:
            DiskError: something cannot be read.
        """
        found = {key: copy for key, digest in wanted.items() if digest and (copy := self._stored(key, digest))}
        rest = {key: digest for key, digest in wanted.items() if key not in found}
        last: dict[Key, Copy] = {}
        if rest and self.store.stat(ARCHIVE) is not None:
            self._search_archive(rest, found, last)
        for key in rest.keys() - found.keys():
            candidates = [copy for copy in (last.get(key), self._newest(key)) if copy is not None]
            fitting = [copy for copy in candidates if _fits(copy.version, dimension)]
            if fitting:
                found[key] = max(fitting, key=lambda copy: copy.version.updated_micros)
        return found

    def _stored(self, key: Key, digest: bytes) -> Copy | None:
        version = self._version(key, digest.hex()) if self.folder is not None else None
        return None if version is None else Copy(version, "a snapshot", exact=True)

    def _version(self, key: Key, digest: str, *, must: bool = False) -> Version | None:
        """What is stored under that hash; damage is only worth telling of where a manifest names it."""
        if self.folder is None:
            return None
        try:
            return _proved(key, self.folder.entity(digest))
        except DamagedBackupError as error:
            self.problems += [error.message] if must else []
            return None

    def _newest(self, key: Key) -> Copy | None:
        for manifest in self.manifests if self.folder is not None else ():
            try:
                digest = self.folder.find(manifest, entity_path(*key)) if self.folder is not None else None
            except DamagedBackupError as error:
                self.problems.append(error.message)
                continue
            version = self._version(key, digest, must=True) if digest is not None else None
            if version is not None:
                return Copy(version, f"the snapshot {manifest.name}", exact=False)
        return None

    def _search_archive(
        self, wanted: Mapping[Key, bytes | None], found: dict[Key, Copy], last: dict[Key, Copy]
    ) -> None:
        for epoch in epochs_of(self.store, self.store_id):
            for _, _, record in Past(self.store, self.store_id, epoch).changes():
                if record.key not in wanted or record.data is None:
                    continue
                version = _proved(record.key, record.data)
                if version is not None:
                    last[record.key] = Copy(version, _ARCHIVE, exact=False)
                    if version.hash == wanted[record.key]:
                        found[record.key] = Copy(version, _ARCHIVE, exact=True)

    def held(self, manifest: Manifest) -> dict[Key, str]:
        """Entity -> content hash of all that a snapshot holds, as far as it can be read. Raises DiskError."""
        found: dict[Key, str] = {}
        for name, digest in manifest.shards.items() if self.folder is not None else ():
            try:
                entries = self.folder.shard(name, digest) if self.folder is not None else {}
            except DamagedBackupError as error:
                self.problems.append(error.message)
                continue
            found |= {_key(path): entity_digest for path, entity_digest in entries.items()}
        return found

    def named(self, wanted: Mapping[Key, str], origin: str) -> Iterator[tuple[Key, Copy]]:
        """The versions with these content hashes, as hexadecimal digits, that are stored. Raises DiskError."""
        for key, digest in sorted(wanted.items()):
            version = self._version(key, digest, must=True)
            if version is not None:
                yield key, Copy(version, origin, exact=True)


def _key(path: str) -> Key:
    found = key_of_path(path)
    if found is None:
        raise DamagedBackupError(f"{path} is the file of no entity", path=path)
    return found


def _proved(key: Key, data: bytes) -> Version | None:
    """The version in `data`, if it is a sealed one of that entity."""
    found = inspect(*key, data)
    return sealed_version(key[0], data) if found.state == "sealed" and version_of(data) == found.hash else None


def _fits(version: Version, dimension: int | None) -> bool:
    vector = version.entity.vector
    return vector is None or dimension is None or len(vector) == dimension
