"""A ledger on a disk, and one in memory with a clock that stands still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from ledgers import opened

from synthians_memory.ledger.ledger import Ledger
from synthians_memory.storage.local import LocalBackend


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


@pytest.fixture
def ledger(folder: Path) -> Iterator[Ledger]:
    with opened(LocalBackend(folder, create=True)) as found:
        yield found
