"""The locks above a back end, within one process and, on real directories, between processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import synthians_memory
from synthians_memory.errors import DiskError, StoreLockedError
from synthians_memory.layout import JOURNAL, LOCK_FILE, is_scratch
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.lock import LockHolder, ReaderLock, StoreLock, read_holder, try_exclusive_journal
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.backend_content_suite import names, put

NOW = "2026-11-20T12:00:00.000000Z"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(synthians_memory.__file__).parent.parent)}

HOLD = """
import sys
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.lock import StoreLock
backend = LocalBackend(sys.argv[1])
lock = StoreLock.acquire(backend, clock_text="2026-01-01T00:00:00.000000Z")
print("held", flush=True)
"""
WAIT = "sys.stdin.read()\n"
FORK = """
import os
child = os.fork()
if child == 0:
    lock.release()
    sys.stdin.read()
    os._exit(0)
print(child, flush=True)
"""
SPAWN = """
import subprocess
child = subprocess.Popen([sys.executable, "-c", "input()"], close_fds=False)
print(child.pid, flush=True)
"""


@pytest.fixture(params=["local", "memory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    made: Backend = LocalBackend(tmp_path / "store", create=True) if request.param == "local" else MemoryBackend()
    made.make_folder(JOURNAL)
    yield made
    made.close()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    LocalBackend(path, create=True).close()
    return path


@contextmanager
def running(program: str, store: Path) -> Iterator[subprocess.Popen[str]]:
    """A second process that runs `program`, up to its first line; it is killed at the end."""
    command = [sys.executable, "-c", program, str(store)]
    with subprocess.Popen(
        command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def taken(backend: Backend) -> StoreLockedError:
    with pytest.raises(StoreLockedError) as caught:
        StoreLock.acquire(backend, clock_text=NOW, sleep=lambda seconds: None)
    return caught.value


class TestStoreLock:
    def test_it_names_its_holder(self, backend: Backend) -> None:
        lock = StoreLock.acquire(backend, clock_text=NOW)
        holder = read_holder(backend)
        assert holder is not None
        assert (holder.pid, holder.started) == (os.getpid(), NOW)
        error = taken(backend)
        assert error.holder == f"pid {os.getpid()} on {holder.host} since {NOW}"
        assert error.holder in str(error)
        assert backend.location in str(error)
        assert "read_only" in str(error)
        lock.release()

    def test_release_leaves_nothing_and_is_idempotent(self, backend: Backend) -> None:
        lock = StoreLock.acquire(backend, clock_text=NOW)
        lock.release()
        assert names(backend) == {JOURNAL}
        again = StoreLock.acquire(backend, clock_text=NOW)
        lock.release()
        assert names(backend) == {JOURNAL, LOCK_FILE}
        taken(backend)
        again.release()

    def test_a_short_wait_is_waited_for(self, backend: Backend) -> None:
        first = StoreLock.acquire(backend, clock_text=NOW)
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                first.release()

        StoreLock.acquire(backend, clock_text=NOW, sleep=sleep).release()
        assert len(waits) == 3

    def test_it_gives_up_within_the_wait(self, backend: Backend) -> None:
        lock = StoreLock.acquire(backend, clock_text=NOW)
        waits: list[float] = []
        with pytest.raises(StoreLockedError):
            StoreLock.acquire(backend, clock_text=NOW, wait=0.2, sleep=waits.append)
        assert 0 < sum(waits) <= 0.2 + 1e-9
        waits.clear()
        with pytest.raises(StoreLockedError):
            StoreLock.acquire(backend, clock_text=NOW, wait=0, sleep=waits.append)
        assert not waits
        lock.release()

    def test_removing_the_note_harms_nobody(self, backend: Backend) -> None:
        lock = StoreLock.acquire(backend, clock_text=NOW)
        backend.unlink(LOCK_FILE)
        error = taken(backend)
        assert error.holder == ""
        assert "another program" in str(error)
        lock.release()
        StoreLock.acquire(backend, clock_text=NOW).release()

    @pytest.mark.parametrize(
        "note",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b"[]",
            b"7",
            b"9" * 5000,
            b"[" * 100_000,
            b'{"pid": 1}',
            b'{"host": 1, "pid": 2, "started": 3}',
            b'{"host": "h", "pid": true, "started": "s"}',
        ],
        ids=lambda note: repr(note[:20]),
    )
    def test_a_strange_note_names_nobody_and_is_replaced(self, backend: Backend, note: bytes) -> None:
        put(backend, LOCK_FILE, note)
        assert read_holder(backend) is None
        held = backend.lock("", exclusive=True)
        assert held is not None
        assert taken(backend).holder == ""
        held.release()
        lock = StoreLock.acquire(backend, clock_text=NOW)
        assert read_holder(backend) is not None
        lock.release()

    def test_a_note_cannot_write_to_the_terminal(self, backend: Backend) -> None:
        put(backend, LOCK_FILE, json.dumps({"host": "\x1b[31mred\n", "pid": 7, "started": "x" * 999}).encode())
        assert read_holder(backend) == LockHolder("?[31mred?", 7, "x" * 200)

    def test_the_note_of_a_dead_holder_and_its_scratch_are_replaced(self, backend: Backend) -> None:
        StoreLock.acquire(backend, clock_text="earlier")
        backend.replace(LOCK_FILE, JOURNAL + "/kept")
        other = backend.reopen() if isinstance(backend, MemoryBackend) else LocalBackend(backend.location)
        backend.close()
        put(other, LOCK_FILE, other.read(JOURNAL + "/kept") or b"")
        (scratch,) = [name for name in created_names(other) if is_scratch(name)]
        put(other, scratch, b"half a no")
        lock = StoreLock.acquire(other, clock_text=NOW)
        holder = read_holder(other)
        assert holder is not None
        assert holder.started == NOW
        lock.release()
        assert names(other) == {JOURNAL}
        other.close()

    def test_a_note_that_cannot_be_written_does_not_keep_the_store_shut(self, backend: Backend) -> None:
        backend.make_folder(LOCK_FILE)
        lock = StoreLock.acquire(backend, clock_text=NOW)
        assert isinstance(lock.note_error, DiskError)
        assert taken(backend).holder == ""
        lock.release()
        assert LOCK_FILE in names(backend)
        StoreLock.acquire(backend, clock_text=NOW).release()


class TestReaderLock:
    def test_readers_share_the_journal_and_shut_out_the_dropping_of_segments(self, backend: Backend) -> None:
        first, second = ReaderLock.acquire(backend), ReaderLock.acquire(backend)
        assert try_exclusive_journal(backend) is None
        first.release()
        first.release()
        assert try_exclusive_journal(backend) is None
        second.release()
        held = try_exclusive_journal(backend)
        assert held is not None
        held.release()

    def test_readers_and_the_writer_do_not_meet(self, backend: Backend) -> None:
        writer = StoreLock.acquire(backend, clock_text=NOW)
        reader = ReaderLock.acquire(backend)
        taken(backend)
        reader.release()
        writer.release()

    def test_a_reader_waits_for_the_dropping_of_segments(self, backend: Backend) -> None:
        held = try_exclusive_journal(backend)
        assert held is not None
        ReaderLock.acquire(backend, sleep=lambda seconds: held.release()).release()
        held = try_exclusive_journal(backend)
        assert held is not None
        with pytest.raises(StoreLockedError, match="Try again"):
            ReaderLock.acquire(backend, sleep=lambda seconds: None)

    def test_there_is_nothing_to_lock_without_a_journal(self, backend: Backend) -> None:
        backend.remove_folder(JOURNAL)
        for call in (ReaderLock.acquire, try_exclusive_journal):
            with pytest.raises(DiskError):
                call(backend)


class TestProcesses:
    def test_a_second_process_is_kept_out_and_told_who_holds(self, store: Path) -> None:
        backend = LocalBackend(store)
        with running(HOLD + WAIT, store) as process:
            error = taken(backend)
            assert f"pid {process.pid} on " in error.holder
            assert error.holder.endswith("since 2026-01-01T00:00:00.000000Z")
        backend.close()

    def test_a_killed_holder_blocks_nobody(self, store: Path) -> None:
        backend = LocalBackend(store)
        with running(HOLD + WAIT, store) as process:
            process.send_signal(signal.SIGKILL)
            process.wait()
            assert LOCK_FILE in names(backend)
            lock = StoreLock.acquire(backend, clock_text=NOW)
            assert read_holder(backend) == LockHolder(os.uname().nodename, os.getpid(), NOW)
            lock.release()
        backend.close()

    @pytest.mark.parametrize("start_child", [FORK, SPAWN], ids=["forked", "spawned"])
    def test_a_child_neither_holds_nor_releases(self, store: Path, start_child: str) -> None:
        backend = LocalBackend(store)
        with running(HOLD + start_child + WAIT, store) as process:
            assert process.stdout is not None
            child = int(process.stdout.readline())
            assert f"pid {process.pid} on " in taken(backend).holder
            process.send_signal(signal.SIGKILL)
            process.wait()
            os.kill(child, 0)  # the child is still there
            StoreLock.acquire(backend, clock_text=NOW).release()
            os.kill(child, signal.SIGKILL)
        backend.close()

    def test_a_lock_that_is_still_held_at_exit_makes_no_noise(self, store: Path) -> None:
        result = subprocess.run(
            [sys.executable, "-c", HOLD, str(store)], env=ENVIRONMENT, capture_output=True, text=True, check=True
        )
        assert result.stderr == ""
        backend = LocalBackend(store)
        StoreLock.acquire(backend, clock_text=NOW).release()
        backend.close()


def created_names(backend: Backend) -> list[str]:
    """The paths that taking the store's lock creates."""
    made: list[str] = []

    class Recording:
        def __getattr__(self, name: str) -> object:
            return getattr(backend, name)

        def create(self, path: str) -> object:
            made.append(path)
            return backend.create(path)

    StoreLock.acquire(Recording(), clock_text=NOW).release()
    return made
