"""Small stores as images: the bytes and time of every file, what was acknowledged, and what each file held before."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

from synthians_memory.codec import Version
from synthians_memory.engine.records import Key, decode_record
from synthians_memory.engine.store import Store
from synthians_memory.layout import ENTITY_FOLDERS, INITIAL_FOLDERS, LOCK_FILE, entity_path, is_scratch
from synthians_memory.storage.memory import Medium, MemoryBackend
from synthians_memory.storage.segment import read_journal
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import Policy
from synthians_memory.testing.store_history import DrivenStore, State, StoreHistory, delete, save
from synthians_memory.testing.store_scenarios import SMALL_STORE, assembly, logged_views, memory
from synthians_memory.testing.stored_files import all_files

CONFIG: Final = replace(SMALL_STORE, embedding_dimension=None, index_backup_count=2)
LATER: Final = 1_760_000_000_000_000
# Logs never outgrow their snapshots, so that both are there.
LOG_SHARE: Final = 100.0
_HOUR: Final = 3600.0


class FileImage(NamedTuple):
    """One regular file."""

    data: bytes
    mtime_ns: int


Image = Mapping[str, FileImage]


@dataclass(frozen=True)
class Sample:
    """A store that nobody has open.

    Attributes:
        name: how it was left.
        image: its files, by path.
        truth: what was acknowledged.
        ever: hashes of every version that was ever acknowledged, by entity.
        retained: entities that the journal decides about.
        unapplied: those of them whose files do not hold what the journal says.
        older: what a file held before, where it held anything else.
    """

    name: str
    image: Image
    truth: State
    ever: Mapping[Key, frozenset[bytes]]
    retained: frozenset[Key]
    unapplied: frozenset[Key]
    older: Mapping[str, bytes]

    @property
    def paths(self) -> list[str]:
        """The files, in order."""
        return sorted(self.image)


@dataclass
class _Past:
    """Remembers what each file held before."""

    disk: FaultyDisk
    present: dict[str, bytes] = field(default_factory=dict)
    older: dict[str, bytes] = field(default_factory=dict)

    def look(self) -> None:
        now = all_files(FaultyBackend(self.disk))
        for path, data in now.items():
            if self.present.get(path, data).rstrip(b"\0") != data.rstrip(b"\0"):
                self.older[path] = self.present[path]
            self.present[path] = data


class FileTimes:
    """The clock of a medium, set before each write to the time that the file shall have."""

    def __init__(self) -> None:
        self.now_micros = LATER

    def micros(self) -> int:
        return self.now_micros

    def monotonic(self) -> float:
        return 0.0


def is_entity(path: str) -> bool:
    """Whether it is in a folder of entity files."""
    return path.split("/", maxsplit=1)[0] in ENTITY_FOLDERS.values()


def disk_of(image: Image, folders: tuple[str, ...] = (), times: FileTimes | None = None) -> MemoryBackend:
    """A disk in memory with these files, and with `folders` beside those that a store has; `times` goes on to be its clock."""
    times = times or FileTimes()
    backend = MemoryBackend(Medium(clock=times))
    for folder in (*INITIAL_FOLDERS, *folders):
        backend.make_folder(folder)
    for path, file in image.items():
        times.now_micros = file.mtime_ns // 1000
        made = backend.create(path)
        made.write(file.data)
        made.close()
    times.now_micros = LATER
    return backend


def write_out(image: Image, root: Path) -> Path:
    """The same on a real disk, below `root`."""
    for folder in INITIAL_FOLDERS:
        (root / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
    for path, file in image.items():
        (root / path).write_bytes(file.data)
        os.utime(root / path, ns=(file.mtime_ns, file.mtime_ns))
    return root


def closed_store() -> Sample:
    """After a clean close: no frames, both view logs with groups behind their snapshots, two copies of the index."""
    with logged_views(LOG_SHARE):
        disk, history, past = _until_closed(ManualClock())
    return _sample("closed", disk.crash("killed"), history, past)


def killed_store() -> Sample:
    """After kill -9: segments that are covered, a segment that was left behind, one in use; the files are written."""
    return _left_open("killed", "killed")


def young_store() -> Sample:
    """After a power cut before the first checkpoint: one segment has everything, and there is no view."""
    disk, history = FaultyDisk(), StoreHistory()
    past = _Past(disk)
    driven = DrivenStore.open(FaultyBackend(disk), CONFIG, ManualClock(), history)
    driven.save(*(memory(f"m{n}") for n in range(3)), assembly("a1", "m0", "m1"))
    past.look()
    driven.save(memory("m1", 2))
    driven.delete(("memory", "m0"))
    past.look()
    return _sample("young", disk.crash("lose_all"), history, past)


def cut_store() -> Sample:
    """The same after a power cut that undid whatever was not synced: the journal alone has the latest changes."""
    return _left_open("cut", "lose_all")


def _left_open(name: str, policy: Policy) -> Sample:
    clock = ManualClock()
    with logged_views(LOG_SHARE):
        disk, history, past = _until_closed(clock)
        driven = DrivenStore.open(FaultyBackend(disk), CONFIG, clock, history)
        _leave_frames(driven, clock, past)
    return _sample(name, disk.crash(policy), history, past)


def _until_closed(clock: ManualClock) -> tuple[FaultyDisk, StoreHistory, _Past]:
    disk, history = FaultyDisk(), StoreHistory()
    backend = FaultyBackend(disk)
    past = _Past(disk)
    numbers = count(1)
    store = Store.open(backend, CONFIG, clock, new_id=lambda: f"{next(numbers):032x}")
    past.look()
    driven = DrivenStore(store, history)
    driven.save(*(memory(f"m{n}") for n in range(4)), memory("Ada", embedded=False), assembly("a1", "m0", "m1"))
    _checkpoint(driven, clock, past)
    driven.save(memory("m1", 2))
    driven.delete(("memory", "m0"))
    _checkpoint(driven, clock, past)
    clock.advance(_HOUR)
    driven.save(memory("m1", 3), memory("m4"))
    with logged_views(0.0):
        _checkpoint(driven, clock, past)
    driven.save(assembly("a1", "m1", edition=2), memory("m2", 2), memory("gone"))
    _checkpoint(driven, clock, past)
    driven.commit([save(memory("m5")), delete(("memory", "gone")), save(memory("m5", 2))])
    driven.close()
    past.look()
    return disk, history, past


def _checkpoint(driven: DrivenStore, clock: ManualClock, past: _Past) -> None:
    clock.advance(1)
    driven.checkpoint()
    past.look()


def _leave_frames(driven: DrivenStore, clock: ManualClock, past: _Past) -> None:
    """Frames that a checkpoint covers in a segment that a reader holds; frames in two more that nothing covers."""
    driven.save(memory("m2", 3))
    reader = Store.open(FaultyBackend(past.disk), CONFIG, clock, read_only=True)
    _checkpoint(driven, clock, past)
    reader.release()
    driven.save(memory("m1", 4))
    driven.commit([save(memory("m6")), save(assembly("a1", "m1", "m6", edition=3)), delete(("memory", "m3"))])
    past.look()
    journal = driven.store.state.journal
    assert journal is not None
    journal.start_segment(journal.checkpointed_through)
    driven.save(memory("m7"))
    driven.delete(("memory", "m4"))
    past.look()
    driven.save(memory("m6", 2))
    past.look()


def _sample(name: str, disk: FaultyDisk, history: StoreHistory, past: _Past) -> Sample:
    backend = FaultyBackend(disk)
    files = all_files(backend)
    image: dict[str, FileImage] = {}
    for path, data in files.items():
        stat = backend.stat(path)
        assert stat is not None
        if path != LOCK_FILE and not is_scratch(path.rpartition("/")[2]):
            image[path] = FileImage(data, stat.mtime_ns)
    truth = history.states[-1]
    ever: dict[Key, set[bytes]] = {}
    for state in history.states:
        for key, version in state.items():
            ever.setdefault(key, set()).add(version.hash)
    retained = {decode_record(body).key for entry in read_journal(backend, None).entries for body in entry.records}
    older = {path: data for path, data in past.older.items() if path in image and data != image[path].data}
    return Sample(
        name,
        image,
        truth,
        {key: frozenset(hashes) for key, hashes in ever.items()},
        frozenset(retained),
        frozenset(key for key in retained if not _applied(image, key, truth.get(key))),
        older,
    )


def _applied(image: Image, key: Key, version: Version | None) -> bool:
    file = image.get(entity_path(*key))
    return file is None if version is None else file is not None and file.data == version.data


SAMPLES: Final = (closed_store(), killed_store(), cut_store(), young_store())
