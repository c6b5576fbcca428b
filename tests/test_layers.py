"""The layers of the package, as contracts in pyproject.toml: they hold, and each of them can fail."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "synthians_memory"

INTRUDERS = {
    "engine/intruder.py": "import faiss",
    "engine/eager.py": "import aiofiles",
    "engine/tables.py": "import sqlite3",
    "engine/words.py": "import wordllama",
    "ledger/intruder.py": "import synthians_memory.state.intruder",
    "maintenance/eager.py": "import watchfiles",
    "maintenance/intruder.py": "import grpc",
    "maintenance/settings.py": "import yaml\nimport pydantic",
    "state/intruder.py": "",
    "storage/circle.py": "import synthians_memory.storage.intruder",
    "storage/intruder.py": "import synthians_memory.storage.circle\nimport synthians_memory.engine.intruder",
    "unplaced.py": "import synthians_memory.errors",
}
REPORTED = [
    "engine.intruder -> faiss",
    "engine.eager -> aiofiles",
    "engine.tables -> sqlite3",
    "engine.words -> wordllama",
    "ledger.intruder -> synthians_memory.state.intruder",
    "maintenance.eager -> watchfiles",
    "maintenance.intruder -> grpc",
    "maintenance.settings -> yaml",
    "maintenance.settings -> pydantic",
    "No cycles are allowed in synthians_memory.storage",
    "storage.intruder -> synthians_memory.engine.intruder",
    "- synthians_memory.unplaced",
]


def lint_imports(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run the contracts of `tree`/pyproject.toml over the package that lies in `tree`."""
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_contracts_hold() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def report_on_intruders(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the contracts say of a copy of the package in which every one of them is broken."""
    tree = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "pyproject.toml", tree)
    shutil.copytree(ROOT / PACKAGE, tree / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    for name, text in INTRUDERS.items():
        path = tree / PACKAGE / name
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(text + "\n", encoding="utf-8")
    result = lint_imports(tree)
    assert result.returncode != 0
    return result.stdout


@pytest.mark.parametrize("line", REPORTED)
def test_contracts_find_what_they_forbid(line: str, report_on_intruders: str) -> None:
    assert line in report_on_intruders.partition("Broken contracts\n")[2]
