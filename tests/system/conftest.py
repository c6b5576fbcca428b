"""Fixtures of the tests on real processes and disks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fork_server import ForkServer



@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()
