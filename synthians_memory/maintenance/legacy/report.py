"""What an import from another program answers with.

They are values: making one stores nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

__all__ = ["LegacyNote", "LegacyReport", "NotImported", "ProblemCode"]

ProblemCode = Literal[
    "conflict", "duplicate", "invalid", "missing", "no_entity", "not_regular", "too_large", "undecodable", "unreadable"
]  # fmt: skip
MOST_NOTES: Final = 1000


@dataclass(frozen=True, slots=True)
class NotImported:
    """Something of the source that is not in the store.

    Attributes:
        path: in the source; of a line also its number.
        code: what kind of problem it is: "undecodable" (no JSON that can be read), "no_entity" (neither a memory nor an
            assembly), "duplicate" (another file has the id, and other content), "conflict" (the store has the id,
            and other content), "invalid" (the store refuses it), "missing" (the index names it, and it is not there),
            "not_regular" (a symlink, FIFO or device), "too_large", "unreadable" (the disk refuses it).
        reason: why, in words.
        kept: the folder in the store that has its bytes and the reason; None for a dry run, and where it has no bytes
            that could be read.
    """

    path: str
    code: ProblemCode
    reason: str
    kept: str | None = None


@dataclass(frozen=True, slots=True)
class LegacyNote:
    """Something that was stored otherwise than it stood in the source.

    Attributes:
        path: in the source.
        message: what was changed.
    """

    path: str
    message: str


@dataclass(frozen=True, slots=True)
class LegacyReport:
    """What an import from another program did.

    Attributes:
        imported: entities stored.
        skipped: entities that were there with equal content.
        overwritten: of the imported, those that replaced another version.
        not_imported: everything that was not stored, one by one.
        notes: what was stored otherwise than it stood there, at most the first thousand; the entity itself says it
            as well, in its metadata.
        note_count: how many those were in all.
        ignored: files that hold nothing of their own: indexes that this store makes anew.
        dry_run: whether nothing was stored, and the figures say what would be.
    """

    imported: int = 0
    skipped: int = 0
    overwritten: int = 0
    not_imported: tuple[NotImported, ...] = field(default=())
    notes: tuple[LegacyNote, ...] = field(default=())
    note_count: int = 0
    ignored: tuple[str, ...] = field(default=())
    dry_run: bool = False

    @property
    def complete(self) -> bool:
        """Whether everything is in the store."""
        return not self.not_imported

    def to_dict(self) -> Mapping[str, Any]:
        """As JSON."""
        return {**asdict(self), "complete": self.complete}
