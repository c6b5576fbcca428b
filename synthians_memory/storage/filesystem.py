"""What kind of file system a directory lies on, read from the kernel's own tables.

It decides no policy: whether a network file system is refused is up to the caller.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "Inodes",
    "filesystem_type",
    "inodes_at",
    "mount_options",
    "network_filesystem",
    "parse_mountinfo",
    "parse_options",
    "syncfs_reports_errors",
]

_NETWORK_TYPES = frozenset(
    (
        "9p", "acfs", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fhgfs", "gfs", "glusterfs", "gpfs", "lustre",
        "mmfs", "ncp", "ncpfs", "nfs", "nfs4", "orangefs", "panfs", "pvfs2", "smb2", "smb3", "smbfs",
    )
)  # fmt: skip
_NETWORK_FUSE_TYPES = frozenset(
    (
        "fuse.ceph", "fuse.ceph-fuse", "fuse.curlftpfs", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.goofys",
        "fuse.juicefs", "fuse.mfs", "fuse.moosefs", "fuse.mount-s3", "fuse.rclone", "fuse.s3fs", "fuse.seaweedfs",
        "fuse.smbnetfs", "fuse.sshfs",
    )
)  # fmt: skip
# Their super block records every failed write-back, and a flush reaches the device. overlayfs and FUSE do neither.
_TYPES_THAT_REPORT = frozenset(("btrfs", "ext2", "ext3", "ext4", "f2fs", "tmpfs", "xfs"))
_FIRST_RELEASE_THAT_REPORTS = (5, 8)

_OCTAL_ESCAPE = re.compile(r"\\([0-7]{3})")


class Inodes(NamedTuple):
    """How many files a file system can hold.

    Attributes:
        total: of all; 0 where it makes them as they are needed.
        free: left for this user.
    """

    total: int
    free: int


def inodes_at(path: str | os.PathLike[str]) -> Inodes | None:
    """The inodes of the file system that `path` is on; None where the platform does not tell."""
    if not hasattr(os, "statvfs"):
        return None
    try:
        found = os.statvfs(path)
    except OSError:  # nothing is there, or it cannot be asked: unknown, which is an answer
        return None
    return Inodes(found.f_files, found.f_favail)


def network_filesystem(path: str | os.PathLike[str]) -> str | None:
    """The type of the network file system that `path` is on, or would be made on; None where it is on none.

    None also where the platform does not tell. Symlinks are followed; an automounted directory is mounted.
    """
    found = _type_at(path)
    return found if found in _NETWORK_TYPES or found in _NETWORK_FUSE_TYPES else None


def filesystem_type(descriptor: int) -> str | None:
    """The file system type ("ext4", "fuse.sshfs") behind an open descriptor; None where the platform does not tell."""
    found = _mounts(descriptor)
    return parse_mountinfo(found[1]).get(found[0]) if found else None


def mount_options(descriptor: int) -> frozenset[str]:
    """What the file system behind an open descriptor is mounted with ("rw", "barrier=0"); none where that is unknown."""
    found = _mounts(descriptor)
    return parse_options(found[1], found[0]) if found else frozenset()


def _mounts(descriptor: int) -> tuple[int, str] | None:
    """The id of the mount behind a descriptor, and the kernel's table of all mounts."""
    try:
        mount_id = _mount_id(Path(f"/proc/self/fdinfo/{descriptor}").read_text())
        return mount_id, Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:  # no /proc here: unknown, which is an answer
        return None


def parse_mountinfo(table: str) -> dict[int, str]:
    """Mount id -> file system type, of a table in the format of /proc/self/mountinfo; odd lines are left out."""
    types: dict[int, str] = {}
    for line in table.splitlines():
        mount, separator, source = line.partition(" - ")
        if separator and mount.split(" ", 1)[0].isdecimal():
            # Blanks and backslashes in a type, such as that of a FUSE program, are written as \ooo.
            types[int(mount.split(" ", 1)[0])] = _OCTAL_ESCAPE.sub(_unescape, source.split(" ", 1)[0])
    return types


def parse_options(table: str, mount_id: int) -> frozenset[str]:
    """The options of one mount and of the file system on it, of such a table; none where it is not there."""
    for line in table.splitlines():
        mount, _, source = line.partition(" - ")
        fields = mount.split(" ")
        if fields[0] == str(mount_id) and len(fields) > 5:
            return frozenset([*fields[5].split(","), *source.rpartition(" ")[2].split(",")])
    return frozenset()


def syncfs_reports_errors(descriptor: int) -> bool:
    """Whether syncfs on `descriptor` reports every write-back that failed since it was opened."""
    release = _kernel_release()
    return release >= _FIRST_RELEASE_THAT_REPORTS and filesystem_type(descriptor) in _TYPES_THAT_REPORT


def _kernel_release() -> tuple[int, int]:
    """Major and minor number of a running Linux; (0, 0) elsewhere."""
    system = os.uname() if hasattr(os, "uname") else None
    numbers = re.match(r"(\d+)\.(\d+)", system.release) if system and system.sysname == "Linux" else None
    return (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)


def _type_at(path: str | os.PathLike[str]) -> str | None:
    directory = os.path.realpath(path)
    while not os.path.isdir(directory) and os.path.dirname(directory) != directory:
        directory = os.path.dirname(directory)
    # O_PATH needs no permission on the directory itself; where it is missing, so is /proc.
    with suppress(OSError, AttributeError):
        descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return filesystem_type(descriptor)
        finally:
            os.close(descriptor)
    return None


def _mount_id(fdinfo: str) -> int:
    match = re.search(r"^mnt_id:\s*(\d+)$", fdinfo, re.MULTILINE)
    return int(match[1]) if match else -1


def _unescape(match: re.Match[str]) -> str:
    return chr(int(match[1], 8))
