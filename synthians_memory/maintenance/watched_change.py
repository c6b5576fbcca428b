"""WatchedChange: what became of one file that changed outside.

It is a value: making one changes nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from synthians_memory.layout import Kind

__all__ = ["EmbeddingOutcome", "Outcome", "WatchedChange"]

Outcome = Literal["adopted", "left", "failed"]
EmbeddingOutcome = Literal["kept", "made", "stale", "none"]


@dataclass(frozen=True, slots=True)
class WatchedChange:
    """What a watch found, and what it did about it.

    Attributes:
        outcome: "adopted"; "left": nothing was changed, and a person decides; "failed": it could not be adopted, or
            looked at, and is tried again when the file changes and at the next sweep.
        message: what happened and, where it was not adopted, what to do.
        code: of the finding (see `Finding`); "" for a failure that is about no single file.
        path: the file, relative to the store.
        kind, entity_id: the entity, where it is one.
        embedding: of an adopted entity: "kept" as the file has it, "made" anew, "stale" (kept, and marked), or "none".
    """

    outcome: Outcome
    message: str
    code: str = ""
    path: str = ""
    kind: Kind | None = None
    entity_id: str | None = None
    embedding: EmbeddingOutcome | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)
