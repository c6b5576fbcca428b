"""docs/api.md agrees with the code: each name, signature, field and default; its examples run; links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import CoroutineType
from typing import Any

import pytest

import synthians_memory
from synthians_memory import embedding, errors, ledger, tiers
from synthians_memory.engine.transaction import Transaction
from synthians_memory.models import random_id
from synthians_memory.reports import FINDING_CODES

ROOT = Path(__file__).resolve().parent.parent
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")

ENTRY = re.compile(
    r"^- `(?P<prefix>await |async with |async for |)(?P<name>\w+)(?:(?P<call>\(.*?\))(?: -> (?P<returns>.+?))?)?`",
    re.MULTILINE,
)
WHOLE_CLASSES = {
    name: getattr(synthians_memory, name) for name in ("MemoryPersistence", "MemoryVectorIndex", "Embedder")
} | {"Transaction": Transaction, "Ledger": ledger.Ledger}
TABLES = [
    "MemoryEntry",
    "MemoryAssembly",
    "StoreConfig",
    "SearchHit",
    "RecallHit",
    "RecallParts",
    "ImportReport",
    "Finding",
    "RepairReport",
    "PurgeReceipt",
    "PurgedPlace",
    "LeftPlace",
]
NO_DEFAULT_TO_SHOW = {"a new UUID", "now", "{}", "required"}


@dataclass(frozen=True)
class Entry:
    """A documented name: how it is used, and with which arguments."""

    prefix: str
    name: str
    call: str | None
    returns: str | None


def section(title: str) -> str:
    """What stands below the heading `title`, down to the next one of its rank or above; deeper sections included."""
    found = re.search(rf"^(#+) {re.escape(title)}\n(.*?)(?=^#{{1,6}} |\Z)", API, re.MULTILINE | re.DOTALL)
    assert found, f"docs/api.md has no section {title}"
    rank = len(found[1])
    rest = API[found.start(2) :]
    end = re.search(rf"^#{{1,{rank}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def entries(title: str) -> dict[str, Entry]:
    found = [Entry(**match.groupdict()) for match in ENTRY.finditer(section(title))]
    assert len({entry.name for entry in found}) == len(found)
    return {entry.name: entry for entry in found}


def parameters(call: str, **scope: Any) -> list[tuple[str, str, Any]]:
    """Name, kind and default of each argument in "(a, *, b=1)"; `scope`: what defaults are named after."""
    exec(f"def f{call}: ...", scope)  # noqa: S102
    return [(p.name, p.kind.name, p.default) for p in inspect.signature(scope["f"]).parameters.values()]


def actual_parameters(function: Any) -> list[tuple[str, str, Any]]:
    found = [(p.name, p.kind.name, p.default) for p in inspect.signature(function).parameters.values()]
    return [one for one in found if one[0] != "self"]


def public_functions(cls: type) -> dict[str, Any]:
    return {
        name: value for name, value in members(cls).items() if inspect.isfunction(value) and not name.startswith("_")
    }


def members(cls: type) -> dict[str, Any]:
    """What a class has of its own, and of the classes of the library that it stands on."""
    own = [part for part in reversed(cls.__mro__) if part.__module__.startswith("synthians_memory")]
    return {name: value for part in own for name, value in vars(part).items()}


def actual_use(function: Any) -> tuple[str, str]:
    """How a method is called ("await " and the like), and what comes out."""
    returns = inspect.signature(function).return_annotation
    inner = re.fullmatch(r"AsyncIterator\[(.+)\]", returns)
    if inner:
        return "async with " if hasattr(function, "__wrapped__") else "async for ", inner[1]
    return "await " if inspect.iscoroutinefunction(function) else "", returns


# Names


@pytest.mark.parametrize("name", synthians_memory.__all__)
def test_every_exported_name_has_a_section(name: str) -> None:
    assert section(name).strip()


def test_the_import_at_the_top_is_all_there_is() -> None:
    (shown,) = re.findall(r"^from synthians_memory import \((.+?)\)", API, re.MULTILINE | re.DOTALL)
    assert sorted(re.findall(r"\w+", shown)) == sorted(synthians_memory.__all__)


@pytest.mark.parametrize("name", WHOLE_CLASSES)
def test_every_public_method_is_documented_and_no_other(name: str) -> None:
    documented = {entry.name for entry in entries(name).values() if entry.call} - {name, *embedding.__all__}
    assert documented == set(public_functions(WHOLE_CLASSES[name]))


def test_the_facade_stays_within_its_bound() -> None:
    public = [name for name in members(synthians_memory.MemoryPersistence) if not name.startswith("_")]
    assert len(public) <= 35


@pytest.mark.parametrize("name", WHOLE_CLASSES)
def test_methods_are_called_as_documented(name: str) -> None:
    for method, function in public_functions(WHOLE_CLASSES[name]).items():
        entry = entries(name)[method]
        assert entry.call is not None
        assert (method, parameters(entry.call)) == (method, actual_parameters(function))
        assert (method, entry.prefix, entry.returns) == (method, *actual_use(function))


@pytest.mark.parametrize("name", [*TABLES, "MemoryPersistence", "MemoryVectorIndex", "SynthiansMemoryError"])
def test_what_else_a_class_has_is_there(name: str) -> None:
    cls = getattr(synthians_memory, name)
    for entry in entries(name).values():
        if entry.name == name:
            assert parameters(entry.call or "()") == actual_parameters(cls)
        elif entry.call:
            assert parameters(entry.call) == actual_parameters(getattr(cls, entry.name))
        else:
            assert hasattr(cls, entry.name) or entry.name == "config"


def test_properties_of_the_store_are_documented() -> None:
    store = synthians_memory.MemoryPersistence("nowhere")
    properties = {name for name, value in members(type(store)).items() if isinstance(value, property)}
    public = {name for name in vars(store) if not name.startswith("_")}
    assert properties | public == {entry.name for entry in entries("MemoryPersistence").values() if not entry.call}


def test_every_embedder_is_documented() -> None:
    documented = entries("synthians_memory.embedding")
    assert set(documented) == set(embedding.__all__)
    for name, entry in documented.items():
        assert parameters(entry.call or "") == actual_parameters(getattr(embedding, name))


def test_every_name_of_the_ledger_is_documented() -> None:
    documented = entries("synthians_memory.ledger")
    assert set(documented) == {*ledger.__all__} - {"Ledger"}
    for name, entry in documented.items():
        assert parameters(entry.call or "") == actual_parameters(getattr(ledger, name)), name


TIERS = ("Tiers", "OperationalMemory", "WorkingMemory", "LongTermMemory", "Archive")


def own_methods(cls: type) -> dict[str, Any]:
    """Those of a tier; what `Rows` has serves its parts."""
    return {name: value for name, value in public_functions(cls).items() if value.__qualname__.split(".")[0] != "Rows"}


@pytest.mark.parametrize("name", TIERS)
def test_methods_of_a_tier_are_called_as_documented(name: str) -> None:
    found = own_methods(getattr(tiers, name))
    documented = {method: entry for method, entry in entries(name).items() if entry.call and method != name}
    assert set(documented) == set(found)
    for method, function in found.items():
        entry = documented[method]
        assert (method, parameters(entry.call or "")) == (method, actual_parameters(function))
        assert (method, entry.prefix, entry.returns) == (method, *actual_use(function))


def test_a_tier_is_made_as_documented() -> None:
    for name in ("Tiers", "OperationalMemory"):
        call = entries(name)[name].call or ""
        shown = parameters(call, estimate_tokens=tiers.estimate_tokens, random_id=random_id)
        assert shown == actual_parameters(getattr(tiers, name))
    properties = {name for name, value in members(tiers.Tiers).items() if isinstance(value, property)}
    assert properties == {name for name, entry in entries("Tiers").items() if not entry.call}


def test_every_other_name_of_the_tiers_is_documented_with_its_fields() -> None:
    text = section("synthians_memory.tiers")
    assert set(entries("synthians_memory.tiers")) == {*tiers.__all__} - {*TIERS}
    shown = {
        name: re.findall(r"`(\w+)`", listed)
        for name, listed in re.findall(r"^- `(\w+)`.*Fields: (.+)\.$", text, re.MULTILINE)
    }
    assert shown == {
        name: [field.name for field in fields(value)]
        for name, value in vars(tiers).items()
        if is_dataclass(value) and value.__name__ == name != "Record"
    }


def test_the_testing_names_are_there() -> None:
    names = re.findall(
        r"^- `(synthians_memory\.testing\.\w+)\.(\w+)`", section("synthians_memory.testing"), re.MULTILINE
    )
    assert len(names) > 5
    for module, name in names:
        assert name in importlib.import_module(module).__all__


# Tables


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table in `text`, headings left out."""
    lines = re.findall(r"^\| (.+) \|$", text, re.MULTILINE)
    return [line.split(" | ") for line in lines if line.startswith("`")]


@pytest.mark.parametrize("name", TABLES)
def test_fields_and_defaults_are_those_of_the_class(name: str) -> None:
    # The constructors of entities take keywords only, so that the order of their fields is a matter of reading.
    documented = {
        field.strip("`"): default for field, default, _ in (row for row in rows(section(name)) if len(row) == 3)
    }
    declared = {field.name: field for field in fields(getattr(synthians_memory, name))}
    assert set(documented) == set(declared)
    for field, default in documented.items():
        factory = declared[field].default_factory
        if default in NO_DEFAULT_TO_SHOW:
            assert declared[field].default is MISSING
        else:
            actual = declared[field].default if factory is MISSING else factory()
            assert ast.literal_eval(default.strip("`")) == actual, field


def test_the_findings_are_those_that_there_are() -> None:
    documented = {
        code.strip("`"): tuple(rest) for code, *rest in (row for row in rows(section("Finding")) if len(row) == 4)
    }
    assert documented == FINDING_CODES


def test_the_tree_of_errors_is_that_of_the_module() -> None:
    (tree,) = re.findall(r"^```text\n(.+?)\n```$", section("SynthiansMemoryError"), re.MULTILINE | re.DOTALL)
    assert tree in (errors.__doc__ or "")
    assert set(errors.__all__) - set(re.findall(r"\w+", tree)) == {"disk_error"}


async def test_the_keys_of_stats_are_documented(tmp_path: Path) -> None:
    async with synthians_memory.MemoryPersistence(tmp_path) as store:
        documented = [key for row in rows(section("Care")) for key in re.findall(r"`(\w+)`", row[0])]
        assert documented == list(store.stats())


# Examples


def examples(text: str) -> list[str]:
    return re.findall(r"^```python\n(.+?)^```$", text, re.MULTILINE | re.DOTALL)


async def test_the_examples_of_the_api_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, example in enumerate(examples(API)):
        code = compile(example, f"docs/api.md, example {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        outcome = eval(code, names)  # noqa: S307
        if isinstance(outcome, CoroutineType):
            await outcome
    assert (tmp_path / "storage" / "memories" / "tea-2.json").exists()


def links(page: Path) -> Iterator[tuple[str, Path]]:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            yield target, page.parent / target


@pytest.mark.parametrize("page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert [target for target, path in links(page) if not path.exists()] == []
