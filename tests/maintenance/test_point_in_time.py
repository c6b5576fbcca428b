"""With an archived journal any moment since the oldest snapshot can be had again, and every version is known."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from snapshot_cases import Case, State, entity_state

from synthians_memory.engine.store import Store
from synthians_memory.layout import ARCHIVE, JOURNAL
from synthians_memory.maintenance.history import history_of
from synthians_memory.maintenance.past import trim_archive
from synthians_memory.maintenance.restore import Wanted, past_version, restore_store
from synthians_memory.maintenance.restore_report import RestoreReport
from synthians_memory.maintenance.retention import apply_retention
from synthians_memory.models import MemoryEntry
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_crash import StoreSweep
from synthians_memory.testing.store_history import DrivenStore, StoreHistory
from synthians_memory.testing.store_scenarios import SMALL_STORE, StoreScenario, assembly, memory
from synthians_memory.testing.stored_files import all_files
from synthians_memory.times import from_micros

ARCHIVED = replace(SMALL_STORE, archive_journal=True)


@dataclass
class Oracle:
    """What the store held at each moment."""

    times: list[int] = field(default_factory=list)
    states: list[State] = field(default_factory=list)

    def note(self, case: Case) -> None:
        self.times.append(case.clock.micros())
        self.states.append(case.state())

    def at(self, micros: int) -> State:
        return self.states[bisect_right(self.times, micros) - 1]


def lived(seed: int, steps: int = 250) -> tuple[Case, Oracle]:
    """A store with a life of its own: saves, deletes, batches, checkpoints, restarts, snapshots."""
    case, oracle, rng = Case(ARCHIVED), Oracle(), Random(seed)
    case.driven.save(memory("first"))
    oracle.note(case)
    case.backup()
    for step in range(steps):
        case.clock.advance(rng.randrange(1, 5000) / 1000)
        live(case, rng, step)
        oracle.note(case)
    return case, oracle


def live(case: Case, rng: Random, step: int) -> None:
    name = f"m{rng.randrange(30)}"
    match rng.randrange(12):
        case 0:
            case.driven.delete(("memory", name))
        case 1:
            case.driven.save(*(memory(f"m{n}", step + 1) for n in rng.sample(range(30), 5)), assembly("a", name))
        case 2:
            case.driven.save(memory(name, step + 1, length=15_000))
        case 3:
            case.driven.checkpoint()
        case 4:
            case.driven.close()
            case.driven = DrivenStore.open(case.view(), case.config, case.clock, case.driven.history)
        case 5 if rng.random() < 0.3:
            case.backup(ring="hourly")
        case _:
            case.driven.save(memory(name, step + 1))


def restored_at(case: Case, micros: int) -> tuple[State, RestoreReport]:
    place = MemoryBackend()
    report = restore_store(
        place.reopen,
        case.folder,
        Wanted(at=from_micros(micros)),
        case.clock,
        past_of=case.view(),
        elsewhere=True,
        config=SMALL_STORE,
    )
    return entity_state(place), report


def test_any_moment_is_as_it_was() -> None:
    case, oracle = lived(1)
    rng = Random(2)
    moments = [rng.randrange(oracle.times[0], oracle.times[-1] + 1) for _ in range(50)]
    # The very microsecond of a change, and the one before it.
    moments += [moment - early for moment in rng.sample(oracle.times[1:], 5) for early in (0, 1)]
    replayed = 0
    for moment in moments:
        state, report = restored_at(case, moment)
        assert state == oracle.at(moment), from_micros(moment)
        assert (report.problems, report.moment) == ((), from_micros(moment))
        replayed += report.replayed
    assert replayed > 100
    assert len(case.folder.names()) > 3


@pytest.mark.long
@pytest.mark.parametrize("seed", range(20))
def test_any_moment_of_many_lives_is_as_it_was(seed: int) -> None:
    case, oracle = lived(seed, 500)
    for moment in Random(seed).sample(range(oracle.times[0], oracle.times[-1]), 50):
        assert restored_at(case, moment)[0] == oracle.at(moment)


def test_in_place_and_for_one_memory() -> None:
    case, oracle = lived(3, 60)
    moment = oracle.times[30]
    wanted = oracle.at(moment)
    at = Wanted(at=from_micros(moment))
    entity, _ = past_version(case.folder, ("memory", "first"), at, case.view())
    assert entity is not None
    assert entity.__dict__["content_hash"].encode() in wanted["memory", "first"]
    latest = case.state()
    report = case.restore(at)
    assert entity_state(case.view()) == wanted
    # What the journal still had belongs to the past as well: a later moment can be had after that.
    assert restored_at(case, oracle.times[-1])[0] == latest
    assert report.loss is not None
    assert report.loss.newer > 0


def test_without_an_archive_the_snapshot_is_what_there_is_and_that_is_said() -> None:
    case = Case()
    case.driven.save(memory("m", 1))
    first = case.backup().manifest
    case.clock.advance(10)
    case.driven.save(memory("m", 2))
    case.driven.checkpoint()
    case.clock.advance(10)
    case.driven.save(memory("m", 3))
    state, report = restored_at(case, case.clock.micros())
    assert b"edition 1" in state["memory", "m"]
    assert report.moment == from_micros(first.taken_micros)
    assert "no longer to be had" in report.problems[0]
    # What only the present journal has is enough where nothing was dropped since.
    second = case.backup().manifest
    case.clock.advance(10)
    case.driven.save(memory("m", 4))
    case.clock.advance(10)
    state, report = restored_at(case, case.clock.micros() - 1)
    assert b"edition 4" in state["memory", "m"]
    assert (report.snapshot, report.problems) == (second.name, ())


def test_a_lost_segment_of_the_archive_is_said() -> None:
    case, oracle = lived(4, 80)
    archived = sorted(all_files(case.medium, ARCHIVE))
    assert len(archived) > 5
    case.medium.unlink(archived[1])
    reports = [restored_at(case, moment)[1] for moment in oracle.times[::9]]
    assert any(report.problems for report in reports)
    for moment, report in zip(oracle.times[::9], reports, strict=True):
        assert report.problems or restored_at(case, moment)[0] == oracle.at(moment)


def test_a_lost_journal_is_said() -> None:
    case, oracle = lived(5, 40)
    case.driven.close()
    for path in all_files(case.medium, JOURNAL):
        case.medium.unlink(path)
    assert restored_at(case, case.clock.micros())[1].problems
    state, report = restored_at(case, oracle.times[3])
    assert (state, report.problems) == (oracle.at(oracle.times[3]), ())


def test_the_archive_follows_the_snapshots() -> None:
    case, oracle = lived(6, 200)
    for _ in range(8):
        case.clock.advance(60)
        case.backup()
    apply_retention(case.folder)
    oldest = min(manifest.taken_micros for manifest in case.folder.listing().manifests)
    before = all_files(case.medium, ARCHIVE)
    assert trim_archive(case.view(), oldest) > 0
    after = all_files(case.medium, ARCHIVE)
    assert set(after) < set(before)
    assert case.folder.listing().manifests
    assert restored_at(case, oracle.times[-1] + 61_000_000)[0] == oracle.states[-1]


def test_a_segment_is_archived_before_it_is_dropped_whatever_happens() -> None:
    """The crash suite of the engine, with the archive on; and what the archive has is what the journal had."""

    def steps(driven: DrivenStore) -> None:
        for edition in range(1, 4):
            driven.save(*(memory(f"m{n}", edition) for n in range(3)))
            driven.checkpoint()

    scenario = StoreScenario("archived", (steps,), config=ARCHIVED)
    assert StoreSweep(scenario).crashes(step=19, seeds=[2])
    assert StoreSweep(scenario).faults(step=211)
    disk = FaultyDisk()
    scenario.run(FaultyBackend(disk), StoreHistory())
    after = FaultyBackend(disk.crash("lose_all"))
    archived = all_files(after, ARCHIVE)
    assert len(archived) >= 2
    assert all(len(data) < 16 * 1024 for data in archived.values())


# History


def test_the_history_of_a_memory_has_its_versions_and_where_they_are() -> None:
    case = Case(ARCHIVED)
    case.driven.save(memory("m", 1), memory("other"))
    first = case.backup().manifest.name
    case.clock.advance(10)
    case.driven.save(memory("m", 2))
    case.driven.checkpoint()
    case.clock.advance(10)
    case.driven.delete(("memory", "m"))
    case.clock.advance(10)
    case.driven.save(memory("m", 3))
    found = history_of(case.view(), ("memory", "m"), case.folder)
    assert [version.sources for version in found] == [
        (f"snapshot {first}", "journal"),
        ("journal",),
        ("journal",),
        ("store", "journal"),
    ]
    assert [version.content_hash is None for version in found] == [False, False, True, False]
    start = found[0].time
    assert [(version.time - start).total_seconds() for version in found] == [0, 10, 20, 30]
    assert history_of(case.view(), ("memory", "nobody"), case.folder) == []
    without = history_of(case.view(), ("memory", "m"))
    assert [version.sources[0] for version in without] == ["journal", "journal", "journal", "store"]


def test_damage_shortens_a_history_and_ends_nothing() -> None:
    case = Case(ARCHIVED)
    for edition in range(1, 5):
        case.driven.save(memory("m", edition))
        case.backup()
        case.clock.advance(10)
        case.driven.checkpoint()
    for path in [*sorted(all_files(case.to, "entities"))[:2], *sorted(all_files(case.to, "snapshots"))[:1]]:
        case.to.unlink(path)
    case.medium.unlink(min(all_files(case.medium, ARCHIVE)))
    found = history_of(case.view(), ("memory", "m"), case.folder)
    assert 1 <= len(found) <= 4
    assert found[-1].sources[-1] in ("store", "journal")
    store = Store.open(MemoryBackend(), SMALL_STORE, ManualClock())
    assert history_of(store.state.backend, ("memory", "m")) == []
    store.close()
    assert isinstance(case.store.load(("memory", "m")), MemoryEntry)
