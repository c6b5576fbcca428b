"""File systems and loop devices of a test's own, gone at its end whatever happens; and why a machine has none."""

from __future__ import annotations

import functools
import gc
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_PATIENCE = 10.0

# How to make a file system, what it must be mounted with, and the least size it takes, in MiB.
MAKERS: dict[str, tuple[list[str], str, int]] = {
    "ext4": (["mkfs.ext4", "-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0"], "", 48),
    "ext4 fast_commit": (["mkfs.ext4", "-q", "-F", "-b", "4096", "-O", "fast_commit"], "", 48),
    "xfs": (["mkfs.xfs", "-q", "-f"], "nouuid", 320),
    "btrfs": (["mkfs.btrfs", "-q", "-f"], "", 128),
}


def run(*command: str) -> str:
    """Run a system tool; what it says. AssertionError where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"
    return done.stdout.strip()


@functools.cache
def why_nothing_can_be_mounted() -> str:
    """Why this machine cannot do what these tests need; "" where it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "mounting needs root"
    missing = [name for name in ("mount", "umount", "losetup") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} is not installed"
    with tempfile.TemporaryDirectory() as directory:
        return _why_not_mounted("tmpfs", "tmpfs", "size=1m", directory)


@functools.cache
def why_no_disks(kind: str) -> str:
    """As `why_nothing_can_be_mounted`, of images of a file system."""
    if reason := why_nothing_can_be_mounted():
        return reason
    tool = MAKERS[kind][0][0]
    if shutil.which(tool) is None:
        return f"{tool} is not installed"
    if not os.path.exists("/dev/loop-control"):
        return "this machine has no loop devices"
    name = kind.partition(" ")[0]
    with tempfile.TemporaryDirectory() as directory:
        image, target = Path(directory) / "image", Path(directory) / "target"
        make_image(image, kind)
        target.mkdir()
        return _why_not_mounted(str(image), name, f"loop,{MAKERS[kind][1]}".rstrip(","), str(target))


def _why_not_mounted(source: str, kind: str, options: str, target: str) -> str:
    tried = subprocess.run(
        ["mount", "-t", kind, "-o", options, source, target], capture_output=True, text=True, check=False
    )
    if tried.returncode != 0:
        return f"this process may not mount {kind}: {tried.stderr.strip().partition(chr(10))[0]}"
    run("umount", target)
    return ""


def require_mounts() -> None:
    """Skip the test, with the reason, where nothing can be mounted."""
    if reason := why_nothing_can_be_mounted():
        pytest.skip(reason)


def require_disks(kind: str) -> None:
    """As `require_mounts`, and for disk images of a file system as well."""
    if reason := why_no_disks(kind):
        pytest.skip(reason)


def require_recording_disks(kind: str) -> None:
    """As `require_disks`, and for disks in user space as well."""
    require_disks(kind)
    if not os.path.exists("/dev/fuse"):
        pytest.skip("this machine has no /dev/fuse, and so no disk that can be recorded")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"/dev/fuse cannot be opened, and so no disk can be recorded: {error.strerror}")


def _retry(*command: str) -> bool:
    """Run it until it succeeds: what just let go of a file system may take a moment."""
    end = time.monotonic() + _PATIENCE
    while subprocess.run(command, capture_output=True, check=False).returncode != 0:
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@contextmanager
def unmounted(target: Path) -> Iterator[None]:
    """What gets mounted on `target` meanwhile is unmounted at the end."""
    try:
        yield
    finally:
        # Errors of this process refer to frames, and frames to directories that a store had open.
        gc.collect()
        if target.is_mount() and not _retry("umount", str(target)):
            run("umount", "--lazy", str(target))
            raise AssertionError(f"something still used {target}")


@contextmanager
def mounted(source: str, target: Path, kind: str, options: str = "") -> Iterator[Path]:
    """A mounted file system; `target` is made."""
    target.mkdir(exist_ok=True)
    flags = ["-o", options] if options else []
    run("mount", "-t", kind, *flags, source, str(target))
    with unmounted(target):
        yield target


@contextmanager
def tmpfs(target: Path, options: str) -> Iterator[Path]:
    """A file system in memory, of a size of its own."""
    with mounted("tmpfs", target, "tmpfs", options):
        yield target


@contextmanager
def loop_device(image: Path) -> Iterator[str]:
    """A loop device on `image`."""
    device = run("losetup", "--find", "--show", str(image))
    try:
        yield device
    finally:
        assert _retry("losetup", "--detach", device), f"{device} could not be detached"


@contextmanager
def mounted_image(image: Path, target: Path, kind: str, options: str = "") -> Iterator[Path]:
    """The file system in a file; its loop device goes with the mount, even where this process is killed."""
    name, _, _ = kind.partition(" ")
    wanted = ",".join(filter(None, ("loop", MAKERS[kind][1], options)))
    with mounted(str(image), target, name, wanted):
        yield target


def make_image(image: Path, kind: str, mebibytes: int = 0) -> None:
    """An empty file system in a file, of that size or its usual one."""
    command, _, usual = MAKERS[kind]
    with open(image, "wb") as file:
        file.truncate((mebibytes or usual) << 20)
    run(*command, str(image))
