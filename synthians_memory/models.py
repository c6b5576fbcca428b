"""The two entities a store holds, as immutable values that are validated where they enter.

They are not records of a database: they know no file, no id of a vector and no store.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self, cast

import numpy as np
import numpy.typing as npt
import orjson

from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.json_values import JsonObject, checked_object, checked_text, copy
from synthians_memory.layout import Kind, validate_id
from synthians_memory.times import as_utc, utc_now

__all__ = ["Entity", "MemoryAssembly", "MemoryEntry", "Vector", "as_vector", "random_id"]

Vector = npt.NDArray[np.float32]

_MAX_COUNT = 2**63 - 1
# Names with a meaning of their own in a line of JSONL.
_RESERVED_EXTRA = frozenset(["kind", "id", "memory_id", "assembly_id", "content_hash", "vector_text"])


def as_vector(value: object, what: str = "embedding") -> Vector:
    """A read-only float32 copy of `value`, which nobody can make writable again.

    Args:
        value: one-dimensional, of at least one finite number: array, list or tuple.
        what: how the message calls it.

    Raises:
        InvalidTypeError: not numbers.
        InvalidValueError: not one-dimensional, empty, or not finite as float32.
    """
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidValueError(f"{what} is no vector: {error}") from error
    if array.dtype.kind not in "fiu":
        raise InvalidTypeError(f"{what} must hold numbers, not {array.dtype}")
    if array.ndim != 1 or array.size == 0:
        raise InvalidValueError(f"{what} must be one-dimensional and not empty; its shape is {array.shape}")
    with np.errstate(all="ignore"):
        narrow = array.astype("<f4")
    if not np.isfinite(narrow).all():
        raise InvalidValueError(f"{what} holds NaN, infinity or numbers beyond float32")
    return _frozen(narrow)


def _frozen(vector: Vector) -> Vector:
    # An array over bytes cannot be made writable.
    return np.frombuffer(vector.tobytes(), dtype="<f4")


def random_id() -> str:
    """A fresh random UUID, for entities, stores and epochs."""
    return str(uuid.uuid4())


def _no_vector() -> None:
    # A factory leaves no class attribute behind, so that __getattr__ sees a vector not yet decoded.
    return None


def _texts(value: object, what: str) -> tuple[str, ...]:
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidTypeError(f"{what} must be a list of strings, not {type(value).__name__}")
    return tuple(checked_text(item, f"{what}[{i}]") for i, item in enumerate(value))


def _ids(value: object, what: str) -> tuple[str, ...]:
    return tuple(validate_id(item, f"{what}[{i}]") for i, item in enumerate(_texts(value, what)))


def _number(value: object, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
        raise InvalidTypeError(f"{what} must be a number, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError as error:
        raise InvalidValueError(f"{what} is an integer beyond the range of a float") from error
    if not math.isfinite(number):
        raise InvalidValueError(f"{what} is {number}; it must be finite")
    return number


def _score(value: object, what: str) -> float:
    score = _number(value, what)
    if not 0.0 <= score <= 1.0:
        raise InvalidValueError(f"{what} is {score}; it must lie in 0..1")
    return score


def _count(value: object, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"{what} must be an integer, not {type(value).__name__}")
    if not 0 <= value <= _MAX_COUNT:
        raise InvalidValueError(f"{what} must lie in 0..2**63-1")
    return int(value)


def _flag(value: object, what: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidTypeError(f"{what} must be true or false, not {type(value).__name__}")
    return value


# One checker per kind of field: it returns the stored form or raises the library's error.
_CHECKERS: Final = {
    "id": validate_id,
    "text": checked_text,
    "time": as_utc,
    "vector": as_vector,
    "score": _score,
    "number": _number,
    "count": _count,
    "flag": _flag,
    "texts": _texts,
    "ids": _ids,
    "object": checked_object,
}


def _kept(check: str, *, optional: bool = False) -> dict[str, Any]:
    return {"check": check, "optional": optional}


class Entity:
    """What both entities share: validation, equality by value, and copies that share nothing mutable."""

    kind: Kind
    id_field: str
    vector_field: str

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> object:
            # A loaded entity carries its vector as text until somebody reads it.
            text = self.__dict__.get("vector_text") if name == type(self).vector_field else None
            if text is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            vector = _frozen(np.array(orjson.loads(text), dtype="<f4"))
            self.__dict__[name] = vector
            return vector

    def __post_init__(self) -> None:
        state = self.__dict__
        for name, check, optional in _field_table(type(self)):
            value = state[name]
            if value is not None or not optional:
                state[name] = _CHECKERS[check](value, name)
        state["extra"] = _checked_extra(state["extra"], type(self))

    @property
    def entity_id(self) -> str:
        """The id, whatever its field is called."""
        return cast(str, self.__dict__[self.id_field])

    @property
    def vector(self) -> Vector | None:
        """The vector by which the entity is found, or None."""
        return cast("Vector | None", getattr(self, self.vector_field))

    def replace(self, **changes: object) -> Self:
        """A copy with `changes`, validated like a new one; its content_hash is unset.

        Raises:
            InvalidTypeError, InvalidValueError: as the constructor, also for an unknown field.
        """
        known = _field_names(type(self))
        unknown = changes.keys() - known.keys()
        if unknown:
            raise InvalidTypeError(f"{type(self).__name__} has no field {', '.join(sorted(unknown))}")
        present = {name: getattr(self, name) for name in known.keys() - changes.keys()}
        return type(self)(**{**present, "content_hash": None, **changes})

    def detached(self, **trusted: object) -> Self:
        """A copy that shares nothing mutable with this one; `trusted` values are set unchecked."""
        other = object.__new__(type(self))
        state = other.__dict__
        state.update(self.__dict__)
        state.update(trusted)
        for name, value in state.items():
            if value.__class__ is dict:
                state[name] = copy(value)
        return other

    def rechecked(self) -> Self:
        """A detached copy whose objects are checked again, since a dict can be changed after construction.

        Raises:
            InvalidTypeError, InvalidValueError: by what was put into one.
        """
        other = object.__new__(type(self))
        state = other.__dict__
        state.update(self.__dict__)
        for name in _OBJECTS[cast("type[MemoryEntry]", type(self))]:
            state[name] = checked_object(state[name], name)
        state["extra"] = _checked_extra(state["extra"], type(self))
        return other

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Copied and unpickled arrays would be writable, and a shallow copy would share its dicts.
        for name, value in state.items():
            self.__dict__[name] = _frozen(value) if isinstance(value, np.ndarray) else copy(value)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(
            _same(getattr(self, name), getattr(other, name))
            for name in _field_names(type(self))
            if name != "content_hash"
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.entity_id))


def _same(mine: object, theirs: object) -> bool:
    if isinstance(mine, np.ndarray) and isinstance(theirs, np.ndarray):
        return mine.tobytes() == theirs.tobytes()
    return type(mine) is type(theirs) and mine == theirs


def _checked_extra(value: object, model: type[Entity]) -> JsonObject:
    extra = checked_object(value, "extra")
    clash = extra.keys() & (_field_names(model).keys() | _RESERVED_EXTRA)
    if clash:
        raise InvalidValueError(f"extra may not hold the name {', '.join(sorted(clash))}", hint="Use metadata for it.")
    return extra


@dataclass(frozen=True, eq=False, kw_only=True)
class MemoryEntry(Entity):
    """One memory.

    Everything is checked and copied on construction; nothing a caller changes later reaches it.

    Attributes:
        memory_id: unique among memories; a fresh UUID by default.
        content: any text.
        embedding: float32, read-only, of the store's dimension; or None. By keyword: any sequence of numbers.
        created_at: UTC; a naive time is read as UTC.
        updated_at: stamped by the store, strictly increasing; None until stored.
        quickrecal_score: 0..1, how readily it is recalled.
        quickrecal_updated: when that score was last computed.
        metadata: a JSON object.
        tags: strings.
        access_count: how often it was used, as told by the caller; loads do not count.
        last_access_time: as told by the caller.
        expires_at: the time from which it is no longer wanted.
        hyperbolic_embedding: a second vector, stored and not searched.
        extra: fields that this version does not know, preserved as they are.
        content_hash: "sha256:..." of the stored file; set by the store.

    Raises:
        InvalidTypeError, InvalidValueError: by the field that is wrong.
    """

    kind = "memory"
    id_field = "memory_id"
    vector_field = "embedding"

    content: str = field(metadata=_kept("text"))
    memory_id: str = field(default_factory=random_id, metadata=_kept("id"))
    embedding: Vector | None = field(default_factory=_no_vector, repr=False, metadata=_kept("vector", optional=True))
    created_at: datetime = field(default_factory=utc_now, metadata=_kept("time"))
    updated_at: datetime | None = field(default=None, metadata=_kept("time", optional=True))
    quickrecal_score: float = field(default=0.5, metadata=_kept("score"))
    quickrecal_updated: datetime | None = field(default=None, metadata=_kept("time", optional=True))
    metadata: JsonObject = field(default_factory=dict, metadata=_kept("object"))
    tags: tuple[str, ...] = field(default=(), metadata=_kept("texts"))
    access_count: int = field(default=0, metadata=_kept("count"))
    last_access_time: datetime | None = field(default=None, metadata=_kept("time", optional=True))
    expires_at: datetime | None = field(default=None, metadata=_kept("time", optional=True))
    hyperbolic_embedding: Vector | None = field(default=None, repr=False, metadata=_kept("vector", optional=True))
    extra: JsonObject = field(default_factory=dict)
    content_hash: str | None = field(default=None, metadata=_kept("text", optional=True))


@dataclass(frozen=True, eq=False, kw_only=True)
class MemoryAssembly(Entity):
    """A named, ordered group of memories.

    Checked and copied like `MemoryEntry`; members need not exist when it is saved.

    Attributes:
        assembly_id: unique among assemblies; a fresh UUID by default.
        name, description: any text.
        members: ids of memories, in order.
        composite_embedding: float32, read-only, searched as a kind of its own; or None.
        hyperbolic_embedding: a second vector, stored and not searched.
        keywords, tags, topics: strings.
        metadata: a JSON object.
        created_at, updated_at: as in `MemoryEntry`.
        last_access_time, last_activation: as told by the caller.
        activation_level: finite.
        activation_count, access_count: not negative.
        emotion_profile: a JSON object.
        is_active: whether it takes part.
        merged_from: ids of the assemblies it was merged from.
        vector_index_updated_at: when its composite embedding was last indexed, as told by the caller.
        extra, content_hash: as in `MemoryEntry`.

    Raises:
        InvalidTypeError, InvalidValueError: by the field that is wrong.
    """

    kind = "assembly"
    id_field = "assembly_id"
    vector_field = "composite_embedding"

    assembly_id: str = field(default_factory=random_id, metadata=_kept("id"))
    name: str = field(default="", metadata=_kept("text"))
    description: str = field(default="", metadata=_kept("text"))
    members: tuple[str, ...] = field(default=(), metadata=_kept("ids"))
    composite_embedding: Vector | None = field(
        default_factory=_no_vector, repr=False, metadata=_kept("vector", optional=True)
    )
    hyperbolic_embedding: Vector | None = field(default=None, repr=False, metadata=_kept("vector", optional=True))
    keywords: tuple[str, ...] = field(default=(), metadata=_kept("texts"))
    tags: tuple[str, ...] = field(default=(), metadata=_kept("texts"))
    topics: tuple[str, ...] = field(default=(), metadata=_kept("texts"))
    metadata: JsonObject = field(default_factory=dict, metadata=_kept("object"))
    created_at: datetime = field(default_factory=utc_now, metadata=_kept("time"))
    updated_at: datetime | None = field(default=None, metadata=_kept("time", optional=True))
    last_access_time: datetime | None = field(default=None, metadata=_kept("time", optional=True))
    last_activation: datetime | None = field(default=None, metadata=_kept("time", optional=True))
    activation_level: float = field(default=0.0, metadata=_kept("number"))
    activation_count: int = field(default=0, metadata=_kept("count"))
    access_count: int = field(default=0, metadata=_kept("count"))
    emotion_profile: JsonObject = field(default_factory=dict, metadata=_kept("object"))
    is_active: bool = field(default=True, metadata=_kept("flag"))
    merged_from: tuple[str, ...] = field(default=(), metadata=_kept("ids"))
    vector_index_updated_at: datetime | None = field(default=None, metadata=_kept("time", optional=True))
    extra: JsonObject = field(default_factory=dict)
    content_hash: str | None = field(default=None, metadata=_kept("text", optional=True))


def _table_of(model: type[Any]) -> tuple[tuple[str, str, bool], ...]:
    return tuple((f.name, f.metadata["check"], f.metadata["optional"]) for f in fields(model) if f.metadata)


_TABLES: Final = {model: _table_of(model) for model in (MemoryEntry, MemoryAssembly)}
_OBJECTS: Final = {model: tuple(n for n, check, _ in table if check == "object") for model, table in _TABLES.items()}
_NAMES: Final = {model: {f.name: f for f in fields(model)} for model in (MemoryEntry, MemoryAssembly)}


def _field_table(model: type[Entity]) -> tuple[tuple[str, str, bool], ...]:
    return _TABLES[cast("type[MemoryEntry]", model)]


def _field_names(model: type[Entity]) -> dict[str, Any]:
    return _NAMES[cast("type[MemoryEntry]", model)]
