"""Lines of JSONL that become one batch: parsed, compared with what is stored, and encoded.

It reads no file, and knows neither event loop nor thread: `transfer` and others bring it the lines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from synthians_memory.codec import Line, encode, parse_line
from synthians_memory.embedder import Embedder
from synthians_memory.engine.commit import ABSENT, Absent, Batch, Expected, Operation, require_vector
from synthians_memory.engine.embedding_call import embed_texts
from synthians_memory.engine.expiry import unexpired
from synthians_memory.engine.records import Key
from synthians_memory.engine.state import UNSERVABLE
from synthians_memory.engine.store import Store
from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.models import Entity, MemoryEntry, Vector
from synthians_memory.reports import LineProblem
from synthians_memory.times import to_micros

__all__ = ["Chunk", "ChunkImporter", "ImportOptions", "Wanted", "operations_of"]


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


class Wanted(NamedTuple):
    """A line, and what may be stored when it is: ABSENT where nothing was."""

    number: int
    line: Line
    expected: Expected = None

    @property
    def key(self) -> Key:
        return self.line.entity.kind, self.line.entity.entity_id


@dataclass(slots=True)
class Chunk:
    """What becomes of the lines of one chunk."""

    operations: list[Operation]
    skipped: int
    overwritten: int
    problems: list[LineProblem]


class ChunkImporter:
    """Makes batches of lines for one store; synchronous, and used by one thread at a time.

    Attributes:
        vectors: the vector index that the vectors of the present chunk are made for.
    """

    def __init__(self, store: Store, options: ImportOptions) -> None:
        self._store = store
        self._options = options
        self._dimension: int | None = None
        # Embedded texts of the chunk, which may have to be prepared twice.
        self._rows: dict[str, Vector] = {}
        # What the vectors of the chunk are made for: the model may be changed before they are stored.
        self.vectors = store.state.vectors

    def begin(self) -> None:
        """Another chunk follows."""
        self._rows = {}
        self.vectors = self._store.state.vectors

    def prepare_and_commit(self, lines: Sequence[tuple[int, bytes]]) -> Chunk:
        """Store a chunk; in the writer's thread, where nobody saves in between. Raises as `commit`."""
        chunk = self.prepare(lines)
        self.commit(chunk)
        return chunk

    def commit(self, chunk: Chunk) -> None:
        """Store what was prepared, in the writer's thread.

        Raises:
            ConflictError: one of its entities was saved since.
            SynthiansMemoryError: as a batch does.
        """
        if not chunk.operations:
            return
        batch = Batch(chunk.operations, made_for=self.vectors)
        self._store.commit([batch])
        if batch.error is not None:
            raise batch.error

    def prepare(self, lines: Sequence[tuple[int, bytes]]) -> Chunk:
        """What becomes of these numbered lines; changes nothing."""
        chunk = Chunk([], 0, 0, [])
        chunk.operations = operations_of(self.fresh(self.parse_all(lines, chunk), chunk))
        return chunk

    def parse_all(self, lines: Sequence[tuple[int, bytes]], chunk: Chunk) -> list[Wanted]:
        """The lines that can be stored; the others become problems of `chunk`."""
        return [wanted for number, data in lines if (wanted := self._parse(number, data, chunk)) is not None]

    def fresh(self, wanted: Sequence[Wanted], chunk: Chunk) -> list[tuple[Wanted, Entity]]:
        """What is to be stored, each with its embedding."""
        fresh = self._without_known(wanted, chunk)
        return list(zip(fresh, self._embedded([one.line.entity for one in fresh]), strict=True))

    def _parse(self, number: int, data: bytes, chunk: Chunk) -> Wanted | None:
        try:
            line = parse_line(data)
            self._require_vector(line.entity)
        except (InvalidValueError, InvalidTypeError) as error:
            self._problem(chunk, LineProblem(number, "invalid", str(error)))
            return None
        return Wanted(number, line)

    def _require_vector(self, entity: Entity) -> None:
        vector = entity.vector
        if vector is None:
            return
        state = self._store.state
        expected = state.superblock.embedding_dimension or state.config.embedding_dimension or self._dimension
        self._dimension = expected or len(vector)
        require_vector(vector, self._dimension, state.superblock.metric, entity.entity_id)

    def _problem(self, chunk: Chunk, problem: LineProblem) -> None:
        if self._options.stop_on_error:
            raise InvalidValueError(
                f"line {problem.line} cannot be stored: {problem.reason}",
                hint="Correct the line and repeat the import: what is stored already is skipped.",
            )
        chunk.problems.append(problem)

    def _without_known(self, wanted: Sequence[Wanted], chunk: Chunk) -> list[Wanted]:
        """Leave out what is stored, or stands in the chunk before, with equal content; report conflicts."""
        fresh: dict[Key, Wanted] = {}
        for one in wanted:
            earlier = fresh.get(one.key)
            stored = earlier.line.entity if earlier is not None else self._stored(one.key)
            if stored is None or stored is ABSENT:
                fresh[one.key] = one._replace(expected=stored)
            elif _equal(one.line, stored):
                chunk.skipped += 1
            elif earlier is None and unexpired(stored, self._store.state.clock) is None:
                # To whoever saves it is not there any more.
                fresh[one.key] = one._replace(expected=ABSENT)
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
            stored = self._store.stored(key)
            return ABSENT if stored is None else stored
        except UNSERVABLE:
            # It is not equal to anything; the import may mend it.
            return None

    def _embedded(self, entities: list[Entity]) -> list[Entity]:
        embedder = self._options.embedder
        if embedder is not None and self.vectors.made_with is not None:
            embedder = self.vectors.made_with.embedder
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


def operations_of(wanted: Sequence[tuple[Wanted, Entity]]) -> list[Operation]:
    """The operations that store what is wanted, with the update times that the lines give."""
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
