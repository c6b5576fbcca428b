"""What may stand in a column of the tiers' tables, and in the field of a record that is the same.

It knows no table and no record: each type checks one value and says how SQLite holds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson

from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.json_values import checked_copy, checked_object, checked_text
from synthians_memory.layout import validate_id

__all__ = [
    "COUNT",
    "FINAL_STATUSES",
    "FLAG",
    "FRACTION",
    "ID",
    "INTEGER",
    "JSON",
    "LEVEL",
    "LEVELS",
    "LIST",
    "NUMBER",
    "OBJECT",
    "STATUS",
    "STRINGS",
    "TEXT",
    "TIME",
    "TUPLE",
    "ColumnType",
    "SqlValue",
]

SqlValue = str | int | float | bytes | None

FINAL_STATUSES: Final = ("completed", "failed", "cancelled")
LEVELS: Final = ("reactive", "operational", "tactical", "strategic")

_MOST_STATUS: Final = 50
_MIN_INT: Final = -(2**63)
_MAX_INT: Final = 2**63 - 1
# The end of the year 9999: later times are none that the store could carry.
_LAST_SECOND: Final = 253_402_300_799


@dataclass(frozen=True, slots=True)
class ColumnType:
    """The values of one column.

    Attributes:
        sql: how SQLite holds them.
        check: gives the value as it is kept, or raises InvalidTypeError or InvalidValueError; the string is what messages call it.
        json: whether SQLite holds them as JSON text.
        flag: whether SQLite holds them as 0 and 1.
        optional: whether None is one of them.
    """

    sql: Literal["TEXT", "INTEGER", "REAL"]
    check: Callable[[object, str], Any]
    json: bool = False
    flag: bool = False
    optional: bool = False

    @property
    def or_none(self) -> ColumnType:
        """The same, and None."""
        return replace(self, optional=True)

    def checked(self, value: object, what: str) -> Any:
        """The value as it is kept; a copy of one that could change. Raises InvalidTypeError, InvalidValueError."""
        return None if value is None and self.optional else self.check(value, what)

    def to_sql(self, value: Any) -> SqlValue:
        """A checked value as SQLite holds it: JSON in one form only, with sorted keys."""
        if value is None:
            return None
        if self.json:
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
        return int(value) if self.flag else value

    def from_sql(self, value: Any) -> Any:
        """What `to_sql` was given."""
        if value is None:
            return None
        return orjson.loads(value) if self.json else bool(value) if self.flag else value


def _status(value: object, what: str) -> str:
    text = checked_text(value, what)
    if not 1 <= len(text) <= _MOST_STATUS:
        raise InvalidValueError(f"{what} has {len(text)} characters", hint=f"Use 1 to {_MOST_STATUS}.")
    return text


def _level(value: object, what: str) -> str:
    text = checked_text(value, what)
    if text not in LEVELS:
        raise InvalidValueError(f"{what} is {text[:40]!r}", hint=f"Use one of {', '.join(LEVELS)}.")
    return text


def _integer(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidTypeError(f"{what} must be an integer, not {type(value).__name__}")
    if not _MIN_INT <= value <= _MAX_INT:
        raise InvalidValueError(f"{what} is an integer beyond 64 bits")
    return int(value)


def _count(value: object, what: str) -> int:
    number = _integer(value, what)
    if number < 0:
        raise InvalidValueError(f"{what} is {number}, below 0")
    return number


def _time(value: object, what: str) -> int:
    seconds = _integer(value, what)
    if not 0 <= seconds <= _LAST_SECOND:
        raise InvalidValueError(f"{what} is {seconds}", hint="Give whole seconds since 1970, UTC, up to the year 9999.")
    return seconds


def _number(value: object, what: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidTypeError(f"{what} must be a number, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError as error:
        raise InvalidValueError(f"{what} is beyond what a float holds") from error
    if not math.isfinite(number):
        raise InvalidValueError(f"{what} is {number}")
    # SQLite does not keep the sign of a zero.
    return number + 0.0


def _fraction(value: object, what: str) -> float:
    number = _number(value, what)
    if not 0 <= number <= 1:
        raise InvalidValueError(f"{what} is {number}", hint="Use 0 to 1.")
    return number


def _flag(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidTypeError(f"{what} must be True or False, not {type(value).__name__}")
    return value


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise InvalidTypeError(f"{what} must be a list, not {type(value).__name__}")
    return [checked_copy(item, f"{what}[{i}]", 1) for i, item in enumerate(value)]


def _strings(value: object, what: str) -> list[str]:
    if not isinstance(value, list | tuple):
        raise InvalidTypeError(f"{what} must be a list of strings, not {type(value).__name__}")
    return [checked_text(item, f"{what}[{i}]") for i, item in enumerate(value)]


def _tuple(value: object, what: str) -> tuple[str, ...]:
    return tuple(_strings(value, what))


ID: Final = ColumnType("TEXT", validate_id)
STATUS: Final = ColumnType("TEXT", _status)
LEVEL: Final = ColumnType("TEXT", _level)
TEXT: Final = ColumnType("TEXT", checked_text)
INTEGER: Final = ColumnType("INTEGER", _integer)
COUNT: Final = ColumnType("INTEGER", _count)
TIME: Final = ColumnType("INTEGER", _time)
FLAG: Final = ColumnType("INTEGER", _flag, flag=True)
NUMBER: Final = ColumnType("REAL", _number)
FRACTION: Final = ColumnType("REAL", _fraction)
JSON: Final = ColumnType("TEXT", checked_copy, json=True)
OBJECT: Final = ColumnType("TEXT", checked_object, json=True)
LIST: Final = ColumnType("TEXT", _list, json=True)
STRINGS: Final = ColumnType("TEXT", _strings, json=True)
TUPLE: Final = ColumnType("TEXT", _tuple, json=True)
