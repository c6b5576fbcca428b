"""docs/tiers.md agrees with the code: its example runs, and what it says of context is what there is."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from synthians_memory.tiers.context import TIERS

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "tiers.md").read_text(encoding="utf-8")


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
