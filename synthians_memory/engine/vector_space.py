"""The vectors of one kind of entity: rows by position, and whose they are.

It is not a view: it follows nothing, locks nothing, and knows no file.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from synthians_memory.engine.exact import Bits, Positions, RowIndex

__all__ = ["FrozenSpace", "Slot", "VectorSpace"]

_VECTOR_IDS: Final = "Q"


class Slot(NamedTuple):
    """Whose a row is.

    Attributes:
        entity_id: the entity's id.
        vector_id: grows for ever with the position, and is never given twice.
        embedding_hash: of the embedding that the row was made from.
    """

    entity_id: str
    vector_id: int
    embedding_hash: bytes


class FrozenSpace(NamedTuple):
    """The slots of a space at one moment; its rows never change in place, so positions are enough.

    Attributes:
        ids: position -> id; None where the row was dead.
        vector_ids: by position.
        hashes: id -> hash of the embedding.
    """

    ids: list[str | None]
    vector_ids: array[int]
    hashes: dict[str, bytes]

    @property
    def alive(self) -> int:
        """How many living rows there are."""
        return len(self.hashes)

    def positions(self) -> Positions:
        """Of the living rows, ascending."""
        return np.flatnonzero(np.array([i is not None for i in self.ids], dtype=bool))

    def slots(self) -> Iterator[Slot]:
        """Those of the living rows, in the rows' order, which is that of the vector ids."""
        for entity_id, vector_id in zip(self.ids, self.vector_ids, strict=True):
            if entity_id is not None:
                yield Slot(entity_id, vector_id, self.hashes[entity_id])


class VectorSpace:
    """The vectors of one kind of entity, in columns: no object stands for a single vector.

    Attributes:
        index: the rows; whoever adds a slot adds its row as well.
        hashes: id -> hash of the embedding; a single look-up needs no lock.
    """

    __slots__ = ("_ids", "_living", "_positions", "_vector_ids", "hashes", "index")

    def __init__(self, index: RowIndex) -> None:
        self.index = index
        self.hashes: dict[str, bytes] = {}
        self._positions: dict[str, int] = {}
        # By position; the id is None where the row is dead.
        self._ids: list[str | None] = []
        self._vector_ids = array(_VECTOR_IDS)
        # By position, the lowest bit of each byte first: whether the row is alive.
        self._living = bytearray()

    def __len__(self) -> int:
        """How many living rows there are."""
        return len(self._positions)

    @property
    def dead(self) -> int:
        """Rows that belong to nobody any more."""
        return len(self._ids) - len(self._positions)

    @property
    def total(self) -> int:
        """Rows, dead ones included."""
        return len(self._ids)

    def position(self, entity_id: str) -> int | None:
        """Where the entity's row is; None where it has none."""
        return self._positions.get(entity_id)

    def owners(self, positions: Iterable[int]) -> list[str | None]:
        """Whose the rows are; None where one is dead."""
        ids = self._ids
        return [ids[position] for position in positions]

    def positions(self, entity_ids: Iterable[str]) -> Positions:
        """Where the rows of these entities are, ascending; those without one are passed over."""
        found = (position for position in map(self._positions.get, entity_ids) if position is not None)
        return np.unique(np.fromiter(found, dtype=np.int64))

    def put(self, slot: Slot) -> None:
        """Give the next row to an entity; the one it had is dead."""
        entity_id = slot.entity_id
        self.kill(entity_id)
        position = self._positions[entity_id] = len(self._ids)
        self._ids.append(entity_id)
        if position % 8 == 0:
            self._living.append(0)
        self._living[position >> 3] |= 1 << (position & 7)
        self._vector_ids.append(slot.vector_id)
        self.hashes[entity_id] = slot.embedding_hash

    def extend(self, entity_ids: Sequence[str], vector_ids: Iterable[int], hashes: Iterable[bytes]) -> None:
        """Give the next rows to these entities, which have none and are all different; columns of equal length.

        Raises:
            TypeError, OverflowError: a vector id is none.
        """
        start = len(self._ids)
        self._vector_ids.extend(vector_ids)
        self._positions.update(zip(entity_ids, range(start, start + len(entity_ids)), strict=True))
        self._ids.extend(entity_ids)
        self._note_living()
        self.hashes.update(zip(entity_ids, hashes, strict=True))

    def kill(self, entity_id: str) -> None:
        """Take the entity's row from it, where it has one."""
        position = self._positions.pop(entity_id, None)
        if position is not None:
            self._ids[position] = None
            self._living[position >> 3] &= ~(1 << (position & 7))
            del self.hashes[entity_id]

    def living(self) -> Bits:
        """Which rows are alive, by position; a copy."""
        return np.frombuffer(bytes(self._living), dtype=np.uint8)

    def live(self) -> Positions:
        """Positions of the living rows, ascending."""
        return np.flatnonzero(np.unpackbits(self.living(), count=len(self._ids), bitorder="little"))

    def _note_living(self) -> None:
        alive = np.array([i is not None for i in self._ids], dtype=bool)
        self._living = bytearray(np.packbits(alive, bitorder="little").tobytes())

    @property
    def last_vector_id(self) -> int:
        """The greatest that was given; 0 before the first."""
        return self._vector_ids[-1] if self._vector_ids else 0

    def compact(self) -> None:
        """Drop the dead rows; vector ids stay."""
        live = self.live()
        self.index.keep(live)
        self._vector_ids = array(_VECTOR_IDS, [self._vector_ids[position] for position in live])
        self._ids = [i for i in self._ids if i is not None]
        self._positions = {i: position for position, i in enumerate(self._ids) if i is not None}
        self._note_living()

    def freeze(self) -> FrozenSpace:
        """The living rows' slots as they are now."""
        return FrozenSpace(self._ids.copy(), self._vector_ids[:], self.hashes.copy())
