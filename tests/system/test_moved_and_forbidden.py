"""Stores that are moved, linked, robbed of files or forbidden while processes use them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from acknowledged import Acknowledged
from editions import DIMENSION
from fork_server import ForkServer, Line
from mounts import require_mounts, run, tmpfs
from verdict import require_kept, seen_by_reader

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.errors import DiskError, PermissionDeniedError, StoreLockedError
from synthians_memory.layout import ASSEMBLIES, JOURNAL, LOCK_FILE, MEMORIES, SUPERBLOCK

CONFIG: dict[str, Any] = {"embedding_dimension": DIMENSION, "segment_bytes": 16 * 1024}
NOBODY = 65534
GONE = f"{MEMORIES} was moved, removed or replaced"


def memory(name: str, content: str = "acknowledged") -> MemoryEntry:
    return MemoryEntry(memory_id=name, content=content)


async def contents(path: Path) -> dict[str, str]:
    async with MemoryPersistence(path) as store:
        return {entry.memory_id: entry.content for entry in await store.load_all()}


def everything_below(path: Path) -> list[Path]:
    return [path, *path.rglob("*")]


def image_of(path: Path) -> dict[str, tuple[int, int, bytes]]:
    """Each file below with mode, modification time and bytes."""
    found = {}
    for file in everything_below(path):
        status = file.lstat()
        found[str(file)] = (status.st_mode, status.st_mtime_ns, file.read_bytes() if file.is_file() else b"")
    return found


def suffer(server: ForkServer, path: Path, history: Acknowledged, life: int, **settings: Any) -> list[Line]:
    """A process does everything once with the store; its lines."""
    with closing(server.start("suffer", path=str(path), config=CONFIG, life=life, **settings)) as child:
        lines = list(child.lines())
        assert child.end() == 0
    history.note_all(lines)
    return lines


# Moved and linked


async def test_a_store_that_is_moved_while_open_goes_on(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "here") as store:
        await store.save_memory(memory("before"))
        os.rename(tmp_path / "here", tmp_path / "there")
        await store.save_memory(memory("after"))
        await store.checkpoint()
        await store.save_memory(memory("after the checkpoint"))
        assert not (tmp_path / "here").exists()
        with pytest.raises(StoreLockedError):
            await MemoryPersistence(tmp_path / "there").initialize()
        async with MemoryPersistence(tmp_path / "here") as other:
            await other.save_memory(memory("in another store"))
        assert len(await store.load_all()) == 3
    assert (await contents(tmp_path / "there")).keys() == {"before", "after", "after the checkpoint"}
    assert (await contents(tmp_path / "here")).keys() == {"in another store"}


async def test_a_store_behind_a_symlink_is_one_store(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "real").mkdir()
    async with MemoryPersistence(tmp_path / "link") as store:
        await store.save_memory(memory("before"))
        with pytest.raises(StoreLockedError):
            await MemoryPersistence(tmp_path / "real").initialize()
        (tmp_path / "link").unlink()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "link").symlink_to("elsewhere")
        await store.save_memory(memory("after"))
        await store.checkpoint()
    assert os.listdir(tmp_path / "elsewhere") == []
    assert (await contents(tmp_path / "real")).keys() == {"before", "after"}


async def test_the_lock_holds_without_its_file(tmp_path: Path, fork_server: ForkServer) -> None:
    async with MemoryPersistence(tmp_path / "store") as store:
        await store.save_memory(memory("before"))
        (tmp_path / "store" / LOCK_FILE).unlink()
        lines = suffer(fork_server, tmp_path / "store", Acknowledged(), 1)
        assert [line["error"] for line in lines] == ["StoreLockedError"]
        await store.save_memory(memory("after"))
    assert (await contents(tmp_path / "store")).keys() == {"before", "after"}


# Robbed


@pytest.mark.parametrize("folder", [MEMORIES, ASSEMBLIES])
@pytest.mark.parametrize("count", [3, 30])
async def test_what_is_saved_while_a_folder_is_away_is_in_it_once_it_is_back(
    tmp_path: Path, folder: str, count: int
) -> None:
    path = tmp_path / "store"
    async with MemoryPersistence(path) as store:
        await store.save_memories_batch([memory(f"m{n}") for n in range(count)])
        await store.checkpoint()
        os.rename(path / folder, tmp_path / "away")
        for n in range(3):
            assert await store.save_memory(memory(f"saved meanwhile {n}"))
        assert await store.delete_memory("m0")
        assert store.stats()["pending_files"] == (4 if folder == MEMORIES else 0)
        for n in range(1, count):
            assert await store.load_memory(f"m{n}")
        assert not (path / folder).exists()
        os.rename(tmp_path / "away", path / folder)
        await store.checkpoint()
        assert store.stats()["pending_files"] == 0
    wanted = {f"m{n}" for n in range(1, count)} | {f"saved meanwhile {n}" for n in range(3)}
    assert (await contents(path)).keys() == wanted


@pytest.mark.parametrize("count", [3, 30])
async def test_what_is_saved_after_a_folder_vanished_is_kept(tmp_path: Path, count: int) -> None:
    """What was in the folder is gone, and that is damage; nothing else is lost."""
    path = tmp_path / "store"
    store = MemoryPersistence(path)
    await store.initialize()
    await store.save_memories_batch([memory(f"m{n}") for n in range(count)])
    await store.checkpoint()
    shutil.rmtree(path / MEMORIES)
    await store.save_memory(memory("saved after"))
    with pytest.raises(DiskError, match=GONE):
        await store.verify_consistency()
    # The journal keeps what waits for its file, so that a checkpoint and a close have nothing to refuse.
    await store.checkpoint()
    assert store.stats()["pending_files"] == 1
    assert GONE in store.stats()["last_error"]
    await store.close()
    lost = [("file_missing", f"m{n}") for n in range(count)]
    for opening in range(2):
        async with MemoryPersistence(path) as store:
            found = await store.load_memory("saved after")
            assert found is not None
            assert found.content == "acknowledged"
            told = sorted((f.code, f.entity_id) for f in store.opening_report.findings if f.code != "apply_pending")
            # So few are reported once and dropped from the index; so many are kept there until somebody decides.
            assert told == (sorted(lost) if count > 10 or opening == 0 else [])
            assert bool(store.stats()["read_only"]) == (count > 10)


@pytest.mark.parametrize("count", [3, 30])
async def test_what_vanished_with_its_folder_before_a_checkpoint_is_written_again(tmp_path: Path, count: int) -> None:
    path = tmp_path / "store"
    store = MemoryPersistence(path, checkpoint_interval=3600.0)
    await store.initialize()
    await store.save_memories_batch([memory(f"m{n}") for n in range(count)])
    shutil.rmtree(path / MEMORIES)
    await store.save_memory(memory("saved after"))
    for call in (store.checkpoint, store.close):
        with pytest.raises(DiskError, match=GONE):
            await call()
    wanted = {f"m{n}" for n in range(count)} | {"saved after"}
    assert (await contents(path)).keys() == wanted
    assert len(os.listdir(path / MEMORIES)) == len(wanted)


async def test_a_journal_that_is_away_acknowledges_nothing_new_for_long(tmp_path: Path) -> None:
    """The segment in use goes on where it is; a new one cannot be made in a folder that is not there."""
    path, told = tmp_path / "store", {"before": "acknowledged"}
    store = MemoryPersistence(path, segment_bytes=16 * 1024)
    await store.initialize()
    await store.save_memory(memory("before"))
    os.rename(path / JOURNAL, tmp_path / "away")
    with pytest.raises(DiskError):  # noqa: PT012
        for n in range(100):
            await store.save_memory(memory(f"m{n}", "x" * 3000))
            told[f"m{n}"] = "x" * 3000
    assert {entry.memory_id: entry.content for entry in await store.load_all()}.items() >= told.items()
    with pytest.raises(DiskError):
        await store.close()
    os.rename(tmp_path / "away", path / JOURNAL)
    assert (await contents(path)).items() >= told.items()


# Rights


@pytest.fixture
def public_place() -> Iterator[Path]:
    """A directory that other users reach, which those of pytest are not."""
    if os.geteuid() != 0:
        pytest.skip("to give up the rights of root one must have them")
    with tempfile.TemporaryDirectory(prefix="synthians-test-") as directory:
        os.chmod(directory, 0o755)  # noqa: S103
        closed = [parent for parent in Path(directory).parents if not parent.stat().st_mode & stat.S_IXOTH]
        if closed:
            pytest.skip(f"no other user gets past {closed[0]}")
        yield Path(directory)


def give_to_nobody(path: Path, *, writable: bool) -> None:
    for file in everything_below(path):
        os.chown(file, NOBODY, NOBODY)
        mode = 0o700 if file.is_dir() else 0o600
        os.chmod(file, mode if writable else mode & 0o555)


def require_nothing_done(lines: list[Line]) -> None:
    """Only deletes of what was not there, which have nothing to write, got an answer: that it was not there."""
    assert {line.get("was") for line in lines if "done" in line} <= {0}


async def test_whatever_the_umask_only_the_owner_reads_the_store(fork_server: ForkServer, place: Path) -> None:
    history = Acknowledged()
    lines = suffer(fork_server, place / "a" / "store", history, 1, umask=0)
    assert not [line for line in lines if "refused" in line or "failed" in line]
    for path in everything_below(place / "a"):
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    await require_kept(place / "a" / "store", history)


async def test_a_store_in_a_read_only_directory_is_read_and_not_changed(
    fork_server: ForkServer, public_place: Path
) -> None:
    path, history = public_place / "store", Acknowledged()
    suffer(fork_server, path, history, 1)
    give_to_nobody(path, writable=False)
    before = image_of(path)
    lines = suffer(fork_server, path, history, 2, nobody=True)
    require_nothing_done(lines)
    refused = [line for line in lines if "refused" in line]
    assert {line["error"] for line in refused} == {"PermissionDeniedError"}
    assert "read_only=True" in refused[0]["message"]
    lines = suffer(fork_server, path, history, 3, nobody=True, read_only=True)
    assert {line["error"] for line in lines if "error" in line} == {"ReadOnlyError"}
    assert lines[-1] == {"pending": 0, "held": len(history.last)}
    assert image_of(path) == before
    give_to_nobody(path, writable=True)
    await require_kept(path, history)


async def test_somebody_elses_store_is_left_alone(fork_server: ForkServer, public_place: Path) -> None:
    path, history = public_place / "store", Acknowledged()
    suffer(fork_server, path, history, 1)
    before = image_of(path)
    for life, read_only in ((2, False), (3, True)):
        lines = suffer(fork_server, path, history.copy(), life, nobody=True, read_only=read_only)
        assert [line["error"] for line in lines] == ["PermissionDeniedError"]
    lines = suffer(fork_server, public_place / "new", Acknowledged(), 4, nobody=True)
    assert [line["error"] for line in lines] == ["PermissionDeniedError"]
    assert image_of(path) == before
    assert not (public_place / "new").exists()
    await require_kept(path, history)


async def test_files_that_may_not_be_written_wait_in_the_journal(fork_server: ForkServer, public_place: Path) -> None:
    path, history = public_place / "store", Acknowledged()
    suffer(fork_server, path, history, 1)
    give_to_nobody(path, writable=True)
    os.chmod(path / MEMORIES, 0o500)
    lines = suffer(fork_server, path, history, 2, nobody=True)
    assert not [line for line in lines if "refused" in line], "the journal may be written"
    assert next(line["pending"] for line in lines if "pending" in line) > 0
    assert await seen_by_reader(path) == history.last
    os.chmod(path / MEMORIES, 0o700)
    await require_kept(path, history)


async def test_a_read_only_file_system_is_read_and_not_written(tmp_path: Path, fork_server: ForkServer) -> None:
    require_mounts()
    with tmpfs(tmp_path / "disk", "size=16m") as disk:
        path, history = disk / "store", Acknowledged()
        suffer(fork_server, path, history, 1)
        before = image_of(path)
        run("mount", "-o", "remount,ro", str(disk))
        lines = suffer(fork_server, path, history, 2)
        require_nothing_done(lines)
        assert {line["error"] for line in lines if "refused" in line} == {"PermissionDeniedError"}
        assert await seen_by_reader(path) == history.last
        with pytest.raises(PermissionDeniedError):
            await MemoryPersistence(disk / "new").initialize()
        assert image_of(path) == before
        run("mount", "-o", "remount,rw", str(disk))
        await require_kept(path, history)


async def test_an_unclean_store_on_a_read_only_file_system_is_read_as_recovered(
    tmp_path: Path, fork_server: ForkServer
) -> None:
    require_mounts()
    with tmpfs(tmp_path / "disk", "size=16m") as disk:
        path, history = disk / "store", Acknowledged()
        with closing(fork_server.start("work", path=str(path), config=CONFIG, seed=1, life=1)) as child:
            for line in child.lines():
                history.note(line)
                if history.operations > 10:
                    break
            child.kill()
            history.note_all(child.lines())
        run("mount", "-o", "remount,ro", str(disk))
        history.settle(await seen_by_reader(path))
        assert (path / SUPERBLOCK).is_file()
        run("mount", "-o", "remount,rw", str(disk))
        await require_kept(path, history)
