"""Adoption: a file that changed outside becomes the present version of its entity, by an ordinary journaled write.

It searches for nothing: check says what changed, and repair, `adopt` and the watch which of it is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from synthians_memory.codec import Inspection, Version, encode, sealed_version, version_of
from synthians_memory.engine.commit import Batch, Committer, Operation
from synthians_memory.engine.documents import read_file
from synthians_memory.engine.records import Key
from synthians_memory.engine.rows import has_stat
from synthians_memory.engine.state import StoreState
from synthians_memory.errors import DamagedFileError, DiskError, SynthiansMemoryError
from synthians_memory.layout import entity_path
from synthians_memory.models import Entity
from synthians_memory.storage.backend import EntryStat

__all__ = ["Adopted", "Adopter", "Adoption", "changed_files"]

# The version that is stored now; True or False for a removal: whether the entity was there; or why it failed.
Adopted = Version | bool | SynthiansMemoryError


class Adoption(NamedTuple):
    """What is to be adopted.

    Attributes:
        key: whose file.
        found: what it holds; None where it is gone.
        entity: what is stored in place of what an edited file says (with another embedding, say); None: that.
    """

    key: Key
    found: Inspection | None
    entity: Entity | None = None

    @property
    def path(self) -> str:
        """The file, relative to the store."""
        return entity_path(*self.key)


class Adopter:
    """Adopts into one open store; used by one thread, the writer."""

    def __init__(self, state: StoreState, committer: Committer) -> None:
        self._state = state
        self._committer = committer

    def adopt(self, adoption: Adoption) -> Version | bool:
        """Store what the file held when it was inspected, or that it is gone.

        A file with a hash line that is right is stored byte for byte, with the update time it states; any other is
        updated now. Returns what is stored, for a removal whether the entity was there.

        Raises:
            DamagedFileError: there is no entity in it.
            BatchTooLargeError, OverloadedError, ReadOnlyError, DiskError: as a save; the file is as it was.
        """
        (outcome,) = self.adopt_all([adoption])
        if isinstance(outcome, SynthiansMemoryError):
            raise outcome
        return outcome

    def adopt_all(self, adoptions: Sequence[Adoption]) -> list[Adopted]:
        """As `adopt`, each for itself, with one sync for all; a failure stands in the place of its outcome.

        Raises:
            JournalFailedError: with durability "interval"; what of it is durable is unknown.
        """
        prepared = [_prepared(adoption) for adoption in adoptions]
        batches = [batch for batch in prepared if isinstance(batch, Batch)]
        # The versions that the files hold are not foreign to the writes that adopt them.
        self._committer.applier.adopting = frozenset(a.found.hash for a in adoptions if a.found is not None)
        try:
            self._committer.commit(batches)
        finally:
            self._committer.applier.adopting = frozenset()
        return [_outcome(batch) for batch in prepared]

    def adopt_unchanged(self, adoptions: Sequence[Adoption]) -> list[Adopted | None]:
        """As `adopt_all`, of those files that are still as they were inspected; None for the others.

        Made for decisions that were taken in other threads: whoever changed a file since, the program itself or
        somebody else, is not overwritten with what was seen before. What it returns as adopted is durable.
        """
        looks = [self._look(adoption) for adoption in adoptions]
        due = [adoption for adoption, look in zip(adoptions, looks, strict=True) if look is True]
        adopted = iter(self.adopt_all(due) if due else [])
        if due:
            self._committer.end_interval()
        return [next(adopted) if look is True else None if look is False else look for look in looks]

    def _look(self, adoption: Adoption) -> bool | DiskError:
        """Whether the file is as it was inspected; or why that cannot be found out."""
        try:
            return self._is_unchanged(adoption)
        except DiskError as error:
            return error

    def _is_unchanged(self, adoption: Adoption) -> bool:
        state = self._state
        if state.overlay.get(adoption.key)[0]:
            return False
        stat = state.backend.stat(adoption.path)
        if adoption.found is None:
            return stat is None and state.index.hash(adoption.key) is not None
        data = read_file(state.backend, adoption.path)
        if data is None or data != adoption.found.data:
            return False
        # What is acknowledged by now needs no adoption: the program has written the same bytes.
        version = version_of(data)
        return version is None or version != state.index.hash(adoption.key)

    def note_stats(self, keys: Iterable[Key]) -> None:
        """Remember size and time of files that hold what is acknowledged, so that they need not be read again.

        Raises:
            DiskError: one of them cannot be read.
        """
        for key in keys:
            wanted = self._state.index.hash(key)
            before = self._state.backend.stat(entity_path(*key))
            data = read_file(self._state.backend, entity_path(*key))
            unmoved = before is not None and before == self._state.backend.stat(entity_path(*key))
            if before is not None and unmoved and data is not None and wanted == version_of(data) and wanted:
                self._state.index.note_stat(key, wanted, before)


def _prepared(adoption: Adoption) -> Batch | SynthiansMemoryError:
    key, found = adoption.key, adoption.found
    if found is None:
        return Batch([Operation(*key, None)])
    if found.entity is None:
        return DamagedFileError(f"{adoption.path} cannot be adopted: {found.reason}", path=adoption.path)
    if found.state == "sealed":
        version = sealed_version(key[0], found.data)
        return Batch([Operation(*key, encode(version.entity), exact=version)])
    try:
        return Batch([Operation(*key, encode(adoption.entity or found.entity))])
    except SynthiansMemoryError as error:
        return error


def _outcome(batch: Batch | SynthiansMemoryError) -> Adopted:
    if isinstance(batch, SynthiansMemoryError):
        return batch
    return batch.outcomes[0] if batch.error is None else batch.error


def changed_files(state: StoreState, keys: Iterable[Key]) -> Iterator[tuple[Key, EntryStat | None]]:
    """Those of `keys` whose file is not as the memory index last saw it, and what is there; None for nothing.

    A file whose acknowledged change has not reached it yet is among them; one that is stuck is not, and is the
    business of checkpoints. Reads no file. Thread-safe; a writer may go on beside.

    Raises:
        DiskError: that cannot be found out.
    """
    for key in keys:
        packed = state.index.packed(key)
        stat = state.backend.stat(entity_path(*key))
        as_seen = stat is None if packed is None else stat is not None and has_stat(packed, stat)
        if not as_seen and key not in state.overlay.stuck:
            yield key, stat
