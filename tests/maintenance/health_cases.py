"""Stores in memory with their snapshots beside them, for the tests of the health pass."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from synthians_memory.config import StoreConfig
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.errors import EntityNotFoundError
from synthians_memory.layout import ENTITY_FOLDERS, is_scratch
from synthians_memory.maintenance.backup import take_snapshot
from synthians_memory.maintenance.health_place import HealthPlace
from synthians_memory.maintenance.manifest import Ring
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.source import SnapshotSource, base_beside
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.memory import Medium, MemoryBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_history import observe
from synthians_memory.testing.stored_files import all_files

HEALTH_DOCS = Path(__file__).resolve().parent.parent.parent / "docs" / "health.md"
# Path below the store -> bytes.
Files = dict[str, bytes]


def in_memory(files: Files, clock: ManualClock) -> MemoryBackend:
    """A medium with these files."""
    backend = MemoryBackend(Medium(clock=clock))
    for path, data in files.items():
        put(backend, path, data)
    return backend


def put(backend: Backend, path: str, data: bytes) -> None:
    """Write a file as a program that knows nothing of the store would."""
    parts = path.split("/")[:-1]
    for depth in range(len(parts)):
        backend.make_folder("/".join(parts[: depth + 1]))
    backend.unlink(path)
    file = backend.create(path)
    file.write(data)
    file.close()


def place_of(
    open_store: Callable[[], Backend], snapshots: MemoryBackend, clock: ManualClock, config: StoreConfig
) -> HealthPlace:
    """A store on any medium, with its snapshots in memory."""

    @contextmanager
    def opened(exclusive: bool) -> Iterator[SnapshotFolder]:
        folder = SnapshotFolder(snapshots.reopen())
        if not exclusive and not folder.listing().manifests:
            raise EntityNotFoundError("there are no snapshots")
        with folder.held(exclusive=exclusive):
            yield folder

    return HealthPlace(open_store, open_store, opened, config=config, clock=clock)


def snapshot(store: MemoryBackend, snapshots: MemoryBackend, clock: ManualClock, ring: Ring = "hourly") -> None:
    """Take a snapshot of a store that nobody has open."""
    folder, backend = SnapshotFolder(snapshots.reopen()), store.reopen()
    with folder.held(exclusive=True):
        take_snapshot(SnapshotSource(backend, lambda: base_beside(backend, clock), clock), folder, ring=ring)


def held(backend: Backend, config: StoreConfig, clock: ManualClock) -> dict[Key, str]:
    """Content hash of everything that a store serves; AssertionError where it cannot serve something."""
    store = Store.open(backend, config, clock, read_only=True)
    try:
        return {key: entity.__dict__["content_hash"] for key, entity in observe(store).items()}
    finally:
        store.release()


def source_files(backend: Backend) -> Files:
    """Everything in the entity folders that is no scratch."""
    found = {path: data for folder in ENTITY_FOLDERS.values() for path, data in all_files(backend, folder).items()}
    return {path: data for path, data in found.items() if not is_scratch(path.rpartition("/")[2])}


def source_bytes(backend: Backend) -> set[bytes]:
    """The bytes of all of that."""
    return set(source_files(backend).values())


def documented() -> dict[str, tuple[str, str]]:
    """Defect -> outcome of the first pass without and with a backup, as docs/health.md has them."""
    rows = re.findall(r"^\| `([a-z-]+)` \| (\w+) \| (\w+) \|$", HEALTH_DOCS.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: (without, with_one) for name, without, with_one in rows}
