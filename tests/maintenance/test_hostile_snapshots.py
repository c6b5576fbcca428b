"""Snapshots made by somebody who means harm: nothing is written outside, and nothing of the store is changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from snapshot_cases import Case

from synthians_memory.codec import encode, seal
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.layout import (
    SHARDS,
    STORED_ENTITIES,
    STORED_FILES,
    addressed_path,
    entity_path,
    manifest_path,
)
from synthians_memory.maintenance.manifest import encode_shard, shard_of
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.maintenance.retention import apply_retention
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.snapshots import verify_snapshots
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_scenarios import SMALL_STORE, memory
from synthians_memory.testing.stored_files import all_files

Fields = dict[str, Any]
OUTSIDE = str(Path(tempfile.gettempdir()) / "evil-of-a-snapshot")
Change = Callable[["Archive"], None]


class Archive:
    """A directory with one snapshot, whose seals are made to fit whatever is changed."""

    def __init__(self, path: Path) -> None:
        self.path = path / "to"
        self.backend = LocalBackend(self.path)
        self.folder = SnapshotFolder(self.backend)
        self.name = self.folder.names()[0]
        self.manifest = self.path / manifest_path(self.name)

    @staticmethod
    def make(path: Path) -> None:
        """The directory, and beside it a store that was restored from it."""
        case = Case(folder=LocalBackend(path / "to", create=True))
        case.driven.save(*(memory(f"m{n}") for n in range(4)))
        case.backup()
        case.driven.close()
        LocalBackend(path / "store", create=True).close()
        restore(path / "store", case.folder, elsewhere=True)

    def reseal(self, change: Callable[[Fields], object]) -> None:
        """Change the manifest, and give it a hash that fits."""
        fields: Fields = json.loads(self.manifest.read_bytes())
        change(fields)
        self._write(fields)

    def _write(self, fields: Fields) -> None:
        lines = [
            f'  "{name}": {json.dumps(value)}'.encode() for name, value in fields.items() if name != "content_hash"
        ]
        self.manifest.write_bytes(seal(lines))

    def add(self, folder: str, digest: str, data: bytes) -> str:
        target = self.path / addressed_path(folder, digest)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(data)
        return digest

    def shard(self, name: str, entries: list[tuple[str, str]] | bytes) -> None:
        """Put another shard in."""
        if isinstance(entries, bytes):
            digest, data = hashlib.sha256(entries).hexdigest(), entries
        else:
            digest, data = encode_shard(name, entries)
        self.add(SHARDS, digest, data)
        self.reseal(lambda fields: fields["shards"].update({name: digest}))

    def entity(self, path: str, data: bytes, digest: str | None = None) -> None:
        """Put another entity in, under any path."""
        digest = digest or hashlib.sha256(data).hexdigest()
        self.add(STORED_ENTITIES, digest, data)
        fields = json.loads(self.manifest.read_bytes())
        name = shard_of(path, 1)
        before = fields["shards"].get(name)
        held = self.folder.shard(name, before) if before else {}
        self.shard(name, [*held.items(), (path, digest)])
        self.reseal(lambda fields: fields.update(memories=fields["memories"] + 1))

    def file(self, path: str, data: bytes = b"evil", **changes: Any) -> None:
        """Put a part's file in, under any path."""
        digest = self.add(STORED_FILES, hashlib.sha256(data).hexdigest(), data)
        row = [path, changes.get("sha256", digest), changes.get("size", len(data)), 0]
        self.reseal(lambda fields: fields["files"].append(row))


def restore(store: Path, folder: SnapshotFolder, *, elsewhere: bool = False) -> None:
    restore_store(lambda: LocalBackend(store), folder, Wanted(), ManualClock(), elsewhere=elsewhere, config=SMALL_STORE)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template")
    Archive.make(path)
    return path


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    """A directory of snapshots `to`, and a store."""
    return Path(shutil.copytree(template, tmp_path / "place"))


def sealed(name: str) -> tuple[bytes, str]:
    version = encode(memory(name)).stamp(1_700_000_000_000_000)
    return version.data, version.hash.hex()


def entity_under(path: str, name: str = "m9") -> Change:
    def change(archive: Archive) -> None:
        data, digest = sealed(name)
        archive.entity(path, data, digest)

    return change


def field(name: str, value: object) -> Change:
    return lambda archive: archive.reseal(lambda fields: fields.update({name: value}))


def whole(text: str | bytes) -> Change:
    data = text if isinstance(text, bytes) else text.encode()

    def change(archive: Archive) -> None:
        archive.manifest.write_bytes(data)

    return change


def files(*paths: str) -> Change:
    def change(archive: Archive) -> None:
        for path in paths:
            archive.file(path)

    return change


def twice_in_a_shard(archive: Archive) -> None:
    data, digest = sealed("m9")
    path = entity_path("memory", "m9")
    archive.add(STORED_ENTITIES, digest, data)
    name = shard_of(path, 1)
    row = f'["{path}","{digest}"]'
    archive.shard(name, f'{{"shard": "{name}", "entities": [{row},{row}]}}'.encode())


def linked(target: str) -> Change:
    def change(archive: Archive) -> None:
        path = archive.path / min(all_files(archive.backend, target))
        path.unlink()
        outside = archive.path.parent / "outside.json"
        outside.write_bytes(sealed("m0")[0])
        path.symlink_to(outside)

    return change


def linked_folder(archive: Archive) -> None:
    (archive.path / STORED_ENTITIES).rename(archive.path.parent / "elsewhere")
    (archive.path / STORED_ENTITIES).symlink_to(archive.path.parent / "elsewhere")


def fifo(archive: Archive) -> None:
    path = archive.path / min(all_files(archive.backend, STORED_ENTITIES))
    path.unlink()
    os.mkfifo(path)


def huge(archive: Archive) -> None:
    path = archive.path / min(all_files(archive.backend, STORED_ENTITIES))
    with open(path, "r+b") as file:
        file.truncate(1 << 40)


def huge_manifest(archive: Archive) -> None:
    with open(archive.manifest, "r+b") as file:
        file.truncate(1 << 40)


def gone(folder: str) -> Change:
    def change(archive: Archive) -> None:
        archive.backend.unlink(min(all_files(archive.backend, folder)))

    return change


def swapped(archive: Archive) -> None:
    one, two = sorted(all_files(archive.backend, STORED_ENTITIES))[:2]
    (archive.path / one).rename(archive.path / "third")
    (archive.path / two).rename(archive.path / one)
    (archive.path / "third").rename(archive.path / two)


DEEP = "[" * 100_000 + "]" * 100_000
ATTACKS: dict[str, Change] = {
    "entity above": entity_under("memories/../../evil.json"),
    "entity at an absolute path": entity_under(f"{OUTSIDE}.json"),
    "entity in another folder": entity_under("journal/m9.json"),
    "entity under a name of no id": entity_under("memories/M9.json"),
    "entity under the name of another": entity_under(entity_path("memory", "m8"), "m9"),
    "memory as an assembly": entity_under(entity_path("assembly", "m9")),
    "entity that is none": lambda archive: archive.entity(entity_path("memory", "m9"), b"{}\n"),
    "entity twice": twice_in_a_shard,
    "entity in a wrong shard": lambda archive: archive.shard(
        "0" if shard_of("memories/m9.json", 1) != "0" else "1", [("memories/m9.json", sealed("m9")[1])]
    ),
    "entities swapped": swapped,
    "entity a symlink": linked(STORED_ENTITIES),
    "shard a symlink": linked(SHARDS),
    "manifest a symlink": linked("snapshots"),
    "folder a symlink": linked_folder,
    "entity a FIFO": fifo,
    "entity of a terabyte": huge,
    "manifest of a terabyte": huge_manifest,
    "entity gone": gone(STORED_ENTITIES),
    "shard gone": gone(SHARDS),
    "file above": lambda archive: archive.file("state/../../evil"),
    "file far above": lambda archive: archive.file(f"../../../../../../..{OUTSIDE}"),
    "file at an absolute path": lambda archive: archive.file(OUTSIDE),
    "file as superblock": lambda archive: archive.file("store.json"),
    "file as an entity": lambda archive: archive.file("memories/m9.json"),
    "file as an entity, in capitals": lambda archive: archive.file("Memories/m9.json"),
    "file in the journal": lambda archive: archive.file("journal/0000000009.wal"),
    "file in quarantine": lambda archive: archive.file("quarantine/x/y"),
    "file in the snapshots": lambda archive: archive.file("backups/snapshots/x"),
    "file with NUL": lambda archive: archive.file("state/a\0b"),
    "file with a line break": lambda archive: archive.file("state/a\nb"),
    "file that is scratch": lambda archive: archive.file("state/.scratch-x"),
    "file of an empty name": lambda archive: archive.file("state//x"),
    "file with a long name": lambda archive: archive.file("state/" + "x" * 300),
    "file of a wrong size": lambda archive: archive.file("state/x", size=9),
    "file of a huge size": lambda archive: archive.file("state/x", size=10**30),
    "file of a negative size": lambda archive: archive.file("state/x", size=-1),
    "file of a wrong hash": lambda archive: archive.file("state/x", sha256="0" * 64),
    "file whose hash is a path": lambda archive: archive.file("state/x", sha256="../" * 21 + "a"),
    "file twice": files("state/x", "state/x"),
    "file and folder": files("state/x", "state/x/y"),
    "part above": field("parts", ["../.."]),
    "part of the core": field("parts", ["memories"]),
    "parts of no list": field("parts", 7),
    "files of no list": field("files", {"a": 1}),
    "shards of no object": field("shards", ["0"]),
    "shard whose hash is a path": field("shards", {"0": "../../evil"}),
    "shard whose name is a path": field("shards", {"../..": "0" * 64}),
    "wrong count": field("memories", 7),
    "huge count": field("memories", 10**40),
    "count of a bool": field("sequence", True),
    "digits beyond all": field("digits", 10**9),
    "another ring": field("ring", "for ever"),
    "another name": field("snapshot", "../../evil"),
    "another format": field("format", 2),
    "store of no facts": field("store", {"store_id": "x", "epoch": "y"}),
    "store of wrong facts": field("store", {"store_id": 7, "epoch": []}),
    "store of an odd dimension": lambda archive: archive.reseal(
        lambda fields: fields["store"].update(embedding_dimension="../..")
    ),
    "store of an odd metric": lambda archive: archive.reseal(lambda fields: fields["store"].update(metric=["x"])),
    "store with unknown features": lambda archive: archive.reseal(
        lambda fields: fields["store"].update(mandatory_features=["x"])
    ),
    "manifest of another seal": lambda archive: whole(archive.manifest.read_bytes().replace(b"manual", b"hourly"))(
        archive
    ),
    "manifest not UTF-8": whole(b"\xff\xfe" * 100),
    "manifest of deep JSON": whole(seal([f'  "x": {DEEP}'.encode()])),
    "manifest of NaN": whole(seal([b'  "x": NaN'])),
    "manifest of a huge number": whole(seal([b'  "x": 1' + b"0" * 10_000])),
    "manifest with a key twice": whole(seal([b'  "format": 1', b'  "format": 1'])),
    "manifest of a list": whole(seal([b"1"])),
    "manifest empty": whole(b""),
    "shard of deep JSON": lambda archive: archive.shard("0", f'{{"shard": "0", "entities": {DEEP}}}'.encode()),
    "shard not UTF-8": lambda archive: archive.shard("0", b'{"shard": "0", "entities": [["\xff", "x"]]}'),
    "shard of numbers": lambda archive: archive.shard("0", b'{"shard": "0", "entities": [[1, 2]]}'),
    "shard of a list": lambda archive: archive.shard("0", b"[]"),
}


def everything_below(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in sorted(path.rglob("*")):
        status = entry.lstat()
        small = stat.S_ISREG(status.st_mode) and status.st_size < 1 << 20
        found[str(entry)] = status.st_mode, status.st_size, entry.read_bytes() if small else b""
    return found


# What only shows when it is read as what it claims to be.
SEALED_NONSENSE = {
    "entity under the name of another",
    "memory as an assembly",
    "wrong count",
    "store of an odd dimension",
    "store of an odd metric",
    "store of no facts",
    "store with unknown features",
}


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_is_written_outside_and_nothing_is_changed(name: str, place: Path) -> None:
    ATTACKS[name](Archive(place))
    before = everything_below(place.parent)
    folder = SnapshotFolder(LocalBackend(place / "to"))
    with pytest.raises(SynthiansMemoryError):
        restore(place / "store", folder)
    after = everything_below(place.parent)
    # What was gathered, and never took its place, may be left.
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    assert not [path for path in changed if not path.startswith(str(place / "store" / "backups"))]
    assert not Path(OUTSIDE).exists()
    assert looks_whole(folder) == (name in SEALED_NONSENSE)
    apply_retention(folder)
    assert everything_below(place.parent) == after


def looks_whole(folder: SnapshotFolder) -> bool:
    try:
        return all(info.whole for info in verify_snapshots(folder))
    except SynthiansMemoryError:
        return False


def test_a_restore_that_is_asked_again_after_an_attack_is_as_if_nothing_had_been(place: Path) -> None:
    archive = Archive(place)
    good = archive.manifest.read_bytes()
    archive.file("state/x", sha256="0" * 64)
    new = place / "new"
    new.mkdir()
    with pytest.raises(SynthiansMemoryError):
        restore(new, archive.folder, elsewhere=True)
    archive.manifest.write_bytes(good)
    restore(new, archive.folder, elsewhere=True)
    assert sorted(path.name for path in (new / "memories").iterdir()) == [f"m{n}.json" for n in range(4)]
