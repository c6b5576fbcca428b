"""Entries of the log: their one form in bytes, their hashes, and the ids of runs.

It does no I/O, and knows nothing of the order of entries but the hash of the one before.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from synthians_memory.errors import InvalidIdError, InvalidTypeError, InvalidValueError
from synthians_memory.json_values import JsonObject, JsonValue, checked_object, checked_text, parse_strict
from synthians_memory.times import format_time, from_micros, parse_time

__all__ = [
    "CAPSULE_HASHES",
    "HASH_PREV",
    "HASH_SELF",
    "MAX_ENTRY_BYTES",
    "Entry",
    "checked_event",
    "compact",
    "identified",
    "inspect_line",
    "new_run_id",
    "run_id_in",
    "seal_entry",
    "validate_run_id",
]

HASH_PREV: Final = "hash_prev"
HASH_SELF: Final = "hash_self"
# path in the capsule -> SHA-256 of that file; only an entry with a capsule has it.
CAPSULE_HASHES: Final = "capsule_sha256"
MAX_ENTRY_BYTES: Final = 16 << 20

_OWN: Final = (HASH_PREV, HASH_SELF, CAPSULE_HASHES)
_RUN_ID: Final = re.compile(r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}")
_RUN_ID_IN_BYTES: Final = re.compile(rb'"run_id":"([0-9]{8}T[0-9]{6}Z-[0-9a-f]{6})"')
_STAMP: Final = "%Y%m%dT%H%M%SZ"
_STAMP_LENGTH: Final = 16
_NUMBERS: Final = 1 << 24


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as it stands in the log.

    Attributes:
        fields: all of them, hashes included.
        line: its bytes, without the line break.
    """

    fields: JsonObject
    line: bytes

    @property
    def run_id(self) -> str:
        """The id of its run."""
        return str(self.fields.get("run_id", ""))

    @property
    def hash_self(self) -> str:
        """The SHA-256 of the entry, hexadecimal."""
        return str(self.fields[HASH_SELF])

    @property
    def hash_prev(self) -> JsonValue:
        """The hash of the entry before; None in the first."""
        return self.fields.get(HASH_PREV)


def compact(value: JsonValue) -> bytes:
    """`value` as JSON in the one form that is hashed: keys sorted, no blanks, everything beyond ASCII escaped.

    Raises:
        ValueError, RecursionError: it holds what `checked_copy` refuses.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.encode("ascii")


def _hash_of(fields: JsonObject) -> str:
    return hashlib.sha256(compact({name: value for name, value in fields.items() if name != HASH_SELF})).hexdigest()


def seal_entry(fields: JsonObject, hash_prev: str | None) -> Entry:
    """The entry of `fields` behind the one with the hash `hash_prev`.

    Raises:
        InvalidValueError: longer than MAX_ENTRY_BYTES.
    """
    linked = {**fields, HASH_PREV: hash_prev}
    sealed = {**linked, HASH_SELF: _hash_of(linked)}
    line = compact(sealed)
    if len(line) > MAX_ENTRY_BYTES:
        raise InvalidValueError(
            f"the entry is {len(line)} bytes long, over {MAX_ENTRY_BYTES}",
            hint="Put what is large into the capsule of a run.",
        )
    return Entry(sealed, line)


def inspect_line(line: bytes) -> tuple[Entry | None, str]:
    """The entry that `line` is, without its line break; else None and why it is none. Raises nothing."""
    try:
        fields = parse_strict(line, "it")
        if not isinstance(fields, dict) or not isinstance(fields.get(HASH_SELF), str):
            return None, "it is no JSON object with a hash_self"
        if fields[HASH_SELF] != _hash_of(fields):
            return None, "its hash_self is not the hash of what it says"
        if compact(fields) != line:
            return None, "its bytes are not the compact form"
    except (ValueError, RecursionError) as error:
        return None, f"it cannot be read ({error})"
    return Entry(fields, line), ""


def run_id_in(line: bytes) -> str:
    """The run that a line which may be damaged seems to speak of; "" where none is to be seen."""
    found = _RUN_ID_IN_BYTES.search(line)
    return found[1].decode() if found else ""


# Events and runs


def checked_event(event: object) -> JsonObject:
    """A copy of what is to be recorded, without what the ledger alone sets.

    Raises:
        InvalidTypeError: not an object with string keys, or a value that JSON does not know.
        InvalidValueError: NaN, an integer beyond 64 bits, a lone surrogate, or nested too deeply; a wrong `ts`.
        InvalidIdError: a wrong `run_id` or `parent_run_id`.
    """
    fields = checked_object(event, "event")
    for name in _OWN:
        fields.pop(name, None)
    for name in ("run_id", "parent_run_id"):
        if fields.get(name) is not None:
            validate_run_id(fields[name], name)
    if fields.get("ts") is not None:
        parse_time(checked_text(fields["ts"], "ts"), "ts")
    if fields.get("task") is not None:
        checked_text(fields["task"], "task")
    derived = fields.get("derived_facts")
    if derived is not None and not (isinstance(derived, list) and all(isinstance(name, str) for name in derived)):
        raise InvalidTypeError("derived_facts must be a list of the ids of facts")
    return fields


def validate_run_id(value: object, what: str = "run_id") -> str:
    """Return `value` if it can name a run, and with it a folder in `runs`.

    Raises:
        InvalidTypeError: not a string.
        InvalidIdError: not of the form.
    """
    text = checked_text(value, what)
    if not _RUN_ID.fullmatch(text):
        raise InvalidIdError(
            f"{what} {text[:60]!r} is no id of a run",
            hint="Write it as 20261120T120000Z-0a1b2c (UTC, six hexadecimal digits), or leave it out.",
        )
    return text


def identified(fields: JsonObject, micros: int, draw: Callable[[], str], last_run_id: str) -> JsonObject:
    """`fields` with a `ts` and a `run_id` where they have none.

    Args:
        fields: a checked event.
        micros: the time now, microseconds since 1970 UTC.
        draw: gives a random UUID.
        last_run_id: that of the entry before; "" in an empty log.
    """
    known = {name: value for name, value in fields.items() if value is not None or name not in ("ts", "run_id")}
    known.setdefault("ts", format_time(from_micros(micros)))
    known.setdefault("run_id", new_run_id(micros, draw, last_run_id))
    return known


def new_run_id(micros: int, draw: Callable[[], str], last_run_id: str) -> str:
    """A fresh id; of the ids of one second each is greater than the one before, so that no two are equal."""
    stamp = from_micros(micros).strftime(_STAMP)
    drawn = int(draw().replace("-", "")[:6], 16)
    number = drawn // 2
    if _RUN_ID.fullmatch(last_run_id) and last_run_id.startswith(stamp):
        number = int(last_run_id[_STAMP_LENGTH + 1 :], 16) + 1 + drawn % 128
    # Beyond the last number of a second only chance keeps them apart.
    return f"{stamp}-{number if number < _NUMBERS else drawn:06x}"
