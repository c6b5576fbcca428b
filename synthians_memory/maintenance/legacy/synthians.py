"""Import of a directory that the original Synthians code has written, in either of its layouts.

It is not `import`, which reads lines of this library's own form.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from synthians_memory.embedder import Embedder
from synthians_memory.engine.import_chunk import ImportOptions
from synthians_memory.engine.persistence import Persistence
from synthians_memory.engine.store import Store
from synthians_memory.errors import DiskError, InvalidValueError
from synthians_memory.hashing import hasher_of
from synthians_memory.maintenance.legacy.conversion import Converted, convert_assembly, convert_memory
from synthians_memory.maintenance.legacy.conveying import Conveyor, Failure, Item, convey
from synthians_memory.maintenance.legacy.fitting import VectorSpace
from synthians_memory.maintenance.legacy.kept import Pieces, printable
from synthians_memory.maintenance.legacy.reading import json_text
from synthians_memory.maintenance.legacy.report import LegacyReport, NotImported
from synthians_memory.maintenance.legacy.survey import Candidate, Survey, look_at, member_ids, pieces_of, read_object
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend

__all__ = ["conveyor_of", "import_legacy", "require_outside"]

# What is kept beside the store with its bytes: of the rest there are none, or they cannot be read.
_WITH_BYTES: Final = frozenset(("no_entity", "too_large", "undecodable"))


async def import_legacy(
    store: Persistence,
    directory: str | os.PathLike[str],
    *,
    chunk: int = 200,
    embedder: Embedder | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Callable[[LegacyReport], None] | None = None,
) -> LegacyReport:
    """Store what the original Synthians code has written, and keep beside it what cannot be stored.

    The directory is only read. Everything in it is imported, ignored as derived, or reported one by one. Repeating
    it, also after a kill, stores nothing twice.

    Args:
        store: open; for `dry_run` read-only will do.
        directory: of the original code.
        chunk: entities that are stored together, all or none.
        embedder: for memories without an embedding that the store can use; None leaves them without.
        overwrite: replace a stored entity of other content; without it that is reported.
        dry_run: change nothing, and report what would be done.
        progress: called after each chunk with the report so far.

    Raises:
        NotAStoreError: the directory holds nothing of the original code.
        InvalidValueError: it is a store of this library, or the store lies in it.
        DiskError: the directory cannot be read, or the store not written.
    """
    require_outside(store.config.storage_path, directory)
    session = store._opened()  # noqa: SLF001 - the import works in the threads of the store
    options = ImportOptions(chunk, embedder, overwrite, stop_on_error=False)
    source = await session.in_thread(lambda: LocalBackend(directory))
    try:
        make = partial(conveyor_of, session.store, source, options, dry_run=dry_run)
        conveyor = await session.in_thread(make)
        return await convey(session, conveyor, embeds=embedder is not None, progress=progress)
    finally:
        source.close()


def require_outside(store_path: str | os.PathLike[str], directory: str | os.PathLike[str]) -> None:
    """Refuse a store that lies in the directory that is to be imported, or is it: InvalidValueError."""
    store, source = os.path.realpath(store_path), os.path.realpath(directory)
    if (store + os.sep).startswith(source + os.sep):
        raise InvalidValueError(
            f"the store {store} lies in {source}, which is to be imported and stays as it is",
            hint="Give a store outside of it.",
        )


def conveyor_of(store: Store, source: Backend, options: ImportOptions, *, dry_run: bool = False) -> Conveyor:
    """The import of a directory into an open store, surveyed and ready to run; raises as `import_legacy`."""
    survey = look_at(source)
    state = store.state
    dimension = state.superblock.embedding_dimension or state.config.embedding_dimension
    embedding = options.embedder.dimension if options.embedder is not None else None
    space = VectorSpace(dimension or embedding or survey.dimension, state.superblock.metric)
    reader = _Reader(source, survey, space)
    conveyor = Conveyor(store, options, source.location, reader.things(), dry_run=dry_run)
    conveyor.ignored = survey.ignored
    reader.conveyor = conveyor
    return conveyor


def _alone(text: bytes) -> Pieces:
    return lambda: iter([text])


class _Reader:
    """Reads the files of a survey, one after the other, as what is to be stored."""

    conveyor: Conveyor

    def __init__(self, source: Backend, survey: Survey, space: VectorSpace) -> None:
        self._source = source
        self._survey = survey
        self._space = space
        # Members that are nowhere else: id -> hash of the first object of that id.
        self._members: dict[str, bytes] = {}

    def things(self) -> Iterator[Item | Failure]:
        """Everything, in an order that depends on the source alone."""
        for problem in self._survey.problems:
            yield Failure(problem, self._pieces(problem.path) if problem.code in _WITH_BYTES else None)
        for candidate in self._survey.chosen.values():
            if candidate.kind == "assembly":
                yield from self._lone_members(candidate)
            yield self._item(candidate)
        for double in self._survey.doubles:
            yield from self._compared(double)

    def _pieces(self, path: str) -> Pieces:
        return lambda: pieces_of(self._source, path)

    def _item(self, candidate: Candidate) -> Item | Failure:
        pieces = self._pieces(candidate.path)
        try:
            return Item(candidate.path, self._converted(candidate), pieces)
        except (InvalidValueError, RecursionError) as error:
            reason = error.message if isinstance(error, InvalidValueError) else "it is nested too deeply"
            return Failure(NotImported(candidate.path, "undecodable", reason), pieces)
        except DiskError as error:
            return Failure(NotImported(candidate.path, "unreadable", error.message), None)

    def _converted(self, candidate: Candidate) -> Converted:
        found = read_object(self._source, candidate.path)
        if candidate.kind == "memory":
            return convert_memory(found, candidate.standby, self._space)
        return convert_assembly(found, candidate.standby, self._space, partial(self._is_stored, candidate))

    def _lone_members(self, candidate: Candidate) -> Iterator[Item | Failure]:
        """The memories that stand in an assembly only."""
        try:
            found = read_object(self._source, candidate.path)
            for memory_id, member in member_ids(found):
                if ("memory", memory_id) not in self._survey.chosen and memory_id not in self._members:
                    yield self._lone_member(candidate, memory_id, member)
        except (InvalidValueError, RecursionError, DiskError):
            return  # the assembly itself tells of it

    def _lone_member(self, candidate: Candidate, memory_id: str, member: dict[str, Any]) -> Item:
        text = json_text(member).encode()
        converted = convert_memory({"id": memory_id, **member}, candidate.standby, self._space)
        self._members[memory_id] = hasher_of(text).digest()
        return Item(f"{candidate.path}: member {printable(memory_id)!r}", converted, _alone(text))

    def _is_stored(self, assembly: Candidate, member: dict[str, Any]) -> bool:
        """Whether a whole member is among the memories as it stands in the assembly."""
        (memory_id, _), *_ = member_ids({"memories": [member]})
        own = self._survey.chosen.get(("memory", memory_id))
        if own is None:
            return self._members.get(memory_id) == hasher_of(json_text(member).encode()).digest()
        as_member = convert_memory(member, assembly.standby, self._space)
        try:
            return as_member.agrees_with(self._converted(own))
        except (InvalidValueError, RecursionError, DiskError):
            return False

    def _compared(self, double: Candidate) -> Iterator[Item | Failure]:
        """Nothing for a second file of an id with equal content; else what became of it."""
        chosen = self._survey.chosen[double.kind, double.entity_id]
        item, counted = self._item(double), self._item(chosen)
        if isinstance(item, Failure):
            yield item
        elif isinstance(counted, Item) and item.converted.agrees_with(counted.converted):
            self.conveyor.skipped += 1
        else:
            reason = f"{chosen.path} has the same id, {double.entity_id!r}, and other content; that one is imported"
            yield Failure(NotImported(double.path, "duplicate", reason), item.pieces)
