"""Facts: what is promoted from the log to be trusted, until it expires.

It is not their evidence, which the log and the capsules hold; nor the memories of them (`fact_memories`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from synthians_memory.errors import EntityNotFoundError, InvalidTypeError, InvalidValueError, SynthiansMemoryError
from synthians_memory.json_values import JsonObject, checked_object, checked_text
from synthians_memory.layout import LEDGER_FACTS, path_in, validate_id
from synthians_memory.ledger.entries import validate_run_id
from synthians_memory.ledger.tables import TABLE_VERSION, damaged_table, parse_table, read_table, write_table
from synthians_memory.storage.backend import Backend
from synthians_memory.times import format_time, parse_time

__all__ = ["FactTable", "checked_fact", "expiry_of", "fact_memory_id", "facts_in", "is_current"]

_ROWS: Final = "facts"
_MEMORY_PREFIX: Final = "fact-"


def fact_memory_id(fact_id: str) -> str:
    """The id of the memory of a fact. Raises InvalidIdError where that is none."""
    return validate_id(_MEMORY_PREFIX + fact_id, "the id of the fact's memory")


def expiry_of(fact: JsonObject) -> datetime | None:
    """When the fact expires (UTC); None where it never does, or does not say so in a way that can be read."""
    written = fact.get("expires_at")
    try:
        return parse_time(written, "expires_at") if isinstance(written, str) else None
    except SynthiansMemoryError:
        return None


def is_current(fact: JsonObject, now: datetime) -> bool:
    """Whether the fact has not expired."""
    expiry = expiry_of(fact)
    return expiry is None or expiry > now


def checked_fact(fact: object, threshold: float) -> JsonObject:
    """A copy of `fact`, which may be promoted if its source_run is in the log.

    Raises:
        InvalidTypeError, InvalidValueError: a value that cannot be stored, or one that is wrong or missing: an empty id
            or statement, a confidence that is missing, outside 0..1, or below `threshold` unless `reviewed_by` says
            who reviewed it.
    """
    fields = checked_object(fact, "fact")
    for name in ("id", "statement"):
        if not checked_text(fields.get(name, ""), f"the fact's {name}").strip():
            raise InvalidValueError(f"the fact has no {name}", hint=f"Give it a {name}.")
    fact_memory_id(fields["id"])
    _require_confidence(fields, threshold)
    if fields.get("source_run") is None:
        raise InvalidValueError(
            f"the fact {fields['id']!r} has no source_run",
            hint="Name the run that established it; `ledger log` records one.",
        )
    validate_run_id(fields["source_run"], "source_run")
    if fields.get("expires_at") is not None:
        parse_time(checked_text(fields["expires_at"], "expires_at"), "expires_at")
    return fields


def _require_confidence(fields: JsonObject, threshold: float) -> None:
    confidence = _share(fields.get("confidence"), f"the confidence of the fact {fields['id']!r}")
    bound = _share(threshold, "threshold")
    reviewer = fields.get("reviewed_by")
    if reviewer is not None and not checked_text(reviewer, "reviewed_by").strip():
        raise InvalidValueError("reviewed_by is empty", hint="Say who reviewed the fact, or leave it out.")
    if confidence < bound and reviewer is None:
        raise InvalidValueError(
            f"the confidence of the fact {fields['id']!r} is {confidence}, below the threshold {bound}",
            hint="Have it reviewed, and say by whom in reviewed_by.",
        )


def _share(value: object, what: str) -> float:
    if value is None:
        raise InvalidValueError(f"{what} is missing", hint="Give a number from 0 to 1.")
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"{what} must be a number, not {type(value).__name__}")
    if not 0 <= value <= 1:
        raise InvalidValueError(f"{what} is {value}, outside 0..1")
    return float(value)


class FactTable:
    """The file of facts in one folder. Writers hold the ledger's lock.

    Args:
        backend: where.
        folder: the ledger's, relative to `backend`.
    """

    def __init__(self, backend: Backend, folder: str) -> None:
        self._backend = backend
        self.path = path_in(folder, LEDGER_FACTS)

    def read(self) -> list[JsonObject]:
        """All facts, in the order of the file.

        Raises:
            DamagedError, UnsupportedFormatError, DiskError: as `read_table`.
        """
        return _rows(self._document(), self.path)

    def put(self, fact: JsonObject, now: datetime | None, *, has_run: Callable[[str], bool]) -> None:
        """Insert `fact`, or replace the one with its id where it stands; nothing changes where it is there already.

        Raises:
            EntityNotFoundError: its source_run is not in the log.
            DamagedError, UnsupportedFormatError, DiskError: as `read_table`.
        """
        if not has_run(fact["source_run"]):
            raise EntityNotFoundError(
                f"the run {fact['source_run']} of the fact {fact['id']!r} is not in the log",
                hint="Record the run first; `ledger timeline` shows those that are there.",
            )
        document = self._document()
        rows = _rows(document, self.path)
        places = [number for number, row in enumerate(rows) if row.get("id") == fact["id"]]
        if not places:
            rows = [*rows, fact]
        elif rows[places[0]] == fact:
            # It may be there because of a call that failed before it was durable.
            now = None
        else:
            rows = [fact if number == places[0] else row for number, row in enumerate(rows)]
        changed = {} if now is None else {"last_updated": format_time(now)}
        write_table(self._backend, self.path, {**document, **changed, _ROWS: rows})

    def _document(self) -> JsonObject:
        return read_table(self._backend, self.path, _ROWS, _empty())


def facts_in(data: bytes, what: str) -> list[JsonObject]:
    """The facts in the bytes of a table, called `what` in messages; raises as `parse_table`."""
    return _rows(parse_table(data, what, _ROWS, _empty()), what)


def _empty() -> JsonObject:
    return {"version": TABLE_VERSION, "last_updated": None, _ROWS: []}


def _rows(document: JsonObject, path: str) -> list[JsonObject]:
    rows: list[Any] = document[_ROWS]
    for number, row in enumerate(rows, 1):
        try:
            checked_fact(row, 0)
        except SynthiansMemoryError as error:
            raise damaged_table(
                path, f"{path} holds something that is no fact, its {number}.: {error.message}"
            ) from error
    return rows
