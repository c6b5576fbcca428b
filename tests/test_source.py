"""The package keeps the rules of source_rules.py, and each of them finds what it forbids."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
import source_rules as rules
from source_rules import Module, Offences

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "synthians_memory"
MODULES = rules.modules_below(PACKAGE)
TOP_LEVEL = {"README.md", "benchmarks", "docs", "pyproject.toml", "storage_fixtures", "synthians_memory", "tests"}
MEDIAN_FUNCTION_LINES = 10
P90_FUNCTION_LINES = 35

Rule = Callable[[Module], Offences]

METHODS = "\n".join(f"    def m{n}(self): ..." for n in range(21))
# What each rule forbids: (rule, name of the module, its text).
FORBIDDEN: list[tuple[Rule, str, str]] = [
    (rules.module_is_short, "m.py", "\n" * 501),
    (rules.functions_are_short, "m.py", "def f():\n" + "    1\n" * 60),
    (rules.classes_are_narrow, "m.py", "class C:\n" + METHODS),
    (rules.names_say_something, "storage/_utils.py", ""),
    (rules.names_say_something, "helpers/m.py", ""),
    (rules.names_say_something, "m.py", "class CacheManager: ..."),
    (rules.imports_stand_at_the_top, "m.py", "def f():\n    import os"),
    (rules.imports_stand_at_the_top, "m.py", "async def f():\n    from os import sep"),
    (rules.imports_are_named, "m.py", "from os import *"),
    (rules.annotations_are_postponed, "m.py", "import os"),
    (rules.errors_are_not_swallowed, "m.py", "try: f()\nexcept: raise"),
    (rules.errors_are_not_swallowed, "m.py", "try: f()\nexcept Exception: pass"),
    (rules.errors_are_not_swallowed, "m.py", "try: f()\nexcept (OSError, BaseException) as e: ..."),
    (rules.errors_are_not_swallowed, "m.py", "with contextlib.suppress(Exception): f()"),
    (rules.disk_has_one_door, "storage/journal.py", "import os\nos.fsync(fd)"),
    (rules.disk_has_one_door, "m.py", "import os\nrename = os.replace"),
    (rules.disk_has_one_door, "m.py", "from os import fdatasync"),
    (rules.disk_has_one_door, "m.py", "import shutil"),
    (rules.disk_has_one_door, "m.py", "import os\nos.open(p, os.O_RDONLY | os.O_CREAT)"),
    (rules.disk_has_one_door, "m.py", "import os\nos.open(p, flags)"),
    (rules.disk_has_one_door, "m.py", "import os\nF = os.O_RDONLY | os.O_TRUNC\nos.open(p, F)"),
    (rules.disk_has_one_door, "m.py", "open(p, 'wb')"),
    (rules.disk_has_one_door, "m.py", "open(p, mode=m)"),
    (rules.disk_has_one_door, "m.py", "Path(p).write_text('')"),
    (rules.names_of_the_store_stand_in_layout, "m.py", "p = 'memory_index.json'"),
    (rules.names_of_the_store_stand_in_layout, "m.py", "p = f'memories/{n}'"),
    (rules.names_of_the_store_stand_in_layout, "m.py", "p = b'1.wal'.decode() + '1.wal'"),
    (rules.docstring_says_what_it_is_and_is_not, "m.py", ""),
    (rules.docstring_says_what_it_is_and_is_not, "m.py", '"""A cache. It is not a store."""'),
    (rules.docstring_says_what_it_is_and_is_not, "m.py", '"""A cache.\n\nIt is bounded by bytes.\n"""'),
    (rules.exports_are_sorted_and_exist, "m.py", "__all__ = ['a', 'B']\na = B = 1"),
    (rules.exports_are_sorted_and_exist, "m.py", "__all__ = ['a', 'a']\na = 1"),
    (rules.exports_are_sorted_and_exist, "m.py", "__all__ = ['a']"),
    (rules.exports_are_sorted_and_exist, "m.py", "def a(): ..."),
    (rules.nothing_is_left_for_later, "m.py", "# TO" + "DO: the rest"),
    (rules.identifiers_are_ascii, "m.py", "größe = 1"),
    (rules.time_and_chance_are_injected, "m.py", "import time\nnow = time.time()"),
    (rules.time_and_chance_are_injected, "m.py", "import uuid\nfield(default_factory=uuid.uuid4)"),
    (rules.time_and_chance_are_injected, "m.py", "from uuid import uuid4"),
    (rules.time_and_chance_are_injected, "m.py", "import datetime\ndatetime.datetime.now(UTC)"),
    (rules.time_and_chance_are_injected, "m.py", "import numpy as np\nnp.random.rand(3)"),
    (rules.time_and_chance_are_injected, "m.py", "import random\nrandom.Random()"),
]
ALLOWED: list[tuple[Rule, str, str]] = [
    (rules.errors_are_not_swallowed, "m.py", "try: f()\nexcept Exception as e: g(e)"),
    (rules.disk_has_one_door, "storage/local.py", "import os\nos.replace(a, b)"),
    (rules.disk_has_one_door, "m.py", "import os\nF = os.O_RDONLY | os.O_DIRECTORY\nos.open(p, F)"),
    (rules.disk_has_one_door, "m.py", "open(p)\nos.open(p, os.O_RDONLY | os.O_NOFOLLOW)\nself.os.fsync()"),
    (
        rules.names_of_the_store_stand_in_layout,
        "m.py",
        '"""Reads store.json; not more."""\nn = "vector_index_updated_at"',
    ),
    (rules.time_and_chance_are_injected, "m.py", "import random\nrandom.Random(7).choice(x)\nrng.random.random()"),
]
RULES = list(dict.fromkeys(rule for rule, _, _ in FORBIDDEN))


def name_of(value: object) -> str | None:
    return getattr(value, "__name__", None)


@pytest.mark.parametrize("rule", RULES, ids=name_of)
def test_package_keeps_the_rule(rule: Rule) -> None:
    offences = [f"{PACKAGE.name}/{m.name}:{line} {what}" for m in MODULES for line, what in rule(m)]
    assert not offences, "\n" + "\n".join(offences)


@pytest.mark.parametrize(("rule", "name", "text"), FORBIDDEN, ids=name_of)
def test_rule_finds_what_it_forbids(rule: Rule, name: str, text: str) -> None:
    assert list(rule(Module(name, text)))


@pytest.mark.parametrize(("rule", "name", "text"), ALLOWED, ids=name_of)
def test_rule_lets_pass_what_it_allows(rule: Rule, name: str, text: str) -> None:
    assert not list(rule(Module(name, text)))


def test_the_package_is_there() -> None:
    assert "__init__.py" in {module.name for module in MODULES}


def test_most_functions_are_very_short() -> None:
    lengths = sorted(rules.lines_of(function) for module in MODULES for function in module.functions)
    assert statistics.median(lengths) <= MEDIAN_FUNCTION_LINES
    assert lengths[len(lengths) * 9 // 10] <= P90_FUNCTION_LINES


def test_the_top_level_holds_nothing_else() -> None:
    ignored = {line.strip("/") for line in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()}
    visible = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert not visible - TOP_LEVEL - ignored
