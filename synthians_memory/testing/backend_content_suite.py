"""The part of the back ends' conformance suite that is about the content of files, and what all its parts share.

It is not to be derived from directly: `BackendSuite` has all parts.
"""

# ruff: noqa: S101

from __future__ import annotations

import errno
import threading
from collections.abc import Callable

import pytest

from synthians_memory.errors import DiskError, InvalidValueError, NotRegularFileError
from synthians_memory.storage.backend import Backend, FileWrite

__all__ = ["BackendFixture", "ReadingSuite", "WritingSuite", "names", "put", "refused"]


class BackendFixture:
    """What a back end brings to its tests."""

    @pytest.fixture
    def backend(self) -> Backend:
        """An open back end on an empty medium, closed after the test."""
        raise NotImplementedError

    def reopen(self, backend: Backend) -> Backend:
        """Another back end on the medium of `backend`, as a second process would open it; the caller closes it."""
        raise NotImplementedError


class ReadingSuite(BackendFixture):
    """What is read."""

    def test_what_was_written_is_read(self, backend: Backend) -> None:
        put(backend, "a", b"content")
        assert backend.read("a") == b"content"

    def test_a_missing_file_reads_as_none(self, backend: Backend) -> None:
        assert backend.read("a") is None
        assert backend.read("folder/a") is None

    def test_an_empty_file_reads_as_empty(self, backend: Backend) -> None:
        put(backend, "a", b"")
        assert backend.read("a") == b""

    @pytest.mark.parametrize(
        ("offset", "length", "expected"),
        [
            (0, 3, b"012"),
            (4, 2, b"45"),
            (2, 0, b""),
            (7, 100, b"789"),
            (0, 1 << 60, b"0123456789"),
            (3, None, b"3456789"),
            (10, None, b""),
            (99, 5, b""),
        ],
    )
    def test_a_part_is_read(self, backend: Backend, offset: int, length: int | None, expected: bytes) -> None:
        put(backend, "a", b"0123456789")
        assert backend.read("a", offset, length) == expected

    @pytest.mark.parametrize(("offset", "length"), [(-1, None), (0, -1)])
    def test_a_negative_part_is_refused(self, backend: Backend, offset: int, length: int | None) -> None:
        put(backend, "a", b"0123456789")
        with pytest.raises(InvalidValueError):
            backend.read("a", offset, length)

    def test_an_open_file_is_read_whatever_becomes_of_its_name(self, backend: Backend) -> None:
        put(backend, "a", b"0123456789")
        put(backend, "b", b"other")
        reader = backend.open_read("a")
        assert reader is not None
        assert reader.read_at(3, 4) == b"3456"
        assert reader.read_each([8, 0, 10, 0], 3) == [b"89", b"012", b"", b"012"]
        assert reader.read_each_at_hand([7, 0], 3) in (None, [b"789", b"012"])
        assert reader.read_each_at_hand([0, 8], 3) is None
        backend.replace("b", "a")
        assert reader.read_at(0, 100) == b"0123456789"
        backend.unlink("a")
        assert reader.read_at(0, 2) == b"01"
        reader.close()
        reader.close()
        for refused_call in (lambda: reader.read_at(0, 1), lambda: reader.read_each([0], 1)):
            with pytest.raises(DiskError):
                refused_call()
        assert reader.read_each_at_hand([0], 1) is None

    def test_what_is_written_to_an_open_file_without_a_name_is_read_there(self, backend: Backend) -> None:
        writer = backend.create("a")
        reader = backend.open_read("a")
        assert reader is not None
        backend.unlink("a")
        writer.write_at(0, b"abc")
        writer.write_at(3, b"def")
        assert reader.read_at(1, 4) == b"bcde"
        assert [name for name, _ in backend.scan("")] == []
        writer.close()
        reader.close()

    def test_opening_what_is_no_file_to_read(self, backend: Backend) -> None:
        assert backend.open_read("missing") is None
        assert backend.open_read("no/folder") is None
        backend.make_folder("folder")
        with pytest.raises(NotRegularFileError):
            backend.open_read("folder")

    def test_a_closed_back_end_reads_no_open_file(self, backend: Backend) -> None:
        put(backend, "a", b"0123456789")
        reader = backend.open_read("a")
        assert reader is not None
        backend.close()
        with pytest.raises(DiskError):
            reader.read_at(0, 1)

    def test_a_folder_is_no_file_to_read(self, backend: Backend) -> None:
        backend.make_folder("folder")
        with pytest.raises(NotRegularFileError):
            backend.read("folder")

    def test_a_large_file_is_read_whole(self, backend: Backend) -> None:
        content = bytes(range(256)) * 20_000
        put(backend, "a", content)
        assert backend.read("a") == content

    def test_what_is_at_hand_is_read_whole_or_not_at_all(self, backend: Backend) -> None:
        put(backend, "a", b"0123456789")
        backend.make_folder("folder")
        assert backend.read_at_hand("a", 10) in (b"0123456789", None)
        for path, size in [("a", 9), ("a", 11), ("a", 0), ("absent", 10), ("folder", 10), ("folder/a", 10)]:
            assert backend.read_at_hand(path, size) is None

    def test_many_threads_read_at_once(self, backend: Backend) -> None:
        backend.make_folder("folder")
        for number in range(20):
            put(backend, f"folder/{number}", b"%d" % number * 100)
        wrong: list[int] = []

        def read_all() -> None:
            wrong.extend(n for n in range(20) if backend.read(f"folder/{n}") != b"%d" % n * 100)

        threads = [threading.Thread(target=read_all) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


class WritingSuite(BackendFixture):
    """What is written, and where it ends up."""

    def test_create_refuses_a_name_that_is_taken(self, backend: Backend) -> None:
        put(backend, "a", b"first")
        backend.make_folder("folder")
        refused(errno.EEXIST, lambda: backend.create("a"))
        refused(errno.EEXIST, lambda: backend.create("folder"))
        assert backend.read("a") == b"first"

    def test_create_needs_its_folder(self, backend: Backend) -> None:
        refused(errno.ENOENT, lambda: backend.create("folder/a"))
        assert backend.stat("folder") is None

    def test_whole_files_are_put_in_place_of_what_is_expected(self, backend: Backend) -> None:
        put(backend, "old", b"old")
        put(backend, "other", b"other")
        put(backend, ".left", b"left behind by an earlier life")
        old = backend.stat("old")
        assert old is not None
        seen = (old.size, old.mtime_ns)
        wishes = [("fresh", None), ("old", seen), ("other", None), ("old", seen), ("absent", (1, 1)), ("other", (5, 1))]
        writes = [FileWrite(".left" if n == 0 else f".{n}", name, b"new!", at) for n, (name, at) in enumerate(wishes)]
        outcomes = backend.write_files(writes)
        assert outcomes[:2] == [backend.stat("fresh"), backend.stat("old")]
        assert outcomes[2:] == [None] * 4
        assert {name: backend.read(name) for name, _ in backend.scan("")} == {
            "fresh": b"new!",
            "old": b"new!",
            "other": b"other",
        }

    def test_a_whole_file_that_cannot_be_written_leaves_the_others_alone(self, backend: Backend) -> None:
        backend.make_folder("taken")
        put(backend, "taken/in", b"")
        names = [("nowhere/.1", "nowhere/a"), (".2", "b"), ("taken", "c")]
        outcomes = backend.write_files([FileWrite(scratch, target, b"data", None) for scratch, target in names])
        assert isinstance(outcomes[0], DiskError)
        assert outcomes[1] == backend.stat("b")
        assert isinstance(outcomes[2], DiskError)
        assert sorted(name for name, _ in backend.scan("")) == ["b", "taken"]
        assert backend.read("taken/in") == b""

    def test_a_new_name_replaces_nothing(self, backend: Backend) -> None:
        put(backend, "a", b"a")
        put(backend, "b", b"b")
        assert not backend.rename_new("a", "b")
        assert backend.rename_new("a", "c")
        assert {name: backend.read(name) for name, _ in backend.scan("")} == {"b": b"b", "c": b"a"}
        refused(errno.ENOENT, lambda: backend.rename_new("a", "d"))

    def test_writes_append(self, backend: Backend) -> None:
        file = backend.create("a")
        file.write(b"one")
        file.write(bytearray(b"two"))
        file.write(memoryview(b"three"))
        file.write(b"")
        file.close()
        assert backend.read("a") == b"onetwothree"

    def test_any_buffer_is_written_by_its_bytes(self, backend: Backend) -> None:
        file = backend.create("a")
        file.write(memoryview(b"abcdefgh").cast("I"))
        file.write_at(8, memoryview(b"ijkl").cast("H"))
        file.close()
        assert backend.read("a") == b"abcdefghijkl"

    def test_write_at_does_not_move_the_end(self, backend: Backend) -> None:
        file = backend.create("a")
        file.write(b"0123456789")
        file.write_at(2, b"XY")
        file.write(b"end")
        file.close()
        assert backend.read("a") == b"01XY456789end"

    def test_write_at_behind_the_end_fills_with_zeros(self, backend: Backend) -> None:
        file = backend.create("a")
        file.write_at(4, b"x")
        file.close()
        assert backend.read("a") == b"\0\0\0\0x"

    def test_an_open_file_is_read_meanwhile(self, backend: Backend) -> None:
        file = backend.create("a")
        file.write(b"so far")
        assert backend.read("a") == b"so far"
        file.close()

    def test_an_existing_file_is_appended_to(self, backend: Backend) -> None:
        put(backend, "a", b"0123")
        file = backend.open_existing("a")
        file.write(b"45")
        file.write_at(0, b"X")
        file.close()
        assert backend.read("a") == b"X12345"

    def test_only_a_regular_file_that_is_there_is_opened(self, backend: Backend) -> None:
        backend.make_folder("folder")
        refused(errno.ENOENT, lambda: backend.open_existing("a"))
        refused(errno.ENOENT, lambda: backend.open_existing("nowhere/a"))
        with pytest.raises(NotRegularFileError):
            backend.open_existing("folder")

    def test_an_open_file_outlives_its_name(self, backend: Backend) -> None:
        file = backend.create("a")
        backend.replace("a", "b")
        file.write(b"under b")
        assert backend.read("b") == b"under b"
        backend.unlink("b")
        file.write(b"nowhere")
        assert file.stat().size == len(b"under bnowhere")
        file.close()
        assert backend.read("b") is None

    def test_close_is_idempotent_and_ends_writing(self, backend: Backend) -> None:
        file = backend.create("a")
        file.close()
        file.close()
        for call in (lambda: file.write(b"x"), lambda: file.write_at(0, b"x"), file.sync, file.stat):
            refused(errno.EBADF, call)
        assert backend.read("a") == b""

    def test_sync_is_accepted(self, backend: Backend) -> None:
        backend.make_folder("folder")
        file = backend.create("folder/a")
        file.write(b"x")
        file.sync()
        file.write(b"y")
        file.sync()
        file.close()
        backend.sync_folder("folder")
        backend.sync_folder("")
        assert backend.sync_filesystem() in {True, False}
        assert backend.read("folder/a") == b"xy"

    def test_a_missing_folder_cannot_be_synced(self, backend: Backend) -> None:
        refused(errno.ENOENT, lambda: backend.sync_folder("folder"))


def put(backend: Backend, path: str, content: bytes) -> None:
    """Make the file `path`."""
    file = backend.create(path)
    file.write(content)
    file.close()


def names(backend: Backend, folder: str = "") -> set[str]:
    """The names in `folder`."""
    return {name for name, _ in backend.scan(folder)}


def refused(number: int, call: Callable[[], object]) -> None:
    """`call` raises the DiskError of that errno."""
    with pytest.raises(DiskError) as caught:
        call()
    assert caught.value.errno == number
