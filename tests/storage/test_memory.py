"""The in-memory back end: the conformance suite, and its shared medium."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from synthians_memory.storage.backend import Backend
from synthians_memory.storage.memory import Medium, MemoryBackend
from synthians_memory.testing.backend_suite import BackendSuite


class TestMemoryBackend(BackendSuite):
    @pytest.fixture
    def backend(self) -> Iterator[MemoryBackend]:
        backend = MemoryBackend()
        yield backend
        backend.close()

    def reopen(self, backend: Backend) -> Backend:
        assert isinstance(backend, MemoryBackend)
        return backend.reopen()


class FixedClock:
    def micros(self) -> int:
        return 7

    def monotonic(self) -> float:
        return 0.0


def test_views_of_a_medium_share_content_and_the_clock_is_injected() -> None:
    medium = Medium("here", clock=FixedClock())
    first, second = MemoryBackend(medium), MemoryBackend(medium)
    first.create("a").write(b"x")
    stat = second.stat("a")
    assert second.read("a") == b"x"
    assert stat is not None
    assert stat.mtime_ns == 7000
    assert first.medium is medium
    assert first.location == second.location == "here"


def test_two_media_share_nothing() -> None:
    first, second = MemoryBackend(), MemoryBackend()
    first.create("a").close()
    assert second.stat("a") is None
    assert first.lock("", exclusive=True) is not None
    assert second.lock("", exclusive=True) is not None


def test_what_was_read_does_not_change_later() -> None:
    backend = MemoryBackend()
    file = backend.create("a")
    file.write(b"before")
    content = backend.read("a")
    file.write_at(0, b"after!")
    assert content == b"before"
    assert backend.read("a") == b"after!"
