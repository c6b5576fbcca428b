"""A monitor keeps its schedules on an injected clock, mends an open store that stays usable, and has it closed where it must be."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from synthians_memory import MemoryPersistence
from synthians_memory.errors import InvalidTypeError, InvalidValueError, StoreClosedError
from synthians_memory.facade import PARTS
from synthians_memory.layout import FAILURES_LOG, HEALTH_LOG, JOURNAL, entity_path
from synthians_memory.maintenance.health import health_pass
from synthians_memory.maintenance.health_place import HealthSettings, local_place
from synthians_memory.maintenance.health_report import HealthReport
from synthians_memory.maintenance.monitor import Monitor, Schedule
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_scenarios import memory

ONE = entity_path("memory", "m1")
HOUR = 3600.0
FULL = HealthSettings(sample=1)


class Hours:
    """A clock whose sleepers move it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.clock.advance(seconds)
        await asyncio.sleep(0)


@pytest.fixture
def hours() -> Hours:
    return Hours()


async def until(happened: Callable[[], bool]) -> None:
    while not happened():  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.001)


def store_at(path: Path, hours: Hours, **settings: Any) -> MemoryPersistence:
    return MemoryPersistence(
        path, clock=hours.clock, embedding_dimension=4, checkpoint_interval=1000.0, auto_repair=False, **settings
    )


async def filled(path: Path, hours: Hours, count: int = 6) -> MemoryPersistence:
    store = store_at(path, hours)
    await store.initialize()
    await store.save_memories_batch([memory(f"m{n}") for n in range(count)])
    await store.checkpoint()
    return store


def damage(path: Path) -> bytes:
    data = (path / ONE).read_bytes().replace(b'"content": "', b'"content": "X')
    (path / ONE).write_bytes(data)
    return data


async def test_schedules_are_kept_on_the_clock_that_is_given(tmp_path: Path, hours: Hours) -> None:
    store = await filled(tmp_path / "store", hours)
    begun, told = hours.clock.monotonic(), list[float]()

    async def note() -> None:
        told.append(hours.clock.monotonic() - begun)

    monitor = Monitor(store, parts=PARTS, schedules=[Schedule("note", 1.5 * HOUR, note)], sleep=hours.sleep)
    await monitor.run(passes=4)
    await store.close()
    assert [report.outcome for report in monitor.reports] == ["healthy"] * 4
    assert [report.at - monitor.reports[0].at for report in monitor.reports][-1].total_seconds() == 3 * HOUR
    assert told == [0.0, 1.5 * HOUR, 3.0 * HOUR]
    # Neither is late because of the other.
    assert hours.slept == [HOUR, 0.5 * HOUR, 0.5 * HOUR, HOUR]
    assert [report.backup is not None for report in monitor.reports] == [True] * 4


async def test_what_is_missed_is_left_out(tmp_path: Path, hours: Hours) -> None:
    store, count = await filled(tmp_path / "store", hours), 0

    async def slow() -> None:
        nonlocal count
        count += 1
        hours.clock.advance(5.5 * HOUR)

    monitor = Monitor(store, schedules=[Schedule("slow", HOUR, slow)], sleep=hours.sleep)
    await monitor.run(passes=3)
    await store.close()
    assert count == 2
    assert hours.slept == [0.0, 0.5 * HOUR]


async def test_an_open_store_is_mended_and_goes_on(tmp_path: Path, hours: Hours) -> None:
    path = tmp_path / "store"
    store = await filled(path, hours)
    async with Monitor(store, parts=PARTS, settings=FULL, sleep=hours.sleep) as monitor:
        await until(lambda: bool(monitor.reports))
    damaged = damage(path)
    await store.close()
    store = store_at(path, hours)
    async with store:
        saving = asyncio.create_task(store.save_memory(memory("beside")))
        report = await Monitor(store, parts=PARTS, settings=FULL).run_once()
        await saving
        assert report.outcome == "restored"
        assert (await store.load_memory("m1")) is not None
        await store.save_memory(memory("after"))
        assert damaged in [file.read_bytes() for file in (path / "quarantine").rglob("m1.json")]
        assert (await Monitor(store, parts=PARTS, settings=FULL).run_once()).outcome == "healthy"
        assert await store.verify_consistency() == []
    assert len((path / HEALTH_LOG).read_text().splitlines()) == 3


async def test_a_folder_that_is_gone_comes_back_while_the_store_is_open(tmp_path: Path, hours: Hours) -> None:
    path = tmp_path / "store"
    store = await filled(path, hours, count=30)
    await Monitor(store, settings=FULL).run_once()
    await store.close()
    shutil.rmtree(path / "memories")
    async with store_at(path, hours) as store:
        assert store.stats()["read_only"]
        assert (await Monitor(store, settings=FULL).run_once()).outcome == "restored"
        assert len(await store.load_all()) == 30
        await store.save_memory(memory("after"))


async def test_without_a_backup_an_open_store_keeps_what_is_damaged(tmp_path: Path, hours: Hours) -> None:
    path = tmp_path / "store"
    async with await filled(path, hours) as store:
        await store.close()
    damaged = damage(path)
    async with store_at(path, hours) as store:
        monitor = Monitor(store, settings=HealthSettings(backup_enabled=False))
        assert [(await monitor.run_once()).outcome for _ in range(2)] == ["failed", "failed"]
    assert (path / ONE).read_bytes() == damaged


async def test_what_needs_the_store_closed_is_left_to_the_program(tmp_path: Path, hours: Hours) -> None:
    path = tmp_path / "store"
    store = await filled(path, hours)
    held = [store]

    async def reopen(mend: Callable[[], Awaitable[None]]) -> MemoryPersistence:
        await held[-1].close()
        await mend()
        again = store_at(path, hours)
        await again.initialize()
        held.append(again)
        return again

    await Monitor(store, settings=FULL).run_once()
    # As a failed checkpoint of what was replayed leaves it.
    store._opened().store.state.read_only_reason = "what was replayed could not be made durable"
    without = await Monitor(store, settings=FULL).run_once()
    assert without.outcome in ("failed", "findings")
    assert any("Close the store" in step for step in without.steps)
    monitor = Monitor(store, settings=FULL, reopen=reopen)
    report = await monitor.run_once()
    assert report.outcome in ("healthy", "mended")
    assert len(held) == 2
    await held[-1].save_memory(memory("after"))
    assert (await monitor.run_once()).outcome == "healthy"
    await held[-1].close()


async def test_a_program_that_does_not_mend_is_told(tmp_path: Path, hours: Hours) -> None:
    store = await filled(tmp_path / "store", hours)

    async def reopen(mend: Callable[[], Awaitable[None]]) -> MemoryPersistence:
        return store

    store._opened().store.state.read_only_reason = "made up"
    with pytest.raises(InvalidTypeError, match="mend"):
        await Monitor(store, settings=FULL, reopen=reopen).run_once()
    store._opened().store.state.read_only_reason = ""
    await store.close()


async def test_one_failing_pass_is_not_the_last(tmp_path: Path, hours: Hours) -> None:
    path = tmp_path / "store"
    store, failed, reports = await filled(path, hours), list[Exception](), list[HealthReport]()

    async def fail() -> None:
        raise RuntimeError("not of the library")

    monitor = Monitor(
        store,
        schedules=[Schedule("broken", HOUR, fail)],
        on_report=reports.append,
        on_failure=failed.append,
        sleep=hours.sleep,
    )
    await monitor.run(passes=3)
    await store.close()
    assert len(reports) == 3
    assert len(failed) == 3
    assert (path / FAILURES_LOG).read_text().count("schedule_failed") == 3
    assert len(list((path / "issues").iterdir())) == 1


async def test_a_store_that_is_closed_ends_the_monitor(tmp_path: Path, hours: Hours) -> None:
    store = await filled(tmp_path / "store", hours)
    monitor = await Monitor(store, sleep=hours.sleep).__aenter__()
    await store.close()
    await until(lambda: monitor.failure is not None)
    with pytest.raises(StoreClosedError):
        await monitor.__aexit__(None, None, None)


async def test_a_closed_store_is_opened_by_each_pass_alone(tmp_path: Path, hours: Hours) -> None:
    path = tmp_path / "store"
    await (await filled(path, hours)).close()
    place = local_place(store_at(path, hours).config, parts=PARTS, clock=hours.clock)

    async def use(seconds: float) -> None:
        async with store_at(path, hours) as store:
            await store.save_memory(memory("between"))
        await hours.sleep(seconds)

    monitor = Monitor(place, sleep=use)
    await monitor.run(passes=3)
    assert [report.outcome for report in monitor.reports] == ["healthy"] * 3
    assert monitor.reports[-1].memories == 7


async def test_a_directory_alone_will_do(tmp_path: Path, hours: Hours) -> None:
    path = tmp_path / "store"
    await (await filled(path, hours)).close()
    report = await Monitor(path, parts=PARTS).run_once()
    assert (report.outcome, report.memories) == ("healthy", 6)


async def test_a_program_looks_its_store_over_before_it_opens_it(tmp_path: Path, hours: Hours) -> None:
    """As docs/health.md has it, for what no open store can be brought back from."""
    path = tmp_path / "store"
    async with await filled(path, hours) as store:
        await Monitor(store, parts=PARTS).run_once()
        config = store.config
    for name in ("store.json", "memory_index.json", "memory_index.log"):
        (path / name).unlink(missing_ok=True)
    shutil.rmtree(path / JOURNAL)
    shutil.rmtree(path / "memories")
    report = await asyncio.to_thread(health_pass, local_place(config, parts=PARTS, clock=hours.clock))
    assert report.outcome == "restored"
    async with store_at(path, hours) as store:
        assert len(await store.load_all()) == 6


def test_what_is_no_store_is_refused(tmp_path: Path, hours: Hours) -> None:
    with pytest.raises(InvalidTypeError):
        Monitor(5)  # type: ignore[arg-type]
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidValueError):
            Monitor(store_at(tmp_path, hours), interval_hours=wrong)
    with pytest.raises(InvalidValueError):
        HealthSettings(sample=0)
