"""Ten days of hourly passes: damage on several of them is mended, snapshots stay by their rings, logs stay small, samples reach all files."""

from __future__ import annotations

from collections.abc import Callable

from health_cases import held, place_of, put
from hypothesis import given
from hypothesis import strategies as st

from synthians_memory.engine.records import Key
from synthians_memory.layout import HEALTH_LOG, INDEX, LOGS, MAPPING, SUPERBLOCK, entity_path
from synthians_memory.maintenance.health import health_pass
from synthians_memory.maintenance.health_place import HealthSettings
from synthians_memory.maintenance.health_report import HealthReport
from synthians_memory.maintenance.retention import DAILY, HOURLY
from synthians_memory.maintenance.sampling import share_after
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.maintenance.snapshots import verify_snapshots
from synthians_memory.storage.memory import Medium, MemoryBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_history import DrivenStore, StoreHistory
from synthians_memory.testing.store_scenarios import SMALL_STORE, assembly, memory
from synthians_memory.testing.stored_files import all_files

HOURS = 240
SAMPLE = 12
MOST_LOG = 8 * 1024
SETTINGS = HealthSettings(sample=SAMPLE, most_log_bytes=MOST_LOG)


class Days:
    """A store that somebody works with, and that is looked after every hour. Its files never change their times."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.disk = MemoryBackend(Medium(clock=ManualClock()))
        self.snapshots = MemoryBackend(Medium(clock=self.clock))
        self.history = StoreHistory()
        self.reports: list[HealthReport] = []
        driven = self.opened()
        driven.save(*(memory(f"m{n}") for n in range(40)), assembly("a1", "m1"))
        driven.close()

    def opened(self) -> DrivenStore:
        return DrivenStore.open(self.disk.reopen(), SMALL_STORE, self.clock, self.history)

    def work(self, hour: int) -> None:
        """What the program that owns the store does."""
        driven = self.opened()
        driven.save(memory(f"m{hour % 40}", hour), memory(f"day-{hour // 24}", hour))
        if hour % 11 == 0:
            driven.delete(("memory", f"m{hour % 7}"))
        driven.close()

    def model(self) -> dict[Key, str]:
        return {key: f"sha256:{version.hash.hex()}" for key, version in self.history.last.items()}

    def passes(self) -> HealthReport:
        place = place_of(self.disk.reopen, self.snapshots, self.clock, SMALL_STORE)
        self.reports.append(health_pass(place, SETTINGS))
        return self.reports[-1]

    def flip(self, path: str) -> None:
        """Rot: one byte is another one, and neither size nor time tells."""
        data = bytearray(all_files(self.disk.reopen())[path])
        data[len(data) // 2] ^= 1
        put(self.disk.reopen(), path, bytes(data))

    def remove(self, *paths: str) -> None:
        for path in paths:
            assert self.disk.reopen().unlink(path)

    def lose_everything(self) -> None:
        self.disk = MemoryBackend(Medium(clock=ManualClock()))


def memories(days: Days) -> list[str]:
    return [path for path in all_files(days.disk.reopen()) if path.startswith("memories/")]


# Hour -> what happens then, and within how many passes it is mended with which outcome.
PLANTED: dict[int, tuple[Callable[[Days], object], int, str]] = {
    10: (lambda days: days.flip(entity_path("memory", "m38")), SAMPLE, "restored"),
    40: (lambda days: days.remove(entity_path("memory", "m21"), entity_path("memory", "m22")), 1, "restored"),
    70: (lambda days: days.flip(INDEX), 1, "mended"),
    100: (lambda days: days.remove(*memories(days)), 1, "restored"),
    130: (lambda days: days.flip(MAPPING), 1, "mended"),
    150: (lambda days: days.remove(SUPERBLOCK), 1, "mended"),
    170: (lambda days: days.flip(entity_path("assembly", "a1")), SAMPLE, "restored"),
    200: (Days.lose_everything, 1, "restored"),
}


def test_ten_days_of_hourly_passes() -> None:
    days = Days()
    waiting: tuple[int, str] | None = None
    for hour in range(1, HOURS + 1):
        days.clock.advance(3600)
        if hour % 5 == 0 and waiting is None:
            days.work(hour)
        report = days.passes()
        if waiting is not None:
            until, outcome = waiting
            assert report.outcome in ("healthy", outcome), (hour, report)
            waiting = None if report.outcome == outcome else waiting
            assert waiting is None or hour < until, f"not mended in hour {hour}"
        else:
            assert report.outcome == "healthy", (hour, report)
        if waiting is None:
            assert held(days.disk.reopen(), SMALL_STORE, days.clock) == days.model()
        if hour in PLANTED:
            plant, within, outcome = PLANTED[hour]
            plant(days)
            waiting = hour + within, outcome
    require_snapshots(days)
    require_logs(days)
    assert sum(report.outcome != "healthy" for report in days.reports) == len(PLANTED)


def require_snapshots(days: Days) -> None:
    """A snapshot for each of the last 24 hours, one for each of the last 7 days, whole, and no other."""
    folder = SnapshotFolder(days.snapshots.reopen())
    found = verify_snapshots(folder)
    assert all(info.whole for info in found)
    names = [info.name for info in found]
    hours, dates = {name[:11] for name in names}, {name[:8] for name in names}
    assert len(hours) == len(names)
    assert len(dates) == DAILY
    assert HOURLY <= len(names) <= HOURLY + DAILY
    assert all(report.vital_signs.backup_age_seconds is not None for report in days.reports)


def require_logs(days: Days) -> None:
    logs = all_files(days.disk.reopen(), LOGS)
    assert {name for name in logs if name.startswith(HEALTH_LOG)} <= {
        HEALTH_LOG,
        *(f"{HEALTH_LOG}.{number}" for number in (1, 2, 3)),
    }
    # A line may be written when the bound is just not reached.
    assert all(len(data) < MOST_LOG + 4096 for data in logs.values())
    assert f"{HEALTH_LOG}.1" in logs


KEYS: list[Key] = [("memory", f"m{n:03}") for n in range(50)]


@given(st.integers(0, 50), st.integers(1, 60), st.none() | st.integers(0, 60))
def test_so_many_passes_read_every_file(count: int, passes: int, start: int | None) -> None:
    keys = KEYS[:count]
    last: Key | None = None if start is None else ("memory", f"m{start:03}x")
    read: list[Key] = []
    for _ in range(passes):
        share = share_after(keys, last, passes)
        assert len(share) <= -(-count // passes)
        assert len(set(share)) == len(share)
        read += share
        last = share[-1] if share else last
    assert set(read) == set(keys)
