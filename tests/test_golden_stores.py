"""The golden stores of format version 1 are opened, hold what they held when they were made, and go on from there.

They stay as they are for ever. The last test holds as long as version 1 is what the library writes: the script makes
the stores again byte for byte. A version of the library that writes another format keeps the stores and every other
test here, and drops that one.

What a store holds is read twice: by the library, and by `format_reader`, which was written from docs/format.md alone.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from format_reader import read_store
from view_agreement import require_agreement

from synthians_memory.codec import line_of
from synthians_memory.config import StoreConfig
from synthians_memory.engine.commit import Batch
from synthians_memory.engine.store import Store
from synthians_memory.models import MemoryEntry, as_vector
from synthians_memory.reports import Finding
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_history import delete, save

FIXTURES = Path(__file__).resolve().parent.parent / "storage_fixtures"
V1 = FIXTURES / "v1"
NAMES = sorted(folder.name for folder in V1.iterdir())
LATER = 1_800_000_000_000_000
CONFIG = StoreConfig(index_backup_count=0)
# Older releases of orjson write 1e16, which is the same number in other bytes.
SPELLED_AS_WRITTEN = orjson.dumps(1e16) == b"1e+16"


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def expected(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((V1 / name / "expected.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture
def export(name: str) -> bytes:
    return (V1 / name / "export.jsonl").read_bytes()


@pytest.fixture
def root(tmp_path: Path, name: str) -> Path:
    """A copy of the store, as git has it: without empty folders, with other times."""
    return Path(shutil.copytree(V1 / name / "store", tmp_path / "store"))


def opened(root: Path, *, read_only: bool = False) -> Store:
    return Store.open(LocalBackend(root), CONFIG, ManualClock(LATER), read_only=read_only)


def files_below(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def listed(findings: Iterable[Finding]) -> list[str]:
    """Code and file of each, once."""
    return sorted({f"{finding.code} {finding.path}" for finding in findings})


def spelled(export: bytes) -> bytes:
    """As the orjson at hand spells the numbers."""
    if SPELLED_AS_WRITTEN:
        return export
    return b"".join(orjson.dumps(orjson.loads(line)) + b"\n" for line in export.split(b"\n") if line)


def exported(store: Store) -> bytes:
    keys = [(kind, i) for kind in store.state.index.rows for i in store.state.index.ids(kind)]
    entities = [store.load(key) for key in keys]
    return b"".join(line_of(entity) + b"\n" for entity in entities if entity is not None)


def require_holds(store: Store, expected: dict[str, Any], export: bytes) -> None:
    """The store serves and finds what it is expected to."""
    assert exported(store) == spelled(export)
    assert store.state.superblock.facts() == expected["superblock"]
    assert store.state.index.ids("memory") == expected["memories"]
    assert store.state.index.ids("assembly") == expected["assemblies"]
    for asked in expected["searches"]:
        hits = store.search(as_vector(asked["vector"]), asked["k"], asked["kind"], asked["where"])
        assert [hit.memory_id for hit in hits] == [entity_id for entity_id, _ in asked["hits"]]
        assert [hit.score for hit in hits] == pytest.approx([score for _, score in asked["hits"]], abs=2e-5)


# The library reads them


def test_a_reader_serves_everything_and_writes_nothing(root: Path, expected: dict[str, Any], export: bytes) -> None:
    before = files_below(root)
    store = opened(root, read_only=True)
    require_holds(store, expected, export)
    assert listed(store.check("full")) == expected["check"]
    store.close()
    assert files_below(root) == before


def test_opening_recovers_everything_and_repairs_nothing(root: Path, expected: dict[str, Any], export: bytes) -> None:
    store = opened(root)
    report = store.opening_report
    assert listed([*store.state.notes, *report.findings]) == expected["recovery"]
    assert (report.actions, report.quarantined) == ((), ())
    require_holds(store, expected, export)
    assert listed(store.check("full")) == expected["leaves"]
    store.close()


def test_what_was_opened_and_closed_opens_again_as_it_was(root: Path, expected: dict[str, Any], export: bytes) -> None:
    opened(root).close()
    read = read_store(root)
    assert read.export() == export
    assert not read.replayed
    require_agreement(read)
    store = opened(root)
    assert not store.state.notes
    assert not store.opening_report.findings
    require_holds(store, expected, export)
    assert listed(store.check("full")) == expected["leaves"]
    store.close()


def test_it_can_be_written_to(root: Path, expected: dict[str, Any], export: bytes) -> None:
    dimension = expected["superblock"]["embedding_dimension"] or 3
    gone = (expected["memories"] or ["never there"])[0]
    store = opened(root)
    kept = {(e.kind, e.entity_id): e for e in map(store.load, everything(expected)) if e is not None}
    batch = Batch(
        [save(MemoryEntry(memory_id="of today", content="x", embedding=np.ones(dimension))), delete(("memory", gone))]
    )
    store.commit([batch])
    assert batch.error is None
    store.close()
    read = read_store(root)
    assert read.entities.keys() == {*kept, ("memory", "of today")} - {("memory", gone)}
    assert json.loads(read.entities["memory", "of today"])["content"] == "x"
    left = [line for line in read.export().split(b"\n") if b'"memory_id":"of today"' not in line]
    assert set(left) <= set(export.split(b"\n"))
    require_agreement(read)


def everything(expected: dict[str, Any]) -> list[Any]:
    memories = [("memory", i) for i in expected["memories"]]
    return [*memories, *(("assembly", i) for i in expected["assemblies"])]


# A reader that knows the document alone


def test_the_document_is_enough_to_read_it(name: str, expected: dict[str, Any], export: bytes) -> None:
    read = read_store(V1 / name / "store")
    assert read.superblock == expected["superblock"]
    assert read.export() == export
    assert [f"journal_torn journal/{segment}" for segment in read.torn] == [
        line for line in expected["check"] if line.startswith("journal_torn")
    ]
    require_agreement(read)


def test_every_feature_is_among_them() -> None:
    stores = {name: read_store(V1 / name / "store") for name in NAMES}
    superblocks = [read.superblock for read in stores.values()]
    assert {superblock["metric"] for superblock in superblocks} == {"cosine", "ip", "l2"}
    assert {superblock["embedder"] for superblock in superblocks} == {None, "letters"}
    assert len({superblock["epoch"] for superblock in superblocks}) > 1
    assert any(superblock["embedding_dimension"] is None for superblock in superblocks)
    for feature in ("torn", "quarantine", "backups", "replayed"):
        assert any(getattr(read, feature) for read in stores.values()), feature
    assert any(data is None for read in stores.values() for data in read.replayed.values())
    paths = {
        path.relative_to(V1 / name / "store").as_posix() for name in NAMES for path in V1.rglob(f"{name}/store/**/*")
    }
    wanted = {"store.lock", "journal/reserve", "journal/.scratch-spare", "vector_index/memory_vectors.faiss.next"}
    assert wanted <= paths


# The library writes them


def test_the_script_writes_the_same_stores() -> None:
    command = [sys.executable, str(FIXTURES / "write_v1.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
