"""Writes v1/<name>/: golden stores of format version 1, the same bytes every time, and what they hold.

Each has a store/, the export.jsonl of all that it holds, and an expected.json. The stores are written once: as long as
the library writes version 1, this script makes them again byte for byte. Change none; add a store where a feature
lacks one. A library that writes a later version goes on reading them, and this script is not run any more.

    python storage_fixtures/write_v1.py            write them all anew
    python storage_fixtures/write_v1.py --check    only compare; exit code 1 where one differs
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
import v1_stores
from frozen_rows import frozen_rows
from v1_stores import Files

from synthians_memory.codec import line_of
from synthians_memory.config import StoreConfig
from synthians_memory.engine.store import Store
from synthians_memory.layout import Kind
from synthians_memory.models import as_vector
from synthians_memory.reports import Finding
from synthians_memory.storage.memory import Medium, MemoryBackend
from synthians_memory.testing.clock import ManualClock

__all__ = ["SPELLED_AS_WRITTEN", "STORES", "V1", "differences", "main"]

V1: Final = Path(__file__).resolve().parent / "v1"
# Older releases of orjson write 1e16, which is the same number in other bytes.
SPELLED_AS_WRITTEN: Final = orjson.dumps(1e16) == b"1e+16"

_LATER: Final = 1_800_000_000_000_000


class Query(NamedTuple):
    """A search that expected.json has the hits of: arguments as of `Store.search`."""

    vector: tuple[float, ...]
    k: int = 3
    kind: Kind = "memory"
    where: dict[str, Any] | None = None


_QUERIES: Final = (
    Query((1.0, 2.25, 3.5, 5.0)),
    Query((-5.0, 3.0, 2.0, 1.0), 2),
    Query((3.0, 1.0, 2.0, 0.5), 2, "assembly"),
)


class Recipe(NamedTuple):
    """How a store is made, and what it is asked.

    Attributes:
        make: its files; what it is stands in the first line.
        queries: searches whose hits are written down.
        large_numbers: whether it holds numbers that orjson has spelled in more than one way.
    """

    make: Callable[[], Files]
    queries: Sequence[Query] = _QUERIES
    large_numbers: bool = False


STORES: Final[dict[str, Recipe]] = {
    "at-intervals": Recipe(v1_stores.at_intervals),
    "closed": Recipe(v1_stores.closed, (*_QUERIES, Query((1.0, 2.0, 3.0, 5.0), 2, where={"topic": "gil"}))),
    "extremes": Recipe(
        v1_stores.extremes,
        (
            Query((0.0,) * 9 + (1.0,), 1),
            Query((1e26,) + (0.0,) * 9, 1, where={"b": 2}),
            Query((0.0,) * 9 + (1e26,), 1, "assembly"),
        ),
        large_numbers=True,
    ),
    "killed": Recipe(v1_stores.killed),
    "logged": Recipe(v1_stores.logged),
    "mended": Recipe(v1_stores.mended),
    "recovering": Recipe(v1_stores.recovering),
    "renaming": Recipe(v1_stores.renaming),
    "without-vectors": Recipe(v1_stores.without_vectors, _QUERIES[:1]),
    "young": Recipe(v1_stores.young),
}


# What is expected of them


def _on_a_medium(files: Files) -> MemoryBackend:
    backend = MemoryBackend(Medium(clock=ManualClock(_LATER - 1_000_000)))
    for path, data in files.items():
        parts = path.split("/")[:-1]
        for depth in range(len(parts)):
            backend.make_folder("/".join(parts[: depth + 1]))
        file = backend.create(path)
        file.write(data)
        file.close()
    return backend


def _listed(findings: Iterable[Finding]) -> list[str]:
    return sorted({f"{finding.code} {finding.path}" for finding in findings})


def _export(store: Store) -> bytes:
    lines: list[bytes] = []
    for kind in store.state.index.rows:
        for entity_id in store.state.index.ids(kind):
            entity = store.load((kind, entity_id))
            lines += [] if entity is None else [line_of(entity) + b"\n"]
    return b"".join(lines)


def _hits(store: Store, query: Query) -> dict[str, Any]:
    found = store.search(as_vector(query.vector), query.k, query.kind, query.where)
    hits = [[hit.memory_id, round(hit.score, 5)] for hit in found]
    return {"vector": list(query.vector), "k": query.k, "kind": query.kind, "where": query.where, "hits": hits}


def _expected(recipe: Recipe, files: Files) -> Files:
    """export.jsonl and expected.json of a store."""
    config = StoreConfig(index_backup_count=0)
    reader = Store.open(_on_a_medium(files), config, ManualClock(_LATER), read_only=True)
    writer = Store.open(_on_a_medium(files), config, ManualClock(_LATER))
    report = writer.opening_report
    expected = {
        "about": (recipe.make.__doc__ or "").strip(),
        "superblock": reader.state.superblock.facts(),
        "memories": reader.state.index.ids("memory"),
        "assemblies": reader.state.index.ids("assembly"),
        "searches": [_hits(reader, query) for query in recipe.queries],
        "check": _listed(reader.check("full")),
        "recovery": _listed([*writer.state.notes, *report.findings]),
        "leaves": _listed(writer.check("full")),
    }
    made = {"export.jsonl": _export(reader), "expected.json": _readable(expected)}
    reader.close()
    writer.release()
    return made


def _readable(expected: dict[str, Any]) -> bytes:
    """As JSON, with a line for each item of a list."""
    lines: list[str] = []
    for name, value in expected.items():
        text = _compact(value)
        if isinstance(value, list) and value:
            text = "[\n" + ",\n".join(f"    {_compact(item)}" for item in value) + "\n  ]"
        lines.append(f"  {_compact(name)}: {text}")
    return ("{\n" + ",\n".join(lines) + "\n}\n").encode()


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


# Writing and comparing


def _all_of(name: str) -> Files:
    recipe = STORES[name]
    with frozen_rows():
        files = recipe.make()
    return {**{f"store/{path}": data for path, data in files.items()}, **_expected(recipe, files)}


def _write(name: str) -> None:
    folder = V1 / name
    if folder.exists():
        shutil.rmtree(folder)
    for path, data in _all_of(name).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)


def _present(folder: Path) -> Files:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def differences() -> list[str]:
    """What is not as this script writes it, a sentence each; empty where all is.

    Stores with large numbers are passed over where orjson spells these otherwise.
    """
    found: list[str] = []
    for name, recipe in STORES.items():
        if recipe.large_numbers and not SPELLED_AS_WRITTEN:
            continue
        wanted, present = _all_of(name), _present(V1 / name)
        paths = sorted(wanted.keys() | present.keys())
        found += [f"{name}: {path} differs" for path in paths if wanted.get(path) != present.get(path)]
    unknown = sorted(folder.name for folder in V1.iterdir() if folder.name not in STORES)
    return found + [f"{name}: no such store is written" for name in unknown]


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(f"{__doc__}\n")
        return 2
    if not arguments:
        for name in STORES:
            _write(name)
    found = differences()
    sys.stdout.write("".join(f"{line}\n" for line in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
