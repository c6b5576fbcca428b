"""JSON as other programs write it, read leniently: NaN, repeated keys and huge integers included.

It decides nothing about what can be stored (`fitting`).
"""

from __future__ import annotations

import json
from typing import Any, Final

from synthians_memory.errors import InvalidValueError

__all__ = ["HugeInteger", "RepeatedKeys", "json_text", "parse_lenient"]

# Digits that an integer of 64 bits has at most, and its sign.
_MOST_DIGITS: Final = 20


class HugeInteger(str):
    """The digits of an integer that is beyond 64 bits."""

    __slots__ = ()


class RepeatedKeys(dict[str, Any]):
    """An object in which keys stand more than once: the last of each counts, as for most readers.

    Attributes:
        earlier: the other ones, in their order.
    """

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        last = {key: number for number, (key, _) in enumerate(pairs)}
        self.earlier = [[key, value] for number, (key, value) in enumerate(pairs) if last[key] != number]


def parse_lenient(data: bytes) -> Any:
    """The JSON value in `data`; a byte order mark before it is passed over.

    Returns:
        As json.loads, but HugeInteger for an integer of more digits than 64 bits have, and RepeatedKeys for an
        object with equal keys.

    Raises:
        InvalidValueError: not UTF-8, no JSON, or nested too deeply to be read.
    """
    try:
        return json.loads(data.decode("utf-8-sig"), parse_int=_integer, object_pairs_hook=_pairs)
    except UnicodeDecodeError as error:
        raise InvalidValueError(f"it is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise InvalidValueError("it is nested too deeply") from error
    except ValueError as error:
        raise InvalidValueError(f"it is no JSON: {error}") from error


def json_text(value: Any) -> str:
    """`value` as JSON in ASCII: lone surrogates are escapes, and NaN is written as such."""
    return json.dumps(value, separators=(",", ":"))


def _integer(digits: str) -> int | HugeInteger:
    return int(digits) if len(digits) <= _MOST_DIGITS else HugeInteger(digits)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else RepeatedKeys(pairs)
