"""Each store in storage_fixtures/broken gives the findings, and is mended, as its expected.json says; the script writes them again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from synthians_memory.config import StoreConfig
from synthians_memory.engine.store import Store
from synthians_memory.errors import ChangedOutsideError, DamagedError, DiskError, StoreFormatError
from synthians_memory.layout import QUARANTINE
from synthians_memory.models import Entity, MemoryEntry
from synthians_memory.reports import FINDING_CODES, Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import Medium, MemoryBackend
from synthians_memory.testing.clock import ManualClock

FIXTURES = Path(__file__).resolve().parent.parent / "storage_fixtures"
BROKEN = FIXTURES / "broken"
DEFECTS = sorted(folder.name for folder in BROKEN.iterdir())
LATER = 1_800_000_000_000_000
CONFIG = StoreConfig(index_backup_count=0)
NOTES_BESIDE = {"reason.json", "salvaged.json"}


def expected(defect: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BROKEN / defect / "expected.json").read_text(encoding="utf-8"))
    return found


def opened(backend: Backend, config: StoreConfig = CONFIG, *, read_only: bool = False) -> Store:
    return Store.open(backend, config, ManualClock(LATER), read_only=read_only)


def listed(findings: Iterable[Finding]) -> list[str]:
    """Code and file of each, once."""
    return sorted({f"{finding.code} {finding.path}" for finding in findings})


def files_below(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def in_memory(root: Path) -> MemoryBackend:
    """The same files on a disk that costs no time to sync."""
    backend = MemoryBackend(Medium(clock=ManualClock(LATER - 1_000_000)))
    for path, data in files_below(root).items():
        parts = path.split("/")[:-1]
        for depth in range(len(parts)):
            backend.make_folder("/".join(parts[: depth + 1]))
        file = backend.create(path)
        file.write(data)
        file.close()
    return backend


def words_of(entity: Entity) -> str:
    return entity.content if isinstance(entity, MemoryEntry) else str(entity.__dict__["name"])


def state_of(store: Store) -> dict[str, list[str]]:
    """What a full check says, what is served and found, what is refused, and what was set aside."""
    serves: list[str] = []
    refuses: list[str] = []
    for kind, rows in store.state.index.rows.items():
        for entity_id in rows:
            try:
                entity = store.load((kind, entity_id))
            except (ChangedOutsideError, DamagedError, DiskError):
                refuses.append(f"{kind} {entity_id}")
                continue
            assert entity is not None
            serves.append(words_of(entity))
            if entity.vector is not None:
                (best,) = [h for h in store.search(entity.vector, 99, kind, None) if h.memory_id == entity_id]
                assert best.score == pytest.approx(1.0, abs=1e-5)
    backend = store.state.backend
    folders = [f"{QUARANTINE}/{name}" for name, stat in backend.scan(QUARANTINE) if stat.kind == "folder"]
    aside = [name for folder in folders for name, _ in backend.scan(folder)]
    return {
        "leaves": listed(store.check("full")),
        "serves": sorted(serves),
        "refuses": sorted(refuses),
        "quarantine": sorted(name for name in aside if name not in NOTES_BESIDE),
    }


@pytest.fixture(params=DEFECTS)
def defect(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def root(tmp_path: Path, defect: str) -> Path:
    """A copy of the store, as git has it: without empty folders, with other times."""
    return Path(shutil.copytree(BROKEN / defect / "store", tmp_path / "store"))


def mended_by_open(backend: Backend) -> dict[str, list[str]]:
    store = opened(backend)
    report = store.opening_report
    reports = [*store.state.notes, *report.findings, *report.remaining]
    state = state_of(store)
    store.close()
    return {"reports": listed(reports), **state}


def repaired(backend: Backend) -> dict[str, list[str]]:
    store = opened(backend, replace(CONFIG, auto_repair=False))
    store.repair()
    state = state_of(store)
    store.close()
    return state


def require_refused(open_it: Callable[[], object], error: str) -> None:
    with pytest.raises(StoreFormatError) as caught:
        open_it()
    assert type(caught.value).__name__ == error


def test_a_full_check_finds_it_and_writes_nothing(root: Path, defect: str) -> None:
    wanted = expected(defect)
    before = files_below(root)
    if "error" in wanted:
        require_refused(lambda: opened(LocalBackend(root), read_only=True), wanted["error"])
    else:
        store = opened(LocalBackend(root), read_only=True)
        assert listed(store.check("full")) == wanted["check"]
        store.close()
    assert files_below(root) == before


def test_open_mends_what_needs_nobody(root: Path, defect: str) -> None:
    wanted = expected(defect)
    if "error" in wanted:
        before = files_below(root)
        require_refused(lambda: opened(LocalBackend(root)), wanted["error"])
        assert files_below(root) == before
        return
    assert mended_by_open(LocalBackend(root)) == wanted["open"]
    again = mended_by_open(in_memory(root))
    assert again == {**wanted["open"], "reports": again["reports"]}
    # What it left, it finds again; of what it mended it says nothing more.
    assert set(again["reports"]) <= {*wanted["open"]["leaves"], "repair_refused "}


def test_a_repair_mends_the_rest(root: Path, defect: str) -> None:
    wanted = expected(defect)
    disk = in_memory(root)
    if "error" in wanted:
        require_refused(lambda: repaired(disk), wanted["error"])
        return
    assert repaired(disk) == wanted["repair"]
    assert repaired(disk.reopen()) == wanted["repair"]
    codes = {line.split(" ")[0] for line in wanted["repair"]["leaves"]}
    assert {FINDING_CODES[code][0] for code in codes} <= {"note"}


def test_every_defect_says_what_it_is() -> None:
    assert len(DEFECTS) >= 20
    for name in DEFECTS:
        found = expected(name)
        assert found.keys() in ({"about", "check", "open", "repair"}, {"about", "error"})
        assert found["about"].endswith(".")


def test_every_code_that_a_store_at_rest_can_have_is_among_them() -> None:
    told = {line.split(" ")[0] for name in DEFECTS for line in expected(name).get("check", [])}
    # The vector index of a store at rest is reconciled before it is checked; the others need a store that is open.
    beyond = {"vector_missing", "vector_orphan", "vector_stale", "apply_pending", "conflict", "repair_refused"}
    # It is no defect: tests/maintenance/test_watch_embeddings.py makes some.
    beyond.add("embedding_stale")
    # SQLite writes no two files alike: tests/engine/test_text_index.py damages one.
    beyond.add("text_damaged")
    # What lives beside the core is no part of the format: tests/state, tests/ledger and tests/tiers damage their own.
    beyond |= {code for code in FINDING_CODES if code.split("_")[0] in ("state", "ledger", "capsule", "fact", "tier")}
    # Only where the model was changed: tests/engine/test_reembed_damage.py.
    beyond |= {"staged_damaged", "way_back_damaged"}
    assert told == FINDING_CODES.keys() - beyond


def test_the_script_writes_the_same_stores() -> None:
    command = [sys.executable, str(FIXTURES / "write_broken.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
