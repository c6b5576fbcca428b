"""Which entities have a given value in their metadata: what `where` asks before a search.

It is not on disk: it is filled from the entities when a filter is first used, and follows the writer then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from synthians_memory.engine.records import Key
from synthians_memory.engine.view import Change
from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.json_values import checked_copy
from synthians_memory.layout import Kind
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry

__all__ = ["Attributes", "checked_where"]

_Token = tuple[str, str, Any]
_KINDS: Final[tuple[Kind, ...]] = ("memory", "assembly")
# What JSON may hold as an integer.
_LEAST_INT: Final = -(2.0**63)
_BEYOND_INT: Final = 2.0**64


def checked_where(where: object) -> dict[str, Any]:
    """`where` as it is used.

    Raises:
        InvalidTypeError: not a mapping of strings, or values that JSON does not know.
        InvalidValueError: a key that begins with "$".
    """
    if not isinstance(where, Mapping):
        raise InvalidTypeError(f"where must be a mapping, not {type(where).__name__}", hint='Write {"topic": "gil"}.')
    for key in where:
        if not isinstance(key, str):
            raise InvalidTypeError(f"a key of where must be a string, not {type(key).__name__}")
        if key.startswith("$"):
            raise InvalidValueError(f"where has the unknown operator {key!r}", hint="Equality is what can be asked.")
    return {key: checked_copy(value, f"where.{key}") for key, value in where.items()}


def _token(name: str, value: Any) -> _Token:
    """Equal tokens for equal values; values of different types never have equal ones, but 1 equals 1.0."""
    if isinstance(value, bool):
        return name, "bool", value
    if isinstance(value, int | float):
        return name, "number", value
    if isinstance(value, str):
        return name, "text", value
    return name, "other", orjson.dumps(_comparable(value), option=orjson.OPT_SORT_KEYS)


def _comparable(value: Any) -> Any:
    """`value` with 1.0 written as 1, also deep inside."""
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_comparable(item) for item in value]
    return _integer(value) if isinstance(value, float) and value.is_integer() else value


def _integer(value: float) -> int | float:
    return int(value) if _LEAST_INT <= value < _BEYOND_INT else value


def _tokens(entity: Entity) -> tuple[_Token, ...]:
    if not isinstance(entity, MemoryEntry | MemoryAssembly):
        return ()
    return tuple(_token(name, value) for name, value in entity.metadata.items() if value is not None)


class _Postings:
    """The entities of one kind by token."""

    def __init__(self) -> None:
        self.tokens: dict[str, tuple[_Token, ...]] = {}
        self.ids: dict[_Token, set[str]] = {}

    def put(self, entity_id: str, tokens: tuple[_Token, ...]) -> None:
        self.remove(entity_id)
        self.tokens[entity_id] = tokens
        for token in tokens:
            self.ids.setdefault(token, set()).add(entity_id)

    def remove(self, entity_id: str) -> None:
        for token in self.tokens.pop(entity_id, ()):
            ids = self.ids[token]
            ids.discard(entity_id)
            if not ids:
                del self.ids[token]

    def with_value(self, name: str, value: Any) -> set[str]:
        """Ids whose metadata hold `value` under `name`; None is held by those that lack the name."""
        if value is not None:
            return self.ids.get(_token(name, value), set())
        return {i for i, tokens in self.tokens.items() if all(token[0] != name for token in tokens)}


class Attributes:
    """The metadata of all entities, by value; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._filling = threading.Lock()
        self._postings: dict[Kind, _Postings] | None = None
        self._late: list[Change] | None = None

    def apply(self, changes: Sequence[Change]) -> None:
        """Take acknowledged changes, in order; nothing before the first use."""
        with self._lock:
            if self._late is not None:
                self._late.extend(changes)
            elif self._postings is not None:
                self._follow(self._postings, changes)

    def _follow(self, postings: dict[Kind, _Postings], changes: Iterable[Change]) -> None:
        for change in changes:
            kind, entity_id = change.key
            if change.entity is None:
                postings[kind].remove(entity_id)
            else:
                postings[kind].put(entity_id, _tokens(change.entity))

    def matching(self, kind: Kind, where: Mapping[str, Any]) -> set[str]:
        """Ids of the entities whose metadata hold every value of `where`; call `fill` first."""
        with self._lock:
            if self._postings is None:
                return set()
            postings = self._postings[kind]
            found = [postings.with_value(name, value) for name, value in where.items()]
            if not found:
                return set(postings.tokens)
            found.sort(key=len)
            return set.intersection(*found)

    def fill(self, keys: Callable[[], Iterable[Key]], read: Callable[[Key], Entity | None]) -> None:
        """Make it usable: read every entity once. Idempotent; the writer goes on meanwhile.

        Args:
            keys: all entities; asked after changes are being noted, so that none falls between.
            read: one entity; None for one that has gone, or cannot be served.
        """
        with self._filling:
            if self._postings is not None:
                return
            with self._lock:
                self._late = []
            postings = {kind: _Postings() for kind in _KINDS}
            for key in keys():
                entity = read(key)
                if entity is not None:
                    postings[key[0]].put(key[1], _tokens(entity))
            with self._lock:
                self._follow(postings, self._late)
                self._late = None
                self._postings = postings

    def reset(self) -> None:
        """Forget everything; the next use fills it again."""
        with self._lock:
            self._postings = None
