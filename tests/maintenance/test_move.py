"""A move: the store is at the new place as it was, the old place says so, and nobody loses or doubles anything."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import pytest
from legacy_stores import footprint

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.codec import seal, version_of
from synthians_memory.errors import (
    DamagedError,
    DamagedViewError,
    DiskError,
    DiskFullError,
    InvalidValueError,
    NotAStoreError,
    StoreLockedError,
    StoreMovedError,
    SynthiansMemoryError,
)
from synthians_memory.layout import MOVED
from synthians_memory.maintenance import staged_copy
from synthians_memory.maintenance.move import MoveReport, Place, StoreMove, move_store
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import POWER_CUTS, Policy
from synthians_memory.testing.sweep import for_each_crash, for_each_fault

# What belongs to the place, and is made anew or rewritten there.
OF_THE_PLACE = {MOVED, "store.lock"}


async def make(path: Path, count: int = 5) -> Path:
    """A store with everything that may lie in one, closed."""
    async with MemoryPersistence(path) as store:
        entries = [MemoryEntry(memory_id=f"m{n}", content=f"memory {n}", embedding=[1.0, n]) for n in range(count)]
        await store.save_memories_batch(entries)
    for part in ("state/now.json", "ledger/2026/a.log", "tiers/cold.sqlite", "logs/x.log", "notes of mine.txt"):
        (path / part).parent.mkdir(parents=True, exist_ok=True)
        (path / part).write_bytes(part.encode() * 50)
    (path / "empty folder").mkdir()
    return path


def bytes_of(root: Path) -> dict[str, bytes | None]:
    found = {name: content for name, (_, _, _, content) in footprint(root).items()}
    # What a killed process was just writing has a name that nobody looks at.
    return {name: c for name, c in found.items() if name not in OF_THE_PLACE and not name.startswith(".scratch-")}


async def ids(path: Path) -> list[str]:
    async with MemoryPersistence(path) as store:
        return await store.list_memories()


async def test_everything_is_at_the_new_place_and_the_old_one_says_where(tmp_path: Path) -> None:
    old, new = await make(tmp_path / "old"), tmp_path / "deeper" / "new"
    before = bytes_of(old)
    report = move_store(old, new)
    assert bytes_of(new) == before
    assert (report.files, report.copied, report.left) == (len([1 for c in before.values() if c is not None]),) * 2 + (
        (),
    )
    assert report.size == sum(len(content) for content in before.values() if content is not None)
    assert {path.stat().st_mode & 0o077 for path in new.rglob("*")} == {0}
    after = bytes_of(old)
    assert after.pop("store.json") != before.pop("store.json")
    assert after == before
    assert not [path for path in (tmp_path / "deeper").iterdir() if path != new]
    with pytest.raises(StoreMovedError, match=f"was moved to {new}") as refused:
        await ids(old)
    assert str(new) in refused.value.hint
    assert await ids(new) == [f"m{n}" for n in range(5)]
    async with MemoryPersistence(new) as store:
        assert not [f for f in await store.verify_consistency() if f.severity != "note"]


async def test_what_was_not_closed_moves_with_its_journal(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    store = MemoryPersistence(old)
    await store.initialize()
    await store.save_memory(MemoryEntry(memory_id="late", content="only just"))
    store._opened().store.release()
    move_store(old, new)
    assert await ids(new) == ["late"]


async def test_a_moved_store_is_opened_by_nobody_not_even_without_its_superblock(tmp_path: Path) -> None:
    old = await make(tmp_path / "old")
    move_store(old, tmp_path / "new")
    for damage in (lambda: None, (old / "store.json").unlink):
        damage()
        for read_only in (False, True):
            with pytest.raises(StoreMovedError):
                await MemoryPersistence(old, read_only=read_only).initialize()
    with pytest.raises((StoreMovedError, NotAStoreError)):
        move_store(old, tmp_path / "another")


async def test_an_old_place_can_be_taken_back_by_hand(tmp_path: Path) -> None:
    old = await make(tmp_path / "old")
    move_store(old, tmp_path / "new")
    (old / "store.json").unlink()
    (old / MOVED).unlink()
    assert await ids(old) == [f"m{n}" for n in range(5)]


async def test_a_place_that_was_taken_meanwhile(tmp_path: Path) -> None:
    old, new = await make(tmp_path / "old"), tmp_path / "new"

    def take(*_: int) -> None:
        new.mkdir(exist_ok=True)
        (new / "of somebody else").touch()

    with pytest.raises(InvalidValueError, match="is there already"):
        move_store(old, new, progress=take)
    assert len(await ids(old)) == 5
    (new / "of somebody else").unlink()
    assert move_store(old, new).copied == 0
    assert len(await ids(new)) == 5


async def test_moving_twice_and_back(tmp_path: Path) -> None:
    old, new = await make(tmp_path / "old"), tmp_path / "new"
    move_store(old, new)
    with pytest.raises(StoreMovedError, match="was moved to"):
        move_store(old, new)
    with pytest.raises(InvalidValueError, match="is there already"):
        move_store(new, old)
    move_store(new, tmp_path / "third")
    assert await ids(tmp_path / "third") == [f"m{n}" for n in range(5)]


@pytest.mark.parametrize("target", ["old", "old/inside", ".", "full", "file"])
async def test_places_that_cannot_be(tmp_path: Path, target: str) -> None:
    old = await make(tmp_path / "old")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    (tmp_path / "file").touch()
    before = footprint(tmp_path)
    for dry_run in (True, False):
        with pytest.raises(InvalidValueError):
            move_store(old, tmp_path / target, dry_run=dry_run)
    assert footprint(tmp_path) == before


async def test_a_link_into_the_store_is_inside_the_store(tmp_path: Path) -> None:
    old = await make(tmp_path / "old")
    (tmp_path / "link").symlink_to(old)
    with pytest.raises(InvalidValueError):
        move_store(old, tmp_path / "link" / "inside")
    move_store(tmp_path / "link", tmp_path / "new")
    with pytest.raises(StoreMovedError):
        await ids(tmp_path / "link")


async def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    move_store(await make(tmp_path / "old"), tmp_path / "new")
    assert len(await ids(tmp_path / "new")) == 5


async def test_no_store_and_a_locked_store(tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    for missing in ("nothing", "nowhere"):
        with pytest.raises(NotAStoreError):
            move_store(tmp_path / missing, tmp_path / "new")
    async with MemoryPersistence(tmp_path / "old"):
        with pytest.raises(StoreLockedError):
            move_store(tmp_path / "old", tmp_path / "above" / "new")
    assert not (tmp_path / "above").exists()


async def test_a_reader_beside_goes_on_until_it_looks_for_news(tmp_path: Path) -> None:
    old = await make(tmp_path / "old")
    async with MemoryPersistence(old, read_only=True) as reader:
        move_store(old, tmp_path / "new")
        assert await reader.load_memory("m1") is not None
        with pytest.raises(StoreMovedError):
            await reader.refresh()


async def test_what_is_no_file_is_told_and_left(tmp_path: Path) -> None:
    old = await make(tmp_path / "old")
    (tmp_path / "secret").write_text("outside")
    (old / "link").symlink_to(tmp_path / "secret")
    (old / "logs" / "up").symlink_to("..")
    os.mkfifo(old / "memories" / "fifo")
    report = move_store(old, tmp_path / "new")
    assert report.left == ("link", "logs/up", "memories/fifo")
    assert not [path for path in (tmp_path / "new").rglob("*") if path.is_symlink() or path.is_fifo()]
    assert (old / "link").is_symlink()


async def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    old = await make(tmp_path / "old")
    before = footprint(tmp_path)
    report = move_store(old, tmp_path / "a" / "b", dry_run=True)
    assert footprint(tmp_path) == before
    assert (report.dry_run, report.copied) == (True, 0)
    assert report.files == move_store(old, tmp_path / "a" / "b").files


async def test_another_goal_for_a_move_that_was_begun_is_refused(tmp_path: Path) -> None:
    old = await make(tmp_path / "old")

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move_store(old, tmp_path / "new", progress=stop)
    with pytest.raises(InvalidValueError, match=f"is being moved to {tmp_path / 'new'}"):
        move_store(old, tmp_path / "other")
    # Until the copy is whole the store goes on where it is.
    async with MemoryPersistence(old) as store:
        await store.delete_memory("m0")
        await store.save_memory(MemoryEntry(memory_id="meanwhile", content="saved"))
    move_store(old, tmp_path / "new")
    assert await ids(tmp_path / "new") == ["m1", "m2", "m3", "m4", "meanwhile"]
    assert {name.partition("/")[0] for name in footprint(tmp_path)} == {"old", "new"}


@pytest.mark.parametrize("staging", ["precious", "../precious", "/precious", ".new.moving-x/../../precious", 7])
async def test_a_hostile_plan_touches_nothing(tmp_path: Path, staging: Any) -> None:
    old = await make(tmp_path / "a" / "old")
    for precious in (tmp_path / "precious", tmp_path / "a" / "precious"):
        precious.mkdir()
        (precious / "file").write_text("of somebody else")
    plan = {
        "to": str(tmp_path / "a" / "new"),
        "staging": staging,
        "state": "copying",
        "started": "",
        "durable_through": "z",
    }
    (old / MOVED).write_bytes(seal(f'  "{name}": {json.dumps(value)}'.encode() for name, value in plan.items()))
    before = footprint(tmp_path)
    with pytest.raises(DamagedViewError):
        move_store(old, tmp_path / "a" / "new")
    assert footprint(tmp_path) == before
    assert len(await ids(old)) == 5


class Flipping(LocalBackend):
    """A disk that turns one bit of what is read back."""

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes | None:
        data = super().read(path, offset, length)
        return bytes([data[0] ^ 1, *data[1:]]) if data and path.endswith("m1.json") else data


async def test_a_copy_that_differs_gives_nothing_up(tmp_path: Path) -> None:
    old = await make(tmp_path / "old")
    (tmp_path / "disk").mkdir()
    source, target = LocalBackend(tmp_path), Flipping(tmp_path / "disk")
    with pytest.raises(DamagedError, match=r"the copy of memories/m1\.json"):
        StoreMove(Place(source, "old"), Place(target, "new"), ManualClock()).run()
    source.close()
    target.close()
    assert not (tmp_path / "disk" / "new").exists()
    assert len(await ids(old)) == 5


class Full(LocalBackend):
    def free_bytes(self) -> int:
        return 1000


async def test_a_disk_without_room_is_refused_at_once(tmp_path: Path) -> None:
    old = await make(tmp_path / "old")
    before = footprint(old)
    source, target = LocalBackend(tmp_path), Full(tmp_path)
    with pytest.raises(DiskFullError):
        StoreMove(Place(source, "old"), Place(target, "new"), ManualClock()).run()
    source.close()
    target.close()
    assert footprint(old) == before


def test_the_documented_plan_is_one() -> None:
    text = (Path(__file__).resolve().parent.parent.parent / "docs" / "format.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```json moved\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert version_of(example.encode()) is not None
    found = json.loads(example)
    del found["content_hash"]
    assert asdict(staged_copy.MovePlan(**found)) == found


# Cut off at any call


class Sweep:
    """A store on a disk that fails, in the folder "old", and its move to "new"."""

    def __init__(self, root: Path, *, syncs_filesystem: bool) -> None:
        self.disk = FaultyDisk(syncs_filesystem=syncs_filesystem)
        backend = FaultyBackend(self.disk)
        backend.make_folder("old")
        for path in sorted(root.rglob("*")):
            name = f"old/{path.relative_to(root)}"
            if path.is_dir():
                backend.make_folder(name)
            else:
                file = backend.create(name)
                file.write(path.read_bytes())
                file.sync()
                file.close()
        for folder in ("", "old", *(f"old/{p.relative_to(root)}" for p in root.rglob("*") if p.is_dir())):
            backend.sync_folder(folder)
        self.wanted = self.content(backend, "old")

    def move(self, backend: FaultyBackend) -> MoveReport:
        return StoreMove(
            Place(backend, "old"), Place(backend, "new"), ManualClock(), new_id=lambda: "0123456789", to="/new"
        ).run()

    def content(self, backend: FaultyBackend, folder: str) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for name, stat in backend.scan(folder):
            path = f"{folder}/{name}"
            if stat.kind == "folder":
                found |= self.content(backend, path)
            elif name not in OF_THE_PLACE and not name.startswith(".scratch-"):
                found[path.partition("/")[2]] = backend.read(path) or b""
        return found

    def verify(self, backend: FaultyBackend, *, lost: bool = False) -> None:
        """Never two stores that open, never less than one that is whole; and the move goes on."""
        old = self.content(backend, "old")
        given_up = b'"moved"' in old["store.json"]
        arrived = backend.stat("new") is not None
        assert {**old, "store.json": b""} == {**self.wanted, "store.json": b""}
        assert given_up or not arrived
        if arrived:
            assert self.content(backend, "new") == self.wanted
        elif given_up:
            assert self.content(backend, ".new.moving-01234567") == self.wanted
        with suppress_done():
            self.move(FaultyBackend(backend.disk))
        after = FaultyBackend(backend.disk.crash("lose_all"))
        if lost:
            # What a failed sync lost is in the cache still, and gone only now.
            with suppress_done():
                self.move(FaultyBackend(after.disk))
        assert self.content(after, "new") == self.wanted
        assert {name for name, _ in after.scan("")} == {"old", "new"}
        assert b'"state": "done"' in (after.read(f"old/{MOVED}") or b"")
        with pytest.raises(StoreMovedError):
            self.move(after)


@contextmanager
def suppress_done() -> Iterator[None]:
    """A move that was done already says so."""
    try:
        yield
    except StoreMovedError as error:
        if "was moved to" not in error.message:
            raise


@pytest.fixture(params=[True, False], ids=["syncfs", "fsync"])
async def sweep(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.setattr(staged_copy, "_BATCH_FILES", 3)
    old = tmp_path / "old"
    async with MemoryPersistence(old, segment_bytes=16384, index_backup_count=0) as store:
        await store.save_memory(MemoryEntry(memory_id="m", content="x", embedding=[1.0, 2.0]))
    (old / "state").mkdir()
    (old / "state" / "now.json").write_text("{}")
    return Sweep(old, syncs_filesystem=request.param)


@pytest.mark.parametrize("step", [5, pytest.param(1, marks=pytest.mark.long)])
def test_power_cuts(sweep: Sweep, step: int) -> None:
    def look(backend: FaultyBackend, number: int, policy: Policy, seed: int) -> None:
        sweep.verify(backend)

    assert (
        for_each_crash(
            sweep.move,
            look,
            policies=("killed", *POWER_CUTS),
            disk=sweep.disk,
            seeds=(0,) if step > 1 else (0, 1, 2),
            step=step,
        )
        > 20
    )


@pytest.mark.parametrize("step", [9, pytest.param(1, marks=pytest.mark.long)])
def test_failing_calls(sweep: Sweep, step: int) -> None:
    def look(backend: FaultyBackend, fault: Fault, error: SynthiansMemoryError | None, policy: Policy) -> None:
        assert error is None or isinstance(error, DiskError)
        sweep.verify(backend, lost=policy == "killed")

    assert for_each_fault(sweep.move, look, disk=sweep.disk, step=step) > 20


# Killed


PROGRAM = """
import sys
from synthians_memory.maintenance import staged_copy
from synthians_memory.maintenance.move import move_store
print("ready", flush=True)
move_store(sys.argv[1], sys.argv[2])
print("moved", flush=True)
"""


@pytest.mark.parametrize("kills", [4, pytest.param(60, marks=pytest.mark.long)])
async def test_killed_at_random_moments(tmp_path: Path, kills: int) -> None:
    old, new, rng = await make(tmp_path / "old", 400), tmp_path / "new", Random(kills)
    before = bytes_of(old)
    for _ in range(kills):
        await asyncio.to_thread(kill_one, old, new, rng.uniform(0, 0.25))
        arrived = new.exists()
        assert {**bytes_of(new if arrived else old), "store.json": None} == {**before, "store.json": None}
        if arrived:
            break
    with suppress_done():
        move_store(old, new)
    assert bytes_of(new) == before
    assert len(await ids(new)) == 400
    with pytest.raises(StoreMovedError):
        await ids(old)


def kill_one(old: Path, new: Path, seconds: float) -> None:
    """Let one process begin the move, or go on with it, and kill it so many seconds later."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(old), str(new)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
