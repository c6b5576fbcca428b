"""What `import synthians_memory` gives, and what it costs: the names in __all__, and no library that is not needed."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from types import ModuleType

import pytest

import synthians_memory
from synthians_memory import embedding, ledger, state, tiers

# Libraries that a program without a terminal, a server or an embedder should not have to load.
NOT_NEEDED = {
    "apscheduler", "grpc", "jsonschema", "pydantic", "pytest", "requests", "rich", "safetensors", "sentence_transformers",
    "tokenizers", "torch", "typer", "watchfiles", "wordllama", "yaml",
}  # fmt: skip
PACKAGES = [synthians_memory, embedding, ledger, state, tiers]


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_exported_names_are_sorted_and_there(package: ModuleType) -> None:
    constants_first = sorted(package.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    assert package.__all__ == constants_first
    assert len(set(package.__all__)) == len(package.__all__)
    assert all(hasattr(package, name) for name in package.__all__)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda p: p.__name__)
def test_nothing_else_is_public(package: ModuleType) -> None:
    parts = {part.name for part in pkgutil.iter_modules(package.__path__)}
    public = {name for name in vars(package) if not name.startswith("_")}
    assert public - set(package.__all__) - parts == {"annotations"} & public


def test_a_star_import_gives_exactly_the_exported_names() -> None:
    names: dict[str, object] = {}
    exec("from synthians_memory import *", names)  # noqa: S102
    assert set(names) - {"__builtins__"} == set(synthians_memory.__all__)


@pytest.mark.parametrize("name", [name for name in synthians_memory.__all__ if name != "ABSENT"])
def test_every_exported_class_is_documented_and_named_as_exported(name: str) -> None:
    exported = getattr(synthians_memory, name)
    assert exported.__name__ == name
    assert (exported.__doc__ or "").strip()
    assert name in importlib.import_module(exported.__module__).__all__


def test_importing_the_package_loads_nothing_that_is_not_needed() -> None:
    script = "import sys, synthians_memory, synthians_memory.embedding, synthians_memory.state, synthians_memory.tiers; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True)
    assert "synthians_memory" in loaded.stdout
    assert not NOT_NEEDED & set(loaded.stdout.split())
