"""On a real disk: FIFOs, sockets and symlinks in the place of files and folders, and rot whose time tells nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rot_kinds import content_end, flipped, is_segment
from rot_oracle import MODES, Rot, require_served, verify
from rot_samples import CONFIG, LATER, SAMPLES, Sample, write_out

from synthians_memory.engine.store import Store
from synthians_memory.errors import DiskError
from synthians_memory.layout import ENTITY_FOLDERS, INITIAL_FOLDERS, JOURNAL, VECTORS
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.clock import ManualClock

CLOSED, KILLED, CUT, YOUNG = SAMPLES
# All files of one store, and of another what the journal decides about.
PLACES = [
    *((CLOSED, path) for path in CLOSED.paths),
    *((CUT, path) for path in CUT.paths if is_segment(path)),
    (CUT, "memories/m1.json"),
    (KILLED, "memories/m6.json"),
]
IDS = [f"{sample.name}-{path.replace('/', '-')}" for sample, path in PLACES]

# Puts something in the place of a file, given its path and a folder outside the store.
Put = Callable[[Path, Path], None]


def fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def unix_socket(path: Path, outside: Path) -> None:
    bound = socket.socket(socket.AF_UNIX)
    here = os.open(path.parent, os.O_RDONLY)
    bound.bind(f"/proc/self/fd/{here}/{path.name}")
    bound.close()
    os.close(here)


def link_to_a_copy_outside(path: Path, outside: Path) -> None:
    path.symlink_to(outside / path.name)


def link_to_a_copy_inside(path: Path, outside: Path) -> None:
    (path.parent / "kept.copy").write_bytes((outside / path.name).read_bytes())
    path.symlink_to("kept.copy")


def link_to_nothing(path: Path, outside: Path) -> None:
    path.symlink_to(outside / "made-by-the-store")


def link_to_itself(path: Path, outside: Path) -> None:
    path.symlink_to(path.name)


def link_to_the_password_file(path: Path, outside: Path) -> None:
    path.symlink_to("/etc/passwd")


PUTS: dict[str, Put] = {
    put.__name__.replace("_", "-"): put
    for put in (
        fifo,
        unix_socket,
        link_to_a_copy_outside,
        link_to_a_copy_inside,
        link_to_nothing,
        link_to_itself,
        link_to_the_password_file,
    )
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kinds(folder: Path) -> set[tuple[int, bytes]]:
    """Type of each thing below that is no file and no folder, and where it leads."""
    found = [path for path in folder.rglob("*") if not (path.is_file() or path.is_dir()) or path.is_symlink()]
    return {(p.lstat().st_mode, os.readlink(os.fsencode(p)) if p.is_symlink() else b"") for p in found}


# Every second of them in the ordinary run, each kind of thing with each kind of file.
OBSTACLES = [
    pytest.param(*place, name, id=f"{IDS[i]}-{name}", marks=[] if (i + j) % 2 == 0 else [pytest.mark.long])
    for i, place in enumerate(PLACES)
    for j, name in enumerate(PUTS)
]


@pytest.mark.parametrize(("sample", "path", "name"), OBSTACLES)
def test_what_is_no_file_is_not_followed_and_kept(tmp_path: Path, sample: Sample, path: str, name: str) -> None:
    root, outside = write_out(sample.image, tmp_path / "store"), tmp_path / "outside"
    outside.mkdir()
    os.rename(root / path, outside / Path(path).name)
    PUTS[name](root / path, outside)
    before, things = contents(outside), kinds(root)
    assert len(things) == 1
    rot = Rot(f"{path} is a {name}", {path: None})
    turn = PLACES.index((sample, path)) + list(PUTS).index(name)
    verify(sample, rot, MODES[turn % len(MODES)], lambda: LocalBackend(root))
    assert contents(outside) == before
    assert kinds(root) == things


@pytest.mark.parametrize(("sample", "path"), PLACES, ids=IDS)
def test_time_and_size_prove_nothing(tmp_path: Path, sample: Sample, path: str) -> None:
    turn = PLACES.index((sample, path))
    rot = flipped(sample, path, content_end(sample.image[path].data) // 2, 0x02, touched=turn % 4 == 3)
    root = write_out(rot.of(sample.image), tmp_path / "store")
    verify(sample, rot, MODES[turn % len(MODES)], lambda: LocalBackend(root))


def put_in_the_way(root: Path, folder: str, how: str, outside: Path) -> None:
    """Move a folder out of the store, and put something else there."""
    os.rename(root / folder, outside)
    if how == "link":
        (root / folder).symlink_to(outside)
    elif how == "file":
        (root / folder).write_bytes(b"in the way")
    else:
        os.mkfifo(root / folder)


@pytest.mark.parametrize("how", ["link", "file", "fifo"])
@pytest.mark.parametrize("folder", INITIAL_FOLDERS)
def test_a_folder_that_is_none_is_refused_and_nothing_is_touched(tmp_path: Path, folder: str, how: str) -> None:
    """Not even to mend it: what belongs there may be whole, and elsewhere."""
    root, outside = write_out(CUT.image, tmp_path / "store"), tmp_path / "outside"
    put_in_the_way(root, folder, how, outside)
    before, there = contents(tmp_path), kinds(tmp_path)
    with pytest.raises(DiskError, match=folder):
        Store.open(LocalBackend(root), CONFIG, ManualClock(LATER))
    assert contents(tmp_path) == before
    assert kinds(tmp_path) == there
    (root / folder).unlink()
    os.rename(outside, root / folder)
    verify(CUT, Rot(f"{folder} was away", {}), MODES[0], lambda: LocalBackend(root))


@pytest.mark.parametrize("how", ["link", "file", "fifo"])
@pytest.mark.parametrize("folder", INITIAL_FOLDERS)
def test_a_reader_follows_no_folder_that_is_none(tmp_path: Path, folder: str, how: str) -> None:
    root, outside = write_out(CLOSED.image, tmp_path / "store"), tmp_path / "outside"
    put_in_the_way(root, folder, how, outside)
    before, there = contents(tmp_path), kinds(tmp_path)
    config = replace(CONFIG, cache_bytes=0)
    if folder in ENTITY_FOLDERS.values():
        store = Store.open(LocalBackend(root), config, ManualClock(LATER), read_only=True)
        for key in CLOSED.truth:
            if ENTITY_FOLDERS[key[0]] == folder:
                with pytest.raises(DiskError, match=folder):
                    store.load(key)
        store.close()
    elif folder in (JOURNAL, VECTORS):
        with pytest.raises(DiskError, match=folder):
            Store.open(LocalBackend(root), config, ManualClock(LATER), read_only=True)
    else:
        # It has no use for what is there.
        store = Store.open(LocalBackend(root), config, ManualClock(LATER), read_only=True)
        require_served(store, CLOSED)
        store.close()
    assert contents(tmp_path) == before
    assert kinds(tmp_path) == there
