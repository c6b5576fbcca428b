"""Fixtures of the tests on real processes and disks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fork_server import ForkServer
from mounts import (
    make_image,
    mounted_image,
    require_recording_disks,
    tmpfs,
    why_no_disks,
    why_nothing_can_be_mounted,
)


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """Where children come from."""
    if not hasattr(os, "pidfd_open"):
        pytest.skip("children are watched through pidfd_open, which is of Linux")
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A directory for stores whose processes die, but not their machine: in memory, where that can be had."""
    if why_nothing_can_be_mounted():
        yield tmp_path
    else:
        with tmpfs(tmp_path / "memory", "size=2g") as directory:
            yield directory


@pytest.fixture
def quick_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory where every call a store makes is known, as in memory they are not, with syncs that take no time."""
    if why_no_disks("ext4"):
        yield tmp_path
    else:
        with tmpfs(tmp_path / "memory", "size=1g") as memory:
            make_image(memory / "image", "ext4", mebibytes=256)
            with mounted_image(memory / "image", tmp_path / "disk", "ext4") as directory:
                yield directory


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory for disk images."""
    require_recording_disks("ext4")
    with tmpfs(tmp_path / "images", "size=4g") as directory:
        yield directory
