"""Random histories of one store against a dict: writes, crashes, faults, and openings in any order.

It is not a crash suite: that cuts one scenario at every call. Files changed behind the store's back are in
`outside_machine`. Run it with `StoreMachine.TestCase`, or `hypothesis.stateful.run_state_machine_as_test`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from synthians_memory.codec import Version, content_hash_text
from synthians_memory.config import StoreConfig
from synthians_memory.engine.commit import Batch
from synthians_memory.engine.deadline import Deadline
from synthians_memory.engine.expiry import live_ids
from synthians_memory.engine.filter_sql import compile_filter
from synthians_memory.engine.filters import Tree, matches, parse_where
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.engine.text_index import TextIndex
from synthians_memory.errors import ConflictError, ReadOnlyError, SynthiansMemoryError
from synthians_memory.layout import ENTITY_FOLDERS, JOURNAL, Kind
from synthians_memory.reports import Finding
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import MUTATING, SYNCING, VERBS_OF_ERRNO, Fault, FaultyDisk, PowerCut
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.machine_model import (
    KEYS,
    MOST_CALLS,
    Outcome,
    Sight,
    Wish,
    batches,
    cuts,
    error_numbers,
    groups,
    has_expired,
    look,
    operation_of,
    policies,
    predict,
    require_hits,
    scores,
    seeds,
    vectors,
)
from synthians_memory.testing.power_cut import Policy
from synthians_memory.testing.store_history import DrivenStore, State, StoreHistory, delete, fail, require
from synthians_memory.testing.store_verifier import require_agreeing_files
from synthians_memory.times import to_micros

__all__ = ["StoreLife", "StoreMachine"]

T = TypeVar("T")

_VIEWS_DAMAGED = frozenset(["index_damaged", "vectors_damaged", "vector_missing", "vector_stale", "vector_orphan"])
_SOURCE = (JOURNAL, *ENTITY_FOLDERS.values())


class StoreLife(RuleBasedStateMachine):
    """A store on a faulty disk and its model, through openings and crashes.

    Attributes:
        disk: the present life of the disk.
        history: the model: what was acknowledged, and what may be there besides.
        driven: the open store.
        faulty: whether faults are planned, so that the disk may refuse.
    """

    def __init__(self) -> None:
        super().__init__()
        self.disk = FaultyDisk()
        self.clock = ManualClock()
        self.history = StoreHistory()
        self.faulty = False
        self._settings: dict[str, Any] = {}
        self._ids = itertools.count(1)
        self._cut_policy: Policy = "lose_all"
        self._recuts: list[tuple[int, int]] = []
        self._driven: DrivenStore | None = None
        self._retried = 0
        self._lost_a_sync = False
        self._was_cut = False

    @property
    def driven(self) -> DrivenStore:
        """The open store, as the history is told of it."""
        return self._driven if self._driven is not None else fail("no store is open")

    @property
    def store(self) -> Store:
        """The open store."""
        return self.driven.store

    @property
    def state(self) -> State:
        """What was acknowledged last."""
        return self.history.last

    @property
    def metric(self) -> str:
        """How the store compares vectors."""
        return str(self._settings["metric"])

    @property
    def has_failed(self) -> bool:
        """Whether the journal has failed, so that nothing is acknowledged any more."""
        journal = self.store.state.journal
        return journal is not None and journal.failure is not None

    @initialize(
        durability=st.sampled_from(["commit", "commit", "interval"]),
        write_mode=st.sampled_from(["through", "behind"]),
        behind_bytes=st.sampled_from([2_000, 1 << 20]),
        metric=st.sampled_from(["cosine", "ip", "l2"]),
        cache_bytes=st.sampled_from([0, 1 << 20]),
        backup_interval=st.sampled_from([0.0, 3600.0]),
        syncs_filesystem=st.booleans(),
    )
    def make(self, *, syncs_filesystem: bool, **settings: Any) -> None:
        """An empty store."""
        self.disk = FaultyDisk(syncs_filesystem=syncs_filesystem)
        self._settings = {"flush_threshold": 3, "segment_bytes": 16 * 1024, "index_backup_count": 2, **settings}
        self.open(0)

    # Opening and dying

    def config(self) -> StoreConfig:
        """What the store is opened with next."""
        return StoreConfig(**self._settings)

    def set(self, **settings: Any) -> None:
        """Change what the store is opened with next."""
        self._settings.update(settings)

    def open(self, oldest: int) -> None:
        """Open the store, whatever it takes, and find out which of the possible states it holds.

        Args:
            oldest: index of the oldest state of the history that it may hold.
        """
        store: Store | None = None
        # Only what one process tries again itself counts.
        self._retried = -1
        while store is None:
            if self._recuts:
                at, seed = self._recuts.pop()
                self.disk.plan_power_cut(at, seed=seed)
            try:
                store = self.open_store(FaultyBackend(self.disk))
                if self.faulty and store.state.read_only_reason:
                    # Recovery could write nothing: whoever mends the disk opens the store again.
                    store.release()
                    store = None
                    self.mend_disk()
            except PowerCut:
                oldest = min(oldest, self.die(self._cut_policy, 0))
            except SynthiansMemoryError:
                if not self.faulty:
                    raise
                self.mend_disk()
        self._driven = DrivenStore(store, self.history)
        self._retried = len(self.disk.retried_syncs)
        self.note_opening([*store.state.notes, *store.opening_report.findings])
        self.mend_disk()
        self.resolve(oldest)

    def open_store(self, backend: FaultyBackend, *, read_only: bool = False) -> Store:
        """As `Store.open`."""
        return Store.open(
            backend, self.config(), self.clock, read_only=read_only, new_id=lambda: f"{next(self._ids):032x}"
        )

    def note_opening(self, findings: Sequence[Finding]) -> None:
        """After a mere crash recovery has nothing to tell but notes; a sync that had failed may have cost a view."""
        expected = _VIEWS_DAMAGED if self._lost_a_sync else frozenset()
        worse = [finding for finding in findings if finding.severity != "note" and finding.code not in expected]
        require(self.faulty or not worse, f"recovery reported {worse}")

    def resolve(self, oldest: int) -> None:
        """Settle on the state that the open store holds; AssertionError where it is none of those possible."""
        sights = {key: look(self.store, key) for key in KEYS}
        if self._was_cut:
            # What a failed sync had lost is lost by now, or it is there.
            self._lost_a_sync = self._was_cut = False
        state = self.resolved(self.history.states[self.match(sights, oldest)], sights)
        self.history.states = [state]
        self.history.settle(0)

    def resolved(self, state: State, sights: Mapping[Key, Sight]) -> State:
        """What the store holds from now on, where it was to hold `state`."""
        return state

    def match(self, sights: Mapping[Key, Sight], oldest: int, newest: int | None = None) -> int:
        """Index of the oldest state between the two that `sights` are of; AssertionError where there is none."""
        last = len(self.history.states) - 1 if newest is None else newest
        for index in range(oldest, last + 1):
            if not self._complaints(self.history.states[index], sights):
                return index
        complaints = "; ".join(self._complaints(self.history.states[oldest], sights))
        return fail(f"none of the states {oldest} to {last} is held; of the oldest: {complaints}")

    def _complaints(self, state: State, sights: Mapping[Key, Sight]) -> list[str]:
        found = ((key, self.complaint(key, state.get(key), sight)) for key, sight in sights.items())
        return [f"{key} {complaint}" for key, complaint in found if complaint]

    def complaint(self, key: Key, version: Version | None, sight: Sight) -> str:
        """What is wrong with `sight` of an entity whose acknowledged version is `version`; "" for nothing."""
        if version is None:
            return "" if sight == (None, None, False) else f"was not there, and is {sight}"
        if sight.entity is None or sight.indexed != version.hash:
            return f"was to be {version.hash.hex()[:8]}, and is {sight}"
        same = sight.entity.__dict__["content_hash"] == content_hash_text(version.hash)
        return "" if same and sight.entity == version.stored_entity() else "has another value"

    def die(self, policy: Policy, seed: int) -> int:
        """End this life of the disk; returns the index of the oldest state that the next may hold."""
        self.require_no_retried_syncs()
        self._lost_a_sync |= any(verb in SYNCING for verb, _ in self.disk.failed)
        self._was_cut |= policy != "killed"
        self.disk = self.disk.crash(policy, seed=seed)
        self.faulty = False
        return self.history.visible if policy == "killed" else self.history.certain

    def require_no_retried_syncs(self) -> None:
        """What is source is never synced again after a failed sync; a later process cannot know of it, and views do not matter."""
        new = self.disk.retried_syncs[self._retried :] if self._retried >= 0 else []
        retried = [path for path in new if path.split("/")[0] in _SOURCE]
        require(not retried, f"synced again after a failed sync: {retried}")

    def mend_disk(self) -> None:
        """No call fails any more."""
        self.disk.clear_plan()
        self.faulty = False

    def attempt(self, action: Callable[[], T]) -> T | None:
        """Do it; None where the power was cut, and the store opened again, or where a faulty disk refused."""
        try:
            return action()
        except PowerCut:
            self.open(self.die(self._cut_policy, 0))
        except SynthiansMemoryError:
            if not self.faulty and not self.has_failed:
                raise
            if self.driven.is_open:
                self._find_visible()
        return None

    def _find_visible(self) -> None:
        """What was acknowledged before it was durable may be visible although the call that was to force it failed."""
        sights = {key: look(self.store, key) for key in KEYS}
        self.history.visible = self.match(sights, self.history.visible)


class StoreMachine(StoreLife):
    """What may happen to the store."""

    @rule(group=st.lists(batches, min_size=1, max_size=3))
    def commit(self, group: list[list[Wish]]) -> None:
        """Commit some batches together; each as predicted, or refused by a disk that may."""
        failed_before = self.has_failed
        operations = [[operation_of(wish, self.state, self.clock.micros()) for wish in batch] for batch in group]
        predicted = predict(operations, self.state, self.clock.micros())
        committed = self.attempt(lambda: self.driven.commit(*operations))
        for batch, outcomes in zip(committed or (), predicted, strict=False):
            self._require_predicted(batch, outcomes, failed_before=failed_before)
        self.committed(committed or ())

    def committed(self, batches: Sequence[Batch]) -> None:
        """Called with what was committed just now."""

    def _require_predicted(self, batch: Batch, predicted: list[Outcome] | None, *, failed_before: bool) -> None:
        if failed_before:
            require(isinstance(batch.error, ReadOnlyError), f"a failed journal answers {batch.error}")
        elif isinstance(batch.error, ConflictError):
            # A batch that was refused by the disk leaves the later ones other versions than predicted.
            require(predicted is None or self.faulty, f"not a conflict: {batch.error}")
        elif batch.error is not None:
            require(self.faulty or self.has_failed, f"refused by a healthy disk: {batch.error}")
        elif not self.faulty:
            outcomes = [o.hash if isinstance(o, Version) else o for o in batch.outcomes]
            require(outcomes == predicted, f"outcomes are {outcomes}, not {predicted}")

    @rule(seconds=st.sampled_from([0.000001, 1, 3600, -0.000001, -1, -86400]))
    def let_time_pass(self, seconds: float) -> None:
        """Forwards or backwards; otherwise the clock stands still."""
        self.clock.advance(seconds)

    @rule()
    def sweep(self) -> None:
        """Delete what has expired."""
        now = self.clock.micros()
        expired = [key for key, version in self.state.items() if has_expired(version, now)]
        if not self.faulty and not self.has_failed and all(map(self.is_certain, KEYS)):
            require(
                sorted(self.store.state.index.expiry.expired(now)) == sorted(i for _, i in expired), "other ids expire"
            )
        self.attempt(lambda: self.driven.commit([delete(key) for key in expired]) if expired else [])

    @rule()
    def flush(self) -> None:
        """Make what was acknowledged durable."""
        self.attempt(self.driven.flush)

    @rule(most=st.integers(1, 4))
    def write_files(self, most: int) -> None:
        """Write some of the files that follow."""
        self.attempt(lambda: self.store.committer.write_files(most))

    @rule()
    def checkpoint(self) -> None:
        """Bring it into files and views."""

        def done() -> bool:
            self.driven.checkpoint()
            return True

        if self.attempt(done):
            self.checkpointed()

    def checkpointed(self) -> None:
        """Called after a checkpoint that succeeded."""

    @rule(policy=policies, seed=seeds, recuts=cuts)
    def crash(self, policy: Policy, seed: int, recuts: list[tuple[int, int]]) -> None:
        """The process or the power dies between two calls, and perhaps again during recovery."""
        self._recuts = list(recuts)
        self.open(self.die(policy, seed))

    @rule(at=st.integers(1, MOST_CALLS), seed=seeds, policy=policies, recuts=cuts)
    def plan_power_cut(self, at: int, seed: int, policy: Policy, recuts: list[tuple[int, int]]) -> None:
        """The power will be cut in the middle of something."""
        self._cut_policy = policy
        self._recuts = list(recuts)
        self.disk.plan_power_cut(at, seed=seed)

    @rule(policy=st.one_of(st.none(), policies), seed=seeds)
    def close(self, policy: Policy | None, seed: int) -> None:
        """Close it, perhaps lose the power then, and open it again."""
        driven = self.driven
        self.attempt(driven.close)
        if self.driven is not driven:
            return
        if not self.faulty and not self.history.journal_failed:
            self.require_closed_files()
        oldest = self.history.visible
        self.open(oldest if policy is None else min(oldest, self.die(policy, seed)))

    def require_closed_files(self) -> None:
        """The files of the store that was just closed hold what it held."""
        require_agreeing_files(FaultyBackend(self.disk), self.state)

    @rule(
        number=error_numbers,
        at=st.integers(1, 40),
        forever=st.booleans(),
        verbs=st.sampled_from([*sorted(MUTATING), None]),
    )
    def plan_fault(self, number: int, at: int, *, forever: bool, verbs: str | None) -> None:
        """The disk will refuse."""
        possible = VERBS_OF_ERRNO[number] & MUTATING
        chosen = possible & {verbs} if verbs is not None else possible
        if chosen:
            self.faulty = True
            self.disk.plan(Fault(at, number, forever=forever, verbs=chosen))

    @precondition(lambda self: self.faulty)
    @rule()
    def mend(self) -> None:
        """The disk is well again."""
        self.mend_disk()

    @rule(vector=vectors, k=st.integers(1, len(KEYS)), kind=st.sampled_from(["memory", "assembly"]), group=groups)
    def search(self, vector: tuple[int, ...], k: int, kind: Kind, group: int | None) -> None:
        """Search finds what is nearest among what is there."""
        where = None if group is None else {"group": group}
        now = self.clock.micros()
        live = {key: version for key, version in self.state.items() if not has_expired(version, now)}
        found = scores(live, vector, kind, where, self.metric)
        wanted = {key[1]: score for key, score in found.items() if self.is_certain(key)}
        uncertain = {key[1] for key in KEYS if key[0] == kind and not self.is_certain(key)}
        hits = self.store.search(np.array(vector, dtype=np.float32), len(KEYS) if uncertain else k, kind, where)
        require_hits([hit for hit in hits if hit.memory_id not in uncertain], wanted, len(KEYS) if uncertain else k)

    @rule(group=groups)
    def ask_text(self, group: int | None) -> None:
        """The text index finds the word, and what a filter says, among what is there."""
        tree = parse_where({"$not": {"group": group}})
        found = self.store.ask_text(Deadline(None, lambda: 0.0), lambda index: _with_word(index, "x", tree))
        certain = {key[1]: v.entity for key, v in self.state.items() if key[0] == "memory" and self.is_certain(key)}
        allowed = {i for i, entity in certain.items() if matches(entity, tree)}
        wanted = {i for i in allowed if certain[i].__dict__["content"] == "x"}
        without = {i for i in allowed if not certain[i].__dict__["content"]}
        uncertain = {key[1] for key in KEYS if not self.is_certain(key)}
        require(wanted - uncertain <= found, f"the word was not found in {wanted - found}")
        require(found - uncertain <= allowed - without, f"the word was found in {found} of {allowed}")

    def is_certain(self, key: Key) -> bool:
        """Whether nobody else has changed the file of an entity."""
        return key in KEYS

    @precondition(lambda self: not self.faulty)
    @rule(level=st.sampled_from(["quick", "full"]))
    def check(self, level: Literal["quick", "full"]) -> None:
        """A check finds what is wrong, and nothing else."""
        self.require_findings(self.store.check(level))

    def require_findings(self, findings: Sequence[Finding]) -> None:
        """Nothing is wrong but what could not be written yet."""
        pending = set(self.store.state.overlay.stuck)
        worse = [f for f in findings if f.severity != "note"]
        wrong = [f for f in worse if f.code != "apply_pending" or (f.kind, f.entity_id) not in pending]
        require(not wrong, f"check found {wrong}")

    @rule()
    def read_beside(self) -> None:
        """A reader sees what was acknowledged, and changes nothing."""
        calls = self.disk.calls
        reader = self.open_store(FaultyBackend(self.disk), read_only=True)
        self.require_seen(reader, len(self.history.states) - 1)
        reader.release()
        require(self.disk.calls == calls, "a reader changed something")

    @invariant()
    def what_was_acknowledged_is_served(self) -> None:
        """At every moment, whatever the disk refuses."""
        if self._driven is not None:
            self.require_seen(self.store, self.history.visible)

    @invariant()
    def what_has_expired_is_not_served(self) -> None:
        """Whatever is stored: a read gives it until its time has come, and never after."""
        if self._driven is None:
            return
        listed, now = {*live_ids(self.store.state, "memory")}, self.clock.micros()
        for key in KEYS:
            stored = look(self.store, key)
            expires_at = stored.entity.__dict__.get("expires_at") if stored.entity is not None else None
            gone = expires_at is not None and to_micros(expires_at) <= now
            if stored.entity is not None:
                require((self.store.load(key) is None) == gone, f"{key} expires at {expires_at}")
                require(
                    key[0] != "memory" or (key[1] in listed) != gone, f"{key} expires at {expires_at}, and is listed"
                )

    def require_seen(self, store: Store, newest: int) -> None:
        """`store` serves what was acknowledged last, or up to the state `newest` what may become so."""
        self.match({key: look(store, key) for key in KEYS}, self.history.visible, newest)
        for kind in ("memory", "assembly"):
            known = {entity_id for k, entity_id in KEYS if k == kind}
            require(set(store.state.index.rows[kind]) <= known, f"the memory index has other ids of kind {kind}")


def _with_word(index: TextIndex, word: str, tree: Tree) -> set[str]:
    index.narrow("memory", compile_filter(tree))
    return {i for _, i, _ in index.words("memory", f'"{word}"', len(KEYS), narrowed=True)}
