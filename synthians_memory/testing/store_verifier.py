"""What must hold for a store after a crash, checked through the store and against its files.

It makes no crash itself, and knows no scenario: it gets what is left, and the history of how it came about.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from synthians_memory.codec import Version
from synthians_memory.config import StoreConfig
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.errors import NotAStoreError
from synthians_memory.layout import LOCK_FILE, entity_path, is_scratch
from synthians_memory.models import Entity, MemoryEntry, as_vector
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.segment import read_journal
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_history import (
    DrivenStore,
    State,
    StoreHistory,
    delete,
    observe,
    require,
    save,
)
from synthians_memory.testing.stored_files import StoredFiles, StoredVector, all_files, read_vector_ids
from synthians_memory.times import Clock, format_time

__all__ = ["StoreVerifier", "require_agreeing_files", "require_sound"]

# A crash of the process, or of more, between two back ends on one medium.
NextLife = Callable[[Backend], Backend]

_LATER: Final = 1_760_000_000_000_000
_EARLIER: Final = 1_600_000_000_000_000
_NEARNESS: Final = 1 - 1e-5


@dataclass(frozen=True)
class StoreVerifier:
    """Opens what a crash left, and holds it against its history.

    Attributes:
        config: what the store is opened with.
        next_life: makes of a back end, whose store was not closed, the one that the next start finds;
            the harder the crash it makes of that, the better. The first is used no more then.
        again: makes of a back end another one on the same medium, where nothing was lost.
        notes_allowed: codes of findings, beside notes, that recovery may have made.
    """

    config: StoreConfig
    next_life: NextLife
    again: NextLife
    notes_allowed: frozenset[str] = frozenset()

    def verify(
        self,
        backend: Backend,
        history: StoreHistory,
        *,
        settles: bool = True,
        busy: bool = False,
        clock_goes_back: bool = False,
    ) -> None:
        """Check every promise for the store in `backend`; AssertionError names what is broken.

        A reader opens it first; then a writer, which dies; then another, which writes and dies; the
        last one closes the store, whose files are read on their own then.

        Args:
            backend: what the next start finds; its store is opened, changed and closed.
            history: what was done to it; settled by this.
            settles: whether all of it is durable, so that the second writer finds nothing to do.
            busy: whether the first writer makes changes and a checkpoint before it dies.
            clock_goes_back: open it with a clock that is behind all times in it.
        """
        clock = ManualClock(_EARLIER if clock_goes_back else _LATER)
        ids = read_vector_ids(backend)
        sequence = max(read_journal(backend, None).last_sequence, history.sequence)
        seen = self._read_beside(backend, history)
        first = DrivenStore.open(backend, self.config, clock, history)
        require(seen is None or history.match(seen) == 0, "a reader saw another state than the writer recovered")
        self.require_recovered(first.store, history.last)
        if busy:
            _write_again(first)
            first.checkpoint()
        backend = self._second_life(self.next_life(backend), clock, history, settled=settles and not busy)
        require(history.sequence > sequence, f"a sequence up to {sequence} was given again")
        state = history.last
        last = DrivenStore.open(backend, self.config, clock, history)
        self.require_recovered(last.store, state)
        last.close()
        backend = self.next_life(backend)
        require_agreeing_files(backend, state)
        _require_kept_ids(ids, read_vector_ids(backend))
        backend.close()

    def _read_beside(self, backend: Backend, history: StoreHistory) -> dict[Key, Entity] | None:
        """What a reader sees before anything was recovered; None where there may be no store yet."""
        before = all_files(backend)
        try:
            reader = Store.open(self.again(backend), self.config, ManualClock(), read_only=True)
        except NotAStoreError:
            require(not history.states[history.certain], "a reader found no store where something was acknowledged")
            return None
        seen = observe(reader)
        history.match(seen)
        reader.release()
        require(all_files(backend) == before, "a reader changed a file")
        return seen

    def require_recovered(self, store: Store, state: State) -> None:
        """`require_sound`, and recovery had nothing to report that a mere crash does not explain."""
        require_sound(store, state)
        findings = [*store.state.notes, *store.opening_report.findings]
        worse = [f for f in _worse_than_notes(findings) if f.code not in self.notes_allowed]
        require(not worse, f"recovery reported {worse}")

    def _second_life(self, backend: Backend, clock: Clock, history: StoreHistory, *, settled: bool) -> Backend:
        """Open it again and write; returns the life after that."""
        before = all_files(backend)
        driven = DrivenStore.open(backend, self.config, clock, history)
        if settled:
            changed = _changed(before, all_files(backend))
            require(not changed, f"the second open changed {changed}")
        self.require_recovered(driven.store, history.last)
        history.sequence = 0
        _write_again(driven)
        return self.next_life(backend)


def _write_again(driven: DrivenStore) -> None:
    """Save, update and delete, each durably."""
    history = driven.history
    state = history.last
    dimension = driven.store.state.superblock.embedding_dimension or 4
    vector = as_vector([3, 1, 4, 1.5, 9, 2, 6][:dimension])
    operations = [save(MemoryEntry(memory_id="written-after", content="after", embedding=vector))]
    if state:
        oldest, newest = min(state), max(state)
        operations.append(save(state[newest].entity.replace(metadata={"written": "after"}, updated_at=None)))
        operations += [delete(oldest)] if oldest != newest else []
    batches = driven.commit(*([operation] for operation in operations))
    errors = [batch.error for batch in batches if batch.error is not None]
    require(not errors, f"a recovered store refused to write: {errors}")
    driven.flush()
    require(history.certain == len(history.states) - 1, "what was written was not acknowledged")


def _worse_than_notes(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity != "note"]


def _changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    """Paths that differ, but for the lock's note, and for scratch, whose removal need not be durable."""
    changed = [path for path in before.keys() | after.keys() if before.get(path) != after.get(path)]
    return sorted(path for path in changed if path != LOCK_FILE and not is_scratch(path.rpartition("/")[2]))


def require_sound(store: Store, state: State) -> None:
    """`store` holds `state`, its views agree with it and with each other, and a full check has nothing to say."""
    views = store.state
    require(not views.overlay.stuck, f"{list(views.overlay.stuck)} wait for their files")
    for kind in ("memory", "assembly"):
        wanted = {entity_id: version for (k, entity_id), version in state.items() if k == kind}
        require(set(views.index.rows[kind]) == set(wanted), f"the memory index has other ids of kind {kind}")
        hashes = {i: version.embedding_hash for i, version in wanted.items() if version.embedding_hash}
        require(views.vectors.hashes(kind) == hashes, f"the vector index has other vectors of kind {kind}")
    for key, version in state.items():
        _require_found(store, key, version)
    worse = _worse_than_notes(store.check("full"))
    require(not worse, f"check found {worse}")


def _require_found(store: Store, key: Key, version: Version) -> None:
    vector = version.entity.vector
    if vector is None:
        return
    hits = store.search(vector, 1, key[0], None)
    require(
        hits and hits[0].memory_id == key[1] and hits[0].score >= _NEARNESS,
        f"the vector of {key} finds {hits}",
    )


def require_agreeing_files(backend: Backend, state: State) -> None:
    """The files of a closed store hold `state`: entities, memory index and vectors, each read on its own."""
    files = StoredFiles.read(backend)
    for what, keys in (("entity files", files.entities), ("memory index", files.index)):
        require(keys.keys() == state.keys(), f"the {what} hold {sorted(keys)}, not {sorted(state)}")
    embedded = {key for key, version in state.items() if version.entity.vector is not None}
    require(files.vectors.keys() == embedded, f"vectors are of {sorted(files.vectors)}, not {sorted(embedded)}")
    for key, version in state.items():
        _require_file(key, version, files.entities[key])
        _require_row(key, version, files.index[key])
        if key in embedded:
            _require_vector(key, version.entity, files.vectors[key])


def _require_file(key: Key, version: Version, data: bytes) -> None:
    """The file says what the caller said, parsed by another parser."""
    require(data == version.data, f"the file of {key} is not the acknowledged version")
    found, entity = json.loads(data), version.entity
    wanted = {"metadata": entity.__dict__["metadata"], "tags": list(entity.__dict__["tags"])}
    wanted |= {"content": entity.content} if isinstance(entity, MemoryEntry) else {}
    for name, value in wanted.items():
        require(found[name] == value, f"{key} has another {name} on disk")
    vector = found[entity.vector_field]
    same = vector is None if entity.vector is None else np.float32(vector).tobytes() == entity.vector.tobytes()
    require(same, f"{key} has another vector on disk")


def _require_row(key: Key, version: Version, row: dict[str, object]) -> None:
    wanted = {
        "filepath": entity_path(*key),
        "content_hash": f"sha256:{version.hash.hex()}",
        "updated_at": format_time(version.stored_entity().__dict__["updated_at"]),
    }
    for name, value in wanted.items():
        require(row[name] == value, f"the memory index has {name} {row[name]!r} for {key}, not {value!r}")


def _require_vector(key: Key, entity: Entity, found: StoredVector) -> None:
    vector = entity.vector
    if vector is None:
        return
    wanted = hashlib.sha256(vector.tobytes()).hexdigest()[:32]
    require(found.embedding_hash == wanted, f"the vector of {key} is of another embedding")
    exact = vector.astype(np.float64)
    nearness = float(exact @ found.row) / float(np.linalg.norm(exact) * np.linalg.norm(found.row))
    require(nearness >= _NEARNESS, f"the indexed vector of {key} points elsewhere")


def _require_kept_ids(before: dict[int, tuple[Key, str]], after: dict[int, tuple[Key, str]]) -> None:
    for vector_id in before.keys() & after.keys():
        require(before[vector_id] == after[vector_id], f"vector id {vector_id} was given to another embedding")
