"""Points in time: UTC, to the microsecond, RFC 3339 on disk, integers inside.

It is not a scheduler: it reads a clock only where one is handed in.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

from synthians_memory.errors import InvalidTypeError, InvalidValueError

__all__ = ["Clock", "SystemClock", "as_utc", "format_time", "from_micros", "parse_time", "to_micros", "utc_now"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Clock(Protocol):
    """Where the store takes time from; thread-safe."""

    def micros(self) -> int:
        """Wall time in microseconds since 1970-01-01 UTC; may go backwards."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never goes backwards."""


class SystemClock:
    """The machine's own clocks."""

    def micros(self) -> int:
        """Wall time in microseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1000

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()


def utc_now() -> datetime:
    """The machine's present time in UTC."""
    return datetime.now(UTC)


def as_utc(value: object, what: str) -> datetime:
    """A time given by a caller, in UTC; a naive one is read as UTC.

    Args:
        value: a datetime, or a string in RFC 3339 or ISO 8601 form.
        what: how the message calls it.

    Raises:
        InvalidTypeError: neither a datetime nor a string.
        InvalidValueError: a string that is no time, or a time outside the years 1 to 9999 in UTC.
    """
    if isinstance(value, str):
        return parse_time(value, what)
    if not isinstance(value, datetime):
        raise InvalidTypeError(f"{what} must be a datetime, not {type(value).__name__}")
    plain = value if type(value) is datetime else _plain(value, what)
    if plain.tzinfo is UTC:
        return plain
    if plain.utcoffset() is None:
        return plain.replace(tzinfo=UTC)
    try:
        return plain.astimezone(UTC)
    except OverflowError as error:
        raise InvalidValueError(f"{what} {value} lies outside the years 1 to 9999 in UTC") from error


def _plain(value: datetime, what: str) -> datetime:
    # A subclass may be no time at all (NaT), or unequal to what is read back from a file.
    try:
        return datetime.combine(value.date(), value.timetz())
    except (TypeError, ValueError) as error:
        raise InvalidValueError(f"{what} {value} is no time") from error


def parse_time(text: str, what: str = "time") -> datetime:
    """The UTC time that `text` (RFC 3339 or ISO 8601) names; without an offset it is read as UTC.

    Raises:
        InvalidValueError: no such time.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidValueError(
            f"{what} {text[:60]!r} is no time", hint="Write it as 2026-11-20T12:00:00.000000Z."
        ) from error
    return as_utc(value, what)


def format_time(value: datetime) -> str:
    """`value` (in UTC) as RFC 3339 with six digits and Z."""
    return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def to_micros(value: datetime) -> int:
    """Microseconds from 1970-01-01 UTC to `value`; exact, negative before it."""
    return (value - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """The UTC time `micros` microseconds after 1970-01-01 UTC.

    Raises:
        InvalidValueError: outside the years 1 to 9999.
    """
    try:
        return _EPOCH + timedelta(microseconds=micros)
    except OverflowError as error:
        raise InvalidValueError(f"{micros} microseconds after 1970 lie outside the years 1 to 9999") from error
