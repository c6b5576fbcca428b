"""What kind of file system a path is on: the real tables of this machine, and tables of others."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from synthians_memory.storage import filesystem
from synthians_memory.storage.filesystem import (
    filesystem_type,
    mount_options,
    network_filesystem,
    parse_mountinfo,
    parse_options,
    syncfs_reports_errors,
)

TABLE = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
28 27 0:40 / /mnt/with\\040blank rw,relatime shared:7 master:2 - nfs4 server:/export\\040a rw,vers=4.2
29 28 0:41 / /mnt/with\\040blank/inner rw - fuse.sshfs me@server:/home rw
30 27 0:42 /sub /mnt/odd rw - fuse.my\\040drive none rw
31 27 0:40 /bound /mnt/bound rw - nfs4 server:/export rw

a line that says nothing
xx 27 0:42 / /mnt/no-number rw - ext4 none rw
"""

NETWORK = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs")
LOCAL = ("ext4", "overlay", "fuse.ntfs-3g", None)


def test_types_are_read_by_mount_id() -> None:
    assert parse_mountinfo(TABLE) == {
        22: "proc",
        27: "ext4",
        28: "nfs4",
        29: "fuse.sshfs",
        30: "fuse.my drive",
        31: "nfs4",
    }


@pytest.mark.parametrize("table", ["", "\n\n", "1", "1 2 3 - ", " - ext4"])
def test_odd_tables_name_no_network(table: str) -> None:
    assert not {"nfs", "nfs4"} & set(parse_mountinfo(table).values())


@pytest.mark.parametrize(("path", "expected"), [("/proc", "proc"), ("/dev/shm", "tmpfs")])  # noqa: S108
def test_the_type_of_a_descriptor_is_that_of_its_mount(path: str, expected: str) -> None:
    if not os.path.ismount(path):
        pytest.skip(f"{path} is not mounted here")
    descriptor = os.open(path, os.O_RDONLY)
    assert filesystem_type(descriptor) == expected
    os.close(descriptor)


def test_options_are_those_of_the_mount_and_of_its_file_system() -> None:
    assert parse_options(TABLE, 27) == {"rw", "relatime", "discard"}
    assert parse_options(TABLE, 28) == {"rw", "relatime", "vers=4.2"}
    assert parse_options(TABLE, 29) == {"rw"}
    assert parse_options(TABLE, 99) == parse_options("1 2 3 - ", 1) == frozenset()


def test_the_options_of_this_machine_are_read(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    assert "rw" in mount_options(descriptor) or filesystem_type(descriptor) is None
    os.close(descriptor)
    assert mount_options(descriptor) == frozenset()


def test_a_closed_descriptor_has_no_type(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    os.close(descriptor)
    assert filesystem_type(descriptor) is None


def test_procfs_reports_no_errors_to_syncfs() -> None:
    descriptor = os.open("/proc", os.O_RDONLY)
    assert not syncfs_reports_errors(descriptor)
    os.close(descriptor)


@pytest.mark.parametrize("missing", ["", "missing", "missing/deeper"])
def test_a_local_directory_is_on_no_network(tmp_path: Path, missing: str) -> None:
    assert network_filesystem(tmp_path / missing) is None
    assert network_filesystem(str(tmp_path / missing)) is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [*((kind, kind) for kind in NETWORK), *((kind, None) for kind in LOCAL)],
)
def test_the_network_types_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str | None, expected: str | None
) -> None:
    # No server to mount from here, so that the kernel's answer is put in its place.
    monkeypatch.setattr(filesystem, "filesystem_type", lambda descriptor: found)
    assert network_filesystem(tmp_path / "missing") == expected


def test_a_symlink_is_followed_to_where_the_store_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target" / "missing")
    asked: list[str] = []

    def record(descriptor: int) -> None:
        asked.append(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(filesystem, "filesystem_type", record)
    assert network_filesystem(tmp_path / "link") is None
    assert asked == [str(tmp_path / "target")]
