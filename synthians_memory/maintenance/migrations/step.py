"""What one migration is: the way from a format version to the next, and what it works on.

It knows no version by itself; each has a file of its own beside this one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from synthians_memory.engine.quarantine import Quarantine
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock

__all__ = ["Migration", "Workplace"]


@dataclass(frozen=True, slots=True)
class Workplace:
    """A locked store between two versions.

    Attributes:
        backend: its files.
        clock: source of time.
        new_id: source of store ids and epochs.
        facts: what its superblock says; empty where it has none.
        notes: grows by one sentence for each thing that a person should know.
        dry_run: whether nothing may be changed.
        progress: called with the files that are done, of how many.
    """

    backend: Backend
    clock: Clock
    new_id: Callable[[], str]
    facts: Mapping[str, Any]
    notes: list[str] = field(default_factory=list)
    dry_run: bool = False
    progress: Callable[[int, int], None] | None = None

    @property
    def quarantine(self) -> Quarantine:
        """Where to put what is in the way: a migration deletes nothing that cannot be derived."""
        return Quarantine(self.backend, self.clock)


@dataclass(frozen=True, slots=True)
class Migration:
    """The way from one format version to the next.

    Attributes:
        start: the version that it starts from; it ends at the next one.
        what: what it does, for people.
        run: does it, durably, and returns the members of the new superblock, without `format_version` and the
            features. It may have been interrupted at any point and is then run again, on what it left; until it is
            done nobody opens the store. Raises NotAStoreError for what it cannot be applied to, having changed
            nothing; DiskError.
    """

    start: int
    what: str
    run: Callable[[Workplace], Mapping[str, Any]]
