"""A health pass over a store with tiers: for each damage to their databases, with and without a backup, the documented outcome."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from health_cases import HEALTH_DOCS
from typer.testing import CliRunner

from synthians_memory import MemoryPersistence
from synthians_memory.config import StoreConfig
from synthians_memory.engine.part import PartMending
from synthians_memory.entrypoints.cli.app import app
from synthians_memory.facade import PARTS
from synthians_memory.layout import LONGTERM_DB, QUARANTINE, TIERS, WORKING_DB
from synthians_memory.maintenance.health import health_pass
from synthians_memory.maintenance.health_place import HealthPlace, HealthSettings, local_place
from synthians_memory.maintenance.monitor import Monitor
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.tiers import Decision, Event, Goal, Incident, Task, Tiers
from synthians_memory.tiers.part import TiersPart

HOUR = 3600.0
Rows = dict[str, str]


def config_of(path: Path) -> StoreConfig:
    return StoreConfig(storage_path=str(path), embedding_dimension=4)


async def _stored(path: Path, names: range) -> None:
    async with MemoryPersistence(config=config_of(path)) as store, Tiers(store) as tiers:
        for n in names:
            await tiers.working.store_goal(Goal(id=f"g{n}", description=f"goal {n} " + "about many words " * 20))
            await tiers.working.store_task(Task(id=f"t{n}", goal_id=f"g{n}", description=f"task {n}"))
            await tiers.working.log_decision(Decision(id=f"d{n}", context=f"context {n}", chosen="this"))
            await tiers.working.store_event(Event(id=f"e{n}", category="test", source="here"))
            await tiers.longterm.store_incident(Incident(id=f"i{n}", description=f"incident {n} " * 30))


@pytest.fixture(scope="module")
def early(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with ten rows of each kind."""
    path = tmp_path_factory.mktemp("early") / "store"
    asyncio.run(_stored(path, range(10)))
    return path


@pytest.fixture(scope="module")
def late(early: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a snapshot of that moment, and ten more."""
    path = tmp_path_factory.mktemp("late") / "store"
    shutil.copytree(early, path)
    assert health_pass(place_of(path, ManualClock())).backup is not None
    asyncio.run(_stored(path, range(10, 20)))
    return path


def place_of(path: Path, clock: ManualClock) -> HealthPlace:
    return local_place(config_of(path), parts=PARTS, clock=clock)


def rows_of(path: Path) -> Rows:
    """Table and id of each row -> what it holds."""
    found: Rows = {}
    for name in (WORKING_DB, LONGTERM_DB):
        with closing(sqlite3.connect(path / name)) as connection:
            for table in ("goals", "tasks", "decisions", "events") if name == WORKING_DB else ("incidents",):
                for row in connection.execute(f"SELECT id, * FROM {table}"):  # noqa: S608
                    found[f"{table} {row[0]}"] = repr(row[2:])
    return found


def with_sql(name: str, *statements: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path / name)) as connection, connection:
            for statement in statements:
                connection.execute(statement)

    return damage


def overwritten(name: str) -> Callable[[Path], None]:
    """A page of the goals or incidents becomes noise."""

    def damage(path: Path) -> None:
        with closing(sqlite3.connect(path / name)) as connection:
            table = "goals" if name == WORKING_DB else "incidents"
            (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        with open(path / name, "r+b") as file:
            file.seek((page - 1) * 4096)
            file.write(b"\xa5" * 4096)

    return damage


def truncated(path: Path) -> None:
    data = (path / WORKING_DB).read_bytes()
    (path / WORKING_DB).write_bytes(data[: -3 * 4096])


def folder_instead(path: Path) -> None:
    (path / WORKING_DB).rename(path / "kept_by_somebody")
    (path / WORKING_DB).mkdir()
    (path / "kept_by_somebody").rename(path / WORKING_DB / "working.db")


def file_instead(path: Path) -> None:
    shutil.rmtree(path / TIERS)
    (path / TIERS).write_text("x")


def deleted(*names: str) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        for name in names:
            (path / name).unlink()

    return damage


def log_damaged(path: Path) -> None:
    """A process was killed, and of the log that it left a frame in the middle is not what was written."""
    whole = {name: (path / name).read_bytes() for name in (WORKING_DB, LONGTERM_DB)}

    async def killed() -> bytes:
        async with MemoryPersistence(config=config_of(path)) as store, Tiers(store) as tiers:
            for n in range(6):
                await tiers.working.store_event(Event(id=f"late{n}", category="test", source="here"))
            return (path / f"{WORKING_DB}-wal").read_bytes()

    log = bytearray(asyncio.run(killed()))
    for name, data in whole.items():
        (path / name).write_bytes(data)
    log[len(log) // 2] ^= 0xFF
    (path / f"{WORKING_DB}-wal").write_bytes(log)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "tier-page-damaged": overwritten(WORKING_DB),
    "tier-archive-page-damaged": overwritten(LONGTERM_DB),
    "tier-truncated": truncated,
    "tier-folder-instead": folder_instead,
    "tier-working-deleted": deleted(WORKING_DB),
    "tier-longterm-deleted": deleted(LONGTERM_DB),
    "tiers-deleted": lambda path: shutil.rmtree(path / TIERS),
    "tiers-no-folder": file_instead,
    "tier-row-damaged": with_sql(WORKING_DB, "UPDATE events SET category = 'other' WHERE id = 'e3'"),
    "tier-archive-row-damaged": with_sql(LONGTERM_DB, "UPDATE incidents SET resolution = 'x' WHERE id = 'i3'"),
    "tier-row-hash-damaged": with_sql(WORKING_DB, "UPDATE goals SET row_hash = x'00' WHERE id = 'g3'"),
    "tier-late-row-damaged": with_sql(WORKING_DB, "UPDATE events SET category = 'other' WHERE id = 'e13'"),
    "tier-late-goal-damaged": with_sql(WORKING_DB, "UPDATE goals SET description = 'other' WHERE id = 'g13'"),
    "tier-words-damaged": with_sql(WORKING_DB, "DELETE FROM words WHERE rowid % 3 = 0"),
    "tier-log-damaged": log_damaged,
}


# Code of the finding, and which rows written after the snapshot may be gone where it is restored: None for those that the page held.
LATE = {
    f"{kind} {kind[0]}{n}" for kind in ("goals", "tasks", "decisions", "events", "incidents") for n in range(10, 20)
}
IN_WORKING = {key for key in LATE if not key.startswith("incidents")}
MAY_BE_GONE = {
    "tier-page-damaged": {key for key in LATE if key.startswith(("goals", "tasks"))},
    "tier-archive-page-damaged": LATE - IN_WORKING,
    "tier-truncated": IN_WORKING - {"events e10", "goals g10", "tasks t10"},
    "tier-folder-instead": IN_WORKING,
    "tier-working-deleted": IN_WORKING,
    "tier-longterm-deleted": LATE - IN_WORKING,
    "tiers-deleted": LATE,
    "tiers-no-folder": LATE,
    "tier-late-row-damaged": {"events e13"},
}


def documented() -> dict[str, tuple[str, str]]:
    rows = re.findall(
        r"^\| `(tiers?-[a-z-]+)` \| (\w+) \| (\w+) \| ", HEALTH_DOCS.read_text(encoding="utf-8"), re.MULTILINE
    )
    return {name: (without, with_one) for name, without, with_one in rows}


def test_each_damage_is_documented() -> None:
    assert set(documented()) == set(DAMAGES)


@pytest.mark.parametrize("backup", [False, True], ids=["without", "with"])
@pytest.mark.parametrize("name", DAMAGES)
def test_one_pass_ends_as_documented_and_the_next_is_clean(late: Path, tmp_path: Path, name: str, backup: bool) -> None:
    path, clock = tmp_path / "store", ManualClock()
    shutil.copytree(late, path)
    if not backup:
        shutil.rmtree(path / "backups")
    before = rows_of(path)
    DAMAGES[name](path)
    damaged = {p.relative_to(path): p.read_bytes() for p in path.glob(f"tiers/*{_ending(name)}") if p.is_file()}
    clock.advance(3 * HOUR)
    report = health_pass(place_of(path, clock), HealthSettings(backup_enabled=backup))
    assert report.outcome == documented()[name][backup], report
    paths = [finding.path for finding in report.findings]
    assert len(paths) == len(set(paths)), "told once"
    clock.advance(HOUR)
    again = health_pass(place_of(path, clock), HealthSettings(backup_enabled=backup))
    if report.outcome == "failed":
        assert again.outcome == "failed"
        assert {p: (path / p).read_bytes() for p in damaged} == damaged, "nothing was changed"
        return
    assert again.outcome == "healthy", again
    if not backup and name.endswith("deleted"):
        return
    after = rows_of(path)
    gone = set(before) - set(after)
    assert gone <= MAY_BE_GONE.get(name, set())
    assert not gone or report.lost
    assert {key: after[key] for key in set(before) - gone} == {key: before[key] for key in set(before) - gone}
    if report.outcome == "restored":
        _original_is_kept(path, damaged)
        asyncio.run(_tiers_open_and_agree(path))


def _ending(name: str) -> str:
    return ".db-wal" if name == "tier-log-damaged" else ".db"


def _original_is_kept(path: Path, damaged: dict[Path, bytes]) -> None:
    kept = [p.read_bytes() for p in (path / QUARANTINE).rglob("*") if p.is_file()]
    changed = [
        data for name, data in damaged.items() if not (path / name).exists() or (path / name).read_bytes() != data
    ]
    # Rows are kept as SQLite holds them, whose header differs.
    assert all(any(data[100:] == other[100:] for other in kept) for data in changed)


async def _tiers_open_and_agree(path: Path) -> None:
    async with MemoryPersistence(config=config_of(path)) as store:
        async with Tiers(store):
            pass
        findings = await store.verify_consistency()
        assert [finding for finding in findings if finding.severity != "note"] == []


def test_a_snapshot_of_a_damaged_database_is_not_what_comes_back(late: Path, tmp_path: Path) -> None:
    path, clock = tmp_path / "store", ManualClock()
    shutil.copytree(late, path)
    overwritten(WORKING_DB)(path)
    # As cron does it with --no-mend, or beside an agent: the backup has what is there.
    for _ in range(2):
        clock.advance(2 * HOUR)
        assert health_pass(place_of(path, clock), HealthSettings(mend=False)).backup is not None
    clock.advance(2 * HOUR)
    assert health_pass(place_of(path, clock)).outcome == "restored"
    clock.advance(2 * HOUR)
    assert health_pass(place_of(path, clock)).outcome == "healthy"


@pytest.mark.parametrize("name", ["tier-truncated", "tier-working-deleted", "tier-log-damaged"])
def test_a_row_that_was_purged_does_not_come_back(late: Path, tmp_path: Path, name: str) -> None:
    path, clock = tmp_path / "store", ManualClock()
    shutil.copytree(late, path)

    async def purge() -> None:
        async with MemoryPersistence(config=config_of(path)) as store:
            await store.purge(["decisions-d3"])

    asyncio.run(purge())
    DAMAGES[name](path)
    clock.advance(2 * HOUR)
    assert health_pass(place_of(path, clock)).outcome == "restored"
    assert "decisions d3" not in rows_of(path)
    assert "decisions d4" in rows_of(path)
    asyncio.run(_tiers_open_and_agree(path))


async def test_a_monitor_has_the_tiers_closed_to_mend_them(late: Path, tmp_path: Path) -> None:
    path, clock = tmp_path / "store", ManualClock()
    shutil.copytree(late, path)
    DAMAGES["tier-row-damaged"](path)
    DAMAGES["tier-late-goal-damaged"](path)
    clock.advance(2 * HOUR)
    closings = 0

    async def reopen(mend: Callable[[], Awaitable[None]]) -> MemoryPersistence:
        nonlocal store, closings
        closings += 1
        await store.close()
        await mend()
        store = MemoryPersistence(config=config_of(path), clock=clock, auto_repair=False)
        await store.initialize()
        return store

    store = MemoryPersistence(config=config_of(path), clock=clock, auto_repair=False)
    await store.initialize()
    try:
        monitor = Monitor(store, parts=PARTS, reopen=reopen)
        first = await monitor.run_once()
        assert [putback.path for putback in first.restored] == [WORKING_DB]
        clock.advance(HOUR)
        again = await monitor.run_once()
        # The goal that nobody can mend does not close the store in every pass.
        assert (closings, again.outcome) == (1, "failed")
    finally:
        await store.close()
    assert "events e3" in rows_of(path)


async def test_databases_that_are_gone_are_missed_by_whoever_only_looks(late: Path, tmp_path: Path) -> None:
    path, clock = tmp_path / "store", ManualClock()
    shutil.copytree(late, path)
    DAMAGES["tiers-deleted"](path)
    settings = HealthSettings(mend=False, backup_enabled=False)
    looked = health_pass(place_of(path, clock), settings)
    assert {(f.code, f.path) for f in looked.remaining} == {("database_damaged", p) for p in (WORKING_DB, LONGTERM_DB)}
    async with MemoryPersistence(config=config_of(path), clock=clock) as store:
        report = await Monitor(store, parts=PARTS, settings=HealthSettings(backup_enabled=False)).run_once()
    assert (report.outcome, report.remaining) == ("failed", looked.remaining)


def test_a_restore_to_before_the_tiers_does_not_bring_them_back(tmp_path: Path) -> None:
    path, clock = tmp_path / "store", ManualClock()

    async def made() -> str:
        async with MemoryPersistence(config=config_of(path)) as store:
            return (await store.backup()).snapshot.name

    first = asyncio.run(made())
    asyncio.run(_stored(path, range(2)))
    assert CliRunner().invoke(app, ["--store", str(path), "backup"]).exit_code == 0
    assert CliRunner().invoke(app, ["--store", str(path), "restore", "--id", first]).exit_code == 8
    assert not (path / WORKING_DB).exists()
    assert health_pass(place_of(path, clock), HealthSettings(backup_enabled=False)).restored == ()
    assert not (path / WORKING_DB).exists()


def test_a_row_that_has_lost_its_key_is_told_by_its_hash(late: Path, tmp_path: Path) -> None:
    for again in (False, True):
        path, clock = tmp_path / str(again), ManualClock()
        shutil.copytree(late, path)
        before = rows_of(path)
        with_sql(WORKING_DB, "UPDATE events SET id = 'e-3' WHERE id = 'e3'")(path)
        if again:
            with_sql(WORKING_DB, "UPDATE events SET id = 'e3' WHERE id = 'e4'")(path)
        clock.advance(2 * HOUR)
        report = health_pass(place_of(path, clock))
        assert report.outcome == "restored"
        assert rows_of(path).keys() >= before.keys() - ({"events e4"} if again else set())
        if not again:
            assert rows_of(path) == before
        clock.advance(2 * HOUR)
        assert health_pass(place_of(path, clock)).outcome == "healthy"


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("name", ["tier-truncated", "tier-folder-instead", "tier-row-damaged", "tier-log-damaged"])
def test_a_pass_that_is_killed_anywhere_in_it_is_gone_on_with(
    late: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    calls, deadly = 0, 0
    for method in ("create", "replace", "unlink", "make_folder", "sync_folder"):
        original = getattr(LocalBackend, method)

        def counted(self: LocalBackend, *words: object, original: Callable[..., object] = original) -> object:
            nonlocal calls
            calls += mending
            if mending and calls == deadly:
                raise Killed
            return original(self, *words)

        monkeypatch.setattr(LocalBackend, method, counted)
    mend = TiersPart.mend

    def watched(self: TiersPart, *words: Any, **named: Any) -> PartMending:
        nonlocal mending
        mending = True
        try:
            return mend(self, *words, **named)
        finally:
            mending = False

    mending = False
    monkeypatch.setattr(TiersPart, "mend", watched)
    before = set(rows_of(late))
    while deadly == 0 or calls >= deadly:
        calls, deadly = 0, deadly + 1
        path, clock = tmp_path / str(deadly), ManualClock()
        shutil.copytree(late, path)
        DAMAGES[name](path)
        clock.advance(2 * HOUR)
        settings = HealthSettings(backup_enabled=False)
        with suppress(Killed):
            health_pass(place_of(path, clock), settings)
        killed = calls >= deadly
        clock.advance(HOUR)
        assert health_pass(place_of(path, clock), settings).outcome in (
            ("restored", "healthy") if killed else ("healthy",)
        )
        clock.advance(HOUR)
        assert health_pass(place_of(path, clock), settings).outcome == "healthy"
        assert before - set(rows_of(path)) <= MAY_BE_GONE.get(name, set())
    assert deadly > 3


def test_without_auto_rollback_nothing_is_given_up(late: Path, tmp_path: Path) -> None:
    path, clock = tmp_path / "store", ManualClock()
    shutil.copytree(late, path)
    DAMAGES["tier-late-row-damaged"](path)
    clock.advance(2 * HOUR)
    report = health_pass(place_of(path, clock), HealthSettings(auto_rollback=False))
    assert report.outcome == "failed"
    assert "events e13" in rows_of(path)
