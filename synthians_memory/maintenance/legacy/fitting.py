"""Making a foreign value one that a field can hold, while what it was before is written down.

It reads no file, and knows no field by its name (`conversion`).
"""

from __future__ import annotations

import hashlib
import math
from typing import Any, Final

import numpy as np

from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.json_values import JsonObject, JsonValue
from synthians_memory.layout import file_name, validate_id
from synthians_memory.maintenance.legacy.reading import HugeInteger, RepeatedKeys, json_text
from synthians_memory.models import Vector, as_vector
from synthians_memory.times import format_time, from_micros, parse_time

__all__ = ["Fitting", "VectorSpace", "is_encodable", "substitute_id"]

_LEAST_INT: Final = -(2**63)
_MOST_INT: Final = 2**64 - 1
_MOST_COUNT: Final = 2**63 - 1
# What may lie below a field, with room for what is put around it.
_MOST_LEVELS: Final = 90
_MICROS: Final = 1_000_000


class VectorSpace:
    """Which vectors the store can compare.

    Attributes:
        dimension: of all of them; None while there is none.
        metric: by which they are compared.
    """

    def __init__(self, dimension: int | None, metric: str) -> None:
        self.dimension = dimension
        self.metric = metric


def substitute_id(original: str) -> str:
    """The id that stands in for one that the store refuses; equal for equal ones."""
    return "legacy-" + hashlib.sha256(original.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def is_encodable(text: str) -> bool:
    """Whether `text` is without lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


class Fitting:
    """The values of one entity on their way into the store.

    Each method returns a value that the field can hold, or None where there is none. Whatever is changed or
    left out is put into `originals`, so that nothing is lost.

    Attributes:
        originals: where a value stood -> what it was, as JSON text in ASCII.
        notes: one sentence for each thing that was changed.
    """

    def __init__(self) -> None:
        self.originals: dict[str, str] = {}
        self.notes: list[str] = []

    def keep(self, where: str, value: Any, why: str) -> None:
        """Write down that `value`, which stood at `where`, is not in the entity as it was."""
        name, number = where, 1
        while name in self.originals:
            number += 1
            name = f"{where} #{number}"
        self.originals[name] = json_text(value)
        self.notes.append(f"{where} {why}")

    def identifier(self, value: Any, where: str) -> str:
        """An id that the store takes; a substitute for any other."""
        text = value if isinstance(value, str) and not isinstance(value, HugeInteger) else json_text(value)
        try:
            file_name(validate_id(text, where))
        except InvalidValueError as error:
            self.keep(where, value, f"is no id of this store ({error.message}); a substitute stands for it")
            return substitute_id(text)
        if text is not value:
            self.keep(where, value, "is no string")
        return text

    def text(self, value: Any, where: str) -> str | None:
        """A string; anything else as its JSON text."""
        if value is None:
            return None
        if not isinstance(value, str) or isinstance(value, HugeInteger):
            self.keep(where, value, "is no string")
            return json_text(value)
        return self._encodable(value, where)

    def _encodable(self, text: str, where: str) -> str:
        if text.isascii():
            return str(text)
        replaced = "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= c <= "\udfff" else c for c in text)
        if replaced != text:
            self.keep(where, text, "has lone surrogates")
        return replaced

    def texts(self, value: Any, where: str) -> list[str] | None:
        """A list of strings."""
        if value is None:
            return None
        if not isinstance(value, list):
            self.keep(where, value, "is no list")
            return None
        return [self.text(item, f"{where}[{i}]") or "" for i, item in enumerate(value)]

    def ids(self, value: Any, where: str) -> list[str] | None:
        """A list of ids."""
        if value is None:
            return None
        if not isinstance(value, list):
            self.keep(where, value, "is no list")
            return None
        return [self.identifier(item, f"{where}[{i}]") for i, item in enumerate(value)]

    def time(self, value: Any, where: str) -> str | None:
        """A point in time, from ISO 8601 text or from seconds since 1970."""
        if value is None:
            return None
        try:
            if isinstance(value, str) and not isinstance(value, HugeInteger):
                return format_time(parse_time(value, where))
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                return format_time(from_micros(round(value * _MICROS)))
        except (InvalidValueError, OverflowError):
            self.keep(where, value, "is no time")
            return None
        self.keep(where, value, "is no time")
        return None

    def score(self, value: Any, where: str) -> float | None:
        """A number in 0..1; the nearer bound for one outside."""
        number = self.number(value, where)
        if number is None or 0.0 <= number <= 1.0:
            return number
        self.keep(where, value, "lies outside 0..1")
        return 0.0 if number < 0 else 1.0

    def number(self, value: Any, where: str) -> float | None:
        """A finite number."""
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
        self.keep(where, value, "is no finite number")
        return None

    def count(self, value: Any, where: str) -> int | None:
        """A whole number from 0 on."""
        if value is None:
            return None
        whole = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if whole and value == int(value) and 0 <= value <= _MOST_COUNT:
            return int(value)
        self.keep(where, value, "is no count")
        return None

    def flag(self, value: Any, where: str) -> bool | None:
        """True or false, also from 1 or 0."""
        if value is None:
            return None
        if isinstance(value, bool) or (isinstance(value, int) and value in (0, 1)):
            return bool(value)
        self.keep(where, value, "is neither true nor false")
        return None

    def object(self, value: Any, where: str) -> JsonObject | None:
        """A JSON object."""
        if value is None:
            return None
        if not isinstance(value, dict):
            self.keep(where, value, "is no object")
            return None
        return self._object(value, where, 0)

    def vector(self, value: Any, where: str, space: VectorSpace | None = None) -> list[float] | None:
        """A vector of finite numbers, rounded to float32; of those that the store can compare where `space` is given."""
        if value is None or value == []:
            return None
        vector: Vector | None = None
        why = "is no vector"
        try:
            if isinstance(value, list):
                vector = as_vector(value, where)
        except (InvalidValueError, InvalidTypeError) as error:
            why = f"is no vector ({error.message})"
        if vector is not None and space is not None:
            if len(vector) != space.dimension:
                why = f"has {len(vector)} numbers, those of the store have {space.dimension}"
                vector = None
            elif space.metric == "cosine" and not vector.any():
                vector, why = None, "is zero, which has no direction"
        if vector is None:
            self.keep(where, value, f"{why}; the vector was left out")
            return None
        wide = vector.astype(np.float64)
        if not np.array_equal(wide, np.asarray(value, dtype=np.float64)):
            self.notes.append(f"{where} was rounded to float32")
        return [float(number) for number in wide]

    def storable(self, value: Any, where: str, depth: int = 0) -> JsonValue:
        """Any JSON value, with what JSON or the store cannot carry replaced by text."""
        if isinstance(value, dict | list) and depth >= _MOST_LEVELS:
            self.keep(where[:200], value, "is nested too deeply")
            return json_text(value)
        if isinstance(value, dict):
            return self._object(value, where, depth)
        if isinstance(value, list):
            return [self.storable(item, f"{where}[{i}]", depth + 1) for i, item in enumerate(value)]
        if isinstance(value, HugeInteger) or (type(value) is int and not _LEAST_INT <= value <= _MOST_INT):
            self.keep(where, value, "is an integer beyond 64 bits")
            return str(value)
        if isinstance(value, float) and not math.isfinite(value):
            self.keep(where, value, f"is {value}")
            return json_text(value)
        return self._encodable(value, where) if isinstance(value, str) else value

    def _object(self, value: dict[str, Any], where: str, depth: int) -> JsonObject:
        if isinstance(value, RepeatedKeys):
            self.keep(f"{where} (repeated keys)", value.earlier, "has keys that stand twice")
        found: JsonObject = {}
        for key, item in value.items():
            below = f"{where}.{json_text(key)[1:-1]}"
            name = self._encodable(key, f"{below} (key)")
            while name in found:
                name += "_"
            found[name] = self.storable(item, below, depth + 1)
        return found
