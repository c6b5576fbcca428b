"""The JSON Schemas of the state, which ship with the package, and what a value breaks of them.

It parses no file, and refuses nothing: a value that breaks its schema is still a value.
"""

from __future__ import annotations

import functools
import importlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from itertools import islice
from typing import Any, Final

from synthians_memory.json_values import JsonValue

__all__ = ["MOST_VIOLATIONS", "UNCHECKED", "can_check", "is_date_time", "violations"]

# As many as are told of one file.
MOST_VIOLATIONS: Final = 20
UNCHECKED: Final = (
    "nothing was checked against its schema: the library jsonschema is not installed "
    '(pip install "synthians-memory[ops]")'
)
_LONGEST: Final = 200
_DATE_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]((?:[01][0-9]|2[0-3]):[0-5][0-9]):([0-5][0-9]|60)(?:\.[0-9]+)?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)


def is_date_time(value: object) -> bool:
    """Whether `value` is a date-time of RFC 3339, section 5.6, that exists; anything but a string passes.

    A leap second exists in the last minute of a UTC day. The year 0000 is refused.
    """
    if not isinstance(value, str):
        return True
    match = _DATE_TIME.fullmatch(value)
    if match is None:
        return False
    date, minute, second, offset = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date}T{minute}:00{'+00:00' if offset in 'Zz' else offset}")
        return second != "60" or moment.astimezone(UTC).strftime("%H:%M") == "23:59"
    except (ValueError, OverflowError):
        return False


def can_check() -> bool:
    """Whether the library that checks schemas is there."""
    return _library() is not None


def violations(name: str, value: JsonValue) -> Iterator[str]:
    """What of the schema of the file `name` the value breaks, in sentences; at most MOST_VIOLATIONS, and a last one that says so.

    Nothing where `can_check` is False.
    """
    validator = _validator(name)
    errors = validator.iter_errors(value) if validator is not None else iter(())
    for error in islice(errors, MOST_VIOLATIONS):
        yield f"{name} does not fit its schema at {_cut(error.json_path)}: {_cut(error.message)}"
    if next(errors, None) is not None:
        yield f"{name} does not fit its schema in more places than these {MOST_VIOLATIONS}"


@functools.cache
def _library() -> Any:
    # Not imported with the package: few programs need it, and it is an extra.
    try:
        return importlib.import_module("jsonschema")
    except ImportError:
        return None


@functools.cache
def _validator(name: str) -> Any:
    library = _library()
    if library is None:
        return None
    checker = library.FormatChecker(formats=("uuid",))
    # The library's own check of date-time needs one more library, and is left out silently without it.
    checker.checks("date-time")(is_date_time)
    schema = files("synthians_memory") / "schemas" / f"{name.removesuffix('.json')}.schema.json"
    return library.Draft202012Validator(json.loads(schema.read_text(encoding="utf-8")), format_checker=checker)


def _cut(text: str) -> str:
    """The beginning of `text`, on one line."""
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:_LONGEST])
    return line if len(text) <= _LONGEST else f"{line}..."
