"""The back end on a local directory: the conformance suite, and what only a real file system can do to it."""

from __future__ import annotations

import errno
import gc
import os
import resource
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from synthians_memory.errors import DiskError, NotRegularFileError, PermissionDeniedError, StoreClosedError
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.filesystem import syncfs_reports_errors
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.backend_content_suite import names, put
from synthians_memory.testing.backend_suite import BackendSuite

NOBODY = 65534


class TestLocalBackend(BackendSuite):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Iterator[LocalBackend]:
        backend = LocalBackend(tmp_path / "store", create=True)
        yield backend
        backend.close()

    def reopen(self, backend: Backend) -> Backend:
        return LocalBackend(backend.location)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_bytes(b"secret")
    return folder


@pytest.fixture
def backend(store: Path) -> Iterator[LocalBackend]:
    backend = LocalBackend(store, create=True)
    backend.make_folder("folder")
    yield backend
    backend.close()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def refusal(call: Callable[[], object]) -> DiskError:
    with pytest.raises(DiskError) as caught:
        call()
    return caught.value


def descriptors() -> int:
    gc.collect()  # errors of earlier tests hold what was open where they were raised
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def limited(kind: int, value: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (value, hard))
    try:
        yield
    finally:
        resource.setrlimit(kind, (soft, hard))


@contextmanager
def without_permission(folder: Path) -> Iterator[None]:
    """Work as someone who may only read `folder`."""
    privileged = os.geteuid() == 0
    folder.chmod(0o555)
    if privileged:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if privileged:
            os.seteuid(0)
        folder.chmod(0o700)


def why_nothing_is_at_hand(store: Path) -> str:
    """Why this machine cannot read without waiting; "" where it can."""
    backend = LocalBackend(store, create=True)
    try:
        file = backend.create("probe")
        file.write(b"probe")
        file.close()
        return "" if backend.read_at_hand("probe", 5) else "the kernel or the file system offers no such read"
    finally:
        backend.unlink("probe")
        backend.close()


class TestReadAtHand:
    def test_what_the_page_cache_holds_is_read(self, store: Path, backend: LocalBackend) -> None:
        if reason := why_nothing_is_at_hand(store):
            pytest.skip(reason)
        content = os.urandom(20_000)
        (store / "a").write_bytes(content)
        assert backend.read_at_hand("a", 20_000) == content
        backend.make_folder("folder")
        (store / "folder" / "b").write_bytes(content)
        assert backend.stat("folder/b") is not None
        assert backend.read_at_hand("folder/b", 20_000) == content

    def test_what_is_on_the_disk_alone_is_not_waited_for(self, store: Path, backend: LocalBackend) -> None:
        if reason := why_nothing_is_at_hand(store):
            pytest.skip(reason)
        (store / "a").write_bytes(bytes(20_000))
        descriptor = os.open(store / "a", os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        at_once = backend.read_at_hand("a", 20_000)
        os.close(descriptor)
        if at_once is not None:
            pytest.skip("the file system keeps its pages in memory")
        assert backend.read("a") == bytes(20_000)

    def test_no_symlink_and_no_fifo_is_followed(self, store: Path, backend: LocalBackend) -> None:
        (store / "a").write_bytes(b"0123456789")
        (store / "link").symlink_to("a")
        os.mkfifo(store / "fifo")
        assert backend.read_at_hand("link", 10) is None
        assert backend.read_at_hand("fifo", 10) is None

    def test_no_descriptor_is_left(self, store: Path, backend: LocalBackend) -> None:
        (store / "a").write_bytes(b"0123456789")
        before = set(os.listdir("/proc/self/fd"))
        for size in (9, 10, 11, 1 << 40):
            with suppress(MemoryError):
                backend.read_at_hand("a", size)
        backend.read_at_hand("absent", 10)
        assert set(os.listdir("/proc/self/fd")) == before


class TestRoot:
    def test_a_missing_directory_is_refused(self, store: Path) -> None:
        error = refusal(lambda: LocalBackend(store))
        assert error.errno == errno.ENOENT
        assert str(store) in str(error)
        assert not store.exists()

    def test_missing_directories_are_made_private(self, tmp_path: Path) -> None:
        umask = os.umask(0)
        try:
            LocalBackend(tmp_path / "a" / "b" / "store", create=True).close()
        finally:
            os.umask(umask)
        assert [mode_of(tmp_path / path) for path in ("a", "a/b", "a/b/store")] == [0o700] * 3

    def test_an_existing_directory_is_taken_as_it_is(self, store: Path) -> None:
        store.mkdir(mode=0o750)
        store.chmod(0o750)
        LocalBackend(store, create=True).close()
        assert mode_of(store) == 0o750

    @pytest.mark.parametrize("create", [False, True])
    def test_a_file_is_no_store(self, store: Path, create: bool) -> None:
        store.write_bytes(b"")
        assert refusal(lambda: LocalBackend(store, create=create)).errno == errno.ENOTDIR
        assert refusal(lambda: LocalBackend(store / "below", create=create)).errno == errno.ENOTDIR

    def test_a_symlink_to_the_store_is_resolved_once(self, store: Path, outside: Path, tmp_path: Path) -> None:
        store.mkdir()
        link = tmp_path / "link"
        link.symlink_to(store)
        backend = LocalBackend(link)
        link.unlink()
        link.symlink_to(outside)
        put(backend, "a", b"content")
        assert backend.location == str(store)
        assert (store / "a").read_bytes() == b"content"
        assert not (outside / "a").exists()
        backend.close()

    def test_a_symlink_to_a_missing_directory_makes_that(self, store: Path, tmp_path: Path) -> None:
        link = tmp_path / "link"
        link.symlink_to(store)
        LocalBackend(link, create=True).close()
        assert store.is_dir()
        assert link.is_symlink()

    def test_a_relative_path_is_kept_when_the_working_directory_changes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        backend = LocalBackend("store", create=True)
        monkeypatch.chdir("/")
        put(backend, "a", b"content")
        assert backend.location == str(tmp_path / "store")
        assert (tmp_path / "store" / "a").read_bytes() == b"content"
        backend.close()

    def test_the_file_system_is_synced_where_the_kernel_reports_errors(
        self, backend: LocalBackend, store: Path
    ) -> None:
        put(backend, "folder/a", b"content")
        descriptor = os.open(store, os.O_RDONLY)
        assert backend.sync_filesystem() is syncfs_reports_errors(descriptor)
        os.close(descriptor)


class TestModes:
    @pytest.mark.parametrize("mask", [0, 0o022, 0o077])
    def test_files_and_folders_are_private(self, backend: LocalBackend, store: Path, mask: int) -> None:
        umask = os.umask(mask)
        try:
            backend.make_folder("folder/inner")
            put(backend, "folder/inner/a", b"")
        finally:
            os.umask(umask)
        assert mode_of(store / "folder" / "inner") == 0o700
        assert mode_of(store / "folder" / "inner" / "a") == 0o600


class TestWhatIsNoRegularFile:
    def test_a_symlink_is_not_followed(self, backend: LocalBackend, store: Path, outside: Path) -> None:
        link = store / "folder" / "link"
        link.symlink_to(outside / "secret")
        for call in (lambda: backend.read("folder/link"), lambda: backend.open_existing("folder/link")):
            assert isinstance(refusal(call), NotRegularFileError)
        assert refusal(lambda: backend.create("folder/link")).errno == errno.EEXIST
        entry = backend.stat("folder/link")
        assert entry is not None
        assert entry.kind == "other"
        assert dict(backend.scan("folder"))["link"] == entry

    def test_a_dangling_symlink_makes_no_file(self, backend: LocalBackend, store: Path, outside: Path) -> None:
        (store / "link").symlink_to(outside / "new")
        assert refusal(lambda: backend.create("link")).errno == errno.EEXIST
        assert isinstance(refusal(lambda: backend.open_existing("link")), NotRegularFileError)
        assert os.listdir(outside) == ["secret"]

    def test_a_symlink_itself_is_replaced_and_removed(self, backend: LocalBackend, store: Path, outside: Path) -> None:
        put(backend, "a", b"mine")
        (store / "link").symlink_to(outside / "secret")
        (store / "other").symlink_to(outside / "secret")
        backend.replace("a", "link")
        assert backend.read("link") == b"mine"
        assert backend.unlink("other")
        assert (outside / "secret").read_bytes() == b"secret"

    def test_a_fifo_is_not_waited_for(self, backend: LocalBackend, store: Path) -> None:
        os.mkfifo(store / "fifo")
        for call in (lambda: backend.read("fifo"), lambda: backend.open_existing("fifo")):
            assert isinstance(refusal(call), NotRegularFileError)
        reader = os.open(store / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        assert isinstance(refusal(lambda: backend.open_existing("fifo")), NotRegularFileError)
        os.close(reader)
        assert backend.unlink("fifo")

    def test_a_socket_is_refused(self, backend: LocalBackend, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(store)  # the address of a socket is short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("socket")
            assert isinstance(refusal(lambda: backend.read("socket")), NotRegularFileError)
            assert isinstance(refusal(lambda: backend.open_existing("socket")), NotRegularFileError)

    @pytest.mark.parametrize(
        ("link", "path"), [("link", "link"), ("link", "link/inner"), ("folder/link", "folder/link")]
    )
    def test_no_part_of_a_path_is_followed(
        self, backend: LocalBackend, store: Path, outside: Path, link: str, path: str
    ) -> None:
        (outside / "inner").mkdir()
        (outside / "inner" / "secret").write_bytes(b"secret")
        (store / link).symlink_to(outside)
        calls: list[Callable[[], object]] = [
            lambda: backend.read(f"{path}/secret"),
            lambda: backend.stat(f"{path}/secret"),
            lambda: list(backend.scan(path)),
            lambda: backend.create(f"{path}/new"),
            lambda: backend.open_existing(f"{path}/secret"),
            lambda: backend.unlink(f"{path}/secret"),
            lambda: backend.make_folder(f"{path}/new"),
            lambda: backend.replace(f"{path}/secret", "stolen"),
            lambda: backend.sync_folder(path),
            lambda: backend.lock(path, exclusive=True),
        ]
        for call in calls:
            assert refusal(call).errno == errno.ENOTDIR
        assert sorted(os.listdir(outside)) == ["inner", "secret"]
        assert names(backend) >= {"folder"}
        assert "stolen" not in names(backend)

    def test_a_symlink_where_a_folder_is_to_be_made_is_no_folder(
        self, backend: LocalBackend, store: Path, outside: Path
    ) -> None:
        (store / "link").symlink_to(outside)
        assert refusal(lambda: backend.make_folder("link")).errno == errno.EEXIST

    def test_a_name_that_is_no_utf8_is_scanned_and_removed(self, backend: LocalBackend, store: Path) -> None:
        Path(os.fsdecode(os.fsencode(store) + b"/\xff\xfe")).write_bytes(b"x")
        (name,) = names(backend) - {"folder"}
        assert backend.read(name) == b"x"
        assert backend.unlink(name)


class TestMovedBehindOurBack:
    def test_a_store_that_is_moved_goes_on_working(self, backend: LocalBackend, store: Path, tmp_path: Path) -> None:
        put(backend, "folder/a", b"before")
        store.rename(tmp_path / "moved")
        store.mkdir()
        assert backend.read("folder/a") == b"before"
        put(backend, "folder/b", b"after")
        backend.make_folder("new")
        put(backend, "new/c", b"after")
        assert (tmp_path / "moved" / "folder" / "b").read_bytes() == b"after"
        assert (tmp_path / "moved" / "new" / "c").read_bytes() == b"after"
        assert os.listdir(store) == []

    @pytest.mark.parametrize("replacement", ["nothing", "folder", "symlink", "file"])
    @pytest.mark.parametrize("moved", ["folder", "folder/inner"])
    def test_a_folder_that_is_moved_is_not_written_to(
        self, backend: LocalBackend, store: Path, tmp_path: Path, moved: str, replacement: str
    ) -> None:
        backend.make_folder("folder/inner")
        put(backend, "folder/inner/a", b"content")
        put(backend, "b", b"content")
        away, place = tmp_path / "away", store / moved
        place.rename(away)
        if replacement == "folder":
            (store / "folder" / "inner").mkdir(parents=True)
        elif replacement == "symlink":
            place.symlink_to(away)
        elif replacement == "file":
            place.write_bytes(b"")
        before = sorted(tmp_path.rglob("*"))
        calls: list[Callable[[], object]] = [
            lambda: backend.create("folder/inner/c"),
            lambda: backend.open_existing("folder/inner/a"),
            lambda: backend.replace("b", "folder/inner/b"),
            lambda: backend.replace("folder/inner/a", "a"),
            lambda: backend.unlink("folder/inner/a"),
            lambda: backend.unlink("folder/inner/missing"),
            lambda: backend.make_folder("folder/inner/new"),
            lambda: backend.remove_folder("folder/inner/new"),
            lambda: backend.sync_folder("folder/inner"),
            lambda: backend.lock("folder/inner", exclusive=True),
            lambda: backend.read("folder/inner/missing"),
            lambda: backend.stat("folder/inner/missing"),
            lambda: list(backend.scan("folder/inner")),
        ]
        for call in calls:
            error = refusal(call)
            assert error.errno == errno.ESTALE
            assert "put it back" in str(error)
        assert sorted(tmp_path.rglob("*")) == before

    def test_a_folder_that_is_put_back_is_used_again(self, backend: LocalBackend, store: Path, tmp_path: Path) -> None:
        put(backend, "folder/a", b"content")
        (store / "folder").rename(tmp_path / "away")
        assert refusal(lambda: backend.create("folder/b")).errno == errno.ESTALE
        (tmp_path / "away").rename(store / "folder")
        put(backend, "folder/b", b"content")
        assert names(backend, "folder") == {"a", "b"}

    def test_no_sync_of_the_file_system_covers_a_moved_folder(
        self, backend: LocalBackend, store: Path, tmp_path: Path
    ) -> None:
        put(backend, "folder/a", b"content")
        if not backend.sync_filesystem():
            pytest.skip("this file system does not report errors to syncfs")
        (store / "folder").rename(tmp_path / "away")
        assert refusal(backend.sync_filesystem).errno == errno.ESTALE

    def test_a_store_that_is_removed_is_not_an_empty_one(self, backend: LocalBackend, store: Path) -> None:
        (store / "folder").rmdir()
        store.rmdir()
        calls: list[Callable[[], object]] = [
            lambda: backend.read("a"),
            lambda: backend.stat("a"),
            lambda: backend.read("folder/a"),
            lambda: backend.unlink("a"),
            lambda: list(backend.scan("")),
        ]
        for call in calls:
            assert refusal(call).errno == errno.ESTALE
        assert refusal(lambda: backend.create("a")).errno == errno.ENOENT
        assert not store.exists()


class TestWhatTheSystemRefuses:
    def test_permission(self, backend: LocalBackend, store: Path) -> None:
        put(backend, "folder/a", b"content")
        calls: list[Callable[[], object]] = [
            lambda: backend.create("folder/b"),
            lambda: backend.open_existing("folder/a"),
            lambda: backend.unlink("folder/a"),
            lambda: backend.replace("folder/a", "folder/b"),
            lambda: backend.make_folder("folder/inner"),
        ]
        store.chmod(0o755)
        (store / "folder" / "a").chmod(0o400)
        with without_permission(store / "folder"):
            for call in calls:
                error = refusal(call)
                assert isinstance(error, PermissionDeniedError)
                assert error.path in {"folder/a", "folder/b", "folder/inner"}
                assert isinstance(error.__cause__, OSError)
        assert backend.read("folder/a") == b"content"

    def test_descriptors(self, backend: LocalBackend) -> None:
        put(backend, "folder/a", b"content")
        with limited(resource.RLIMIT_NOFILE, 3):
            for call in (lambda: backend.create("folder/b"), lambda: backend.read("folder/a")):
                error = refusal(call)
                assert error.errno == errno.EMFILE
                assert "ulimit" in str(error)
        assert backend.read("folder/a") == b"content"

    def test_a_short_write_is_raised_where_it_cannot_go_on(self, backend: LocalBackend) -> None:
        first, second = backend.create("a"), backend.create("b")
        with limited(resource.RLIMIT_FSIZE, 100):
            assert refusal(lambda: first.write(b"x" * 300)).errno == errno.EFBIG
            assert refusal(lambda: second.write_at(50, b"y" * 300)).errno == errno.EFBIG
        assert backend.read("a") == b"x" * 100
        assert backend.read("b") == b"\0" * 50 + b"y" * 50

    def test_a_short_write_goes_on(self, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        # No file system here writes short and then goes on, so the system call is made to.
        write = os.write
        file = backend.create("a")
        monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
        file.write(bytes(range(100)))
        monkeypatch.undo()
        file.close()
        assert backend.read("a") == bytes(range(100))

    def test_a_name_that_is_too_long(self, backend: LocalBackend) -> None:
        assert refusal(lambda: backend.create("x" * 300)).errno == errno.ENAMETOOLONG


class TestDescriptors:
    def test_a_reader_that_the_collector_ends_before_its_owner_is_closed_once(
        self, store: Path, backend: LocalBackend
    ) -> None:
        (store / "a").write_bytes(b"content")
        reader: Any = backend.open_read("a")
        number = reader._descriptor
        reader.__del__()
        other = os.open(store / "a", os.O_RDONLY)
        assert other == number
        reader.close()
        assert os.read(other, 7) == b"content"
        os.close(other)

    def test_none_is_left_after_many_openings(self, store: Path, tmp_path: Path) -> None:
        before = descriptors()
        for number in range(60):
            backend = LocalBackend(store, create=True)
            backend.make_folder("folder")
            backend.make_folder("folder/inner")
            put(backend, f"folder/inner/{number}", b"content")
            backend.read(f"folder/inner/{number}")
            with suppress(DiskError):
                backend.read("folder")
            with suppress(DiskError):
                backend.open_existing("folder")
            backend.create(f"left open {number}").write(b"")
            shared = backend.lock("folder", exclusive=False)
            assert shared is not None
            assert backend.lock("folder", exclusive=True) is None
            assert backend.lock("", exclusive=True) is not None
            next(backend.scan("folder/inner"))
            backend.sync_filesystem()
            backend.close()
            with suppress(DiskError):
                LocalBackend(tmp_path / "nowhere")
        assert descriptors() == before

    def test_none_is_left_when_a_back_end_is_forgotten(self, store: Path) -> None:
        before = descriptors()
        backend = LocalBackend(store, create=True)
        assert backend.lock("", exclusive=True) is not None
        assert backend.lock("", exclusive=False) is None
        del backend
        assert descriptors() == before
        other = LocalBackend(store)
        assert other.lock("", exclusive=True) is not None
        other.close()

    def test_a_file_that_is_moved_to_another_folder_leaves_none(self, backend: LocalBackend) -> None:
        before = descriptors()
        for _ in range(5):
            backend.make_folder("new")
            put(backend, "new/a", b"")
            backend.replace("new", "moved")
            backend.unlink("moved/a")
            backend.remove_folder("moved")
        assert descriptors() == before

    def test_no_read_meets_a_descriptor_that_stands_for_something_else(self, store: Path, outside: Path) -> None:
        """Close the back end while others read, and open other directories, which get the numbers it gave up."""
        (outside / "a").write_bytes(b"wrong")
        seen: set[bytes | None] = set()

        def read_until_closed(backend: LocalBackend) -> None:
            with suppress(StoreClosedError):
                while True:
                    seen.add(backend.read("folder/a"))

        for number in range(20):
            backend = LocalBackend(store, create=True)
            backend.make_folder("folder")
            if number == 0:
                put(backend, "folder/a", b"right")
            readers = [threading.Thread(target=read_until_closed, args=(backend,)) for _ in range(3)]
            for reader in readers:
                reader.start()
            backend.close()
            taken = [os.open(outside, os.O_RDONLY) for _ in range(8)]
            for reader in readers:
                reader.join()
            for descriptor in taken:
                os.close(descriptor)
        assert seen <= {b"right"}
