"""A health pass beside others, with parts, with little space, without secrets, and when it fails itself."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from health_cases import held, place_of, put

from synthians_memory.config import CheckLevel, StoreConfig
from synthians_memory.errors import NotFiledError, StoreLockedError, StoreMovedError
from synthians_memory.layout import (
    FAILURES_LOG,
    HEALTH_LOG,
    HEALTH_SHARE,
    INDEX,
    ISSUES,
    JOURNAL,
    QUARANTINE,
    STORED_ENTITIES,
    SUPERBLOCK,
    entity_path,
)
from synthians_memory.maintenance.alerts import Alerts
from synthians_memory.maintenance.health import health_pass
from synthians_memory.maintenance.health_place import HealthPlace, HealthSettings, local_place
from synthians_memory.maintenance.health_report import HealthReport
from synthians_memory.maintenance.issue_document import IssueDocument
from synthians_memory.maintenance.move import move_store
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.snapshots import verify_snapshots
from synthians_memory.reports import Finding
from synthians_memory.state.part import StatePart
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import Medium, MemoryBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_history import DrivenStore, StoreHistory
from synthians_memory.testing.store_scenarios import SMALL_STORE, memory
from synthians_memory.testing.stored_files import all_files

HOUR = 3600.0
ONE = entity_path("memory", "m1")
SECRET = "correct-horse-7481"  # noqa: S105 - made up
SHAPED = "ghp_" + "a1B2" * 9


class Case:
    """A store in memory with a backup."""

    def __init__(self, *, passes: int = 1) -> None:
        self.clock = ManualClock()
        self.disk = MemoryBackend(Medium(clock=self.clock))
        self.snapshots = MemoryBackend(Medium(clock=self.clock))
        self.history = StoreHistory()
        driven = self.opened()
        driven.save(*(memory(f"m{n}") for n in range(6)))
        driven.close()
        for _ in range(passes):
            assert self.passes().outcome == "healthy"

    def opened(self) -> DrivenStore:
        return DrivenStore.open(self.disk.reopen(), SMALL_STORE, self.clock, self.history)

    @property
    def place(self) -> HealthPlace:
        return place_of(self.disk.reopen, self.snapshots, self.clock, SMALL_STORE)

    def passes(self, alerts: Alerts | None = None, **settings: Any) -> HealthReport:
        self.clock.advance(HOUR)
        return health_pass(self.place, HealthSettings(**settings), alerts)

    def files(self, folder: str = "") -> dict[str, bytes]:
        return all_files(self.disk.reopen(), folder)

    def damage(self, path: str = ONE) -> bytes:
        data = self.files()[path].replace(b'"content": "', b'"content": "X')
        put(self.disk.reopen(), path, data)
        return data

    def log(self, path: str = HEALTH_LOG) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.files()[path].splitlines() if line]


# Beside a program that has the store open


def test_beside_a_holder_it_only_reports_and_backs_up() -> None:
    case = Case(passes=0)
    driven = case.opened()
    driven.save(memory("m1", 2))
    driven.checkpoint()
    report = case.passes()
    assert (report.outcome, report.memories) == ("healthy", 6)
    assert report.holder
    assert report.backup is not None
    assert report.backup.snapshot.whole
    damaged = case.damage()
    report = case.passes()
    assert (report.outcome, [finding.code for finding in report.remaining]) == ("findings", ["file_damaged"])
    assert case.files()[ONE] == damaged
    driven.close()
    assert case.passes().outcome == "restored"
    assert held(case.disk.reopen(), SMALL_STORE, case.clock)["memory", "m1"].endswith(
        case.history.last["memory", "m1"].hash.hex()
    )


def test_beside_a_holder_a_sample_is_read_as_well() -> None:
    case = Case()
    driven = case.opened()
    reports = [case.passes(sample=6) for _ in range(2)]
    assert [(report.level, report.read, report.outcome) for report in reports] == [("sampled", 1, "healthy")] * 2
    assert HEALTH_SHARE in case.files()
    driven.close()


def test_where_it_cannot_even_be_read_beside_a_holder_the_holder_is_named() -> None:
    case = Case()
    driven = case.opened()
    for path in case.files():
        if path in (SUPERBLOCK, INDEX) or path.startswith(f"{JOURNAL}/"):
            case.disk.reopen().unlink(path)
    with pytest.raises(StoreLockedError, match="held by"):
        case.passes()
    driven.store.release()


# What it measures and logs


def test_each_pass_is_a_line_with_numbers() -> None:
    case = Case()
    case.damage()
    case.passes()
    case.passes()
    first, second, third = case.log()
    assert [line["outcome"] for line in (first, second, third)] == ["healthy", "restored", "healthy"]
    assert second["findings"] == {"file_damaged": 1}
    assert (second["restored"], second["remaining"]) == (1, {})
    assert second["done"] == [f"{ONE} came back from a snapshot"]
    assert third["backup"]["ring"] == "hourly"
    assert first["sizes"]["memories"] > 0
    assert {"free_bytes", "journal_segments", "snapshots", "backup_age_seconds", "seconds"} <= third.keys()


def test_little_space_is_told_and_nothing_else_changes() -> None:
    case = Case()
    report = case.passes(least_free_bytes=1 << 63)
    assert report.outcome == "findings"
    assert [finding.code for finding in report.remaining] == ["space_low"]
    assert len(case.files(ISSUES)) == 1
    assert case.passes().outcome == "healthy"


def test_an_old_backup_is_told() -> None:
    case = Case()
    case.clock.advance(30 * HOUR)
    folder = SnapshotFolder(case.snapshots.reopen())
    with folder.held(exclusive=True):
        report = case.passes()
    assert report.outcome == "findings"
    assert "backup_overdue" in [finding.code for finding in report.remaining]
    assert any("no backup was taken" in problem for problem in report.problems)
    assert case.passes().outcome == "healthy"


def test_backups_that_are_switched_off_are_neither_taken_nor_missed() -> None:
    case = Case(passes=0)
    report = case.passes(backup_enabled=False)
    assert (report.outcome, report.backup) == ("healthy", None)
    assert not all_files(case.snapshots.reopen())


def test_once_a_day_every_snapshot_is_proved_and_what_is_rotten_stored_anew() -> None:
    case = Case()
    backend = case.snapshots.reopen()
    path = next(path for path, data in all_files(backend, STORED_ENTITIES).items() if b'"m1"' in data)
    put(backend, path, all_files(backend)[path][:-5])
    assert case.passes().outcome == "healthy"
    case.clock.advance(24 * HOUR)
    report = case.passes()
    assert (report.outcome, report.backup is not None) == ("healthy", True)
    assert all(info.whole for info in verify_snapshots(SnapshotFolder(backend)))


# Who is told


def test_no_secret_and_no_content_gets_into_a_document() -> None:
    case = Case(passes=0)
    driven = case.opened()
    driven.save(replace(memory("m1", 3), content=f"the key is {SECRET}, or {SHAPED}"))
    driven.close()
    put(case.disk.reopen(), FAILURES_LOG, f'{{"said":"{SECRET} token={SHAPED}"}}\n'.encode())
    data = case.files()[ONE]
    put(case.disk.reopen(), ONE, data[: data.index(SHAPED.encode()) + 9])
    alerts = Alerts(case.disk.reopen, case.clock, environment={"SERVICE_PASSWORD": SECRET})
    assert case.passes(alerts, backup_enabled=False).outcome == "failed"
    (document,) = case.files(ISSUES).values()
    assert b"file_undecodable" in document
    for secret in (SECRET, SHAPED, "the key is"):
        assert secret.encode() not in document


@pytest.mark.parametrize("kind", [NotFiledError, RuntimeError])
def test_a_hook_that_fails_stops_nothing(kind: type[Exception]) -> None:
    def refuse(document: IssueDocument) -> None:
        raise kind(f"nobody takes {document.title}")

    case = Case()
    case.damage()
    report = case.passes(Alerts(case.disk.reopen, case.clock, hooks=[refuse]))
    assert report.outcome == "restored"
    told = [line["code"] for line in case.log(FAILURES_LOG)]
    assert "health_restored" in told
    assert ("alert_failed" in told) != any("RuntimeError" in problem for problem in report.problems)
    assert case.passes().outcome == "healthy"


def test_a_pass_that_fails_is_logged_and_told_once() -> None:
    case = Case()

    def fail(done: int, total: int) -> None:
        raise RuntimeError("not of the library")

    for _ in range(2):
        case.clock.advance(HOUR)
        with pytest.raises(RuntimeError):
            health_pass(case.place, progress=fail)
    assert case.log()[-1]["error"] == "RuntimeError"
    assert [line["code"] for line in case.log(FAILURES_LOG)] == ["health_pass_failed"] * 2
    assert len({line["fingerprint"] for line in case.log(FAILURES_LOG)}) == 1
    assert len(case.files(ISSUES)) == 1
    assert case.passes().outcome == "healthy"


def test_a_store_that_was_moved_is_not_written_to(tmp_path: Path) -> None:
    path, clock = tmp_path / "store", ManualClock()
    DrivenStore.open(LocalBackend(path, create=True), SMALL_STORE, clock, StoreHistory()).close()
    move_store(path, tmp_path / "elsewhere", clock=clock)
    before = sorted(entry.name for entry in path.iterdir())
    with pytest.raises(StoreMovedError):
        health_pass(local_place(StoreConfig(storage_path=str(path)), clock=clock))
    assert sorted(entry.name for entry in path.iterdir()) == before


# Parts


@dataclass(frozen=True)
class Databases:
    """A part with one database."""

    name: str = "tiers"

    def check(self, backend: Backend, level: CheckLevel) -> Sequence[Finding]:
        return ()

    def source_files(self, backend: Backend) -> Sequence[str]:
        return [f"tiers/{name}" for name, stat in backend.scan("tiers") if stat.kind == "file" and name.endswith(".db")]

    def mark(self, backend: Backend) -> str:
        return ""

    def restored(self, backend: Backend, replaced: str) -> None:
        """Nothing."""


def write_parts(path: Path) -> None:
    (path / "tiers").mkdir()
    database = sqlite3.connect(path / "tiers" / "hot.db")
    database.execute("create table notes(text)")
    database.executemany("insert into notes values (?)", [(f"note {n}" * 50,) for n in range(200)])
    database.commit()
    database.close()
    (path / "state").mkdir()
    (path / "state" / "telemetry.json").write_text("[]")


def notes_in(path: Path) -> int:
    database = sqlite3.connect(path / "tiers" / "hot.db")
    try:
        return int(database.execute("select count(*) from notes").fetchone()[0])
    finally:
        database.close()


@pytest.mark.parametrize("name", ["tiers/hot.db", "state/telemetry.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_files_of_parts_come_back_from_the_newest_snapshot(tmp_path: Path, name: str, damage: str) -> None:
    path, clock = tmp_path / "store", ManualClock()
    config = StoreConfig(storage_path=str(path), embedding_dimension=4)
    DrivenStore.open(LocalBackend(path, create=True), config, clock, StoreHistory()).close()
    write_parts(path)
    place = local_place(config, parts=(StatePart(), Databases()), clock=clock)
    assert health_pass(place).outcome == "healthy"
    sound = (path / name).read_bytes()
    damaged = sound[: len(sound) // 2] if damage == "cut" else b"\xff" * 100 + sound[100:]
    (path / name).write_bytes(damaged)
    clock.advance(HOUR)
    report = health_pass(place)
    assert report.outcome == "restored", report
    assert [putback.path for putback in report.restored] == [name]
    assert report.lost
    assert any(data == damaged for data in all_files(LocalBackend(path), QUARANTINE).values())
    assert notes_in(path) == 200
    assert (path / "state" / "telemetry.json").read_text() == "[]"
    clock.advance(HOUR)
    assert health_pass(place).outcome == "healthy"


def test_a_log_of_the_damaged_database_is_not_taken_for_one_of_its_copy(tmp_path: Path) -> None:
    path, clock = tmp_path / "store", ManualClock()
    config = StoreConfig(storage_path=str(path), embedding_dimension=4)
    DrivenStore.open(LocalBackend(path, create=True), config, clock, StoreHistory()).close()
    write_parts(path)
    place = local_place(config, parts=(Databases(),), clock=clock)
    assert health_pass(place).outcome == "healthy"
    assert sorted(entry.name for entry in (path / "tiers").iterdir()) == ["hot.db"]
    database = sqlite3.connect(path / "tiers" / "hot.db")
    database.execute("pragma journal_mode=wal")
    database.execute("delete from notes where rowid > 10")
    database.commit()
    log = (path / "tiers" / "hot.db-wal").read_bytes()
    database.close()
    data = (path / "tiers" / "hot.db").read_bytes()
    (path / "tiers" / "hot.db").write_bytes(data[:4096] + b"\xff" * (len(data) - 4096))
    (path / "tiers" / "hot.db-wal").write_bytes(log[: len(log) // 2])
    clock.advance(HOUR)
    assert health_pass(place).outcome == "restored"
    assert notes_in(path) == 200
    assert any(data == log[: len(log) // 2] for data in all_files(LocalBackend(path), QUARANTINE).values())
    clock.advance(HOUR)
    assert health_pass(place).outcome == "healthy"


def test_a_database_that_is_being_written_is_not_taken_for_damaged(tmp_path: Path) -> None:
    path, clock = tmp_path / "store", ManualClock()
    config = StoreConfig(storage_path=str(path), embedding_dimension=4)
    DrivenStore.open(LocalBackend(path, create=True), config, clock, StoreHistory()).close()
    write_parts(path)
    place = local_place(config, parts=(Databases(),), clock=clock)
    database = sqlite3.connect(path / "tiers" / "hot.db")
    for mode in ("wal", "delete"):
        database.execute(f"pragma journal_mode={mode}")
        database.execute("begin immediate")
        database.execute("delete from notes where rowid > 150")
        clock.advance(HOUR)
        assert health_pass(place).outcome == "healthy"
        database.execute("insert into notes values ('more')")
        database.rollback()
    database.close()
    assert notes_in(path) == 200


def test_a_damaged_database_without_a_backup_is_left_and_told(tmp_path: Path) -> None:
    path, clock = tmp_path / "store", ManualClock()
    config = StoreConfig(storage_path=str(path), embedding_dimension=4)
    DrivenStore.open(LocalBackend(path, create=True), config, clock, StoreHistory()).close()
    write_parts(path)
    (path / "tiers" / "hot.db").write_bytes(b"no database at all")
    place = local_place(config, parts=(Databases(),), clock=clock)
    report = health_pass(place, HealthSettings(backup_enabled=False))
    assert (report.outcome, [finding.code for finding in report.remaining]) == ("failed", ["database_damaged"])
    assert (path / "tiers" / "hot.db").read_bytes() == b"no database at all"
