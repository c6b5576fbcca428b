"""The change from comparing all vectors to looking into lists of them: trained, measured and swapped in beside the searches.

It is not an index, and writes no file. All of it is done in one thread of its own, whose long steps hold neither the view's
lock nor the interpreter; the index that was there answers until the new one has been measured and holds every row.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from synthians_memory.config import Metric, VectorStorage
from synthians_memory.engine.calibration import Calibration, Recalls, Sample, calibrated
from synthians_memory.engine.centroid_file import Trained
from synthians_memory.engine.coded_index import CodedLists, exact_rows_of, lists_like
from synthians_memory.engine.coding import Bounds
from synthians_memory.engine.exact import Bits, Matrix, Positions
from synthians_memory.engine.faiss_index import HAS_FAISS, InvertedIndex, Training, nearest_rows
from synthians_memory.engine.vector_space import VectorSpace
from synthians_memory.layout import Kind

__all__ = ["EXACT", "Approximation", "Trainer"]

_QUERIES: Final = 400
_ROUNDS: Final = 8
_ROWS_A_LIST: Final = 40
# Copied under the lock at once, and compared at once without it.
_ROWS_COPIED: Final = 1024
_ROWS_COMPARED: Final = 4096
# The last rows are added under the lock, in a step that no save notices.
_ROWS_LOCKED: Final = 64
_QUERIES_LOCKED: Final = 2
# Probes are measured anew after so many additions and removals, as a part of all rows.
_DRIFT: Final = 0.1
# Centroids with which so many times as many lists have to be looked into are not believed.
_WORSE: Final = 2
_NICENESS: Final = 10


class Approximation(NamedTuple):
    """When searches may be approximate.

    Attributes:
        exact_below: rows of one kind below which they are exact.
        target_recall: what they have to reach; 1: they are exact.
    """

    exact_below: int
    target_recall: float


EXACT: Final = Approximation(0, 1.0)


@dataclass(slots=True)
class _Standing:
    """What was last tried for one kind.

    Attributes:
        trained_rows, trained_id: how many rows there were when its lists were trained, and the last vector id.
        measured_rows, measured_id: living rows and last vector id at the last measurement.
        trained_probes: how many lists had to be looked into when they were trained.
        failure: why it did not end, in words.
    """

    trained_rows: int = 0
    trained_id: int = 0
    measured_rows: int = 0
    measured_id: int = 0
    trained_probes: int = 0
    failure: str = ""


class _StoppedError(Exception):
    """The view is closed, or has other rows."""


class Trainer:
    """Trains, measures and swaps the indexes of a view's spaces.

    `consider` is called under the view's lock, everything else without it.
    """

    def __init__(
        self,
        lock: threading.Lock,
        space_of: Callable[[Kind], VectorSpace | None],
        metric: Metric,
        approximation: Approximation,
        known: Callable[[], dict[Kind, Trained]],
    ) -> None:
        """Args:
        lock: that of the view.
        space_of: its present space of a kind.
        metric: of the rows.
        approximation: when to train.
        known: what was trained before, as a file has it; asked once.
        """
        self._lock = lock
        self._space_of = space_of
        self._metric: Metric = metric
        self._approximation = approximation
        self._known = known
        self._read: dict[Kind, Trained] | None = None
        self._standings: dict[Kind, _Standing] = {}
        self._thread: threading.Thread | None = None
        self._stopped = False
        self.training: Kind | None = None
        # How rows are held, for those who ask.
        self.storage: VectorStorage = "float32"
        # What the file should hold, where that has changed.
        self.unsaved = False

    # When

    def consider(self, kind: Kind) -> None:
        """Start what is due for a kind, unless something is under way."""
        space = self._space_of(kind)
        if self.training is not None or self._stopped or not HAS_FAISS or space is None:
            return
        if self._due(kind, space) is None:
            return
        self.training = kind
        if isinstance(space.index, InvertedIndex) and space.index.calibration is not None:
            # What was measured holds no more for sure; this holds until it is measured again.
            space.index.calibration = space.index.calibration.doubled()
        self._thread = threading.Thread(target=self._run, args=(kind, space), name="synthians-training", daemon=False)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._note_failure(kind, space, f"no thread could be started: {error}")
            self._thread, self.training = None, None

    def _may_train(self, space: VectorSpace) -> bool:
        return self._approximation.target_recall < 1 and len(space) >= self._approximation.exact_below

    def _due(self, kind: Kind, space: VectorSpace) -> str | None:
        """What is to be done: "train", "measure" or nothing."""
        standing, rows, last = self._standings.get(kind, _Standing()), len(space.index), space.last_vector_id
        fresh = last - standing.trained_id >= standing.trained_rows or rows >= 2 * standing.trained_rows
        if fresh and self._may_train(space):
            return "train"
        if not isinstance(space.index, InvertedIndex) or not len(space):
            return None
        added = last - standing.measured_id
        # Whatever was there or came, and is there no more.
        changed = added + max(0, standing.measured_rows + added - len(space))
        return "measure" if changed > _DRIFT * standing.measured_rows else None

    def wait(self) -> None:
        """Until nothing is under way."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def stop(self) -> None:
        """End what is under way at its next step, and begin nothing any more; idempotent."""
        self._stopped = True
        self.wait()

    # What

    def _run(self, kind: Kind, space: VectorSpace) -> None:
        _be_modest()
        try:
            if self._due(kind, space) == "measure":
                self._measure_again(kind, space)
            else:
                self._train(kind, space)
        except _StoppedError:
            pass
        except Exception as error:  # noqa: BLE001 - stats() says it; the index that was there goes on to answer
            self._gave_up(kind, space, f"{type(error).__name__}: {error}")
        finally:
            self.training = None

    def _gave_up(self, kind: Kind, space: VectorSpace, reason: str) -> None:
        """It is tried again when there is twice as much."""
        with self._lock:
            if self._space_of(kind) is space:
                self._note_failure(kind, space, reason)

    def _note_failure(self, kind: Kind, space: VectorSpace, reason: str) -> None:
        rows, last = len(space.index), space.last_vector_id
        self._standings[kind] = _Standing(rows, last, len(space), last, failure=reason)
        if isinstance(space.index, InvertedIndex):
            # What was measured with fewer rows is no promise for these: every list is looked into.
            space.index.calibration = None

    def _train(self, kind: Kind, space: VectorSpace) -> None:
        rows, living, last = len(space.index), len(space), space.last_vector_id
        known = None if isinstance(space.index, InvertedIndex) else self._from_file().get(kind)
        trained = known if known is not None and rows < 2 * known.rows else None
        index, calibration = self._built(kind, space, trained)
        if trained is not None and (calibration is None or calibration.shallow > _WORSE * trained.probes):
            # They fit these vectors no more, or are those of others.
            trained = None
            index, calibration = self._built(kind, space, None)
        if calibration is None:
            self._gave_up(kind, space, "half of all lists do not give the recall that is wanted")
            return
        index.calibration = calibration
        trained = trained or Trained(index.centroids, rows, calibration.shallow)
        self._swap(kind, space, index, _Standing(trained.rows, last, living, last, trained.probes))
        self.unsaved = self.unsaved or trained is not known

    def _from_file(self) -> dict[Kind, Trained]:
        if self._read is None:
            self._read = self._known()
        return self._read

    def _built(
        self, kind: Kind, space: VectorSpace, trained: Trained | None
    ) -> tuple[InvertedIndex, Calibration | None]:
        """An index of the rows that are there now, and what was measured with it."""
        count = len(space.index)
        centroids = self._centroids(kind, space, count) if trained is None else trained.centroids
        index = lists_like(space.index, centroids, self._metric)
        sample, living = self._sample(kind, space, count)
        lists, bounds = [], Bounds(sample.queries.shape[1])
        for piece in self._compared(kind, space, count, sample):
            lists.append(index.lists_of(piece))
            if isinstance(index, CodedLists):
                bounds.take(piece)
        if isinstance(index, CodedLists):
            index.learn(bounds)
        index.reserve(np.concatenate(lists))
        for piece, its in zip(self._pieces(kind, space, 0, count), lists, strict=True):
            index.add_to(piece, its)
        recalls = self._recalls(index, index, sample, living)
        return index, calibrated(recalls, index.lists, self._approximation.target_recall)

    def _recalls(
        self, index: InvertedIndex, probing: InvertedIndex | _Shared, sample: Sample, living: Bits | None
    ) -> Recalls:
        """How recall is measured: by searches; where they find all that is in a list, by where the nearest rows are."""
        if not isinstance(index, CodedLists):
            # One more, for the query itself.
            return lambda k, probes: sample.recalls(*probing.probe(sample.queries, k + 1, probes, living), k)
        with self._lock:
            lists = np.where(sample.nearest < 0, -1, index.lists_at(sample.nearest))
        return lambda k, probes: sample.recalls_in(lists, index.lists_around(sample.queries, probes), k)

    def _centroids(self, kind: Kind, space: VectorSpace, count: int) -> Matrix:
        lists = max(16, int(2 * count**0.5))
        wanted = min(count, lists * _ROWS_A_LIST)
        every = np.random.default_rng(count).permutation(count)[:wanted]
        every.sort()
        training = Training(self._rows_at(kind, space, every), lists, self._metric)
        for _ in range(_ROUNDS):
            self._go_on(kind, space)
            training.round()
        return training.centroids()

    def _sample(self, kind: Kind, space: VectorSpace, count: int) -> tuple[Sample, Bits | None]:
        """Living rows as queries, and which rows are alive; None where all are."""
        with self._lock:
            living = space.living() if space.dead else None
        alive = np.arange(count) if living is None else np.flatnonzero(_unpacked(living, count))
        drawn = np.random.default_rng(count).permutation(alive)[:_QUERIES].astype(np.int64)
        drawn.sort()
        return Sample(self._rows_at(kind, space, drawn), drawn, self._metric), living

    def _compared(self, kind: Kind, space: VectorSpace, count: int, sample: Sample) -> Iterator[Matrix]:
        """The rows in pieces, each held against the sample."""
        start = 0
        for piece in self._pieces(kind, space, 0, count):
            with self._lock:
                alive = _unpacked(space.living(), count)[start : start + len(piece)]
            if alive.any():
                distances, places = nearest_rows(sample.queries, piece[alive], sample.wanted, self._metric)
                positions = np.append(np.flatnonzero(alive) + start, -1)
                sample.take(distances, positions[places])
            start += len(piece)
            yield piece

    def _measure_again(self, kind: Kind, space: VectorSpace) -> None:
        count, alive, last, index = len(space.index), len(space), space.last_vector_id, space.index
        if not isinstance(index, InvertedIndex):
            return
        sample, living = self._sample(kind, space, count)
        for _ in self._compared(kind, space, count, sample):
            pass
        recalls = self._recalls(index, _Shared(index, self._lock), sample, living)
        calibration = calibrated(recalls, index.lists, self._approximation.target_recall)
        # Without one, every list is looked into until the index is trained anew.
        index.calibration = calibration
        standing = self._standings.setdefault(kind, _Standing())
        standing.measured_rows, standing.measured_id = alive, last

    # Rows

    def _go_on(self, kind: Kind, space: VectorSpace) -> None:
        if self._stopped or self._space_of(kind) is not space:
            raise _StoppedError

    def _pieces(self, kind: Kind, space: VectorSpace, start: int, stop: int) -> Iterator[Matrix]:
        for first in range(start, stop, _ROWS_COMPARED):
            last = min(stop, first + _ROWS_COMPARED)
            parts = []
            for begin in range(first, last, _ROWS_COPIED):
                self._go_on(kind, space)
                with self._lock:
                    parts.append(space.index.rows(begin, min(last, begin + _ROWS_COPIED)))
            yield np.concatenate(parts)

    def _rows_at(self, kind: Kind, space: VectorSpace, positions: Positions) -> Matrix:
        """Copies of the rows at ascending positions, all of them in passing."""
        found, start = [], 0
        stop = int(positions[-1]) + 1
        for piece in self._pieces(kind, space, 0, stop):
            within = positions[(positions >= start) & (positions < start + len(piece))] - start
            found.append(piece[within])
            start += len(piece)
        return np.concatenate(found)

    def _swap(self, kind: Kind, space: VectorSpace, index: InvertedIndex, standing: _Standing) -> None:
        """Add what has come meanwhile, then let it answer."""
        while True:
            self._go_on(kind, space)
            with self._lock:
                behind = len(space.index) - len(index)
                rows = space.index.rows(len(index), len(index) + min(behind, _ROWS_COPIED))
                if behind <= _ROWS_LOCKED:
                    if behind:
                        index.add(rows)
                    self._go_on(kind, space)
                    self._standings[kind] = standing
                    if isinstance(index, CodedLists):
                        index.serving = True
                    space.index = index
                    return
            index.add(rows)

    # What it tells

    def forget(self) -> None:
        """Nothing that was tried or trained counts any more; under the lock."""
        self._standings, self._read, self.unsaved = {}, {}, False

    def take_over(self, other: Trainer) -> None:
        """Begin with what another view of the same store has trained."""
        kinds: tuple[Kind, ...] = ("memory", "assembly")
        found = {kind: trained for kind in kinds if (trained := other.trained(kind)) is not None}
        self._read = found or None

    def trained(self, kind: Kind) -> Trained | None:
        """What the file should hold of a kind."""
        space = self._space_of(kind)
        if space is None or not isinstance(space.index, InvertedIndex):
            return None if self._read is None else self._read.get(kind)
        standing = self._standings.get(kind, _Standing())
        return Trained(space.index.centroids, standing.trained_rows, standing.trained_probes)

    def statistics(self, kind: Kind) -> dict[str, Any]:
        """What answers searches of a kind, as JSON; never waits."""
        space = self._space_of(kind)
        # In this order and without the lock, which a search may hold for long: an index comes after its standing.
        index = space.index if space is not None else None
        standing = self._standings.get(kind, _Standing())
        found: dict[str, Any] = {"index": "exact", "training": self.training == kind, "storage": self.storage}
        exact = exact_rows_of(index) if index is not None else None
        if exact is not None:
            found["exact_rows_in_memory"] = exact.held
        if isinstance(index, InvertedIndex):
            found |= {"index": "lists", "lists": index.lists, "trained_on": standing.trained_rows}
            if index.calibration is not None:
                found |= {"probes": index.calibration.shallow, "recall_at_10": round(index.calibration.recall, 5)}
        if standing.failure:
            found["failure"] = standing.failure
        return found


class _Shared:
    """An index that others search and change: looked into for a few queries at a time."""

    def __init__(self, index: InvertedIndex, lock: threading.Lock) -> None:
        self._index = index
        self._lock = lock

    def probe(self, queries: Matrix, k: int, probes: int, living: Bits | None) -> tuple[Matrix, Positions]:
        found = []
        for start in range(0, len(queries), _QUERIES_LOCKED):
            with self._lock:
                found.append(self._index.probe(queries[start : start + _QUERIES_LOCKED], k, probes, living))
        return np.concatenate([one for one, _ in found]), np.concatenate([one for _, one in found])


def _unpacked(living: Bits, count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    return np.unpackbits(living, count=count, bitorder="little").astype(bool)


def _be_modest() -> None:
    """Leave the processor to who waits for it: on Linux a thread has a priority of its own."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
