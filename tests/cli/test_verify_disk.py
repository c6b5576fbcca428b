"""verify-disk: what it says of real disks, what it sees of planted faults, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from command_lines import Called, Outcome, Program
from test_interruption import until
from test_terminal import plain

from synthians_memory.storage import local
from synthians_memory.storage.backend import HeldLock
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing import disk_facts, disk_trial
from synthians_memory.testing.disk_facts import DiskPlace, judged_sync, look_at
from synthians_memory.testing.killed_processes import KilledProcesses, Line
from synthians_memory.testing.killed_workload import entity_of, steps_of, task_of

REAL_READ = LocalBackend.read
NAMES = [
    "file system",
    "write cache",
    "room",
    "directory descriptors",
    "names",
    "exclusive create",
    "private files",
    "rename",
    "modification times",
    "sync of content",
    "sync of names",
    "sync of all files",
    "reading back",
    "locks",
    "killed processes",
    "what is stored",
]


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A directory where somebody else has a file."""
    path = tmp_path / "disk"
    path.mkdir()
    (path / "somebody's.txt").write_text("mine")
    return path


def untouched(disk: Path) -> bool:
    return [(path.name, path.read_text()) for path in disk.iterdir()] == [("somebody's.txt", "mine")]


def results(outcome: Outcome) -> dict[str, tuple[str, str]]:
    return {fact["name"]: (fact["result"], fact["detail"]) for fact in outcome.json["results"]}


@contextmanager
def tmpfs(path: Path, size: str) -> Iterator[Path]:
    """A file system in memory; skips the test, with the reason, where none can be mounted."""
    path.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting needs root, and mount")
    refused = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(path)], capture_output=True, text=True, check=False
    )
    if refused.returncode:
        pytest.skip(f"this process may not mount anything: {refused.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


# What it says


def test_a_real_disk(call: Called, disk: Path) -> None:
    outcome = call("verify-disk", disk, "--kills", 6)
    assert outcome.code == 0, outcome
    found = results(outcome)
    assert list(found) == NAMES
    assert outcome.json["kills"] == 6
    assert outcome.json["acknowledged"] > 6
    assert outcome.json["suitable"] is True
    assert outcome.json["directory"] == str(disk / "synthians-memory-verify-disk-1")
    assert "cutting the power" in outcome.json["unseen"]
    assert re.fullmatch(r"6 killed, [\d,]+ calls acknowledged, none lost, none in part", found["killed processes"][1])
    assert untouched(disk)


def test_a_person_sees_a_line_for_each_test_and_what_was_not_tested(call: Called, disk: Path) -> None:
    outcome = call.on_terminal("verify-disk", disk, "--kills", 1)
    assert outcome.code == 0
    shown = plain(outcome.out)
    assert re.search(r"killing .* 1 processes", shown)
    for name in NAMES:
        assert re.search(rf"^{name} +(ok|warning|skipped) +\S", shown, re.MULTILINE), shown
    # Lines are broken at the width of the terminal, the path included.
    assert f"{disk}doeswhatastoreneeds" in "".join(shown.split())
    assert "only by cutting" in shown


def test_a_disk_in_memory_is_called_so(call: Called, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "memory", "64m") as memory:
        outcome = call("verify-disk", memory, "--kills", 2)
        assert list(memory.iterdir()) == []
    assert outcome.code == 0
    assert results(outcome)["file system"] == ("warning", "tmpfs: memory only: a power cut loses everything")
    assert results(outcome)["sync of content"][0] == "warning"


def test_without_a_path_it_is_the_place_of_the_store_and_what_another_run_left_stays(call: Called, disk: Path) -> None:
    left = disk / "synthians-memory-verify-disk-1"
    left.mkdir()
    missing = call.on(disk / "a store that will be")("verify-disk", "--kills", 0)
    assert missing.code == 0
    assert missing.json["directory"] == str(disk / "synthians-memory-verify-disk-2")
    assert "killed processes" not in results(missing)
    left.rmdir()
    assert untouched(disk)


def test_a_store_that_lives_there_is_left_alone(call: Called, store: Path) -> None:
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in store.rglob("*") if path.is_file()}
    assert call("verify-disk", "--kills", 1).code == 0
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in store.rglob("*") if path.is_file()} == before
    assert call("check").json["findings"] == []


@pytest.mark.parametrize(
    ("seconds", "result"), [(5e-6, "warning"), (60e-6, "warning"), (200e-6, "ok"), (8e-3, "ok"), (1.0, "ok")]
)
def test_a_sync_that_does_not_wait_is_doubted(seconds: float, result: str) -> None:
    assert judged_sync([seconds] * 5 + [1.0])[0] == result


# What it sees


class Killing(KilledProcesses):
    """Knows the store that is worked on."""

    store = Path()

    def start(self, **request: Any) -> None:
        self.store = Path(request["path"])
        super().start(**request)


class Forgetful(Killing):
    """As when a disk forgets: every process that is killed leaves the store that the first one left."""

    def kill(self) -> Iterator[Line]:
        yield from super().kill()
        before = self.store.with_name("before")
        if before.exists():
            shutil.rmtree(self.store)
        else:
            self.store.rename(before)
        shutil.copytree(before, self.store)


class Destroying(Killing):
    """As when a disk forgets what it is."""

    def kill(self) -> Iterator[Line]:
        yield from super().kill()
        (self.store / "store.json").write_text("{}")
        shutil.rmtree(self.store / "journal", ignore_errors=True)


def test_acknowledged_changes_that_vanish_are_seen(call: Called, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_trial, "KilledProcesses", Forgetful)
    outcome = call("verify-disk", disk, "--kills", 20)
    assert outcome.code == 5
    result, detail = results(outcome)["killed processes"]
    assert result == "lost"
    assert "the store holds none of 2 possible states" in detail
    assert outcome.json["kills"] < 20
    assert outcome.json["suitable"] is False
    assert untouched(disk)


def test_a_store_that_needs_help_is_seen(call: Called, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk_trial, "KilledProcesses", Destroying)
    outcome = call("verify-disk", disk, "--kills", 20)
    assert outcome.code == 5, outcome
    assert results(outcome)["killed processes"][0] == "lost"


def flipped(self: LocalBackend, path: str, offset: int = 0, length: int | None = None) -> bytes | None:
    data = REAL_READ(self, path, offset, length)
    return data[:-1] + bytes([data[-1] ^ 1]) if path == "content" and data else data


def renamed_in_two_steps(source: str, target: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(target, dir_fd=dst_dir_fd)
    time.sleep(0.001)
    os.replace(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)


def not_supported(descriptor: int) -> None:
    raise OSError(22, "Invalid argument")


def no_lock(self: LocalBackend, folder: str, *, exclusive: bool) -> HeldLock | None:
    return None


@pytest.mark.parametrize(
    ("place", "name", "planted", "test", "detail"),
    [
        (disk_facts, "network_filesystem", lambda path: "nfs4", "file system", "a network file system"),
        (disk_facts, "mount_options", lambda fd: frozenset(["rw", "barrier=0"]), "file system", "with barrier=0"),
        (local, "_rename", renamed_in_two_steps, "rename", "it was missing"),
        (local, "sync_names", not_supported, "sync of names", "cannot sync"),
        (LocalBackend, "read", flipped, "reading back", "otherwise than they were written"),
    ],
)
def test_what_is_not_as_the_store_needs_it_is_seen(
    disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: Any,
    name: str,
    planted: Callable[..., Any],
    test: str,
    detail: str,
) -> None:
    backend = LocalBackend(disk)
    monkeypatch.setattr(place, name, planted)
    found = [fact for fact in look_at(DiskPlace(str(disk), backend, Random(1))) if fact.result in ("failed", "lost")]
    backend.close()
    assert [fact.name for fact in found] == [test]
    assert detail in found[0].detail


def test_a_lock_that_is_not_given_is_a_failure(call: Called, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalBackend, "lock", no_lock)
    outcome = call("verify-disk", disk, "--kills", 0)
    assert outcome.code == 1, outcome
    assert results(outcome)["locks"][0] == "failed"
    assert outcome.json["suitable"] is False
    assert untouched(disk)


# What it is refused


def test_a_directory_that_is_not_there(call: Called, tmp_path: Path) -> None:
    call("verify-disk", tmp_path / "no" / "such").failed(3, "there is no directory", "Give an existing directory.")


def test_a_file_is_no_directory(call: Called, disk: Path) -> None:
    call("verify-disk", disk / "somebody's.txt").failed(2, "is no directory")


def test_a_directory_that_may_not_be_written(call: Called, disk: Path) -> None:
    disk.chmod(0o500)
    # Root is refused where the kernel itself is the file system.
    where = Path("/sys/kernel") if os.geteuid() == 0 else disk
    if not where.is_dir():
        pytest.skip("there is nothing here that root may not write to")
    call("verify-disk", where).failed(6, "cannot make synthians-memory-verify-disk-1", "writable for this user")
    disk.chmod(0o700)


def test_no_room_for_a_trial(call: Called, tmp_path: Path) -> None:
    with tmpfs(tmp_path / "small", "1m") as small:
        call("verify-disk", small, "--kills", 1).failed(6, "No space left", "Free some space")
        assert list(small.iterdir()) == []


# What it leaves


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_behind(program: Program, disk: Path, number: signal.Signals) -> None:
    process = program.start("verify-disk", disk, "--kills", 1_000_000)
    folder = disk / "synthians-memory-verify-disk-1"
    until((folder / "store" / "memories").is_dir)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told.decode()) == (130, "interrupted: the directory of the trial was removed.\n")
    assert untouched(disk)


def test_it_needs_none_of_the_libraries_for_tests() -> None:
    code = "import sys; sys.modules.update(pytest=None, hypothesis=None); import synthians_memory.entrypoints.cli.app"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_workload_follows_from_its_seed() -> None:
    first, again = steps_of(1, 2, 0), steps_of(1, 2, 0)
    steps = [next(first) for _ in range(200)]
    assert steps == [next(again) for _ in range(200)]
    assert {step.work for step in steps} == {"save", "batch", "delete", "transaction", "checkpoint"}
    editions = [(key, edition) for step in steps for key, edition in step.changes if edition is not None]
    assert len(editions) == len(set(editions))
    assert {task_of(key) for key, _ in editions} == {0}
    assert all(entity_of(key, edition).entity_id == key[1] for key, edition in editions)
