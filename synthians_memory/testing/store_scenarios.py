"""What stores go through, small and the same each time, for crashes and faults to happen in between.

It does not make them happen, and verifies nothing but that what was acknowledged is served at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random
from typing import Final, TypeAlias

from synthians_memory.config import StoreConfig
from synthians_memory.engine.commit import ABSENT
from synthians_memory.engine.index import MemoryIndex
from synthians_memory.engine.vectors import VectorView
from synthians_memory.errors import ConflictError, DiskFullError, SynthiansMemoryError
from synthians_memory.models import MemoryAssembly, MemoryEntry, Vector, as_vector
from synthians_memory.storage.backend import Backend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_history import DrivenStore, StoreHistory, delete, require, save

__all__ = ["FULL_DISK", "SCENARIOS", "SMALL_STORE", "Step", "StoreScenario", "assembly", "logged_views", "memory"]

Step: TypeAlias = Callable[[DrivenStore], object]

SMALL_STORE: Final = StoreConfig(embedding_dimension=4, segment_bytes=16 * 1024, index_backup_count=0)
_BORN: Final = datetime(2025, 1, 1, tzinfo=UTC)
# Larger than a segment, so that the group that holds it goes on in another.
_LONG: Final = 15 * 1024


def _vector(seed: str) -> Vector:
    rng = Random(seed)  # noqa: S311 - repeatable, not secret
    return as_vector([rng.gauss(0, 1) for _ in range(4)])


def memory(name: str, edition: int = 1, *, length: int = 0, embedded: bool = True) -> MemoryEntry:
    """The memory `name` in one of its editions, which differ in content, metadata and vector.

    Args:
        name: its id; equal arguments give equal entries.
        edition: which.
        length: least length of its content.
        embedded: whether it has a vector.
    """
    return MemoryEntry(
        memory_id=name,
        content=f"{name}, edition {edition} ".ljust(length, "x"),
        embedding=_vector(f"{name} {edition}") if embedded else None,
        created_at=_BORN,
        metadata={"edition": edition, "name": name},
        tags=(name,),
    )


def assembly(name: str, *members: str, edition: int = 1) -> MemoryAssembly:
    """The assembly `name` of some memories, in one of its editions."""
    return MemoryAssembly(
        assembly_id=name,
        name=f"{name}, edition {edition}",
        members=members,
        composite_embedding=_vector(f"{name} assembly {edition}"),
        created_at=_BORN,
        metadata={"edition": edition},
    )


@contextmanager
def logged_views(share: float) -> Iterator[None]:
    """Let views append to their logs whatever their size, until a log is `share` of its snapshot; of all stores."""
    before = [(view, view.small_bytes, view.log_share) for view in (MemoryIndex, VectorView)]
    try:
        for view, _, _ in before:
            view.small_bytes, view.log_share = 0, share
        yield
    finally:
        for view, small_bytes, log_share in before:
            view.small_bytes, view.log_share = small_bytes, log_share


@dataclass(frozen=True)
class StoreScenario:
    """A store that is made, and what then happens to it.

    Attributes:
        name: what it shows.
        steps: what happens, in order, each time the scenario runs.
        before: what happened to the store before, while nothing failed.
        closed: whether it was closed after that.
        config: what it is opened with, each time.
        log_share: None for the views' own thresholds; else as in `logged_views`.
    """

    name: str
    steps: tuple[Step, ...]
    before: tuple[Step, ...] = ()
    closed: bool = True
    config: StoreConfig = SMALL_STORE
    log_share: float | None = None

    @contextmanager
    def thresholds(self) -> Iterator[None]:
        """What its views are to be written under."""
        if self.log_share is None:
            yield
        else:
            with logged_views(self.log_share):
                yield

    def prepare(self, backend: Backend, history: StoreHistory) -> None:
        """Make the store as it is before the first step."""
        if self.before:
            driven, clock = self._open(backend, history)
            for step in self.before:
                step(driven)
                clock.advance(1)
            if self.closed:
                driven.close()

    def run(self, backend: Backend, history: StoreHistory) -> None:
        """Open the store and take every step; raises whatever comes."""
        driven, clock = self._open(backend, history)
        for step in self.steps:
            step(driven)
            driven.require_peace()
            clock.advance(1)

    def run_on(self, backend: Backend, history: StoreHistory, *, reads_fail: bool = False) -> DrivenStore:
        """As `run`, but a step that fails with an error of the library does not end it; returns the store.

        Args:
            backend: as in `run`.
            history: as in `run`.
            reads_fail: whether a load may fail as well, so that none is made.

        Raises:
            AssertionError: what was acknowledged was not served after some step.
            SynthiansMemoryError: the store could not be opened.
        """
        driven, clock = self._open(backend, history)
        for step in self.steps:
            try:
                step(driven)
            except SynthiansMemoryError as error:
                require(error.message, "an error without a message")
            clock.advance(1)
            driven.require_peace()
            if driven.is_open and not reads_fail:
                driven.require_readable()
        return driven

    def _open(self, backend: Backend, history: StoreHistory) -> tuple[DrivenStore, ManualClock]:
        clock = ManualClock()
        return DrivenStore.open(backend, self.config, clock, history), clock


# Steps


def _saves(*entities: MemoryEntry | MemoryAssembly) -> Step:
    return lambda driven: driven.save(*entities)


def _deletes(*names: str) -> Step:
    return lambda driven: driven.delete(*(("memory", name) for name in names))


def _one_by_one(count: int, edition: int = 1) -> tuple[Step, ...]:
    return tuple(_saves(memory(f"m{n}", edition)) for n in range(count))


def _checkpoint(driven: DrivenStore) -> None:
    driven.checkpoint()


def _close(driven: DrivenStore) -> None:
    driven.close()


def _flush(driven: DrivenStore) -> None:
    driven.flush()


def _writes_files(most: int) -> Step:
    """What the writer does when it has nothing else to do."""
    return lambda driven: driven.store.committer.write_files(most)


def _transaction(driven: DrivenStore) -> None:
    driven.commit(
        [
            save(memory("m1", 2)),
            save(assembly("a1", "m1", "m2")),
            delete(("memory", "m0")),
            save(memory("new")),
            save(memory("new", 2)),
            delete(("memory", "m2")),
        ]
    )


def _group(driven: DrivenStore) -> None:
    """Several batches in one sync, one of which is refused."""
    good, refused, later, last = driven.commit(
        [save(memory("g1")), save(memory("m0", 3))],
        [save(memory("g2")), save(memory("m0", 4), expected=ABSENT), save(memory("g3"))],
        [save(memory("g1", 2)), delete(("memory", "m1"))],
        [delete(("memory", "never there"))],
    )
    require(isinstance(refused.error, ConflictError) or good.error, f"not refused as it should be: {refused.error}")
    require(not any(b.outcomes[0] for b in (last,) if b.error is None), "something was deleted that was never there")
    # The room may end within the group: its first batches are stored then, and the rest is refused.
    alone = later.error is not None and good.error is None and not isinstance(later.error, DiskFullError)
    require(not alone, "a later batch failed alone")


def _long_group(driven: DrivenStore) -> None:
    driven.commit(*([save(memory(f"long{n}", length=_LONG // 3))] for n in range(9)))


def _spare(driven: DrivenStore) -> None:
    journal = driven.store.state.journal
    if journal is not None:
        journal.prepare_spare()


def _sequence(*steps: Sequence[Step] | Step) -> tuple[Step, ...]:
    return tuple(step for part in steps for step in (part if isinstance(part, Sequence) else (part,)))


def _reserve(driven: DrivenStore) -> None:
    """What lets deletes in on a full disk is made beside a segment in use."""
    driven.save(memory("m0", 2))
    _spare(driven)


_BACKED_UP: Final = replace(SMALL_STORE, index_backup_count=2, backup_interval=0.0)
_INTERVAL: Final = replace(SMALL_STORE, durability="interval", flush_threshold=3)
_BEHIND: Final = replace(SMALL_STORE, write_mode="behind")
_SHORTLY_BEHIND: Final = replace(_INTERVAL, write_mode="behind", behind_bytes=1_500)
_THREE: Final = _sequence(_one_by_one(3), _checkpoint)
_ROUNDS: Final = _sequence(
    *(
        (
            _saves(memory(f"m{n}", 2), memory(f"r{n}")),
            _deletes(f"m{n + 1}"),
            _checkpoint,
            _saves(memory(f"m{n + 1}", 3)),
        )
        for n in range(3)
    )
)

# For a disk that has little room: what is refused for that is not acknowledged, and deletes are admitted.
FULL_DISK: Final = StoreScenario(
    "a full disk",
    _sequence(
        *((_saves(memory(f"f{n}", length=_LONG // 3)), _deletes("f0")) for n in range(4)),
        (
            _group,
            _deletes("m0"),
            _deletes("m1"),
            _checkpoint,
            _saves(memory("m1", 4)),
            _deletes("f1", "f2"),
            _checkpoint,
        ),
    ),
    _sequence(_one_by_one(3), _checkpoint, _reserve),
    closed=False,
)

SCENARIOS: Final = (
    StoreScenario("a store is made", ()),
    StoreScenario(
        "the first vector fixes the dimension", _one_by_one(1), config=replace(SMALL_STORE, embedding_dimension=None)
    ),
    StoreScenario("saves one by one", _one_by_one(4)),
    StoreScenario("a batch", (_saves(*(memory(f"b{n}") for n in range(5)), assembly("a", "b1")),)),
    StoreScenario("a batch of many sectors", (_saves(*(memory(f"b{n}", length=1_500) for n in range(8))),)),
    StoreScenario("updates of the same id", _sequence(*(_saves(memory("m0", n)) for n in range(2, 6))), _THREE),
    StoreScenario("deletes", (_deletes("m0"), _deletes("m1", "m2"), _deletes("m2")), _THREE),
    StoreScenario(
        "deleted, then saved again otherwise",
        (_deletes("m0"), _saves(memory("m0", 7)), _deletes("m1"), _saves(memory("m1", 8, embedded=False)), _checkpoint),
        _THREE,
    ),
    StoreScenario("a transaction", (_transaction,), _THREE),
    StoreScenario("a group with a conflict", (_group,), _THREE),
    StoreScenario(
        "checkpoints between saves", _sequence(_one_by_one(2, 2), _checkpoint, _transaction, _checkpoint), _THREE
    ),
    StoreScenario(
        "more files than are held open",
        (_saves(*(memory(f"b{n}") for n in range(20))), _saves(memory("b1", 2)), _checkpoint),
        _THREE,
    ),
    StoreScenario("the index is backed up", _sequence(_ROUNDS), _THREE, config=_BACKED_UP),
    StoreScenario("a group goes on in another segment", (_long_group, _saves(memory("m0", 2)), _checkpoint), _THREE),
    StoreScenario(
        "segments made ahead",
        _sequence(
            _one_by_one(2, 2),
            _spare,
            *(_saves(memory(f"s{n}", length=_LONG // 4)) for n in range(3)),
            _spare,
            _saves(memory("s9", length=_LONG // 2)),
        ),
        _THREE,
    ),
    StoreScenario("views are logged", _ROUNDS, _sequence(_one_by_one(6), _checkpoint), log_share=100.0),
    StoreScenario(
        "views are logged, then written anew", _ROUNDS, _sequence(_one_by_one(6), _checkpoint), log_share=0.6
    ),
    StoreScenario(
        "recovery", (), _sequence(_one_by_one(3), _checkpoint, _transaction, _saves(memory("m1", 5))), closed=False
    ),
    StoreScenario(
        "recovery with logged views", (), _sequence(_one_by_one(6), _checkpoint, _ROUNDS), closed=False, log_share=100.0
    ),
    StoreScenario("recovery with nothing checkpointed", (), _one_by_one(3), closed=False),
    StoreScenario("closing", (_saves(memory("m0", 2)), _deletes("m1"), _close), _THREE),
    StoreScenario("closing a store that was only opened", (_close,), _THREE),
    StoreScenario(
        "nothing is repaired at open",
        (_transaction, _checkpoint, _deletes("m1")),
        _THREE,
        config=replace(SMALL_STORE, auto_repair=False, startup_check="off"),
    ),
    StoreScenario(
        "everything is checked at open",
        (_transaction, _checkpoint, _deletes("m1")),
        _THREE,
        config=replace(SMALL_STORE, startup_check="full"),
    ),
    StoreScenario(
        "durable at intervals",
        _sequence(_one_by_one(5), _transaction, _flush, _one_by_one(2, 9)),
        _THREE,
        config=_INTERVAL,
    ),
    StoreScenario(
        "durable at intervals, with checkpoints",
        _sequence(_one_by_one(2, 2), _deletes("m0"), _saves(memory("m0", 4)), _checkpoint, _one_by_one(1, 5), _close),
        _THREE,
        config=_INTERVAL,
    ),
    StoreScenario(
        "files follow",
        _sequence(
            _one_by_one(2, 2),
            _writes_files(1),
            _transaction,
            _writes_files(2),
            _saves(memory("m0", 4)),
            _checkpoint,
            _saves(memory("m0", 5), memory("m0", 6)),
            _deletes("m1"),
            _flush,
            _deletes("new"),
            _close,
        ),
        _THREE,
        config=_BEHIND,
    ),
    StoreScenario(
        "files follow shortly, durable at intervals",
        _sequence(_one_by_one(2, 2), _transaction, _writes_files(2), _one_by_one(4, 9), _checkpoint, _deletes("m0")),
        _THREE,
        config=_SHORTLY_BEHIND,
    ),
    StoreScenario(
        "recovery where files were to follow",
        (_saves(memory("m1", 6)),),
        _sequence(_one_by_one(3), _checkpoint, _transaction, _writes_files(2), _saves(memory("m1", 5))),
        closed=False,
        config=_BEHIND,
    ),
)
