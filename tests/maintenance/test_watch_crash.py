"""A watch that is killed, loses power or meets a disk that fails while it adopts: nothing is lost, and the next one ends it."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from watched_stores import SWEEPING, edited, memory, quarantined, watched, without_seal

from synthians_memory.codec import encode
from synthians_memory.engine.commit import Batch
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.errors import DiskError
from synthians_memory.facade import MemoryPersistence
from synthians_memory.layout import QUARANTINE, entity_path
from synthians_memory.maintenance.outside_files import Candidate, OutsideFiles
from synthians_memory.maintenance.watched_change import WatchedChange
from synthians_memory.models import MemoryEntry
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import Policy
from synthians_memory.testing.store_history import DrivenStore, StoreHistory, observe, save
from synthians_memory.testing.store_scenarios import SMALL_STORE
from synthians_memory.testing.store_scenarios import memory as small_memory
from synthians_memory.testing.stored_files import all_files
from synthians_memory.testing.sweep import for_each_crash, for_each_fault

LONG = 3600
UNREPAIRED = replace(SMALL_STORE, auto_repair=False, startup_check="off")
NOON = 1_795_176_000_000_000
KEYS: list[Key] = [("memory", name) for name in ("m0", "m1", "m2", "m3", "new")]
# What it holds once all is adopted.
ADOPTED = {"m1": "m1, edition 2 ", "m2": "m2, by hand 1 ", "m3": "m3, edition 1 ", "new": "new, edition 1 "}
BEFORE = {f"m{n}": f"m{n}, edition 1 " for n in range(4)}


def put(backend: Backend, name: str, data: bytes) -> None:
    path = entity_path("memory", name)
    backend.unlink(path)
    file = backend.create(path)
    file.write(data)
    file.sync()
    file.close()


def change_outside(backend: Backend) -> None:
    """One removed, one replaced, one edited, one as it was, one new."""
    backend.unlink(entity_path("memory", "m0"))
    put(backend, "m1", encode(small_memory("m1", 2)).stamp(NOON).data)
    data = backend.read(entity_path("memory", "m2")) or b""
    put(backend, "m2", without_seal(data.replace(b"edition 1 ", b"by hand 1 ")))
    put(backend, "new", encode(small_memory("new")).stamp(NOON).data)
    backend.sync_folder("memories")


@pytest.fixture(scope="module")
def disk() -> FaultyDisk:
    disk = FaultyDisk()
    driven = DrivenStore.open(FaultyBackend(disk), SMALL_STORE, ManualClock(), StoreHistory())
    driven.save(*(small_memory(f"m{n}") for n in range(4)))
    driven.close()
    change_outside(FaultyBackend(disk))
    return disk.crash("keep_all")


def adopt(store: Store) -> list[WatchedChange]:
    files = OutsideFiles(store, adopt_damaged=False)
    examined = files.examine(list(files.look(KEYS)))
    recorded = files.record([one for one in examined if isinstance(one, Candidate)])
    return [one for one in (*examined, *recorded) if isinstance(one, WatchedChange)]


def contents(store: Store) -> dict[str, str]:
    return {i: e.content for (_, i), e in observe(store).items() if isinstance(e, MemoryEntry)}


def watch_once(backend: FaultyBackend) -> None:
    store = Store.open(backend, UNREPAIRED, ManualClock())
    adopted = adopt(store)
    assert [change.outcome for change in adopted] == ["adopted"] * 4
    assert contents(store) == ADOPTED
    store.close()


def verify(backend: FaultyBackend, *_: object) -> None:
    """Whatever happened: every entity is as before or as it was adopted, and another watch ends where it should."""
    store = Store.open(backend, UNREPAIRED, ManualClock())
    told = adopt(store)
    assert {change.outcome for change in told} <= {"adopted"}
    assert contents(store) == ADOPTED
    assert adopt(store) == []
    assert [finding for finding in store.check("full") if finding.severity != "note"] == []
    for name in ADOPTED:
        entity = store.load(("memory", name))
        assert entity is not None
        assert entity.vector is not None
        assert store.search(entity.vector, 1, "memory", None)[0].memory_id == name
    # Of entities at most what was adopted is kept a second time.
    files = all_files(store.state.backend).items()
    kept = [data for path, data in files if path.startswith(QUARANTINE) and data.startswith(b"{\n")]
    assert all(b"by hand" in data or b"edition 2" in data for data in kept), kept
    store.close()


def test_an_adoption_that_is_not_interrupted(disk: FaultyDisk) -> None:
    life = disk.copy()
    watch_once(FaultyBackend(life))
    verify(FaultyBackend(life.crash("lose_all")))


@pytest.mark.parametrize("policy", ["killed", "lose_all", "sampled"])
def test_a_crash_while_adopting_is_made_up_for(disk: FaultyDisk, policy: Policy) -> None:
    assert for_each_crash(watch_once, verify, disk=disk, seeds=[2], policies=[policy], step=2)


def test_a_fault_while_adopting_is_made_up_for(disk: FaultyDisk) -> None:
    def watch_or_fail(backend: FaultyBackend) -> None:
        store = Store.open(backend, UNREPAIRED, ManualClock())
        adopt(store)
        store.close()

    assert for_each_fault(watch_or_fail, verify, disk=disk, policies=["lose_all"], step=13)


@pytest.mark.long
@pytest.mark.timeout(LONG)
def test_every_crash_and_fault_while_adopting_is_made_up_for(disk: FaultyDisk) -> None:
    def watch_or_fail(backend: FaultyBackend) -> None:
        store = Store.open(backend, UNREPAIRED, ManualClock())
        adopt(store)
        store.close()

    assert for_each_crash(watch_once, verify, disk=disk, policies=["killed", "lose_all", "keep_all", "sampled"])
    assert for_each_fault(watch_or_fail, verify, disk=disk)


def test_a_file_that_cannot_be_read_fails_alone(disk: FaultyDisk) -> None:
    life = disk.copy()
    store = Store.open(FaultyBackend(life), UNREPAIRED, ManualClock())
    files = OutsideFiles(store, adopt_damaged=False)
    life.plan(Fault(1, 5, verbs=frozenset(["read"])))
    examined = files.examine(KEYS)
    failed = [one for one in examined if isinstance(one, WatchedChange)]
    assert [(change.outcome, change.entity_id or change.path) for change in failed] == [("failed", "memories/m1.json")]
    recorded = files.record([one for one in examined if isinstance(one, Candidate)])
    assert len(recorded) == 3
    life.clear_plan()
    assert [change.entity_id for change in adopt(store)] == ["m1"]
    assert contents(store) == ADOPTED
    store.close()


@pytest.mark.parametrize("write_mode", ["through", "behind"])
def test_what_is_told_as_adopted_is_durable_in_every_mode(disk: FaultyDisk, write_mode: str) -> None:
    config = UNREPAIRED.with_overrides(durability="interval", write_mode=write_mode, flush_threshold=1000)
    life = disk.copy()
    store = Store.open(FaultyBackend(life), config, ManualClock())
    assert [change.outcome for change in adopt(store)] == ["adopted"] * 4
    again = Store.open(FaultyBackend(life.crash("lose_all")), config, ManualClock())
    assert contents(again) == ADOPTED
    again.close()


def test_a_journal_that_fails_ends_the_watch(disk: FaultyDisk) -> None:
    life = disk.copy()
    store = Store.open(FaultyBackend(life), UNREPAIRED, ManualClock())
    store.commit([Batch([save(small_memory("m3"))])])
    life.plan(Fault(1, 5, forever=True, verbs=frozenset(["sync"])))
    with pytest.raises(DiskError):
        adopt(store)
    with pytest.raises(DiskError):
        adopt(store)
    life.clear_plan()
    store.release()
    verify(FaultyBackend(life.crash("lose_all")))


async def test_a_folder_that_cannot_be_written_is_told_and_tried_again(tmp_path: Path) -> None:
    """The change is acknowledged in the journal; its file follows when it can."""
    life = FaultyDisk()
    async with MemoryPersistence(tmp_path / "unused", backend=lambda: FaultyBackend(life)) as store:
        await store.save_memory(memory("a"))
    backend = FaultyBackend(life)
    put(backend, "a", without_seal((backend.read("memories/a.json") or b"").replace(b"text of a", b"by hand  ")))
    async with MemoryPersistence(
        tmp_path / "unused", backend=lambda: FaultyBackend(life), auto_repair=False, startup_check="off"
    ) as store:
        # The journal has its segment by then.
        await store.save_memory(memory("b"))
        life.plan(Fault(1, 13, forever=True, verbs=frozenset(["create"])))
        session = store._opened()
        told = await session.in_writer(lambda: adopt_only(session.store, "a"))
        assert [change.outcome for change in told] == ["adopted"]
        assert store.stats()["pending_files"] == 1
        entry = await store.load_memory("a")
        assert entry is not None
        assert entry.content == "by hand  "
        life.clear_plan()
    async with MemoryPersistence(tmp_path / "unused", backend=lambda: FaultyBackend(life.crash("lose_all"))) as store:
        entry = await store.load_memory("a")
        assert entry is not None
        assert entry.content == "by hand  "


def adopt_only(store: Store, entity_id: str) -> list[WatchedChange]:
    files = OutsideFiles(store, adopt_damaged=False)
    examined = files.examine([("memory", entity_id)])
    recorded = files.record([one for one in examined if isinstance(one, Candidate)])
    return [one for one in recorded if isinstance(one, WatchedChange)]


async def test_a_file_without_rights_is_told_once_and_adopted_when_it_has_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests run as root, whom no mode keeps out, so the refusal is put in the way."""
    refused = [True]
    examined = OutsideFiles._candidate

    def refuse(self: OutsideFiles, *args: object) -> object:
        if refused[0]:
            raise DiskError("cannot read memories/a.json: Permission denied", path="memories/a.json", errno=13)
        return examined(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(OutsideFiles, "_candidate", refuse)
    async with watched(tmp_path / "s", options=SWEEPING) as seen:
        seen.path("a").write_bytes(edited(seen.path("a"), "text of a", "by hand"))
        assert (await seen.of("a")).outcome == "failed"
        seen.path("b").unlink()
        await seen.of("b")
        assert len(seen.told) == 2
        refused[0] = False
        assert (await seen.of("a", 2)).outcome == "adopted"


# A process that is killed

KILLED = """
import asyncio, sys
from synthians_memory import MemoryPersistence
from synthians_memory.maintenance.watch import watch

async def main():
    async with MemoryPersistence(sys.argv[1], auto_repair=False, startup_check="off") as store:
        async for change in watch(store, settle=0.02):
            print(change.entity_id, flush=True)

asyncio.run(main())
"""
MANY = [f"m{n:03}" for n in range(250)]


@pytest.mark.parametrize(
    "told", [1, pytest.param(65, marks=pytest.mark.long), pytest.param(140, marks=pytest.mark.long)]
)
async def test_killed_in_the_middle_of_adopting(tmp_path: Path, told: int) -> None:
    root = tmp_path / "s"
    async with MemoryPersistence(root) as store:
        await store.save_memories_batch([memory(i) for i in MANY])
    for entity_id in MANY:
        path = root / "memories" / f"{entity_id}.json"
        path.write_bytes(edited(path, f"text of {entity_id}", f"by hand {entity_id}"))
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(root)], stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert process.stdout is not None
    heard = [process.stdout.readline().strip() for _ in range(told)]
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    async with MemoryPersistence(root, auto_repair=False, startup_check="off") as store:
        for entity_id in heard:
            entry = await store.load_memory(entity_id)
            assert entry is not None
            assert entry.content == f"by hand {entity_id}"
    async with MemoryPersistence(root, startup_check="full") as store:
        contents = {entry.memory_id: entry.content async for entry in store.iter_memories()}
        assert contents == {i: f"by hand {i}" for i in MANY}
        assert [f for f in await store.verify_consistency("full") if f.severity != "note"] == []
    assert all(b"by hand" in data or b'"reason"' in data for data in quarantined(root))
