"""What is around a store: disk, permissions, versions and libraries, each examined without changing anything.

It looks at no memory. How fast and how faithful a disk is, only trying it out tells (`verify-disk`).
"""

from __future__ import annotations

import platform
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Final

from synthians_memory.maintenance.diagnosis import Examined, Trouble, trouble
from synthians_memory.storage.permissions import Permissions, survey_permissions
from synthians_memory.storage.room import DiskRoom, disk_room

__all__ = [
    "examine_disk",
    "examine_permissions",
    "examine_software",
    "judge_permissions",
    "judge_room",
    "missing_extras",
]

_MIB: Final = 1024 * 1024
# Below the first saves are about to be refused; below the second checkpoints and repairs may be.
_LITTLE_BYTES: Final = 64 * _MIB
_FEW_BYTES: Final = 256 * _MIB
_FEW_FILES: Final = 10_000
_MEMORY_TYPES: Final = frozenset(("ramfs", "tmpfs"))
# With them a sync does not reach the disk.
_UNSAFE_OPTIONS: Final = frozenset(("barrier=0", "barrier=none", "nobarrier", "volatile", "fsync=volatile"))
_DISTRIBUTION: Final = "synthians-memory"
# What a user of a store can switch on; the others are for who works on the library.
_EXTRAS: Final = ("embed", "grpc", "ops")
_TESTED: Final = ((3, 11), (3, 13))
_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+)[^;]*;.*\bextra == ['\"](\w+)['\"]")
_SHOWN: Final = ("faiss-cpu", "numpy", "orjson")
# The embedder of a store's own name for it, and the library that makes it.
_EMBEDDERS: Final = {"wordllama": "wordllama", "sentence-transformers": "sentence-transformers"}


def examine_disk(location: str, needed: int = 0) -> Examined:
    """The file system and its room.

    Args:
        location: the store's directory.
        needed: bytes that writing the indexes anew takes.

    Raises:
        DiskError: it cannot be asked.
    """
    return judge_room(disk_room(location), location, needed)


def judge_room(room: DiskRoom, location: str, needed: int = 0) -> Examined:
    """As `examine_disk`, of what is known already."""
    files = "any number of files" if room.free_files is None else f"{room.free_files:,} files"
    detail = f"{room.kind or 'unknown type'}; {_size(room.free_bytes)} of {_size(room.total_bytes)} and {files} free"
    return Examined.of("disk", detail, _troubles_of_room(room, location, needed))


def _troubles_of_room(room: DiskRoom, location: str, needed: int) -> Iterator[Trouble]:
    free = f"{_size(room.free_bytes)} are free"
    if "ro" in room.options:
        yield trouble("disk_read_only", "the file system is mounted read-only", location)
    if room.free_bytes < _LITTLE_BYTES:
        yield trouble("disk_full", free, location)
    elif room.free_bytes < max(_FEW_BYTES, needed):
        yield trouble("disk_filling", free, location)
    if room.free_files is not None and room.free_files < _FEW_FILES:
        yield trouble("inodes_few", f"{room.free_files:,} further files can be made", location)
    weakness = _weakness(room)
    if weakness:
        yield trouble("disk_weak", weakness, location)


def _weakness(room: DiskRoom) -> str:
    unsafe = sorted(room.options & _UNSAFE_OPTIONS)
    if room.network:
        return f"{room.kind} is a network file system: its locks and syncs are weaker"
    if room.kind in _MEMORY_TYPES:
        return f"{room.kind} is memory: a restart of the machine loses everything"
    return f"it is mounted with {', '.join(unsafe)}: a sync does not reach the disk" if unsafe else ""


def examine_permissions(location: str) -> Examined:
    """Owners and modes of the directory and all below it. Raises DiskError."""
    return judge_permissions(survey_permissions(location), location)


def judge_permissions(seen: Permissions, location: str) -> Examined:
    """As `examine_permissions`, of what is known already."""
    found: list[Trouble] = []
    if not seen.is_own:
        what = f"the store belongs to {seen.owner}"
        found.append(trouble("other_user", what, location, name=shlex.quote(seen.owner)))
    for code, what, count, paths in (
        ("permissions_missing", "cannot be read and written", seen.refused, seen.named_refused),
        ("owned_by_others", "have another owner than the directory", seen.foreign, seen.named_foreign),
        ("open_to_others", "are open to other users", seen.open if seen.root_open else 0, seen.named_open),
    ):
        if count:
            names = ", ".join(path or "." for path in paths)
            found.append(trouble(code, f"{count:,} files or folders {what}: {names}", location))
    closed = "other users may enter the directory" if seen.root_open else "closed to other users"
    detail = f"{seen.entries:,} files and folders of {seen.owner}; {closed}"
    return Examined.of("permissions", detail, found)


def examine_software(location: str, embedder: str | None = None) -> Examined:
    """Versions of what the library stands on, and what is not installed.

    Args:
        location: the store's directory.
        embedder: the one that the store names.
    """
    versions = [f"Python {platform.python_version()}", *(f"{name} {_version(name) or '?'}" for name in _SHOWN)]
    detail = ", ".join([f"{_DISTRIBUTION} {_version(_DISTRIBUTION) or '?'}", *versions])
    missing = missing_extras(requires(_DISTRIBUTION) or ())
    complete = ", ".join(extra for extra in _EXTRAS if extra not in missing) or "none"
    found = _troubles_of_software(location, embedder, missing)
    return Examined.of("software", f"{detail}; extras that are complete: {complete}", found)


def _troubles_of_software(
    location: str, embedder: str | None, extras: Mapping[str, Sequence[str]]
) -> Iterator[Trouble]:
    library = _EMBEDDERS.get((embedder or "").partition(":")[0])
    if library is not None and _version(library) is None:
        yield trouble("embedder_missing", f"the store's embedder {embedder} needs {library}", location)
    for extra, missing in extras.items():
        what = f"of the extra {extra} these are not installed: {', '.join(missing)}"
        yield trouble("extra_missing", what, location, name=extra)
    if not _TESTED[0] <= sys.version_info[:2] <= _TESTED[1]:
        yield trouble("python_untested", f"Python {platform.python_version()}", location)


def missing_extras(requirements: Iterable[str]) -> dict[str, list[str]]:
    """Extra -> the libraries of it that are not installed; extras that are complete are left out.

    Args:
        requirements: of a distribution, as its metadata have them.
    """
    missing: dict[str, list[str]] = {}
    for requirement in requirements:
        match = _REQUIREMENT.match(requirement)
        if match and match[2] in _EXTRAS and _version(match[1]) is None:
            missing.setdefault(match[2], []).append(match[1])
    return missing


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _size(count: int) -> str:
    """A number of bytes for people."""
    size, units = float(count), ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:,.0f} {units[0]}" if units[0] == "bytes" else f"{size:,.1f} {units[0]}"
