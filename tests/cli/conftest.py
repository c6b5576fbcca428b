"""The command line in tests: in this process, in one of its own, and on a terminal; and a store to try it on."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_lines import FEW, Called, Program
from typer.testing import CliRunner

from synthians_memory.entrypoints.cli.app import app


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("SYNTHIANS_MEMORY_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of the sample, embedded; to be copied, not changed."""
    path = tmp_path_factory.mktemp("sample") / "store"
    line = ["--store", str(path), "import", "-", "--embed"]
    result = CliRunner().invoke(app, line, input=b"\n".join(FEW))
    assert result.exit_code == 0, result.output
    return path


@pytest.fixture
def store(sample_store: Path, tmp_path: Path) -> Path:
    """A copy of the sample store."""
    return Path(shutil.copytree(sample_store, tmp_path / "store"))


@pytest.fixture
def call(tmp_path: Path) -> Called:
    """Calls the program in this process, where standard output is no terminal."""
    return Called(CliRunner(), app, tmp_path / "store")


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    """Starts the program as a process of its own, in an empty directory; none of them outlives the test."""
    started = Program(tmp_path)
    yield started
    started.end_all()
