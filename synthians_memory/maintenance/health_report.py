"""What a health pass answers with: what it found and did, what is left, and how the store stands.

It looks at nothing, and mends nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from synthians_memory.maintenance.care import BackupReport
from synthians_memory.maintenance.restore_report import RestoreReport
from synthians_memory.maintenance.vital_signs import VitalSigns
from synthians_memory.reports import Finding
from synthians_memory.times import format_time

__all__ = ["HealthReport", "Outcome", "Putback"]

Outcome = Literal["healthy", "findings", "mended", "restored", "failed"]

_MOST_NAMED: Final = 20


@dataclass(frozen=True, slots=True)
class Putback:
    """One file that was brought back from a backup, or the archived journal.

    Attributes:
        path: relative to the store.
        origin: where it comes from.
        exact: whether it is the version that had been acknowledged last.
        loss: what is lost all the same, in a sentence; "" for nothing.
    """

    path: str
    origin: str
    exact: bool = True
    loss: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"path": self.path, "origin": self.origin, "exact": self.exact, "loss": self.loss}


@dataclass(frozen=True, slots=True)
class HealthReport:
    """One pass.

    Attributes:
        at: when it began.
        outcome: "healthy"; "mended", from what the store itself still had; "restored", from a backup; "findings": something is
            left that costs no data, or that was only to be reported; "failed": damage is left.
        level: "full" or "sampled": how much of the files was read.
        read: how many entity files a sampled check has read.
        holder: who has the store open, so that the pass only reports; "" for nobody.
        memories, assemblies: how many the store holds afterwards.
        findings: what was wrong before.
        remaining: what still is.
        actions: what was done, a sentence each.
        restored: files that came back from a backup.
        lost: what was acknowledged and is not to be had any more, a sentence each.
        rollback: of the whole store; None where none was needed.
        backup: the snapshot that was due; None where none was.
        vital_signs: sizes and times.
        problems: what the pass itself could not do, a sentence each.
        steps: what is left for a person to do, a sentence each.
        seconds: how long it took.
    """

    at: datetime
    outcome: Outcome
    level: Literal["full", "sampled"] = "full"
    read: int = 0
    holder: str = ""
    memories: int = 0
    assemblies: int = 0
    findings: tuple[Finding, ...] = ()
    remaining: tuple[Finding, ...] = ()
    actions: tuple[str, ...] = ()
    restored: tuple[Putback, ...] = ()
    lost: tuple[str, ...] = ()
    rollback: RestoreReport | None = None
    backup: BackupReport | None = None
    vital_signs: VitalSigns = field(default_factory=VitalSigns)
    problems: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    seconds: float = 0.0

    @property
    def is_clean(self) -> bool:
        """Whether nothing was wrong, and nothing had to be done."""
        return self.outcome == "healthy"

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "at": format_time(self.at),
            "outcome": self.outcome,
            "level": self.level,
            "read": self.read,
            "holder": self.holder,
            "memories": self.memories,
            "assemblies": self.assemblies,
            "findings": [finding.to_dict() for finding in self.findings],
            "remaining": [finding.to_dict() for finding in self.remaining],
            "actions": list(self.actions),
            "restored": [putback.to_dict() for putback in self.restored],
            "lost": list(self.lost),
            "rollback": self.rollback.to_dict() if self.rollback else None,
            "backup": self.backup.to_dict() if self.backup else None,
            "vital_signs": self.vital_signs.to_dict(),
            "problems": list(self.problems),
            "steps": list(self.steps),
            "seconds": self.seconds,
        }

    def log_fields(self) -> dict[str, Any]:
        """What a line of the health log says: numbers, and of sentences the first few; no content of a memory."""
        return {
            "outcome": self.outcome,
            "level": self.level,
            "read": self.read,
            "holder": self.holder,
            "seconds": round(self.seconds, 3),
            "memories": self.memories,
            "assemblies": self.assemblies,
            "findings": _counted(self.findings),
            "remaining": _counted(self.remaining),
            "actions": len(self.actions),
            "restored": len(self.restored),
            "lost": len(self.lost),
            "rollback": self.rollback.snapshot if self.rollback else None,
            "backup": _backup_fields(self.backup),
            **self.vital_signs.to_dict(),
            "done": [*self.actions, *(f"{p.path} came back from {p.origin}" for p in self.restored)][:_MOST_NAMED],
            "problems": list(self.problems[:_MOST_NAMED]),
        }


def _counted(findings: Iterable[Finding]) -> dict[str, int]:
    return dict(sorted(Counter(finding.code for finding in findings).items()))


def _backup_fields(backup: BackupReport | None) -> dict[str, Any] | None:
    if backup is None:
        return None
    return {
        "name": backup.snapshot.name,
        "ring": backup.snapshot.ring,
        "written_bytes": backup.written_bytes,
        "removed": len(backup.removed),
        "whole": backup.snapshot.whole,
    }
