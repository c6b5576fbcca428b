"""Three rings of snapshots, and the removal of what only those needed that go."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from snapshot_cases import Case, stored_state

from synthians_memory.layout import (
    STORED_ENTITIES,
    addressed_path,
    entity_path,
    manifest_path,
    moment_of_stamp,
    stamp_of,
)
from synthians_memory.maintenance.manifest import Manifest, Ring
from synthians_memory.maintenance.retention import apply_retention, to_keep
from synthians_memory.maintenance.snapshots import verify_snapshots
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.store_scenarios import memory
from synthians_memory.testing.stored_files import all_files

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def manifest(moment: datetime, ring: Ring = "hourly", *, missing: tuple[str, ...] = ()) -> Manifest:
    return Manifest(stamp_of(moment), ring, 0, {"store_id": "s", "epoch": "e"}, 0, 0, 0, 1, {}, missing=missing)


def moments(names: set[str]) -> list[datetime]:
    found = [moment_of_stamp(name) for name in names]
    return sorted(moment for moment in found if moment is not None)


def put(backend: Backend, path: str, data: bytes) -> None:
    backend.unlink(path)
    file = backend.create(path)
    file.write(data)
    file.close()


def test_ten_days_of_hourly_runs_leave_seven_days() -> None:
    case = Case()
    case.clock.advance((NOON - datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)).total_seconds())
    for hour in range(10 * 24):
        case.driven.save(memory("clock", hour + 1), memory(f"day{hour // 24}", hour + 1))
        case.backup(ring="hourly")
        apply_retention(case.folder)
        case.clock.advance(3600)
    kept = moments(set(case.folder.names()))
    last = NOON + timedelta(hours=10 * 24 - 1)
    assert {moment.date() for moment in kept} == {(last - timedelta(days=day)).date() for day in range(7)}
    assert kept[-24:] == [last - timedelta(hours=hour) for hour in reversed(range(24))]
    assert [moment.hour for moment in kept[:-24]] == [23] * 5
    assert all(info.whole for info in verify_snapshots(case.folder))
    # Of the many versions only those are left that a snapshot has.
    needed = {
        data for name in case.folder.names() for data in stored_state(case.folder, case.folder.manifest(name)).values()
    }
    assert sorted(all_files(case.to, STORED_ENTITIES).values()) == sorted(needed)


def test_rings_keep_what_they_want_side_by_side() -> None:
    hourly = [manifest(NOON + timedelta(minutes=20 * n)) for n in range(30 * 3)]
    manual = [manifest(NOON - timedelta(days=100 + n), "manual") for n in range(9)][::-1]
    daily = [manifest(NOON - timedelta(days=1 + n), "daily") for n in range(20)][::-1]
    kept = to_keep([*manual, *daily, *hourly])
    assert {m.name for m in manual} & kept == {m.name for m in manual[-7:]}
    hours = [m.name for m in hourly if m.name in kept]
    assert len(hours) == 24  # among them the last of the day before
    assert all(name[11:13] == "40" for name in hours)
    assert sum(m.name in kept for m in daily) == 7 - 2


@pytest.mark.parametrize("days", [1, 3, 30])
def test_the_daily_ring_has_the_days_that_are_asked_for(days: int) -> None:
    daily = [manifest(NOON + timedelta(days=n), "daily") for n in range(40)]
    assert to_keep(daily, days=days) == {m.name for m in daily[-days:]}


def test_a_snapshot_that_lacks_something_takes_nobodys_place() -> None:
    good = [manifest(NOON + timedelta(days=n), "manual") for n in range(7)]
    lacking = [manifest(NOON + timedelta(days=10 + n), "manual", missing=("x",)) for n in range(20)]
    kept = to_keep([*good, *lacking])
    assert {m.name for m in good} <= kept
    assert len(kept) == 7 + 3


def eight_manual_ones() -> Case:
    """One more than the ring has, each with a version of its own."""
    case = Case()
    for edition in range(8):
        case.driven.save(memory("m", edition + 1), *(memory(f"m{edition}{n}") for n in range(3)))
        case.backup()
        case.clock.advance(60)
    return case


def test_the_oldest_goes_with_what_only_it_had() -> None:
    case = eight_manual_ones()
    names = case.folder.names()
    removed = apply_retention(case.folder)
    assert removed.snapshots == names[:1]
    assert case.folder.names() == names[1:]
    assert removed.problems == []
    assert all(info.whole for info in verify_snapshots(case.folder))
    contents = b"".join(all_files(case.to, STORED_ENTITIES).values())
    assert b"m, edition 1 " not in contents
    assert b"m, edition 2 " in contents
    again = apply_retention(case.folder)
    assert (again.snapshots, again.files) == ([], 0)


def test_a_rotten_snapshot_pushes_no_good_one_out() -> None:
    case = eight_manual_ones()
    names = case.folder.names()
    newest = case.folder.manifest(names[-1])
    digest = case.folder.find(newest, entity_path("memory", "m70"))
    assert digest is not None
    put(case.to, addressed_path(STORED_ENTITIES, digest), b"rot")
    removed = apply_retention(case.folder)
    assert removed.snapshots == []
    assert case.folder.names() == names
    assert names[-1] in removed.problems[0]


def test_a_damaged_manifest_is_left_and_nothing_stored_goes() -> None:
    case = eight_manual_ones()
    names = case.folder.names()
    put(case.to, manifest_path(names[3]), b"{}")
    case.driven.save(memory("m", 9))
    case.backup()
    before = all_files(case.to, STORED_ENTITIES)
    removed = apply_retention(case.folder)
    assert removed.snapshots == names[:1]
    assert removed.files == 0
    assert any("nothing stored was removed" in problem for problem in removed.problems)
    assert all_files(case.to, STORED_ENTITIES) == before
    assert names[3] in case.folder.names()


def test_scratch_of_a_backup_that_was_cut_off_goes_with_the_next_removal() -> None:
    case = eight_manual_ones()
    put(case.to, "files/.scratch-next", b"half")
    put(case.to, min(all_files(case.to, "shards")).rpartition("/")[0] + "/.scratch-next", b"half")
    apply_retention(case.folder)
    assert not [path for path in all_files(case.to) if ".scratch" in path]
