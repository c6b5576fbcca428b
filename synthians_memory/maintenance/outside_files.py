"""The synchronous half of a watch: looking at the files of a few entities, and having them adopted.

It keeps no time and no tasks, and knows nothing of notifications; `watch` calls it in threads.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np

from synthians_memory.codec import Inspection, Version
from synthians_memory.embedder import Embedder
from synthians_memory.engine.adoption import Adopted, Adopter, Adoption, changed_files
from synthians_memory.engine.check import check_entity
from synthians_memory.engine.documents import read_file
from synthians_memory.engine.embedding_call import embed_texts
from synthians_memory.engine.foreign_files import inspect_for
from synthians_memory.engine.records import Key
from synthians_memory.engine.repair import Planner
from synthians_memory.engine.stale_embeddings import Need, marked, need_of, unmarked
from synthians_memory.engine.state import StoreState
from synthians_memory.engine.store import Store
from synthians_memory.errors import DiskError, SynthiansMemoryError
from synthians_memory.layout import entity_path
from synthians_memory.maintenance.watched_change import EmbeddingOutcome, WatchedChange
from synthians_memory.models import MemoryEntry, Vector
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import EntryStat

__all__ = ["Candidate", "Look", "OutsideFiles", "failure", "left"]

# What is taken over without asking.
_ADOPTED: Final = frozenset(["file_not_indexed", "file_replaced", "file_edited", "file_missing"])
_HINTS: Final = {
    "file_damaged": "Correct it, or take its content_hash line away, or `adopt` it; `repair` moves it to quarantine.",
    "file_undecodable": "Correct it: it is looked at again when it changes. `repair` moves it to quarantine.",
    "not_a_file": "Move it out of the store; it was neither followed nor changed.",
    "superblock_damaged": "Put it back as it was, or run `repair`, which writes the open store's own.",
    "foreign_name": "Name the file after its id (docs/format.md tells how), or move it out of the store.",
}
# Two embeddings of one text by one embedder differ by less than this, whatever it computes beside them.
_SAME: Final = 1e-4


class Look(NamedTuple):
    """What stands in the place of an entity's file.

    Attributes:
        stat: None for nothing.
        error: why that could not be found out.
    """

    stat: EntryStat | None
    error: DiskError | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that may be adopted.

    Attributes:
        finding: what check says of it.
        adoption: what would be stored.
        need: what its embedding needs.
        embedding: what becomes of that.
        remark: what there is to say about it.
    """

    finding: Finding
    adoption: Adoption
    need: Need = "nothing"
    embedding: EmbeddingOutcome = "none"
    remark: str = ""

    @property
    def entry(self) -> MemoryEntry:
        """The memory whose embedding is in need."""
        found = self.adoption.entity or (self.adoption.found and self.adoption.found.entity)
        if not isinstance(found, MemoryEntry):
            raise TypeError(f"{self.adoption.key} is no memory that was edited")
        return found

    def with_entry(self, entry: MemoryEntry, embedding: EmbeddingOutcome, remark: str = "") -> Candidate:
        """The same with another memory to be stored."""
        return replace(self, adoption=self.adoption._replace(entity=entry), embedding=embedding, remark=remark)


# What may be adopted; what there is to say; the key of what changed meanwhile; None where all is well.
Examined = Candidate | WatchedChange | Key | None


def left(finding: Finding) -> WatchedChange:
    """A file that is left to a person."""
    hint = _HINTS.get(finding.code, "")
    message = f"{finding.message}; it is left as it is. {hint}" if hint else f"{finding.path}: {finding.message}"
    return WatchedChange("left", message, finding.code, finding.path, finding.kind, finding.entity_id)


def failure(error: SynthiansMemoryError, finding: Finding | None = None) -> WatchedChange:
    """What could not be done now."""
    if finding is None:
        return WatchedChange("failed", str(error), path=error.path or "")
    message = f"{finding.path} could not be adopted: {error}"
    return WatchedChange("failed", message, finding.code, finding.path, finding.kind, finding.entity_id)


class OutsideFiles:
    """The entity files of one open store, seen as somebody else may have changed them.

    `record` belongs to the writer's thread, everything else to any.
    """

    def __init__(self, store: Store, *, adopt_damaged: bool) -> None:
        """Args:
        store: open for writing.
        adopt_damaged: whether a file whose hash line is wrong is adopted as well, where it validates.
        """
        self._store = store
        self._adopt_damaged = adopt_damaged

    @property
    def _state(self) -> StoreState:
        return self._store.state

    @property
    def conflicts(self) -> int:
        """How often a version written outside was set aside since the store was opened."""
        return self._state.counters.conflicts

    def conflict_notes(self, most: int) -> list[Finding]:
        """The latest `most` findings of such conflicts; called in the writer's thread."""
        found = [note for note in self._state.notes if note.code == "conflict"]
        return found[-most:] if most else []

    def sweep(self) -> list[Finding]:
        """What a quick check finds. Raises DiskError."""
        return self._store.check("quick")

    def look(self, keys: Iterable[Key]) -> dict[Key, Look]:
        """Those of `keys` whose files are not as the store last saw them."""
        found: dict[Key, Look] = {}
        for key in keys:
            try:
                found.update((key, Look(stat)) for key, stat in changed_files(self._state, [key]))
            except DiskError as error:
                found[key] = Look(None, error)
        return found

    # Judging

    def examine(self, keys: Sequence[Key]) -> list[Examined]:
        """For each of `keys` what may be adopted, or what there is to say."""
        planner = Planner(self._state)
        return [self._examined(key, planner) for key in keys]

    def _examined(self, key: Key, planner: Planner) -> Examined:
        finding: Finding | None = None
        try:
            finding = check_entity(self._state, key)
            if finding is None:
                return None
            if finding.code == "file_missing":
                return Candidate(finding, Adoption(key, None))
            if finding.code not in _ADOPTED and not (finding.code == "file_damaged" and self._adopt_damaged):
                return left(finding)
            return self._candidate(finding, key, planner)
        except DiskError as error:
            return failure(error, finding)

    def _candidate(self, finding: Finding, key: Key, planner: Planner) -> Candidate | Key:
        data = read_file(self._state.backend, entity_path(*key))
        found = None if data is None else inspect_for(self._state, key, data)
        if found is None or found.entity is None or (found.state == "damaged" and not self._adopt_damaged):
            # It has changed since it was checked.
            return key
        embedding: EmbeddingOutcome = "none" if found.entity.vector is None else "kept"
        return Candidate(finding, Adoption(key, found), self._need(key, found, planner), embedding)

    def _need(self, key: Key, found: Inspection, planner: Planner) -> Need:
        # A version that a store has sealed carries the embedding that belongs to it, or the mark.
        if found.state == "sealed" or not isinstance(found.entity, MemoryEntry):
            return "nothing"
        row = self._state.index.row(key)
        version = planner.acknowledged(key) if row is not None else None
        stored = version.entity if version is not None and isinstance(version.entity, MemoryEntry) else None
        return need_of(found.entity, row.embedding_hash if row is not None else None, stored)

    # Embedding

    def embed(self, candidates: Sequence[Candidate], embedder: Embedder) -> list[Candidate]:
        """`candidates` with the embeddings that they need; marked, with a remark, where the embedder fails."""
        texts = [candidate.entry.content for candidate in candidates]
        try:
            rows = embed_texts(embedder, texts)
        except Exception as error:  # noqa: BLE001 - an embedder is somebody else's code, and the edit is stored without it
            remark = f"the embedder failed: {error}"
            return [flagged(candidate, remark) for candidate in candidates]
        return [_embedded(candidate, row) for candidate, row in zip(candidates, rows, strict=True)]

    # Adopting

    def record(self, candidates: Sequence[Candidate]) -> list[WatchedChange | Key]:
        """Adopt what is still as it was examined; what is not is returned as its key, to be looked at again.

        Raises:
            JournalFailedError: nothing can be adopted any more.
        """
        outcomes = self._adopter().adopt_unchanged([candidate.adoption for candidate in candidates])
        return [_told(candidate, outcome) for candidate, outcome in zip(candidates, outcomes, strict=True)]

    def _adopter(self) -> Adopter:
        return Adopter(self._state, self._store.committer)

    def note_stats(self, keys: Sequence[Key]) -> None:
        """As `Adopter.note_stats`."""
        self._adopter().note_stats(keys)


def flagged(candidate: Candidate, remark: str = "") -> Candidate:
    """`candidate` without another embedding: marked where the one that it has may be of an earlier text."""
    entry = candidate.entry
    if entry.embedding is None:
        return candidate.with_entry(entry, "none", remark)
    return candidate.with_entry(marked(entry), "stale", remark)


def _embedded(candidate: Candidate, row: Vector) -> Candidate:
    entry = candidate.entry
    if not row.any():
        # The embedder finds nothing in the text, and a vector of zeros has no direction.
        return candidate.with_entry(unmarked(entry.replace(embedding=None)), "none")
    if candidate.need == "comparison" and entry.embedding is not None and _is_same(entry.embedding, row):
        return candidate
    return candidate.with_entry(unmarked(entry.replace(embedding=row)), "made")


def _is_same(present: Vector, row: Vector) -> bool:
    return present.shape == row.shape and bool(
        np.abs(present - row).max() <= _SAME * max(1.0, float(np.abs(row).max()))
    )


_WORDS: Final = {
    "file_not_indexed": "is new",
    "file_edited": "was edited by hand",
    "file_replaced": "was replaced by another version",
    "file_missing": "was removed",
    "file_damaged": "does not match its hash line",
}
_EMBEDDING_WORDS: Final[dict[EmbeddingOutcome, str]] = {
    "kept": "",
    "none": "",
    "made": "; embedded anew",
    "stale": "; its embedding may be that of the earlier text, and is marked as stale",
}


def _told(candidate: Candidate, outcome: Adopted | None) -> WatchedChange | Key:
    finding = candidate.finding
    if outcome is None:
        return candidate.adoption.key
    if isinstance(outcome, SynthiansMemoryError):
        return failure(outcome, finding)
    embedding = candidate.embedding if isinstance(outcome, Version) else None
    message = f"{finding.path} {_WORDS.get(finding.code, 'changed')}{_EMBEDDING_WORDS[embedding or 'none']}"
    remark = f" ({candidate.remark})" if candidate.remark else ""
    return WatchedChange(
        "adopted", message + remark, finding.code, finding.path, finding.kind, finding.entity_id, embedding
    )
