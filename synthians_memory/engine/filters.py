r"""What `where` means: a mapping becomes a tree of conditions, and an entity matches it or not.

It is no index: `matches` looks at one entity, and is what every other way of answering has to agree with.

    where     := {path: condition, ..., "$and": [where, ...], "$or": [where, ...], "$not": where}
    condition := value | {operator: operand, ...}
    operator  := $eq $ne $in $nin $gt $gte $lt $lte $exists $contains $not

Everything in one mapping must hold. A path is a name; dots descend into objects (never into lists), and "\." is a dot
in a name. The names of `FIELDS` are fields of the entity, every other one is a key of its metadata; "metadata." in
front of a path always means metadata, also for a key that is called like a field.

None equals missing. Values of different types never match, in equality as in order, but 1 equals 1.0; a bool is no
number. `$ne`, `$nin` and `$not` are the denials of `$eq`, `$in` and of what they hold, so entities that lack the path
match them. Strings are in the order of their code points. An object or list equals one of the same content; a None
inside is a value there. `$contains` asks lists for an element. Times are given as datetime or RFC 3339.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, get_args

from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.json_values import checked_copy, checked_text
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry
from synthians_memory.times import as_utc, to_micros

__all__ = [
    "FIELDS",
    "MOST_CONDITIONS",
    "MOST_LEVELS",
    "TIMES",
    "All",
    "Among",
    "Contains",
    "Equal",
    "Exists",
    "Not",
    "OneOf",
    "Order",
    "Ordered",
    "Path",
    "Tree",
    "matches",
    "parse_where",
    "value_at",
]

# Fields of an entity that can be asked for by name; the others are metadata.
FIELDS: Final = ("tags", "created_at", "updated_at", "quickrecal_score", "expires_at")
TIMES: Final = frozenset(["created_at", "updated_at", "expires_at"])

Order = Literal["$gt", "$gte", "$lt", "$lte"]
_ORDERS: Final = get_args(Order)
_OPERATORS: Final = ("$eq", "$ne", "$in", "$nin", *_ORDERS, "$exists", "$contains", "$not")
# What one statement of SQL takes.
MOST_CONDITIONS: Final = 500
MOST_LEVELS: Final = 10
_COMBINING: Final = ("$and", "$or", "$not")
_METADATA: Final = "metadata"


class Path(NamedTuple):
    """Where a value is looked for.

    Attributes:
        field: one of FIELDS; "" for metadata.
        keys: the names to descend by, from there.
    """

    field: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Equal:
    """The value at `path` is `value`, which is not None; microseconds for a time."""

    path: Path
    value: Any


@dataclass(frozen=True, slots=True)
class Among:
    """The value at `path` is one of `values`, none of them None."""

    path: Path
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Ordered:
    """The value at `path` has the type of `value`, a number or a string, and lies on that side of it."""

    path: Path
    order: Order
    value: Any


@dataclass(frozen=True, slots=True)
class Exists:
    """There is a value at `path`, and it is not None."""

    path: Path


@dataclass(frozen=True, slots=True)
class Contains:
    """The value at `path` is a list with an element equal to `value`."""

    path: Path
    value: Any


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; without parts it always does."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class OneOf:
    """Some part holds; without parts none does."""

    parts: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """`part` does not hold."""

    part: Tree


Tree = Equal | Among | Ordered | Exists | Contains | All | OneOf | Not


# From a mapping to a tree


def parse_where(where: object) -> Tree:
    """The tree that `where` describes; it shares nothing with it.

    Raises:
        InvalidTypeError: not a mapping with string keys, or an operand of a type that the operator does not take.
        InvalidValueError: an unknown operator, a value that JSON cannot carry, a string that is no time, more
            than MOST_CONDITIONS conditions or MOST_LEVELS levels of $and, $or and $not.
    """
    tree = _parse_mapping(where, "where", 0)
    if _size(tree) > MOST_CONDITIONS:
        raise InvalidValueError(f"where has more than {MOST_CONDITIONS} conditions", hint='Use "$in" for many values.')
    return tree


def _size(tree: Tree) -> int:
    match tree:
        case All(parts) | OneOf(parts):
            return 1 + sum(map(_size, parts))
        case Not(part):
            return _size(part)
    return 1


def _parse_mapping(where: object, what: str, depth: int) -> Tree:
    if not isinstance(where, Mapping):
        raise InvalidTypeError(f"{what} must be a mapping, not {type(where).__name__}", hint='Write {"topic": "gil"}.')
    if depth > MOST_LEVELS:
        raise InvalidValueError(f"where is nested deeper than {MOST_LEVELS} levels")
    return _all([_parse_item(_name(key, what), value, what, depth) for key, value in where.items()])


def _name(key: object, what: str) -> str:
    if not isinstance(key, str):
        raise InvalidTypeError(f"a key of {what} must be a string, not {type(key).__name__}")
    return checked_text(key, f"a key of {what}")


def _all(parts: list[Tree]) -> Tree:
    return parts[0] if len(parts) == 1 else All(tuple(parts))


def _parse_item(name: str, value: object, what: str, depth: int) -> Tree:
    if not name.startswith("$"):
        return _parse_condition(_path_of(name), value, f"{what}.{name}", depth)
    if name == "$not":
        return Not(_parse_mapping(value, f"{what}.$not", depth + 1))
    if name not in ("$and", "$or"):
        raise _unknown(name, what, _COMBINING)
    if not isinstance(value, list | tuple) or not value:
        raise InvalidTypeError(f"{what}.{name} must be a list of mappings that is not empty")
    parts = [_parse_mapping(part, f"{what}.{name}[{i}]", depth + 1) for i, part in enumerate(value)]
    return _all(parts) if name == "$and" else OneOf(tuple(parts))


def _unknown(name: str, what: str, known: tuple[str, ...]) -> InvalidValueError:
    return InvalidValueError(f"{what} has the unknown operator {name!r}", hint=f"Operators here: {', '.join(known)}.")


def _path_of(name: str) -> Path:
    keys = _split(name)
    if keys[0] == _METADATA and len(keys) > 1:
        return Path("", keys[1:])
    return Path(keys[0], keys[1:]) if keys[0] in FIELDS else Path("", keys)


def _split(name: str) -> tuple[str, ...]:
    """The names in a path; a backslash takes the special meaning from a dot or a backslash behind it."""
    if "\\" not in name:
        return tuple(name.split("."))
    keys, current, escaped = [], "", False
    for character in name:
        if escaped:
            current += character if character in ".\\" else "\\" + character
            escaped = False
        elif character == "\\":
            escaped = True
        elif character == ".":
            keys.append(current)
            current = ""
        else:
            current += character
    return (*keys, current + "\\" if escaped else current)


def _parse_condition(path: Path, value: object, what: str, depth: int) -> Tree:
    if depth > MOST_LEVELS:
        raise InvalidValueError(f"where is nested deeper than {MOST_LEVELS} levels")
    if not isinstance(value, Mapping) or not any(isinstance(key, str) and key.startswith("$") for key in value):
        return _equal(path, value, what)
    return _all([_parse_operator(path, _name(key, what), operand, what, depth) for key, operand in value.items()])


def _parse_operator(path: Path, operator: str, operand: object, what: str, depth: int) -> Tree:
    if operator == "$not":
        if not isinstance(operand, Mapping):
            raise InvalidTypeError(f"{what}.$not must be a mapping of operators, not {type(operand).__name__}")
        return Not(_parse_condition(path, operand, f"{what}.$not", depth + 1))
    parse = _PARSERS.get(operator)
    if parse is None:
        raise _unknown(operator, what, _OPERATORS)
    return parse(path, operand, f"{what}.{operator}")


def _equal(path: Path, operand: object, what: str) -> Tree:
    value = _operand(path, operand, what)
    return Not(Exists(path)) if value is None else Equal(path, value)


def _not_equal(path: Path, operand: object, what: str) -> Tree:
    return Not(_equal(path, operand, what))


def _among(path: Path, operand: object, what: str) -> Tree:
    if not isinstance(operand, list | tuple | set | frozenset):
        raise InvalidTypeError(f"{what} must be a list, not {type(operand).__name__}")
    values = [_operand(path, value, f"{what}[{i}]") for i, value in enumerate(operand)]
    among = Among(path, tuple(value for value in values if value is not None))
    return OneOf((among, Not(Exists(path)))) if len(among.values) < len(values) else among


def _not_among(path: Path, operand: object, what: str) -> Tree:
    return Not(_among(path, operand, what))


def _ordered(order: Order) -> Callable[[Path, object, str], Tree]:
    def parse(path: Path, operand: object, what: str) -> Tree:
        value = _operand(path, operand, what)
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise InvalidTypeError(f"{what} must be a number, a string or a time, not {type(operand).__name__}")
        return Ordered(path, order, value)

    return parse


def _exists(path: Path, operand: object, what: str) -> Tree:
    if not isinstance(operand, bool):
        raise InvalidTypeError(f"{what} must be true or false, not {type(operand).__name__}")
    return Exists(path) if operand else Not(Exists(path))


def _contains(path: Path, operand: object, what: str) -> Tree:
    return Contains(path, checked_copy(operand, what))


_PARSERS: Final[dict[str, Callable[[Path, object, str], Tree]]] = {
    "$eq": _equal,
    "$ne": _not_equal,
    "$in": _among,
    "$nin": _not_among,
    **{order: _ordered(order) for order in _ORDERS},
    "$exists": _exists,
    "$contains": _contains,
}


def _operand(path: Path, operand: object, what: str) -> Any:
    """The operand as it is compared: microseconds for a time, else plain JSON."""
    if path.field not in TIMES or path.keys:
        return checked_copy(operand, what)
    if operand is None:
        return None
    if not isinstance(operand, datetime | str):
        raise InvalidTypeError(
            f"{what} must be a time, not {type(operand).__name__}",
            hint="Give a datetime or a string like 2026-11-20T12:00:00Z.",
        )
    return to_micros(as_utc(operand, what))


# From a tree to an answer


def matches(entity: Entity, tree: Tree) -> bool:
    """Whether `entity` is what `tree` asks for."""
    match tree:
        case All(parts):
            return all(matches(entity, part) for part in parts)
        case OneOf(parts):
            return any(matches(entity, part) for part in parts)
        case Not(part):
            return not matches(entity, part)
        case _:
            return _holds(value_at(entity, tree.path), tree)


def _holds(found: Any, leaf: Equal | Among | Ordered | Exists | Contains) -> bool:
    match leaf:
        case Exists():
            return found is not None
        case Equal(_, value):
            return _same(found, value)
        case Among(_, values):
            return any(_same(found, value) for value in values)
        case Ordered(_, order, value):
            return _type_of(found) == _type_of(value) and _SIDES[order](found, value)
        case Contains(_, value):
            return isinstance(found, list) and any(_same(element, value) for element in found)


_SIDES: Final[dict[Order, Callable[[Any, Any], bool]]] = {
    "$gt": lambda found, value: found > value,
    "$gte": lambda found, value: found >= value,
    "$lt": lambda found, value: found < value,
    "$lte": lambda found, value: found <= value,
}


def value_at(entity: Entity, path: Path) -> Any:
    """The value at `path`: JSON, or microseconds since 1970 for a time; None where there is none."""
    value = _root(entity, path.field)
    for key in path.keys:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _root(entity: Entity, field: str) -> Any:
    if not isinstance(entity, MemoryEntry | MemoryAssembly):
        return None
    if not field:
        return entity.metadata
    if field == "tags":
        return list(entity.tags)
    value = getattr(entity, field, None)
    return to_micros(value) if isinstance(value, datetime) else value


def _type_of(value: object) -> str:
    """What kind of JSON value it is; only values of one kind are ever compared."""
    if isinstance(value, bool):
        return "bool"
    return "number" if isinstance(value, int | float) else type(value).__name__


def _same(one: Any, other: Any) -> bool:
    if _type_of(one) != _type_of(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
