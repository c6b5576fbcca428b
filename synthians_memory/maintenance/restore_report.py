"""What a restore answers with: what it brought back, from which moment, and what that cost.

It restores nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from synthians_memory.times import format_time

__all__ = ["Loss", "RestoreReport"]


@dataclass(frozen=True, slots=True)
class Loss:
    """What was acknowledged after the restored moment, and is now in quarantine only.

    Attributes:
        since: the restored moment.
        until: the last update that the replaced store held; None where it could not be read.
        newer: entities whose replaced version was another one, or that were not there at the moment.
        returned: entities that had been deleted since, and are back.
        ids: "kind id" of the first thousand of both.
        known: whether the replaced store could be read; without that nobody knows.
    """

    since: datetime
    until: datetime | None = None
    newer: int = 0
    returned: int = 0
    ids: tuple[str, ...] = ()
    known: bool = True

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "since": format_time(self.since),
            "until": format_time(self.until) if self.until else None,
            "newer": self.newer,
            "returned": self.returned,
            "ids": list(self.ids),
            "known": self.known,
        }


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a restore did.

    Attributes:
        snapshot: the snapshot it began with.
        moment: the moment whose state the store has.
        memories, assemblies, files: how many were restored.
        replayed: entities whose version came from the journal's archive.
        quarantine: path of the folder with what was replaced.
        loss: what was acknowledged after the moment; None where nothing was replaced.
        missing: what the snapshot itself could not have.
        problems: why the moment is another one than was asked for, a sentence each.
        went_on: whether an earlier restore that was cut off was completed, and nothing else done.
    """

    snapshot: str
    moment: datetime
    memories: int = 0
    assemblies: int = 0
    files: int = 0
    replayed: int = 0
    quarantine: str = ""
    loss: Loss | None = None
    missing: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    went_on: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "snapshot": self.snapshot,
            "moment": format_time(self.moment),
            "memories": self.memories,
            "assemblies": self.assemblies,
            "files": self.files,
            "replayed": self.replayed,
            "quarantine": self.quarantine,
            "loss": self.loss.to_dict() if self.loss else None,
            "missing": list(self.missing),
            "problems": list(self.problems),
            "went_on": self.went_on,
        }
