"""The behaviours every back end of the storage layer must show; a new one passes them before it holds a store.

It is not a test of durability or of failures: those need a disk that can be made to fail. Failed assertions tell
most after `pytest.register_assert_rewrite` of this module and of backend_content_suite.
"""

# ruff: noqa: S101

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from synthians_memory.errors import DiskError, InvalidValueError, StoreClosedError
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.backend_content_suite import (
    BackendFixture,
    ReadingSuite,
    WritingSuite,
    names,
    put,
    refused,
)

__all__ = ["BackendSuite"]

BAD_PATHS = ["", ".", "..", "/", "/name", "folder/", "../name", "folder/..", "folder/../name", "./name", "a//b", "a\0b"]


class NamesSuite(BackendFixture):
    """How names come and go."""

    def test_replace_moves_a_file(self, backend: Backend) -> None:
        backend.make_folder("folder")
        put(backend, "a", b"content")
        backend.replace("a", "folder/b")
        assert backend.read("a") is None
        assert backend.read("folder/b") == b"content"

    def test_replace_takes_the_place_of_a_file(self, backend: Backend) -> None:
        put(backend, "a", b"new")
        put(backend, "b", b"old")
        backend.replace("a", "b")
        assert backend.read("b") == b"new"
        assert names(backend) == {"b"}

    def test_replace_by_itself_changes_nothing(self, backend: Backend) -> None:
        put(backend, "a", b"content")
        backend.replace("a", "a")
        assert backend.read("a") == b"content"

    def test_replace_of_a_missing_file_changes_nothing(self, backend: Backend) -> None:
        put(backend, "b", b"old")
        refused(errno.ENOENT, lambda: backend.replace("a", "b"))
        refused(errno.ENOENT, lambda: backend.replace("nowhere/a", "b"))
        refused(errno.ENOENT, lambda: backend.replace("b", "nowhere/b"))
        assert backend.read("b") == b"old"

    def test_replace_moves_a_folder_with_its_content(self, backend: Backend) -> None:
        backend.make_folder("folder")
        backend.make_folder("folder/inner")
        put(backend, "folder/inner/a", b"content")
        backend.replace("folder", "moved")
        assert backend.read("folder/inner/a") is None
        assert backend.read("moved/inner/a") == b"content"
        assert backend.make_folder("folder")
        put(backend, "folder/b", b"new folder")
        assert names(backend, "moved") == {"inner"}
        assert names(backend, "folder") == {"b"}

    def test_replace_keeps_files_and_folders_apart(self, backend: Backend) -> None:
        backend.make_folder("folder")
        backend.make_folder("full")
        put(backend, "full/a", b"")
        put(backend, "a", b"content")
        refused(errno.EISDIR, lambda: backend.replace("a", "folder"))
        refused(errno.ENOTDIR, lambda: backend.replace("folder", "a"))
        refused(errno.ENOTEMPTY, lambda: backend.replace("folder", "full"))
        refused(errno.EINVAL, lambda: backend.replace("full", "full/inner"))
        assert names(backend) == {"a", "folder", "full"}

    def test_unlink_removes_a_file(self, backend: Backend) -> None:
        put(backend, "a", b"content")
        assert backend.unlink("a") is True
        assert backend.unlink("a") is False
        assert backend.unlink("nowhere/a") is False
        assert names(backend) == set()

    def test_unlink_leaves_a_folder(self, backend: Backend) -> None:
        backend.make_folder("folder")
        with pytest.raises(DiskError):
            backend.unlink("folder")
        assert names(backend) == {"folder"}


class FoldersSuite(BackendFixture):
    """What holds names."""

    def test_a_folder_is_made_once(self, backend: Backend) -> None:
        assert backend.make_folder("folder") is True
        assert backend.make_folder("folder") is False
        assert backend.make_folder("folder/inner") is True
        assert backend.read("folder/inner/a") is None

    def test_a_folder_needs_its_parent_and_a_free_name(self, backend: Backend) -> None:
        put(backend, "a", b"")
        refused(errno.ENOENT, lambda: backend.make_folder("folder/inner"))
        refused(errno.EEXIST, lambda: backend.make_folder("a"))
        assert names(backend) == {"a"}

    def test_an_empty_folder_is_removed(self, backend: Backend) -> None:
        backend.make_folder("folder")
        put(backend, "folder/a", b"")
        refused(errno.ENOTEMPTY, lambda: backend.remove_folder("folder"))
        backend.unlink("folder/a")
        assert backend.remove_folder("folder") is True
        assert backend.remove_folder("folder") is False
        assert backend.remove_folder("folder/inner") is False
        assert backend.stat("folder") is None

    def test_a_folder_that_was_removed_is_made_again(self, backend: Backend) -> None:
        for content in (b"first", b"second"):
            backend.make_folder("folder")
            put(backend, "folder/a", content)
            assert backend.read("folder/a") == content
            backend.unlink("folder/a")
            backend.remove_folder("folder")

    def test_a_file_is_no_folder(self, backend: Backend) -> None:
        put(backend, "a", b"")
        calls: list[Callable[[], object]] = [
            lambda: backend.read("a/b"),
            lambda: backend.stat("a/b"),
            lambda: backend.create("a/b"),
            lambda: backend.unlink("a/b"),
            lambda: backend.remove_folder("a"),
            lambda: list(backend.scan("a")),
            lambda: backend.sync_folder("a"),
            lambda: backend.lock("a", exclusive=True),
        ]
        for call in calls:
            refused(errno.ENOTDIR, call)


class LookingSuite(BackendFixture):
    """What is told of names, and which are refused."""

    def test_stat_tells_kind_and_size(self, backend: Backend) -> None:
        put(backend, "a", b"12345")
        backend.make_folder("folder")
        file, folder = backend.stat("a"), backend.stat("folder")
        assert file is not None
        assert (file.kind, file.size) == ("file", 5)
        assert file.mtime_ns > 0
        assert folder is not None
        assert folder.kind == "folder"
        assert backend.stat("b") is None
        assert backend.stat("nowhere/b") is None

    def test_an_open_file_and_its_name_have_one_stat(self, backend: Backend) -> None:
        file = backend.create("a")
        file.write(b"12345")
        assert file.stat() == backend.stat("a")
        file.close()

    def test_scan_lists_each_entry_with_its_stat(self, backend: Backend) -> None:
        backend.make_folder("folder")
        backend.make_folder("folder/inner")
        for number in range(50):
            put(backend, f"folder/{number}", b"x" * number)
        found = dict(backend.scan("folder"))
        assert len(list(backend.scan("folder"))) == len(found) == 51
        assert found.pop("inner").kind == "folder"
        assert all(found[name].size == int(name) and found[name] == backend.stat(f"folder/{name}") for name in found)
        assert names(backend) == {"folder"}

    def test_scan_of_a_missing_folder_is_empty(self, backend: Backend) -> None:
        assert list(backend.scan("nowhere")) == []
        assert list(backend.scan("nowhere/inner")) == []

    def test_two_scans_run_side_by_side(self, backend: Backend) -> None:
        for number in range(30):
            put(backend, str(number), b"")
        first, second = backend.scan(""), backend.scan("")
        pairs = list(zip(first, second, strict=True))
        assert {pair[0][0] for pair in pairs} == {pair[1][0] for pair in pairs} == set(map(str, range(30)))

    def test_entries_may_go_while_a_scan_runs(self, backend: Backend) -> None:
        for number in range(30):
            put(backend, str(number), b"")
        seen = set()
        for name, _ in backend.scan(""):
            seen.add(name)
            backend.unlink(str(29 - int(name)))
        assert seen <= set(map(str, range(30)))
        assert len(seen) >= 15

    def test_there_is_free_space_and_a_location(self, backend: Backend) -> None:
        assert backend.free_bytes() > 0
        assert bool(backend.location)

    def test_names_may_be_any_text(self, backend: Backend) -> None:
        odd = {"%41.json", "a b", "ünïcode-名前", ".scratch-1", "...", "-", "x" * 200}
        for name in odd:
            put(backend, name, name.encode())
        assert names(backend) == odd
        assert all(backend.read(name) == name.encode() for name in odd)

    @pytest.mark.parametrize("path", BAD_PATHS, ids=repr)
    def test_no_path_leads_out(self, backend: Backend, path: str) -> None:
        backend.make_folder("folder")
        put(backend, "a", b"")
        calls: list[Callable[[], object]] = [
            lambda: backend.read(path),
            lambda: backend.stat(path),
            lambda: backend.create(path),
            lambda: backend.open_existing(path),
            lambda: backend.replace("a", path),
            lambda: backend.replace(path, "b"),
            lambda: backend.unlink(path),
            lambda: backend.make_folder(path),
            lambda: backend.remove_folder(path),
        ]
        if path:
            calls += [
                lambda: list(backend.scan(path)),
                lambda: backend.sync_folder(path),
                lambda: backend.lock(path, exclusive=True),
            ]
        for call in calls:
            with pytest.raises(InvalidValueError):
                call()
        assert names(backend) == {"a", "folder"}


class LocksSuite(BackendFixture):
    """Who keeps whom out."""

    def test_an_exclusive_lock_excludes_all(self, backend: Backend) -> None:
        lock = backend.lock("", exclusive=True)
        assert lock is not None
        assert backend.lock("", exclusive=True) is None
        assert backend.lock("", exclusive=False) is None

    def test_shared_locks_exclude_exclusive_ones(self, backend: Backend) -> None:
        first, second = backend.lock("", exclusive=False), backend.lock("", exclusive=False)
        assert first is not None
        assert second is not None
        assert backend.lock("", exclusive=True) is None
        first.release()
        assert backend.lock("", exclusive=True) is None
        second.release()
        assert backend.lock("", exclusive=True) is not None

    def test_release_is_idempotent_and_gives_up_no_other_lock(self, backend: Backend) -> None:
        first = backend.lock("", exclusive=True)
        assert first is not None
        first.release()
        second = backend.lock("", exclusive=True)
        assert second is not None
        first.release()
        assert backend.lock("", exclusive=True) is None

    def test_folders_are_locked_apart(self, backend: Backend) -> None:
        backend.make_folder("folder")
        assert backend.lock("", exclusive=True) is not None
        assert backend.lock("folder", exclusive=True) is not None
        assert backend.lock("folder", exclusive=True) is None
        refused(errno.ENOENT, lambda: backend.lock("nowhere", exclusive=True))

    def test_a_lock_hinders_neither_reading_nor_writing(self, backend: Backend) -> None:
        backend.make_folder("folder")
        assert backend.lock("folder", exclusive=True) is not None
        put(backend, "folder/a", b"content")
        assert backend.read("folder/a") == b"content"

    def test_a_lock_is_seen_by_another_opening(self, backend: Backend) -> None:
        lock = backend.lock("", exclusive=True)
        assert lock is not None
        other = self.reopen(backend)
        assert other.lock("", exclusive=True) is None
        lock.release()
        assert other.lock("", exclusive=True) is not None
        assert backend.lock("", exclusive=True) is None
        other.close()
        assert backend.lock("", exclusive=True) is not None


class ClosingSuite(BackendFixture):
    """What is left when a back end is closed."""

    def test_content_outlives_the_back_end(self, backend: Backend) -> None:
        backend.make_folder("folder")
        put(backend, "folder/a", b"content")
        backend.close()
        other = self.reopen(backend)
        assert other.read("folder/a") == b"content"
        assert names(other) == {"folder"}
        other.close()

    def test_a_closed_back_end_refuses(self, backend: Backend) -> None:
        backend.make_folder("folder")
        put(backend, "folder/a", b"content")
        backend.close()
        backend.close()
        calls: list[Callable[[], object]] = [
            lambda: backend.read("folder/a"),
            lambda: backend.stat("folder/a"),
            lambda: list(backend.scan("")),
            lambda: backend.create("b"),
            lambda: backend.open_existing("folder/a"),
            lambda: backend.replace("folder/a", "b"),
            lambda: backend.unlink("folder/a"),
            lambda: backend.make_folder("other"),
            lambda: backend.remove_folder("folder"),
            lambda: backend.sync_folder(""),
            backend.sync_filesystem,
            backend.free_bytes,
            lambda: backend.lock("", exclusive=True),
        ]
        for call in calls:
            with pytest.raises(StoreClosedError):
                call()
        assert bool(backend.location)

    def test_close_ends_open_files(self, backend: Backend) -> None:
        file = backend.create("a")
        backend.close()
        refused(errno.EBADF, lambda: file.write(b"x"))
        file.close()


class BackendSuite(ReadingSuite, WritingSuite, NamesSuite, FoldersSuite, LookingSuite, LocksSuite, ClosingSuite):
    """All behaviours: derive a test class from it, and give it a fixture `backend` and `reopen`."""
