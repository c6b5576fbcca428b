"""MemoryPersistence passes the conformance suite of stores on every back end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthians_memory import MemoryPersistence
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.memory import Medium, MemoryBackend
from synthians_memory.testing.store_suite import OpenStore, StoreSuite


def opener(storage_path: Path | str, backend: Callable[[], Backend] | None = None) -> OpenStore:
    """Opens stores on one content; None for the directory itself."""

    def open_store(**settings: Any) -> MemoryPersistence:
        return MemoryPersistence(storage_path, backend=backend, **settings)

    return open_store


class TestOnTheLocalDisk(StoreSuite):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return opener(tmp_path / "store")


class TestWithFilesThatFollow(StoreSuite):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        medium = Medium()
        opened = opener("in memory", lambda: MemoryBackend(medium))
        return lambda **settings: opened(**{"write_mode": "behind", **settings})


class TestInMemory(StoreSuite):
    @pytest.fixture
    def open_store(self) -> OpenStore:
        medium = Medium()
        return opener("in memory", lambda: MemoryBackend(medium))
