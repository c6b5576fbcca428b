"""Stores on a real disk, and what a person or a failing disk does to their files: with plain `os`, never through the store."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from synthians_memory.codec import encode, seal
from synthians_memory.config import StoreConfig
from synthians_memory.engine.commit import Batch, Operation
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry, Vector
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend

DIMENSION = 8
CREATED = datetime(2026, 11, 1, tzinfo=UTC)
NOON = 1_795_176_000_000_000  # 2026-11-20T12:00:00Z, in microseconds

# One row of `listing`: mode, size, mtime_ns, content.
Entry = tuple[int, int, int, bytes]


class TickingClock:
    """A clock that moves a millisecond with every look, and as far as it is told."""

    def __init__(self, start: int = NOON) -> None:
        self.now = start

    def micros(self) -> int:
        self.now += 1000
        return self.now

    def monotonic(self) -> float:
        return self.micros() / 1e6

    def advance(self, seconds: float) -> None:
        self.now += int(seconds * 1_000_000)


def vector(seed: int, dimension: int = DIMENSION) -> Vector:
    drawn: Vector = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    return drawn


def memory_id(number: int) -> str:
    return f"m{number:03}"


def key_of(number: int) -> Key:
    return "memory", memory_id(number)


def memory(number: int, content: str | None = None, **fields: Any) -> MemoryEntry:
    given = {"embedding": vector(number), "metadata": {"n": number}, "tags": ["t"], **fields}
    return MemoryEntry(
        memory_id=memory_id(number),
        content=f"memory {number}" if content is None else content,
        created_at=CREATED,
        **given,
    )


def assembly(name: str, members: Iterable[str], seed: int = 9000) -> MemoryAssembly:
    return MemoryAssembly(
        assembly_id=name, name=name, members=tuple(members), composite_embedding=vector(seed), created_at=CREATED
    )


# Opening and writing


def open_store(
    root: Path,
    *,
    clock: TickingClock | None = None,
    read_only: bool = False,
    backend: Backend | None = None,
    **settings: Any,
) -> Store:
    config = StoreConfig(storage_path=str(root), **settings)
    backend = backend or LocalBackend(root, create=not read_only)
    return Store.open(backend, config, clock or TickingClock(), read_only=read_only)


@contextmanager
def opened(root: Path, **settings: Any) -> Iterator[Store]:
    """A store that is closed afterwards; where the block raises, it is given up as at a crash."""
    store = open_store(root, **settings)
    try:
        yield store
        store.close()
    finally:
        store.release()


def save(store: Store, *entities: Entity) -> None:
    commit(store, [Operation(e.kind, e.entity_id, encode(e)) for e in entities])


def delete(store: Store, *keys: Key) -> None:
    commit(store, [Operation(*key, None) for key in keys])


def commit(store: Store, operations: list[Operation]) -> None:
    batch = Batch(operations)
    store.commit([batch])
    if batch.error is not None:
        raise batch.error


def make_store(root: Path, memories: int = 5, assemblies: int = 1, **settings: Any) -> Path:
    """A store that was closed properly."""
    with opened(root, **settings) as store:
        save(store, *(memory(n) for n in range(memories)))
        save(store, *(assembly(f"a{n}", [memory_id(n)], 9000 + n) for n in range(assemblies)))
    return root


def copy_of(root: Path, folder: Path) -> Path:
    """The same store in `folder`, times included."""
    return Path(shutil.copytree(root, folder / "store", symlinks=True))


# Looking at the disk


def memory_file(root: Path, number: int) -> Path:
    return root / "memories" / f"{memory_id(number)}.json"


def fields_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def listing(root: Path) -> dict[str, Entry]:
    """Every name below `root` with mode, size, mtime and content."""
    found: dict[str, Entry] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder) / name
            status = path.lstat()
            content = b""
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(os.fsencode(path))
            elif stat.S_ISREG(status.st_mode):
                content = path.read_bytes()
            found[str(path.relative_to(root))] = (status.st_mode, status.st_size, status.st_mtime_ns, content)
    return found


def names(root: Path, *, but: Iterable[str] = ()) -> set[str]:
    return listing(root).keys() - set(but)


def contents(root: Path) -> dict[str, bytes]:
    """Every name below `root` and the bytes of what is a file."""
    return {name: entry[3] for name, entry in listing(root).items()}


def quarantined(root: Path) -> list[bytes]:
    """The bytes of every file and link in quarantine."""
    return [e[3] for e in listing(root / "quarantine").values() if not stat.S_ISDIR(e[0])]


def codes(findings: Iterable[Finding]) -> list[tuple[str, str | None]]:
    return sorted(((f.code, f.entity_id) for f in findings), key=repr)


def looked_at(store: Store, root: Path, level: str) -> list[tuple[str, str | None]]:
    """What check finds; proves that it writes nothing."""
    before = listing(root)
    found = codes(store.check(level))  # type: ignore[arg-type]
    assert listing(root) == before
    return found


def only_notes(findings: Iterable[Finding]) -> bool:
    return all(finding.severity == "note" for finding in findings)


# Changing it from outside


def flip(path: Path, offset: int) -> None:
    """Change one bit of the byte at `offset` (from the end where negative); size and mtime stay."""
    status = path.stat()
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rewrite(path: Path, data: bytes) -> None:
    """Other bytes, at another time."""
    path.write_bytes(data)
    os.utime(path, ns=(1, 1))


def sealed(fields: dict[str, Any]) -> bytes:
    """The file of `fields`, with a hash line that is right."""
    kept = {name: value for name, value in fields.items() if name != "content_hash"}
    return seal(f"  {json.dumps(name)}: {json.dumps(value)}".encode() for name, value in kept.items())


def sealed_version_file(entity: Entity, micros: int) -> bytes:
    """The file that a store writes for `entity`, updated at `micros`."""
    return encode(entity).stamp(micros).data


def without_hash(data: bytes) -> bytes:
    """The file as a person leaves it who takes the hash line away."""
    lines = data.split(b"\n")
    kept = [line for line in lines if b'"content_hash"' not in line]
    return b"\n".join(kept).replace(b",\n}", b"\n}")


def resealed(path: Path, change: Any) -> None:
    """Let `change` alter the fields of a sealed document, and seal it again."""
    fields = fields_of(path)
    change(fields)
    path.write_bytes(sealed(fields))


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
