"""docs/tiers.md agrees with the code: its example runs, and what it says of context is what there is."""

from __future__ import annotations

import ast
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from synthians_memory.tiers import Goal
from synthians_memory.tiers.context import TIERS
from synthians_memory.tiers.tables import GOALS, SCHEMA_VERSION, SCHEMAS

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
PAGE = (DOCS / "tiers.md").read_text(encoding="utf-8")
FORMAT = (DOCS / "format.md").read_text(encoding="utf-8").split("\n## tiers/\n", 1)[1]


async def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^```python\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert examples
    names: dict[str, Any] = {}
    for example in examples:
        code = compile(example, "docs/tiers.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        await eval(code, names)  # noqa: S307
    sources = {line.split()[0] for line in capsys.readouterr().out.splitlines() if line.split()[:1]}
    assert set(TIERS) <= sources


def test_the_tiers_of_context_are_those_that_there_are() -> None:
    section = PAGE.split("\n## Context\n", 1)[1].split("\n## ", 1)[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == TIERS


def test_the_tables_are_those_that_there_are() -> None:
    shown = {
        name: re.findall(r"`(\w+)`", columns)
        for name, columns in re.findall(r"^\| `(\w+)` \| (.+) \|$", FORMAT, re.MULTILINE)
    }
    assert shown == {table.name: list(table.columns) for schema in SCHEMAS for table in schema.tables}
    assert f"`PRAGMA user_version` is {SCHEMA_VERSION};" in FORMAT
    for schema in SCHEMAS:
        assert f"0x{schema.application_id:X} in `{schema.path.rpartition('/')[2]}`" in FORMAT


def test_the_row_hash_is_as_shown() -> None:
    (shown,) = re.findall(r"^```json row-hash\n(.+)\n```$", FORMAT, re.MULTILINE)
    (digest,) = re.findall(r"^[0-9a-f]{64}$", FORMAT, re.MULTILINE)
    assert hashlib.sha256(shown.encode()).hexdigest() == digest
    stored = GOALS.encode(Goal(id="g", description="d", created_at=1))
    assert stored[len(GOALS.columns)] == bytes.fromhex(digest)
