"""The vectors of one kind of entity: rows by position, and whose they are.

It is not a view: it follows nothing, locks nothing, and knows no file.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from synthians_memory.engine.exact import Positions, RowIndex

__all__ = ["Slot", "VectorSpace"]


@dataclass(slots=True)
class Slot:
    """Where the vector of one entity is.

    Attributes:
        vector_id: grows for ever and is never given twice.
        embedding_hash: of the embedding it was made from.
        position: its row.
    """

    vector_id: int
    embedding_hash: bytes
    position: int


@dataclass(slots=True)
class VectorSpace:
    """The vectors of one kind of entity.

    Attributes:
        index: the rows.
        slots: id -> where its vector is.
        ids: position -> id; None where the row is dead.
    """

    index: RowIndex
    slots: dict[str, Slot] = field(default_factory=dict)
    ids: list[str | None] = field(default_factory=list)

    @property
    def dead(self) -> int:
        """Rows that belong to nobody any more."""
        return len(self.ids) - len(self.slots)

    def live(self) -> Positions:
        """Positions of the living rows, ascending."""
        return np.fromiter((p for p, i in enumerate(self.ids) if i is not None), dtype=np.int64)

    def compact(self) -> None:
        """Drop the dead rows; vector ids stay."""
        live = self.live()
        self.index.keep(live)
        self.ids = [self.ids[position] for position in live]
        for position, entity_id in enumerate(self.ids):
            if entity_id is not None:
                self.slots[entity_id].position = position
