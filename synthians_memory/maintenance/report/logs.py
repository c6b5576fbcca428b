"""The logs of a store and other traces of its life, read back for a report: what was said when, and what happened.

It writes no log. A line that is torn, or is no object, is left out; fields may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple

import orjson

from synthians_memory.engine.replaced_stores import REPLACED
from synthians_memory.errors import DiskError, InvalidValueError
from synthians_memory.layout import (
    FAILURES_LOG,
    HEALTH_LOG,
    LOGS,
    QUARANTINE,
    moment_of_stamp,
    path_in,
    purge_receipt_stamp,
)
from synthians_memory.storage.backend import Backend
from synthians_memory.times import parse_time

__all__ = ["Event", "EventKind", "Pass", "Traces"]

EventKind = Literal["backup", "health pass", "repair", "restore", "purge", "failure"]

# What a log of the store is called when it was set aside by size, oldest first.
_OLDER: Final = (".3", ".2", ".1", "")
_MOST_BYTES: Final = 8 * 1024 * 1024
_MOST_EACH: Final = 400
# What a folder in quarantine says of itself.
_REASON: Final = "reason.json"
_MOST_REASON: Final = 64 * 1024


class Event(NamedTuple):
    """Something that happened to a store; `outcome` is that of a health pass."""

    at: datetime
    kind: EventKind
    what: str
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Pass:
    """One pass of the health monitor, as far as its line tells.

    Attributes:
        at: when.
        outcome: "healthy", "findings", "mended", "restored" or "failed"; another word is kept as it is.
        findings: how many there were of each code.
        done: what was done, a sentence each.
        memories: how many the store held; None where the line does not say.
        size: bytes of all that is measured; None likewise.
        seconds: how long it took; None likewise.
        snapshot: name of the one that it took; "" where it took none.
    """

    at: datetime
    outcome: str
    findings: tuple[tuple[str, int], ...] = ()
    done: tuple[str, ...] = ()
    memories: int | None = None
    size: int | None = None
    seconds: float | None = None
    snapshot: str = ""


class Traces:
    """What tells of the life of one store. What cannot be read is named in `problems`, and the rest goes on.

    Attributes:
        problems: a sentence each.
    """

    def __init__(self, backend: Backend) -> None:
        self.problems: list[str] = []
        self._backend = backend

    def passes(self) -> list[Pass]:
        """The passes that the health log tells of, oldest first."""
        return [_pass(at, fields) for at, fields in self._lines(HEALTH_LOG)]

    def events(self) -> list[Event]:
        """Repairs, restores, purges and failures that have left a trace, in order of time; the latest of each kind."""
        found = [*self._set_aside(), *self._purges(), *self._failures()]
        return sorted(found, key=lambda event: event.at)

    def _set_aside(self) -> Iterator[Event]:
        """What quarantine holds: each folder is of one repair, or one restore."""
        moments = {name: moment_of_stamp(name) for name in sorted(self._names(QUARANTINE))}
        known = [(name, at) for name, at in moments.items() if at is not None]
        for name, at in known[-_MOST_EACH:]:
            note = _object(self._read(path_in(f"{QUARANTINE}/{name}", _REASON), _MOST_REASON))
            yield _set_aside_event(at, note)

    def _purges(self) -> Iterator[Event]:
        stamps = sorted(filter(None, map(purge_receipt_stamp, self._names(LOGS))))
        for stamp in stamps[-_MOST_EACH:]:
            at = moment_of_stamp(stamp)
            if at is not None:
                yield Event(at, "purge", "entities were purged; the receipt is in the folder of logs")

    def _failures(self) -> list[Event]:
        lines = [(at, fields) for at, fields in self._lines(FAILURES_LOG) if "summary" in fields]
        return [Event(at, "failure", str(fields["summary"])) for at, fields in lines[-_MOST_EACH:]]

    def _lines(self, path: str) -> Iterator[tuple[datetime, dict[str, Any]]]:
        """Time and fields of each line of a log and of those set aside before it, oldest first."""
        for suffix in _OLDER:
            for line in self._read(path + suffix, _MOST_BYTES).splitlines():
                found = _object(line)
                at = _time(found.get("at"))
                if at is not None:
                    yield at, found

    def _read(self, path: str, most: int) -> bytes:
        """The end of a file; nothing where it is not there."""
        try:
            stat = self._backend.stat(path)
            return b"" if stat is None else self._backend.read(path, max(0, stat.size - most)) or b""
        except DiskError as error:
            self.problems.append(error.message)
            return b""

    def _names(self, folder: str) -> list[str]:
        try:
            return [name for name, _ in self._backend.scan(folder)]
        except DiskError as error:
            self.problems.append(error.message)
            return []


def _set_aside_event(at: datetime, note: dict[str, Any]) -> Event:
    if note.get("path") == REPLACED:
        return Event(at, "restore", "the store was replaced by a snapshot; what was there is in quarantine")
    what = f"{note.get('path', 'something')} was set aside: {note.get('reason', 'no reason was noted')}"
    return Event(at, "repair", what)


def _object(data: bytes) -> dict[str, Any]:
    """The object that `data` holds; an empty one where it holds none."""
    try:
        found = orjson.loads(data) if data else None
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _time(value: object) -> datetime | None:
    try:
        return parse_time(value) if isinstance(value, str) else None
    except InvalidValueError:
        return None


def _pass(at: datetime, fields: dict[str, Any]) -> Pass:
    findings, sizes, done, seconds = (fields.get(name) for name in ("findings", "sizes", "done", "seconds"))
    backup = fields.get("backup")
    counts = findings if isinstance(findings, dict) else {}
    return Pass(
        at=at,
        outcome=str(fields.get("outcome", "unknown")),
        findings=tuple((str(code), count) for code, count in counts.items() if type(count) is int),
        done=tuple(map(str, done)) if isinstance(done, list) else (),
        memories=_count(fields.get("memories")),
        size=_sum(sizes),
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
        snapshot=str(backup.get("name", "")) if isinstance(backup, dict) else "",
    )


def _sum(sizes: object) -> int | None:
    values = [value for value in sizes.values() if type(value) is int] if isinstance(sizes, dict) else []
    return sum(values) if values else None


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
