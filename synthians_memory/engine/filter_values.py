"""Values as keys of bytes: equal where the values are, and in the same order within a type.

It is no codec: a key does not lead back to its value.

    null z · bool b, 0 or 1 · number n, ten bytes · string s, UTF-8 · object or list o, SHA-256 · list element c, its key

A number is the greatest double that is not above it, as bytes in numeric order, and what remains to it: zero for every
float and for integers up to 2**53, below 2048 for others of 64 bits.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Iterator
from typing import Any, Final

from synthians_memory.json_values import JsonObject

__all__ = ["AFTER", "ELEMENT", "list_rows", "metadata_rows", "path_name", "value_key"]

ELEMENT: Final = b"c"
# The least key above all of a type, by the type's first byte.
AFTER: Final = {b"n": b"o", b"s": b"t"}

_DOUBLE: Final = struct.Struct(">d")
_BITS: Final = struct.Struct(">Q")
_SIGN: Final = 1 << 63
_ALL: Final = (1 << 64) - 1
_EXACT: Final = 1 << 53
_NOTHING_LEFT: Final = b"\0\0"


def value_key(value: Any) -> bytes:
    """The key of a JSON value; thread-safe."""
    if isinstance(value, str):
        return b"s" + value.encode()
    if value is None:
        return b"z"
    if isinstance(value, bool):
        return b"b1" if value else b"b0"
    if isinstance(value, int | float):
        return _number_key(value)
    return b"o" + (_object_digest(value) if isinstance(value, dict) else _list_digest(value))


def _number_key(value: int | float) -> bytes:
    if isinstance(value, float) or -_EXACT <= value <= _EXACT:
        return b"n" + _ordered_bits(float(value)) + _NOTHING_LEFT
    below = float(value)
    if below > value:
        below = math.nextafter(below, -math.inf)
    return b"n" + _ordered_bits(below) + (value - int(below)).to_bytes(2, "big")


def _ordered_bits(value: float) -> bytes:
    # Adding zero makes -0.0 the same as 0.0.
    (bits,) = _BITS.unpack(_DOUBLE.pack(value + 0.0))
    return _BITS.pack(bits ^ (_ALL if bits & _SIGN else _SIGN))


def _object_digest(value: JsonObject) -> bytes:
    hasher = hashlib.sha256(b"{")
    for key in sorted(value):
        for part in (key.encode(), value_key(value[key])):
            hasher.update(b"%d:" % len(part) + part)
    return hasher.digest()


def _list_digest(value: list[Any]) -> bytes:
    hasher = hashlib.sha256(b"[")
    for element in value:
        part = value_key(element)
        hasher.update(b"%d:" % len(part) + part)
    return hasher.digest()


def path_name(keys: tuple[str, ...]) -> str:
    """One string for a path; different paths have different ones."""
    return ".".join(_escaped(key) for key in keys)


def _escaped(key: str) -> str:
    return key.replace("\\", "\\\\").replace(".", "\\.") if "." in key or "\\" in key else key


def list_rows(name: str, value: list[Any]) -> Iterator[tuple[str, bytes]]:
    """Path and key of a list and of each of its elements."""
    yield name, value_key(value)
    for key in {value_key(element) for element in value}:
        yield name, ELEMENT + key


def metadata_rows(metadata: JsonObject, prefix: str = "") -> Iterator[tuple[str, bytes]]:
    """Path and key of every value in `metadata`, also of those inside; nothing for null."""
    for key, value in metadata.items():
        name = prefix + _escaped(key)
        if isinstance(value, list):
            yield from list_rows(name, value)
        elif value is not None:
            yield name, value_key(value)
            if isinstance(value, dict):
                yield from metadata_rows(value, name + ".")
