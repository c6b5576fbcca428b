"""What a directory's file system and disk can be found out to do, one fact after the other, by doing it.

It is not the crash suite (`disk_trial`), and sees nothing of what a power cut does.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final, Literal

from synthians_memory.errors import DiskError, DiskFullError
from synthians_memory.layout import MAX_NAME_BYTES
from synthians_memory.storage.backend import Backend, WritableFile
from synthians_memory.storage.filesystem import filesystem_type, mount_options, network_filesystem
from synthians_memory.storage.local import LocalBackend

__all__ = ["DiskFact", "DiskPlace", "Finding", "Result", "drop_cached", "find_fact", "judged_sync", "look_at"]

Result = Literal["ok", "warning", "failed", "lost", "skipped"]

_MIB: Final = 1 << 20
_MEMORY_TYPES: Final = frozenset(("ramfs", "tmpfs"))
# With one of these the kernel leaves out what makes a sync reach the disk.
_UNSAFE_OPTIONS: Final = frozenset(("barrier=0", "barrier=none", "nobarrier", "volatile", "fsync=volatile"))
_LITTLE_ROOM: Final = 256 * _MIB
_FEW_INODES: Final = 10_000
_SYNCS: Final = 64
_RENAMES: Final = 200
_LOOKS: Final = 500
_WATCHING_SECONDS: Final = 3.0
_BLOCK: Final = 4096
# No device that waits for its medium, or for a cache that survives a power cut, answers faster than the first; one
# without such a cache never faster than the second.
_IMPLAUSIBLE_SECONDS: Final = 20e-6
_PROTECTED_SECONDS: Final = 100e-6
_COARSE_SECONDS: Final = 0.1
_COARSEST_SECONDS: Final = 2.5


@dataclass(frozen=True, slots=True)
class DiskFact:
    """What one test found.

    Attributes:
        name: of the test.
        result: "ok"; "warning": worth knowing; "failed": not as the store needs it; "lost": bytes, or acknowledged
            changes, are not what was stored; "skipped": could not be tested here.
        detail: what was seen, and what follows from it.
    """

    name: str
    result: Result
    detail: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"name": self.name, "result": self.result, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class DiskPlace:
    """An empty directory to try things in.

    Attributes:
        path: where it is.
        backend: open on it.
        rng: source of the bytes that are written.
    """

    path: str
    backend: Backend
    rng: Random


# What a test saw, and what follows from it.
Finding = tuple[Result, str]
Look = Callable[[DiskPlace], Finding]


def look_at(folder: DiskPlace) -> Iterator[DiskFact]:
    """Find out each fact, in a folder of its own within `folder`. Raises DiskFullError."""
    for number, (name, look) in enumerate(_FACTS):
        folder.backend.make_folder(f"fact-{number}")
        path = os.path.join(folder.path, f"fact-{number}")
        backend = LocalBackend(path)
        try:
            yield find_fact(name, partial(look, DiskPlace(path, backend, folder.rng)))
        finally:
            backend.close()


def find_fact(name: str, look: Callable[[], Finding]) -> DiskFact:
    """What `look` finds; where the disk refuses it, that is what was found.

    Raises:
        DiskFullError: there is no room to find out anything.
    """
    try:
        result, detail = look()
    except DiskFullError:
        raise
    except DiskError as error:
        result, detail = "failed", error.message
    except OSError as error:  # from what is only looked at
        result, detail = "failed", str(error)
    return DiskFact(name, result, detail)


# What it is


def _file_system(place: DiskPlace) -> Finding:
    kind, options = _mounted(place)
    unsafe = sorted(options & _UNSAFE_OPTIONS)
    if network_filesystem(place.path):
        return "failed", f"{kind}, a network file system: the store refuses it, its locks and syncs are weaker"
    if kind in _MEMORY_TYPES:
        return "warning", f"{kind}: memory only: a power cut loses everything"
    if unsafe:
        return "failed", f"{kind}, mounted with {', '.join(unsafe)}: a sync does not reach the disk"
    if kind is None:
        return "warning", "its type cannot be told here; use a local disk"
    if kind.startswith("fuse"):
        return "warning", f"{kind}: a program answers for the disk, and may keep what it calls synced"
    return "ok", kind


def _mounted(place: DiskPlace) -> tuple[str | None, frozenset[str]]:
    """Type and options of the file system."""
    descriptor = os.open(place.path, os.O_RDONLY)
    try:
        return filesystem_type(descriptor), mount_options(descriptor)
    finally:
        os.close(descriptor)


def _write_cache(place: DiskPlace) -> Finding:
    device = os.stat(place.path).st_dev
    folder = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    for entry in (folder / "queue/write_cache", folder.resolve().parent / "queue/write_cache"):
        with suppress(OSError):
            if entry.read_text().strip() == "write back":
                return "ok", "the device has a volatile write cache, which every sync has to empty"
            return "ok", "the device says that it has no volatile write cache"
    return "skipped", "the kernel does not tell of this device"


def _room(place: DiskPlace) -> Finding:
    space = os.statvfs(place.path)
    free = place.backend.free_bytes()
    counted = space.f_files > 0
    inodes = f"{space.f_favail:,} files" if counted else "any number of files"
    little = free < _LITTLE_ROOM or (counted and space.f_favail < _FEW_INODES)
    return "warning" if little else "ok", f"{free // _MIB:,} MiB and {inodes} free; a memory is a file"


def _directory_descriptors(place: DiskPlace) -> Finding:
    if os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW"):
        return "ok", "paths are followed step by step, and never through a symlink"
    return "warning", "the platform has none: whoever may change the store's folders can lead it elsewhere"


# Names


def _names(place: DiskPlace) -> Finding:
    longest = "n" * (MAX_NAME_BYTES - len("%41.json")) + "%41.json"
    _put(place, longest, b"")
    _put(place, "name", b"")
    listed = {name for name, _ in place.backend.scan("")}
    if not {longest, "name"} <= listed:
        return "failed", "names are not listed as they were given"
    folded = place.backend.stat("NAME") is not None
    case = "are not told apart, which the store does not need" if folded else "are told apart"
    return "ok", f"up to {MAX_NAME_BYTES} bytes; upper and lower case {case}"


def _exclusive_create(place: DiskPlace) -> Finding:
    _put(place, "taken", b"first")
    try:
        place.backend.create("taken").close()
    except DiskError as error:
        if isinstance(error.__cause__, FileExistsError):
            return "ok", "a name is given once"
        raise
    return "failed", "a file was created where one was: two writers could take one name"


def _modes(place: DiskPlace) -> Finding:
    _put(place, "private", b"")
    mode = os.stat(os.path.join(place.path, "private")).st_mode & 0o777
    if mode & 0o077:
        return "warning", f"files get mode {mode:04o} and not 0600: other users may read memories"
    return "ok", "files are their owner's only"


def _rename(place: DiskPlace) -> Finding:
    """A reader sees the old content or the new, whole, while files take each other's place."""
    contents = [place.rng.randbytes(3 * _BLOCK) for _ in range(2)]
    _put(place, "target", contents[0])
    reader = _Reader(place.backend, "target")
    reader.start()
    try:
        end, renames = time.monotonic() + _WATCHING_SECONDS, 0
        while renames < _RENAMES or (reader.looks < _LOOKS and time.monotonic() < end):
            renames += 1
            _put(place, "source", contents[renames % 2])
            place.backend.replace("source", "target")
    finally:
        reader.end()
    missing = reader.seen[None]
    torn = sum(times for data, times in reader.seen.items() if data not in (None, *contents))
    if missing or torn:
        return "failed", f"while a file was replaced it was missing {missing} times, and torn {torn} times"
    return "ok", f"{renames:,} times, seen {reader.looks:,} times meanwhile: always one file or the other"


class _Reader(threading.Thread):
    """Reads one file again and again until it is told to end; `seen` is what it read, and how often each."""

    def __init__(self, backend: Backend, path: str) -> None:
        super().__init__()
        self.seen: Counter[bytes | None] = Counter()
        self.looks = 0
        self._backend = backend
        self._path = path
        self._done = threading.Event()
        self._error: DiskError | None = None

    def run(self) -> None:
        try:
            while not self._done.is_set():
                self.seen[self._backend.read(self._path)] += 1
                self.looks += 1
        except DiskError as error:
            self._error = error

    def end(self) -> None:
        """Let it end. Raises what it could not read for."""
        self._done.set()
        self.join()
        if self._error is not None:
            raise self._error


def _times(place: DiskPlace) -> Finding:
    """How long two changes of a file may have the same modification time."""
    file = place.backend.create("times")
    try:
        seconds = [_tick(file) for _ in range(3)]
    finally:
        file.close()
    step = statistics.median(seconds)
    if step > _COARSE_SECONDS:
        return "warning", f"a step of {step:.1f} s or more: a quick check overlooks an edit right after a save"
    return "ok", f"steps of {step * 1000:.1f} ms or less"


def _tick(file: WritableFile) -> float:
    """Seconds, up to a limit, until a write gets another time than the one before."""
    file.write_at(0, b"x")
    started, first = time.perf_counter(), file.stat().mtime_ns
    while file.stat().mtime_ns == first and time.perf_counter() - started < _COARSEST_SECONDS:
        time.sleep(0.0005)
        file.write_at(0, b"x")
    return time.perf_counter() - started


# Syncs


def _sync_of_content(place: DiskPlace) -> Finding:
    """As the journal does it: into a file that is there in full."""
    file = place.backend.create("content")
    try:
        file.write(bytes(_SYNCS * _BLOCK))
        file.sync()
        seconds = [_timed(partial(_overwrite, file, place, number)) for number in range(_SYNCS)]
    finally:
        file.close()
    return judged_sync(seconds, memory=_mounted(place)[0] in _MEMORY_TYPES)


def _overwrite(file: WritableFile, place: DiskPlace, number: int) -> None:
    file.write_at(number * _BLOCK, place.rng.randbytes(_BLOCK))
    file.sync()


def judged_sync(seconds: list[float], *, memory: bool = False) -> Finding:
    """What the time that syncs of fresh data took says about the device.

    Args:
        seconds: of each.
        memory: whether there is no device.
    """
    middle = statistics.median(seconds)
    measured = f"{_milliseconds(middle)} in the middle, {_milliseconds(max(seconds))} at most"
    if memory:
        return "warning", f"{measured}: into memory, which a power cut empties"
    if middle < _IMPLAUSIBLE_SECONDS:
        return "warning", f"{measured}: no disk is so fast; this one does not wait for stable storage"
    if middle < _PROTECTED_SECONDS:
        return (
            "warning",
            f"{measured}: only a device whose cache survives a power cut is so fast; others of that speed do not wait",
        )
    return "ok", measured


def _sync_of_names(place: DiskPlace) -> Finding:
    seconds: list[float] = []
    for number in range(_SYNCS // 4):
        _put(place, "new", b"%d" % number)
        place.backend.replace("new", "name")
        seconds.append(_timed(lambda: place.backend.sync_folder("")))
    return "ok", f"{_milliseconds(statistics.median(seconds))} in the middle, {_milliseconds(max(seconds))} at most"


def _sync_of_all(place: DiskPlace) -> Finding:
    _put(place, "one of all", place.rng.randbytes(_BLOCK))
    supported: list[bool] = []
    seconds = _timed(lambda: supported.append(place.backend.sync_filesystem()))
    if supported == [True]:
        return "ok", f"one call for all files, with its errors: {_milliseconds(seconds)}"
    return "ok", "no call for all files that tells its errors: a checkpoint syncs them one by one, slower"


def _reading_back(place: DiskPlace) -> Finding:
    content = place.rng.randbytes(4 * _MIB)
    file = place.backend.create("content")
    try:
        file.write(content)
        file.sync()
    finally:
        file.close()
    dropped = drop_cached(os.path.join(place.path, "content"))
    same = place.backend.read("content") == content
    if not same:
        return "lost", "4 MiB were read back otherwise than they were written"
    if not dropped:
        return "ok", "4 MiB, from the cache: it could not be emptied, so that the disk itself was not asked"
    return "ok", "4 MiB, from the disk itself: the cache was emptied before"


def drop_cached(path: str) -> bool:
    """Let the kernel forget what it keeps in memory of a file; whether the next read of its start asks the disk.

    Only what is synced is forgotten. False also where the platform cannot do it, or tell.

    Args:
        path: of a regular file that is not empty.

    Raises:
        OSError: it cannot be opened.
    """
    if not hasattr(os, "posix_fadvise"):
        return False
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        # A read that may not wait is refused exactly where nothing is cached.
        return os.preadv(descriptor, [bytearray(1)], 0, getattr(os, "RWF_NOWAIT", 0)) < 0
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def _timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


def _put(place: DiskPlace, path: str, content: bytes) -> None:
    file = place.backend.create(path)
    try:
        file.write(content)
    finally:
        file.close()


_FACTS: Final[tuple[tuple[str, Look], ...]] = (
    ("file system", _file_system),
    ("write cache", _write_cache),
    ("room", _room),
    ("directory descriptors", _directory_descriptors),
    ("names", _names),
    ("exclusive create", _exclusive_create),
    ("private files", _modes),
    ("rename", _rename),
    ("modification times", _times),
    ("sync of content", _sync_of_content),
    ("sync of names", _sync_of_names),
    ("sync of all files", _sync_of_all),
    ("reading back", _reading_back),
)
