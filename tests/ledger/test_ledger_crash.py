"""A ledger under power cuts, deaths of its process and failing calls: what was acknowledged is there, and the chain holds."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from ledgers import NOON, chain_holds, fact, numbered_ids

from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.ledger.artifacts import ArtifactTable
from synthians_memory.ledger.ledger import Ledger
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import MUTATING, READING, Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import Policy
from synthians_memory.testing.sweep import ERRNOS, count_calls, for_each_crash, for_each_fault

HARMLESS = {"ledger_torn", "ledger_set_aside", "ledger_cut_unrecorded", "scratch", "capsule_orphan"}


def on(backend: Backend) -> Ledger:
    return Ledger(backend, "ledger", clock=ManualClock(NOON), draw=numbered_ids(), wait=0)


@dataclass
class Story:
    """What a scenario did, and which of it was acknowledged."""

    acknowledged: list[str] = field(default_factory=list)
    with_capsule: list[str] = field(default_factory=list)
    promoted: list[str] = field(default_factory=list)
    indexed: list[str] = field(default_factory=list)

    def write(self, ledger: Ledger, n: int) -> None:
        self.acknowledged.append(ledger.write_log({"task": f"t{n}", "outputs": {"summary": "x" * 40 * n}}))

    def run(self, ledger: Ledger) -> None:
        run_id = ledger.write_run({"task": "run"}, context={"cwd": "/"}, outputs={"stdout": b"out", "stderr": b""})
        self.acknowledged.append(run_id)
        self.with_capsule.append(run_id)

    def promote(self, ledger: Ledger, name: str) -> None:
        ledger.promote_fact(fact(self.acknowledged[0], id=name))
        self.promoted.append(name)

    def index(self, backend: Backend, name: str) -> None:
        """What `index_artifacts` does once it has the lock and the hashes."""
        ArtifactTable(backend, "ledger").add("t", [{"path": name, "sha256": name}], "r", known=True)
        self.indexed.append(name)


def entries_story(story: Story, backend: Backend) -> None:
    ledger = on(backend)
    for n in range(4):
        story.write(ledger, n)


def torn_story(story: Story, backend: Backend) -> None:
    """Finds a torn line, and goes on."""
    file = backend.open_existing("ledger/log.jsonl")
    file.write(b'{"hash_prev":"torn')
    file.close()
    ledger = on(backend)
    story.write(ledger, 2)
    story.write(ledger, 1)


def capsules_story(story: Story, backend: Backend) -> None:
    ledger = on(backend)
    story.write(ledger, 1)
    story.run(ledger)
    story.run(ledger)


def facts_story(story: Story, backend: Backend) -> None:
    ledger = on(backend)
    story.write(ledger, 1)
    for name in ("a", "b", "a"):
        story.promote(ledger, name)


def artifacts_story(story: Story, backend: Backend) -> None:
    story.write(on(backend), 1)
    for name in ("a", "b", "a"):
        story.index(backend, name)


def retried_story(story: Story, backend: Backend) -> None:
    """What a call that failed has left in sight is not taken for what is durable."""
    ledger = on(backend)
    story.write(ledger, 1)
    for attempt in (lambda: story.promote(ledger, "a"), lambda: story.index(backend, "a")):
        for _ in range(3):
            with suppress(SynthiansMemoryError):
                attempt()


def many_lives_story(story: Story, backend: Backend) -> None:
    """Several processes, none of which knows what failed in the ones before."""
    for n in range(4):
        try:
            story.write(on(backend), n)
        except SynthiansMemoryError:
            continue


def cut_story(story: Story, backend: Backend) -> None:
    ledger = on(backend)
    story.write(ledger, 1)
    newer = MemoryBackend()
    newer.make_folder("ledger")
    other = on(newer)
    for n in range(3):
        other.write_log({"task": f"newer {n}"})
    run_id = ledger.cut_after_restore(other.chunks())
    assert run_id is not None
    story.acknowledged.append(run_id)
    story.write(ledger, 1)


STORIES = [
    entries_story,
    torn_story,
    capsules_story,
    facts_story,
    artifacts_story,
    retried_story,
    many_lives_story,
    cut_story,
]
each_story = pytest.mark.parametrize("tell", STORIES, ids=lambda tell: tell.__name__)


class Sweep:
    def __init__(self, tell: Callable[[Story, Backend], None], *, made: bool = False) -> None:
        self._tell = tell
        self.story = Story()
        self.disk = FaultyDisk()
        self._before: list[str] = []
        if made:
            backend = FaultyBackend(self.disk)
            for parent, path in (("", "ledger"), ("ledger", "ledger/runs")):
                backend.make_folder(path)
                backend.sync_folder(parent)
        if tell is torn_story:
            first = Story()
            backend = FaultyBackend(self.disk)
            first.write(on(backend), 3)
            self._before = first.acknowledged

    def scenario(self, backend: Backend) -> None:
        self.story = Story([*self._before])
        self._tell(self.story, backend)

    def verify(self, backend: FaultyBackend) -> None:
        self._verify_life(backend)
        # Going on must not make worse what the crash left; and what is written now survives the next one.
        more = Story()
        more.write(on(backend), 1)
        self.story.acknowledged += more.acknowledged
        for policy in ("killed", "lose_all", "keep_all"):
            after = FaultyBackend(backend.disk.crash(policy))
            self._verify_life(after)
            log = after.read("ledger/log.jsonl") or b""
            assert chain_holds(log)
        self.story.acknowledged.pop()

    def _verify_life(self, backend: Backend) -> None:
        ledger = on(backend)
        found = {finding.code: finding.message for finding in ledger.check()}
        assert not found.keys() - HARMLESS, found
        entries = list(ledger.entries())
        runs = [entry["run_id"] for entry in entries]
        assert [run for run in self.story.acknowledged if run not in runs] == []
        assert len(set(runs)) == len(runs)
        for run_id in self.story.with_capsule:
            meta = json.loads(backend.read(f"ledger/runs/{run_id}/meta.json") or b"null")
            assert meta == next(entry for entry in entries if entry["run_id"] == run_id)
        facts = {known["id"]: known for known in ledger.facts()}
        assert set(self.story.promoted) <= set(facts)
        assert set(self.story.indexed) <= {row["sha256"] for row in ledger.artifacts().get("t", [])}
        assert all(known == fact(known["source_run"], id=known["id"]) for known in facts.values())


@each_story
def test_the_power_may_go_at_any_call(tell: Callable[[Story, Backend], None]) -> None:
    sweep = Sweep(tell)

    def verify(backend: FaultyBackend, at: int, policy: Policy, seed: int) -> None:
        sweep.verify(backend)

    assert for_each_crash(sweep.scenario, verify, disk=sweep.disk, seeds=(0, 1)) > 50


@each_story
@pytest.mark.parametrize(
    "errnos", [(errno.EIO, errno.ENOSPC), pytest.param(ERRNOS, marks=pytest.mark.long)], ids=["few", "all"]
)
def test_any_call_may_fail(errnos: tuple[int, ...], tell: Callable[[Story, Backend], None]) -> None:
    # Nothing can be done about a folder whose name was lost by a disk that failed, and then answers again without a
    # restart.
    sweep = Sweep(tell, made=True)

    def verify(backend: FaultyBackend, fault: Fault, error: SynthiansMemoryError | None, policy: Policy) -> None:
        sweep.verify(backend)

    verbs = MUTATING | (READING - {"free_bytes"})
    assert for_each_fault(sweep.scenario, verify, disk=sweep.disk, errnos=errnos, verbs=verbs) > 100


def test_what_was_lost_by_a_failed_sync_is_not_trusted_to_a_later_one() -> None:
    def scenario(backend: FaultyBackend) -> None:
        many_lives_story(Story(), backend)

    syncs = frozenset({"sync", "sync_folder"})
    for at in range(1, count_calls(scenario, verbs=syncs) + 1):
        disk = FaultyDisk()
        disk.plan(Fault(at, 5, verbs=syncs))
        scenario(FaultyBackend(disk))
        assert disk.retried_syncs == []


@pytest.mark.parametrize("tell", [entries_story, capsules_story], ids=lambda tell: tell.__name__)
def test_the_folders_may_fail_to_be_made(tell: Callable[[Story, Backend], None]) -> None:
    sweep = Sweep(tell)

    def verify(backend: FaultyBackend, fault: Fault, error: SynthiansMemoryError | None, policy: Policy) -> None:
        sweep.verify(backend)

    assert for_each_fault(sweep.scenario, verify, disk=sweep.disk, forever=(False,)) > 100


def test_the_sweep_sees_a_log_that_is_not_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(backend: FaultyBackend, at: int, policy: Policy, seed: int) -> None:
        sweep.verify(backend)

    sweep = Sweep(entries_story)
    monkeypatch.setattr(FaultyBackend, "sync_folder", lambda self, path: None)
    with pytest.raises(AssertionError):
        for_each_crash(sweep.scenario, verify, disk=sweep.disk, seeds=(0,))


def test_an_entry_is_refused_while_another_process_writes() -> None:
    disk = FaultyDisk()
    on(FaultyBackend(disk)).write_log({})
    other = FaultyBackend(disk)
    held = other.lock("ledger", exclusive=True)
    assert held is not None
    backend = FaultyBackend(disk)
    before = backend.read("ledger/log.jsonl")
    with pytest.raises(SynthiansMemoryError, match="another program"):
        on(backend).write_log({})
    held.release()
    assert backend.read("ledger/log.jsonl") == before
    any_event: dict[str, Any] = {"task": "after"}
    assert on(backend).write_log(any_event)
