"""What a doctor says of a store: what was examined, what is wrong, how bad that is, and which commands mend it.

It examines nothing itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final, Literal

from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.maintenance.remedies import Urgency, command_for, remedy_for, rendered
from synthians_memory.reports import Finding

__all__ = [
    "Diagnosis",
    "ExaminationResult",
    "Examined",
    "Trouble",
    "trouble",
    "troubles_of",
    "with_copies_first",
]

ExaminationResult = Literal["ok", "note", "trouble", "skipped"]

_ORDER: Final[dict[Urgency, int]] = {"urgent": 0, "soon": 1, "note": 2}
# A backup is of use when all else is mended.
_LAST: Final = (" backup", " backup --full")
# Where a repair may have to give up what a snapshot still has.
_IN_BACKUPS: Final = frozenset(
    ("file_missing", "file_damaged", "file_undecodable", "not_a_file", "index_damaged", "journal_damaged")
)


@dataclass(frozen=True, slots=True)
class Trouble:
    """One kind of thing that is wrong, or worth knowing.

    Attributes:
        code: a key of FINDING_CODES or of TROUBLE_REMEDIES.
        urgency: "urgent", "soon" or "note".
        message: what was found, in a sentence.
        meaning: what that means, in plain words.
        commands: exact command lines that mend it, in order; none where no command does.
        advice: what else a person should know or do; "" for nothing.
        findings: of a check, all of that code.
    """

    code: str
    urgency: Urgency
    message: str
    meaning: str
    commands: tuple[str, ...] = ()
    advice: str = ""
    findings: tuple[Finding, ...] = ()

    @property
    def is_damage(self) -> bool:
        """Whether bytes are not what was written."""
        return self.code == "snapshot_damaged" or any(finding.severity == "damage" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "code": self.code,
            "urgency": self.urgency,
            "message": self.message,
            "meaning": self.meaning,
            "commands": list(self.commands),
            "advice": self.advice,
            "findings": [finding.to_dict() for finding in self.findings],
        }


@dataclass(frozen=True, slots=True)
class Examined:
    """One thing that was looked at.

    Attributes:
        name: what.
        result: "ok", "note" (worth knowing), "trouble", or "skipped" where it could not be looked at.
        detail: what was seen, in a sentence.
        troubles: what is wrong with it.
        error: why the store could not be opened.
        has_copies: whether it found a whole snapshot.
    """

    name: str
    result: ExaminationResult
    detail: str
    troubles: tuple[Trouble, ...] = ()
    error: SynthiansMemoryError | None = None
    has_copies: bool = False

    @classmethod
    def of(cls, name: str, detail: str, troubles: Iterable[Trouble] = ()) -> Examined:
        """What was examined, with the result that follows from `troubles`."""
        found = tuple(troubles)
        worst = min((_ORDER[one.urgency] for one in found), default=len(_ORDER))
        results: tuple[ExaminationResult, ...] = ("trouble", "trouble", "note", "ok")
        return cls(name, results[worst], detail, found)

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without the troubles."""
        return {"name": self.name, "result": self.result, "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All that was found out about a store.

    Attributes:
        location: its directory.
        examined: everything that was looked at, in order.
        holder: the program that holds the store, as far as it is known; "" where none does.
        error: why the store could not be opened; None where it could.
        seconds: how long it took.
    """

    location: str
    examined: tuple[Examined, ...]
    holder: str = ""
    error: SynthiansMemoryError | None = None
    seconds: float = 0.0

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        """Everything that is wrong, or worth knowing: the most urgent first, else in the order of examining."""
        found = [one for examined in self.examined for one in examined.troubles]
        # What an opening says may be what its remains say as well.
        once = {(one.code, one.commands): one for one in reversed(found)}
        return tuple(sorted((one for one in found if one in once.values()), key=lambda one: _ORDER[one.urgency]))

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to be done."""
        return all(one.urgency == "note" for one in self.troubles)

    @property
    def is_damaged(self) -> bool:
        """Whether bytes are not what was written."""
        return any(one.is_damage for one in self.troubles)

    @property
    def commands(self) -> tuple[str, ...]:
        """The command lines that mend what is wrong, each once, in the order in which to run them; none for notes."""
        wanted = dict.fromkeys(c for one in self.troubles if one.urgency != "note" for c in one.commands)
        return tuple(sorted(wanted, key=lambda command: command.endswith(_LAST)))

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "location": self.location,
            "well": self.is_well,
            "damaged": self.is_damaged,
            "opened": self.error is None,
            "holder": self.holder,
            "examined": [one.to_dict() for one in self.examined],
            "troubles": [one.to_dict() for one in self.troubles],
            "commands": list(self.commands),
            "seconds": round(self.seconds, 3),
        }


def with_copies_first(examined: Sequence[Examined], location: str, snapshots: str | None) -> tuple[Examined, ...]:
    """The same, but with `health` in place of `repair`, where a whole snapshot may have what a repair would give up.

    Args:
        examined: everything that was looked at.
        location: the store's directory.
        snapshots: their directory, where that is not the store's own.
    """
    codes = {one.code for part in examined for one in part.troubles}
    if not (codes & _IN_BACKUPS and any(part.has_copies for part in examined)):
        return tuple(examined)
    program = command_for(location)
    health = f"{program} health --from {shlex.quote(snapshots)}" if snapshots is not None else f"{program} health"
    names = {f"{program} repair": health}

    def renamed(one: Trouble) -> Trouble:
        return replace(one, commands=tuple(names.get(command, command) for command in one.commands))

    return tuple(replace(part, troubles=tuple(map(renamed, part.troubles))) for part in examined)


def trouble(code: str, message: str, location: str, *, name: str = "", file: str = "", advice: str = "") -> Trouble:
    """The trouble `code` with its remedy.

    Args:
        code: a key of TROUBLE_REMEDIES.
        message: what was found.
        location: the store's directory.
        name: as in `rendered`.
        file: as in `rendered`.
        advice: goes before that of the remedy.
    """
    remedy = remedy_for(code)
    commands = tuple(rendered(command, location, name=name, file=file) for command in remedy.commands)
    told = " ".join(filter(None, [advice, rendered(remedy.advice, location, name=name, file=file)]))
    return Trouble(code, remedy.urgency, message, remedy.meaning, commands, told)


def troubles_of(findings: Sequence[Finding], location: str) -> list[Trouble]:
    """The findings of a check with their remedies, one for each code, in the order of the codes' first findings."""
    places = {code: place for place, code in reversed(list(enumerate(finding.code for finding in findings)))}
    ordered = sorted(findings, key=lambda finding: places[finding.code])
    return [_of_code(list(found), location) for _, found in groupby(ordered, key=lambda finding: finding.code)]


def _of_code(findings: Sequence[Finding], location: str) -> Trouble:
    first = findings[0]
    remedy = remedy_for(first.code)
    more = len(findings) - 1
    message = f"{first.message}; and {more:,} more like it" if more else first.message
    commands = tuple(rendered(command, location, first) for command in remedy.commands)
    advice = rendered(remedy.advice, location, first)
    return Trouble(first.code, remedy.urgency, message, remedy.meaning, commands, advice, tuple(findings))
