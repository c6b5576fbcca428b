"""JSON values: what may be stored, copied so that nobody else holds them, and read strictly.

It is not the file format: `codec` is. orjson serves trusted bytes, since it turns integers beyond
64 bits into floats and keeps the last of two equal keys; `parse_strict` serves everybody else's.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from synthians_memory.errors import InvalidTypeError, InvalidValueError

__all__ = [
    "MAX_DEPTH",
    "JsonObject",
    "JsonValue",
    "checked_copy",
    "checked_object",
    "checked_text",
    "copy",
    "parse_strict",
]

JsonValue = Any
JsonObject = dict[str, Any]

MAX_DEPTH = 100
_MIN_INT = -(2**63)
_MAX_INT = 2**64 - 1


def checked_text(value: object, what: str) -> str:
    """`value` as a plain string.

    Raises:
        InvalidTypeError: not a string.
        InvalidValueError: it has lone surrogates, which UTF-8 cannot carry.
    """
    if not isinstance(value, str):
        raise InvalidTypeError(f"{what} must be a string, not {type(value).__name__}")
    text = str.__str__(value)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InvalidValueError(f"{what} has a lone surrogate at character {error.start}") from error
    return text


def checked_object(value: object, what: str) -> JsonObject:
    """A copy of the JSON object `value`; raises as `checked_copy`."""
    if not isinstance(value, dict):
        raise InvalidTypeError(f"{what} must be an object with string keys, not {type(value).__name__}")
    return _checked_dict(value, what, 0) if value else {}


def checked_copy(value: object, what: str, depth: int = 0) -> JsonValue:
    """A deep copy of `value` that survives a round trip through a file unchanged; tuples become lists.

    Args:
        value: None, bool, int, float, str, list, tuple or dict of these.
        what: how the message calls it; grows by the path inside.
        depth: how deep `value` lies already.

    Raises:
        InvalidTypeError: a value or a key of another type.
        InvalidValueError: NaN, infinity, an integer beyond 64 bits, a lone surrogate, or more than
            `MAX_DEPTH` levels.
    """
    kind = type(value)
    if value is None or kind is bool:
        return value
    if isinstance(value, str):
        return checked_text(value, what)
    if isinstance(value, int):
        if not _MIN_INT <= value <= _MAX_INT:
            raise InvalidValueError(f"{what} is an integer beyond 64 bits", hint="Store it as a string.")
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidValueError(f"{what} is {value}, which JSON cannot carry", hint="Store null or a string.")
        return float(value)
    return _checked_container(value, what, depth)


def _checked_container(value: object, what: str, depth: int) -> JsonValue:
    if depth >= MAX_DEPTH:
        raise InvalidValueError(f"{what[:80]}... is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        return _checked_dict(value, what, depth)
    if isinstance(value, list | tuple):
        return [checked_copy(item, f"{what}[{i}]", depth + 1) for i, item in enumerate(value)]
    raise InvalidTypeError(
        f"{what} has a value of type {type(value).__name__}",
        hint="Use None, bool, int, float, str, list or dict.",
    )


def _checked_dict(value: dict[Any, Any], what: str, depth: int) -> JsonObject:
    return {checked_text(k, f"a key of {what}"): checked_copy(v, f"{what}.{k}", depth + 1) for k, v in value.items()}


def copy(value: JsonValue) -> JsonValue:
    """A deep copy of a value that `checked_copy` has accepted before."""
    if isinstance(value, dict):
        return {k: copy(v) if isinstance(v, dict | list) else v for k, v in value.items()}
    if isinstance(value, list):
        return [copy(v) if isinstance(v, dict | list) else v for v in value]
    return value


def parse_strict(data: bytes, what: str) -> JsonValue:
    """The JSON value in `data`, from somebody who may have written anything.

    Raises:
        InvalidValueError: not UTF-8, no JSON, NaN or Infinity, two equal keys in one object, a number
            beyond what Python reads, or nested too deeply.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique_pairs, parse_constant=_no_constant)
    except InvalidValueError as error:
        raise InvalidValueError(f"{what}: {error.message}") from error
    except RecursionError as error:
        raise InvalidValueError(f"{what}: nested too deeply") from error
    except UnicodeDecodeError as error:
        raise InvalidValueError(f"{what}: not UTF-8 at byte {error.start}") from error
    except ValueError as error:
        raise InvalidValueError(f"{what}: {error}") from error


def _unique_pairs(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise InvalidValueError(f"the key {twice[:60]!r} stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise InvalidValueError(f"{name} is not JSON")
