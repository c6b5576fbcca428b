"""A store behind the service passes the conformance suite of stores, through the client."""

from __future__ import annotations

from pathlib import Path

import pytest
import served

from synthians_memory.testing.store_suite import OpenStore, StoreSuite


class TestThroughTheService(StoreSuite):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return served.remote_opener(tmp_path / "store")
