"""Import and export of JSONL: many entities, a chunk at a time.

It is not the file that is read or written (`storage.streams`), nor the form of a line (`codec`).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple, TypeVar

import numpy as np

from synthians_memory.codec import Line, encode, parse_line
from synthians_memory.embedder import Embedder
from synthians_memory.engine.commit import ABSENT, Absent, Batch, Expected, Operation, require_vector
from synthians_memory.engine.embedding_call import embed_texts
from synthians_memory.engine.records import Key
from synthians_memory.engine.session import Session
from synthians_memory.engine.state import UNSERVABLE
from synthians_memory.errors import (
    ConflictError,
    InvalidTypeError,
    InvalidValueError,
)
from synthians_memory.models import Entity, MemoryEntry, Vector
from synthians_memory.reports import ImportReport, LineProblem
from synthians_memory.storage.streams import read_lines
from synthians_memory.times import to_micros

__all__ = ["ImportOptions", "Importer"]

T = TypeVar("T")

_MOST_PROBLEMS: Final = 1000
# Lines that are parsed, or entities that are encoded, in one go: some milliseconds.
_PART: Final = 48
_MOST_CHUNK_BYTES: Final = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """How to import.

    Attributes:
        chunk: lines that are stored together.
        embedder: for memories without an embedding; None leaves them without.
        overwrite: whether a stored entity of other content is replaced.
        stop_on_error: whether the first line that cannot be stored ends the import.
    """

    chunk: int
    embedder: Embedder | None
    overwrite: bool
    stop_on_error: bool


class _Wanted(NamedTuple):
    """A line, and what may be stored when it is: ABSENT where nothing was."""

    number: int
    line: Line
    expected: Expected = None

    @property
    def key(self) -> Key:
        return self.line.entity.kind, self.line.entity.entity_id


@dataclass(slots=True)
class _Chunk:
    """What becomes of the lines of one chunk."""

    operations: list[Operation]
    skipped: int
    overwritten: int
    problems: list[LineProblem]


class Importer:
    """One import into one store."""

    def __init__(
        self, session: Session, options: ImportOptions, progress: Callable[[ImportReport], None] | None
    ) -> None:
        self._session = session
        self._options = options
        self._progress = progress
        self._report = ImportReport()
        self._dimension: int | None = None
        # Embedded texts of the chunk, which may have to be prepared twice.
        self._rows: dict[str, Vector] = {}
        # What the vectors of the chunk are made for: the model may be changed before they are stored.
        self._vectors = session.store.state.vectors

    async def run(self, source: str | os.PathLike[str] | AsyncIterator[list[bytes]]) -> ImportReport:
        """Store everything; see `Persistence.import_memories`."""
        lines = read_lines(source) if isinstance(source, str | os.PathLike) else source
        number, waiting, size = 0, list[tuple[int, bytes]](), 0
        async for part in lines:
            for data in part:
                number += 1
                if data.strip():
                    waiting.append((number, data))
                    size += len(data)
                if len(waiting) >= self._options.chunk or size >= _MOST_CHUNK_BYTES:
                    await self._store(waiting)
                    waiting, size = [], 0
        if waiting:
            await self._store(waiting)
        return self._report

    async def _store(self, lines: Sequence[tuple[int, bytes]]) -> None:
        self._rows = {}
        vectors = self._vectors = self._session.store.state.vectors
        chunk = await self._prepared(lines)
        try:
            await self._session.commit(chunk.operations, vectors)
        except ConflictError:
            # Somebody saved an entity of this chunk after it was found missing. In the writer's thread nobody can.
            chunk = await self._session.in_writer(lambda: self._prepare_and_commit(lines))
        report = self._report
        self._report = replace(
            report,
            imported=report.imported + len(chunk.operations),
            skipped=report.skipped + chunk.skipped,
            overwritten=report.overwritten + chunk.overwritten,
            problems=(*report.problems, *chunk.problems)[:_MOST_PROBLEMS],
            problem_count=report.problem_count + len(chunk.problems),
        )
        if self._progress is not None:
            self._progress(self._report)

    async def _prepared(self, lines: Sequence[tuple[int, bytes]]) -> _Chunk:
        """As `_prepare`, in threads, in parts so short that the event loop is not kept waiting for the interpreter."""
        run = self._session.in_thread
        chunk, wanted = _Chunk([], 0, 0, []), list[_Wanted]()
        for part in _parts(lines):
            wanted += await run(partial(self._parse_all, part, chunk))
        embed = run if self._options.embedder is None else self._session.in_embedding_thread
        fresh = await embed(lambda: self._fresh(wanted, chunk))
        for some in _parts(fresh):
            chunk.operations += await run(partial(_operations, some))
        return chunk

    # In a thread

    def _prepare_and_commit(self, lines: Sequence[tuple[int, bytes]]) -> _Chunk:
        chunk = self._prepare(lines)
        batch = Batch(chunk.operations, made_for=self._vectors)
        self._session.store.commit([batch])
        if batch.error is not None:
            raise batch.error
        return chunk

    def _prepare(self, lines: Sequence[tuple[int, bytes]]) -> _Chunk:
        chunk = _Chunk([], 0, 0, [])
        chunk.operations = _operations(self._fresh(self._parse_all(lines, chunk), chunk))
        return chunk

    def _parse_all(self, lines: Sequence[tuple[int, bytes]], chunk: _Chunk) -> list[_Wanted]:
        return [wanted for number, data in lines if (wanted := self._parse(number, data, chunk)) is not None]

    def _fresh(self, wanted: Sequence[_Wanted], chunk: _Chunk) -> list[tuple[_Wanted, Entity]]:
        """What is to be stored, each with its embedding."""
        fresh = self._without_known(wanted, chunk)
        return list(zip(fresh, self._embedded([one.line.entity for one in fresh]), strict=True))

    def _parse(self, number: int, data: bytes, chunk: _Chunk) -> _Wanted | None:
        try:
            line = parse_line(data)
            self._require_vector(line.entity)
        except (InvalidValueError, InvalidTypeError) as error:
            self._problem(chunk, LineProblem(number, "invalid", str(error)))
            return None
        return _Wanted(number, line)

    def _require_vector(self, entity: Entity) -> None:
        vector = entity.vector
        if vector is None:
            return
        state = self._session.store.state
        expected = state.superblock.embedding_dimension or state.config.embedding_dimension or self._dimension
        self._dimension = expected or len(vector)
        require_vector(vector, self._dimension, state.superblock.metric, entity.entity_id)

    def _problem(self, chunk: _Chunk, problem: LineProblem) -> None:
        if self._options.stop_on_error:
            raise InvalidValueError(
                f"line {problem.line} cannot be stored: {problem.reason}",
                hint="Correct the line and repeat the import: what is stored already is skipped.",
            )
        chunk.problems.append(problem)

    def _without_known(self, wanted: Sequence[_Wanted], chunk: _Chunk) -> list[_Wanted]:
        """Leave out what is stored, or stands in the chunk before, with equal content; report conflicts."""
        fresh: dict[Key, _Wanted] = {}
        for one in wanted:
            earlier = fresh.get(one.key)
            stored = earlier.line.entity if earlier is not None else self._stored(one.key)
            if stored is None or stored is ABSENT:
                fresh[one.key] = one._replace(expected=stored)
            elif _equal(one.line, stored):
                chunk.skipped += 1
            elif self._options.overwrite:
                fresh.pop(one.key, None)
                fresh[one.key] = one._replace(expected=earlier.expected if earlier is not None else None)
                chunk.overwritten += 1
            else:
                what = f"{one.key[0]} {one.key[1]!r} is stored with other content"
                self._problem(
                    chunk, LineProblem(one.number, "conflict", f"{what}. Repeat with overwrite to replace it.")
                )
        return list(fresh.values())

    def _stored(self, key: Key) -> Entity | Absent | None:
        """What is stored; ABSENT for nothing, None for what cannot be served."""
        try:
            stored = self._session.store.load(key)
            return ABSENT if stored is None else stored
        except UNSERVABLE:
            # It is not equal to anything; the import may mend it.
            return None

    def _embedded(self, entities: list[Entity]) -> list[Entity]:
        embedder = self._options.embedder
        if embedder is not None and self._vectors.made_with is not None:
            embedder = self._vectors.made_with.embedder
        bare = [i for i, e in enumerate(entities) if isinstance(e, MemoryEntry) and e.embedding is None and e.content]
        if embedder is None or not bare:
            return entities
        texts = dict.fromkeys(_content(entities[i]) for i in bare)
        missing = [text for text in texts if text not in self._rows]
        if missing:
            self._rows.update(zip(missing, embed_texts(embedder, missing), strict=True))
        found = list(entities)
        for i in bare:
            row = self._rows[_content(entities[i])]
            # A text without a known word may come out as zero, which has no direction.
            if np.any(row):
                found[i] = entities[i].replace(embedding=row)
        return found


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + _PART] for start in range(0, len(items), _PART))


def _operations(wanted: Sequence[tuple[_Wanted, Entity]]) -> list[Operation]:
    operations: list[Operation] = []
    for one, entity in wanted:
        updated = entity.__dict__["updated_at"]
        keep = to_micros(updated) if updated is not None else None
        operations.append(Operation(*one.key, encode(entity), one.expected, keep))
    return operations


def _content(entity: Entity) -> str:
    return entity.content if isinstance(entity, MemoryEntry) else ""


def _equal(line: Line, stored: Entity) -> bool:
    """Whether every field that the line gives is as stored."""
    entity = line.entity
    given = {name: getattr(entity, name) for name in line.given if name in entity.__dict__}
    given["extra"] = {**stored.__dict__["extra"], **entity.__dict__["extra"]}
    return stored.replace(**given) == stored
