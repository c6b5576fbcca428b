"""The bytes of the files of the state: what a file means, and the form in which one is written.

It touches no disk and judges no field: that is up to the schemas.
"""

from __future__ import annotations

import json
import math
from typing import Final

from synthians_memory.errors import InvalidValueError
from synthians_memory.json_values import MAX_DEPTH, JsonObject, JsonValue, parse_strict
from synthians_memory.layout import ARCHITECTURE_MAP, DECISION_LOG, SYSTEM_STATE, TELEMETRY

__all__ = ["TOP_LEVEL", "appended", "encode_document", "parse_document"]

# What each file holds; what holds something else is damaged for whoever writes it.
TOP_LEVEL: Final[dict[str, type[list[JsonValue]] | type[JsonObject]]] = {
    SYSTEM_STATE: dict,
    DECISION_LOG: list,
    ARCHITECTURE_MAP: dict,
    TELEMETRY: list,
}
_SPACE: Final = b" \t\r\n"


def parse_document(data: bytes, what: str) -> JsonValue:
    """The JSON value in `data`, which anybody may have written; whatever comes out can be written again, unchanged.

    Raises:
        InvalidValueError: as `parse_strict`; or it is empty, nested deeper than `MAX_DEPTH`, or has a number beyond
            a double's range.
    """
    if not data.strip(_SPACE):
        raise InvalidValueError(f"{what}: empty")
    value = parse_strict(data, what)
    _require_portable(value, what, 0)
    return value


def _require_portable(value: JsonValue, what: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise InvalidValueError(f"{what}: nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidValueError(f"{what}: a number beyond the range of a double")
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list):
        return
    for inner in value:
        _require_portable(inner, what, depth + 1)


def encode_document(value: JsonValue, *, indent: int | None = 2) -> bytes:
    """`value`, which `parse_document` or the checks of `values` let pass, as JSON in UTF-8, without a line break at its end."""
    try:
        return json.dumps(value, ensure_ascii=False, indent=indent, allow_nan=False).encode()
    except UnicodeEncodeError:
        # A lone surrogate, which a file can hold as an escape and UTF-8 cannot carry.
        return json.dumps(value, indent=indent, allow_nan=False).encode()


def appended(log: bytes | None, entry: JsonObject) -> bytes:
    """A log with `entry` behind its last one, on a line of its own; what is there stays byte for byte.

    Args:
        log: a JSON array, as `parse_document` read it; None, or an empty array, for none.
        entry: what is added.
    """
    line = b"  " + encode_document(entry, indent=None)
    head = b"[" if log is None else log.rstrip(_SPACE)[:-1].rstrip(_SPACE)
    comma = b"" if head.lstrip(_SPACE) == b"[" else b","
    return head + comma + b"\n" + line + b"\n]\n"
