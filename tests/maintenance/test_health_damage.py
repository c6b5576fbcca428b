"""Each store in storage_fixtures/broken, and stores that lost whole parts: one pass mends as documented, the second is healthy."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from health_cases import documented, held, in_memory, place_of, snapshot, source_bytes

from synthians_memory.engine.records import Key
from synthians_memory.errors import UnsupportedFormatError
from synthians_memory.layout import FAILURES_LOG, HEALTH_LOG, ISSUES
from synthians_memory.maintenance.health import health_pass
from synthians_memory.maintenance.health_place import HealthPlace, HealthSettings
from synthians_memory.storage.memory import Medium, MemoryBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.stored_files import all_files

FIXTURES = Path(__file__).resolve().parent.parent.parent / "storage_fixtures"
DEFECTS = sorted(folder.name for folder in (FIXTURES / "broken").iterdir())
REFUSED = {"newer-format", "unknown-feature"}
# What a person wrote, and the store takes over: these memories are not as they were.
ADOPTED = {"file-edited": "two", "file-not-indexed": "five", "file-replaced": "two"}
# Deleted before, and back with the journal that said so.
RETURNED = {"journal-deleted": "three"}
LATER = 1_800_000_000_000_000
HOUR = 3600.0


@pytest.fixture(scope="module")
def written() -> Any:
    """The script that writes the broken stores."""
    sys.path.insert(0, str(FIXTURES))
    try:
        return importlib.import_module("write_broken")
    finally:
        sys.path.remove(str(FIXTURES))


class Broken:
    """A store that was sound, was perhaps backed up, and is broken now."""

    def __init__(self, written: Any, defect: str, *, backup: bool) -> None:
        self.clock = ManualClock(LATER)
        self.config = written.CONFIG
        with written.frozen_rows():
            sound = in_memory(written.sound(written.DEFECTS[defect].recipe), self.clock)
        self.model = held(sound.reopen(), self.config, self.clock)
        self.sound = source_bytes(sound.reopen())
        self.snapshots = MemoryBackend(Medium(clock=self.clock))
        if backup:
            snapshot(sound, self.snapshots, self.clock)
        self.disk = in_memory(written.files_of(defect), self.clock)
        self.before = source_bytes(self.disk.reopen())
        self.settings = HealthSettings(backup_enabled=backup)

    @property
    def place(self) -> HealthPlace:
        return place_of(self.disk.reopen, self.snapshots, self.clock, self.config)

    def outcome(self, **settings: Any) -> str:
        self.clock.advance(HOUR)
        return health_pass(self.place, HealthSettings(**settings) if settings else self.settings).outcome

    def held(self) -> dict[Key, str]:
        return held(self.disk.reopen(), self.config, self.clock)

    def require_nothing_deleted(self) -> None:
        """Whatever an entity file held, and no sound one had held, is still somewhere."""
        assert self.before - self.sound <= set(all_files(self.disk.reopen()).values())


def test_the_documented_outcomes_are_those_of_the_broken_stores() -> None:
    assert set(documented()) == set(DEFECTS) - REFUSED


@pytest.mark.parametrize("defect", [name for name in DEFECTS if name not in REFUSED])
def test_one_pass_with_a_backup_brings_everything_back(written: Any, defect: str) -> None:
    broken = Broken(written, defect, backup=True)
    assert broken.outcome() == documented()[defect][1]
    after = broken.held()
    touched: set[Key] = {("memory", name) for name in (ADOPTED.get(defect), RETURNED.get(defect)) if name}
    assert {key: after[key] for key in after.keys() - touched} == {
        key: broken.model[key] for key in broken.model.keys() - touched
    }
    if defect != "file-edited":
        # Adopted: what it says is kept, with a hash line.
        broken.require_nothing_deleted()
    assert [broken.outcome(), broken.outcome()] == ["healthy", "healthy"]
    assert broken.held() == after


@pytest.mark.parametrize("defect", [name for name in DEFECTS if name not in REFUSED])
def test_one_pass_without_a_backup_mends_what_can_be_and_deletes_nothing(written: Any, defect: str) -> None:
    broken = Broken(written, defect, backup=False)
    first = broken.outcome()
    assert first == documented()[defect][0]
    if defect != "file-edited":
        broken.require_nothing_deleted()
    if first != "failed":
        broken.held()
        assert broken.outcome() == "healthy"
        return
    left = source_bytes(broken.disk.reopen())
    assert broken.outcome() == "failed"
    assert source_bytes(broken.disk.reopen()) == left
    told = list(all_files(broken.disk.reopen(), ISSUES))
    assert len(told) == 1
    assert len(all_files(broken.disk.reopen())[FAILURES_LOG].splitlines()) == 2


@pytest.mark.parametrize("defect", sorted(REFUSED))
def test_a_store_of_a_newer_version_is_left_as_it_is(written: Any, defect: str) -> None:
    broken = Broken(written, defect, backup=True)
    before = all_files(broken.disk.reopen())
    with pytest.raises(UnsupportedFormatError):
        broken.outcome()
    after = all_files(broken.disk.reopen())
    added = {path for path in after if path not in before}
    assert {path: after[path] for path in before} == before
    assert {path.split("/")[0] for path in added} == {"logs", "issues"}
    assert b'"outcome":"failed"' in after[HEALTH_LOG]


@pytest.mark.parametrize("defect", ["file-damaged", "entry-without-file", "memories-vanished", "not-a-file"])
def test_without_mending_nothing_is_changed(written: Any, defect: str) -> None:
    broken = Broken(written, defect, backup=True)
    before = all_files(broken.disk.reopen())
    assert broken.outcome(mend=False, backup_enabled=False) == "findings"
    after = all_files(broken.disk.reopen())
    assert {path: data for path, data in after.items() if path.split("/")[0] not in ("logs", "issues")} == before
