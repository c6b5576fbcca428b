"""Whatever the disk does: each file is the old one or the new one, whole; what was acknowledged stays; nothing damaged is lost."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from contextlib import suppress

import pytest
from state_samples import VALID

from synthians_memory.errors import DiskError, SynthiansMemoryError
from synthians_memory.layout import (
    ARCHITECTURE_MAP,
    DECISION_LOG,
    STATE,
    STATE_FILES,
    SYSTEM_STATE,
    TELEMETRY,
    is_set_aside,
)
from synthians_memory.state import Decision, MapChange, StateChange, StateDirectory, TelemetryEvent, Written
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import MUTATING, READING, SYNCING, Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import POWER_CUTS, Policy
from synthians_memory.testing.sweep import for_each_crash, for_each_fault

DECISION = Decision(decision_type="tooling", description="d", rationale="r", made_by="agent")
EVENT = TelemetryEvent(event_type="deploy", component="api", value=1.5)
WRITES: dict[str, Callable[[StateDirectory], Written]] = {
    SYSTEM_STATE: lambda state: state.write_state(StateChange(action="test", components={"db": "up"})),
    DECISION_LOG: lambda state: state.log_decision(DECISION),
    ARCHITECTURE_MAP: lambda state: state.write_map(MapChange(component="db", dependencies=["disk"])),
    TELEMETRY: lambda state: state.log_telemetry(EVENT),
}
ALL: tuple[Policy, ...] = ("killed", *POWER_CUTS)
FOLDERS = ("", STATE)
STARTS = ("nothing", "valid", "damaged")
# Every writer from every start; the directory of its own for one of them. The longer form has all of it, and more draws.
POINTS = [(name, kind, STATE) for name in STATE_FILES for kind in STARTS] + [(TELEMETRY, kind, "") for kind in STARTS]
EVERYTHING = list(itertools.product(STATE_FILES, STARTS, FOLDERS))
DAMAGED = b'[{"id": "the only copy'


def state_in(backend: FaultyBackend, folder: str, micros: int = 0) -> StateDirectory:
    clock = ManualClock(1_750_000_000_000_000 + micros)
    numbers = itertools.count(1)
    return StateDirectory(
        backend, folder, clock=clock, new_id=lambda: f"{micros}-{next(numbers)}", sleep=lambda _: None
    )


def path_of(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def start(kind: str, folder: str, name: str) -> FaultyDisk:
    """A disk where all is durable: no state at all, a valid one, or one whose file `name` is damaged."""
    disk = FaultyDisk()
    backend = FaultyBackend(disk)
    if kind != "nothing":
        if folder:
            backend.make_folder(folder)
        for other, value in VALID.items():
            data = DAMAGED if kind == "damaged" and other == name else json.dumps(value).encode()
            file = backend.create(path_of(folder, other))
            file.write(data)
            file.close()
    return disk.crash("keep_all")


class Writing:
    """Some writes of one file, one after the other; knows what is on the disk after each, and how many are acknowledged."""

    def __init__(self, kind: str, folder: str, name: str, writes: int) -> None:
        self.kind, self.folder, self.name, self.writes = kind, folder, name, writes
        self.disk = start(kind, folder, name)
        self.path = path_of(folder, name)
        self.acknowledged = 0
        self.sync_failed = False
        self.versions = [FaultyBackend(self.disk).read(self.path)]
        backend = FaultyBackend(self.disk.copy())
        state = state_in(backend, folder)
        for _ in range(writes):
            WRITES[name](state)
            self.versions.append(backend.read(self.path))
        assert len(set(self.versions)) == writes + 1 or name in (SYSTEM_STATE, ARCHITECTURE_MAP)

    def __call__(self, backend: FaultyBackend) -> None:
        self.acknowledged = 0
        state = state_in(backend, self.folder)
        try:
            for _ in range(self.writes):
                WRITES[self.name](state)
                self.acknowledged += 1
        finally:
            self.sync_failed = any(verb in SYNCING for verb, _ in backend.disk.failed)

    def verify(self, backend: FaultyBackend) -> None:
        content = backend.read(self.path)
        possible = self.versions[self.acknowledged : self.acknowledged + 2]
        kept = self._kept_aside(backend)
        if self.kind == "damaged":
            assert content == DAMAGED or DAMAGED in kept, "what was damaged is lost"
            assert set(kept) <= {DAMAGED}
        else:
            assert kept == []
        assert content in possible, f"{content!r} after {self.acknowledged} acknowledged writes"
        for other in STATE_FILES:
            if other != self.name and self.kind != "nothing":
                assert json.loads(backend.read(path_of(self.folder, other)) or b"") == VALID[other]

    def _kept_aside(self, backend: FaultyBackend) -> list[bytes | None]:
        names = [name for name, _ in backend.scan(self.folder)]
        return [backend.read(path_of(self.folder, name)) for name in names if is_set_aside(name, self.name)]

    def verify_crash(self, backend: FaultyBackend, *_: object) -> None:
        self.verify(backend)
        self._go_on(backend)

    def verify_fault(
        self, backend: FaultyBackend, fault: Fault, error: SynthiansMemoryError | None, policy: Policy
    ) -> None:
        assert (error is None) == (self.acknowledged == self.writes), f"{fault} was swallowed: {error}"
        self.verify(backend)
        # What a failed sync lost is in the cache still, where a new process cannot tell it from the rest.
        lost = policy == "killed" and self.sync_failed
        self._go_on(backend, ("killed",) if lost else POWER_CUTS)

    def _go_on(self, backend: FaultyBackend, policies: tuple[Policy, ...] = POWER_CUTS) -> None:
        """The next process writes, whatever was left, and then the power goes: that write stays, with all before it."""
        before = state_in(backend, self.folder).rehydrate()
        written = WRITES[self.name](state_in(backend, self.folder, micros=7))
        for policy in policies:
            next_life = FaultyBackend(backend.disk.crash(policy))
            after = state_in(next_life, self.folder).rehydrate()
            assert self.kind != "damaged" or DAMAGED in self._kept_aside(next_life)
            found = getattr(after, self.name.removesuffix(".json"))
            if isinstance(found, list):
                assert found == [*(getattr(before, self.name.removesuffix(".json")) or []), written.value]
            else:
                assert found == written.value


@pytest.mark.parametrize(("name", "kind", "folder"), POINTS)
def test_power_cuts_at_every_step(name: str, kind: str, folder: str) -> None:
    writing = Writing(kind, folder, name, writes=2)
    assert for_each_crash(writing, writing.verify_crash, disk=writing.disk, seeds=(0,), policies=ALL) > 50


@pytest.mark.long
@pytest.mark.parametrize(("name", "kind", "folder"), EVERYTHING)
def test_power_cuts_at_every_step_drawn_often(name: str, kind: str, folder: str) -> None:
    writing = Writing(kind, folder, name, writes=3)
    assert for_each_crash(writing, writing.verify_crash, disk=writing.disk, seeds=range(10), policies=ALL) > 1000


@pytest.mark.long
@pytest.mark.parametrize(("name", "kind", "folder"), EVERYTHING)
def test_every_call_of_several_writes_fails(name: str, kind: str, folder: str) -> None:
    writing = Writing(kind, folder, name, writes=2)
    verbs = MUTATING | READING
    assert for_each_fault(writing, writing.verify_fault, disk=writing.disk, verbs=verbs, policies=ALL) > 500


@pytest.mark.parametrize(("name", "kind", "folder"), POINTS)
def test_every_call_fails(name: str, kind: str, folder: str) -> None:
    writing = Writing(kind, folder, name, writes=1)
    assert for_each_fault(writing, writing.verify_fault, disk=writing.disk, verbs=MUTATING | READING) > 100


@pytest.mark.parametrize(("name", "kind", "folder"), POINTS)
def test_a_write_that_is_tried_again(name: str, kind: str, folder: str) -> None:
    acknowledged: list[Written] = []

    def write_patiently(backend: FaultyBackend) -> None:
        acknowledged.clear()
        state = state_in(backend, folder)
        while not acknowledged:
            with suppress(DiskError):
                acknowledged.append(WRITES[name](state))
        assert not backend.disk.retried_syncs

    def verify(backend: FaultyBackend, *_: object) -> None:
        found = getattr(state_in(backend, folder).rehydrate(), name.removesuffix(".json"))
        assert (found[-1] if isinstance(found, list) else found) == acknowledged[0].value
        if kind == "damaged":
            names = [entry for entry, _ in backend.scan(folder) if is_set_aside(entry, name)]
            assert DAMAGED in [backend.read(path_of(folder, entry)) for entry in names]

    disk = start(kind, folder, name)
    assert (
        for_each_fault(write_patiently, verify, disk=disk, forever=(False,), policies=("lose_all", "lose_names")) > 40
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_disk_that_fails_is_a_warning_for_who_reads(folder: str) -> None:
    disk = start("valid", folder, "")
    whole = state_in(FaultyBackend(disk.copy()), folder).rehydrate()

    def read(backend: FaultyBackend) -> None:
        calls = backend.disk.calls
        context = state_in(backend, folder).rehydrate()
        assert backend.disk.calls == calls, "reading changed something"
        lost = [name for name in STATE_FILES if getattr(context, name.removesuffix(".json")) is None]
        assert len(context.warnings) == len(lost) == len(backend.disk.failed)
        for name in set(STATE_FILES) - set(lost):
            member = name.removesuffix(".json")
            assert getattr(context, member) == getattr(whole, member)

    assert for_each_fault(read, lambda *_: None, disk=disk, verbs=READING) > 8
