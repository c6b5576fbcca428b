"""How much room a disk has left, and what a directory's file system is: asked of the kernel.

It decides nothing, and tries nothing out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from synthians_memory.errors import disk_error
from synthians_memory.storage.filesystem import filesystem_type, mount_options, network_filesystem

__all__ = ["DiskRoom", "disk_room"]


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """The file system that a directory is on.

    Attributes:
        kind: its type ("ext4"); None where the platform does not tell.
        network: whether it is a network file system.
        options: what it is mounted with; none where that is unknown.
        free_bytes: space left for this user.
        total_bytes: its size.
        free_files: how many further files it can hold; None where it does not count them.
    """

    kind: str | None
    network: bool
    options: frozenset[str]
    free_bytes: int
    total_bytes: int
    free_files: int | None


def disk_room(directory: str | os.PathLike[str]) -> DiskRoom:
    """What the kernel tells of the file system of `directory`. Raises DiskError where it cannot be asked."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            space = os.fstatvfs(descriptor)
            kind, options = filesystem_type(descriptor), mount_options(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise disk_error(error, "examine", os.fspath(directory)) from error
    free_files = space.f_favail if space.f_files > 0 else None
    network = network_filesystem(directory) is not None
    unit = space.f_frsize
    return DiskRoom(kind, network, options, space.f_bavail * unit, space.f_blocks * unit, free_files)
