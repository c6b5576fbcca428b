"""A filter as a condition of SQL over the tables of the text index; it selects exactly what `filters.matches` does.

It runs nothing. Every condition it writes is true or false, never NULL, so that it can be denied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from synthians_memory.engine.filter_values import AFTER, ELEMENT, path_name, value_key
from synthians_memory.engine.filters import (
    TIMES,
    All,
    Among,
    Contains,
    Equal,
    Exists,
    Not,
    OneOf,
    Order,
    Ordered,
    Path,
    Tree,
)

__all__ = ["METADATA_PATH", "TAGS_PATH", "Condition", "compile_filter"]

# What stands before the path of a value in metadata, and the path of the tags.
METADATA_PATH: Final = "m."
TAGS_PATH: Final = "tags"

_COLUMNS: Final = {
    "created_at": "entity.created",
    "updated_at": "entity.updated",
    "expires_at": "entity.expires",
    "quickrecal_score": "entity.score",
}
_SIGNS: Final[dict[Order, str]] = {"$gt": ">", "$gte": ">=", "$lt": "<", "$lte": "<="}
# More values than this are compared through a table of their own.
_MOST_INLINE: Final = 50
_ROWS: Final = "entity.row IN (SELECT row FROM attribute WHERE path = (SELECT number FROM path WHERE name = ?)"
_TRUE: Final = "1"
_FALSE: Final = "0"


@dataclass(slots=True)
class Condition:
    """A condition on the table `entity`.

    Attributes:
        sql: the text, with a "?" for each of `values`.
        values: in order.
        sets: what must stand in the temporary table `operand` (slot, value) while it is used, by slot.
    """

    sql: str = _TRUE
    values: list[Any] = field(default_factory=list)
    sets: list[list[Any]] = field(default_factory=list)


def compile_filter(tree: Tree) -> Condition:
    """The condition under which an entity matches `tree`."""
    condition = Condition()
    condition.sql = _compile(tree, condition)
    return condition


def _compile(tree: Tree, into: Condition) -> str:
    match tree:
        case All(parts):
            return f"({' AND '.join(_compile(part, into) for part in parts)})" if parts else _TRUE
        case OneOf(parts):
            return f"({' OR '.join(_compile(part, into) for part in parts)})" if parts else _FALSE
        case Not(part):
            return f"(NOT {_compile(part, into)})"
        case _:
            return _leaf(tree, into)


def _leaf(leaf: Equal | Among | Ordered | Exists | Contains, into: Condition) -> str:
    column = _COLUMNS.get(leaf.path.field)
    if leaf.path.field and leaf.path.keys:
        # Nothing lies below a field.
        return _FALSE
    return _attribute(leaf, into) if column is None else _column(column, leaf, into)


# Values in the table `attribute`


def _attribute(leaf: Equal | Among | Ordered | Exists | Contains, into: Condition) -> str:
    into.values.append(_name(leaf.path))
    match leaf:
        case Exists():
            return f"{_ROWS})"
        case Equal(_, value):
            return f"{_ROWS} AND value = {_bound(value_key(value), into)})"
        case Contains(_, value):
            return f"{_ROWS} AND value = {_bound(ELEMENT + value_key(value), into)})"
        case Among(_, values):
            return f"{_ROWS} AND value IN {_list([value_key(value) for value in values], into)})"
        case Ordered(_, order, value):
            key = value_key(value)
            edge = AFTER[key[:1]] if order in ("$gt", "$gte") else key[:1]
            side = "<" if order in ("$gt", "$gte") else ">="
            limits = f"value {_SIGNS[order]} {_bound(key, into)} AND value {side} {_bound(edge, into)}"
            return f"{_ROWS} AND {limits})"


def _name(path: Path) -> str:
    return TAGS_PATH if path.field else METADATA_PATH + path_name(path.keys)


def _bound(value: Any, into: Condition) -> str:
    into.values.append(value)
    return "?"


def _list(values: list[Any], into: Condition) -> str:
    if len(values) > _MOST_INLINE:
        into.sets.append(values)
        return f"(SELECT value FROM temp.operand WHERE slot = {len(into.sets) - 1})"
    return f"({', '.join(_bound(value, into) for value in values)})"


# Values in columns of the table `entity`


def _column(column: str, leaf: Equal | Among | Ordered | Exists | Contains, into: Condition) -> str:
    present = f"{column} IS NOT NULL"
    match leaf:
        case Exists():
            return f"({present})"
        case Contains():
            return _FALSE
        case Among(path, values):
            return (
                f"({present} AND {column} IN {_list([_plain(value) for value in values if _fits(path, value)], into)})"
            )
        case Equal(path, value):
            return f"({present} AND {column} = {_bound(_plain(value), into)})" if _fits(path, value) else _FALSE
        case Ordered(path, order, value):
            if not _fits(path, value):
                return _FALSE
            return f"({present} AND {column} {_SIGNS[order]} {_bound(_plain(value), into)})"


def _fits(path: Path, value: Any) -> bool:
    """Whether `value` has the type of the column."""
    return path.field in TIMES or (isinstance(value, int | float) and not isinstance(value, bool))


def _plain(value: int | float) -> int | float:
    # An integer beyond 63 bits cannot be bound; scores lie in 0..1, so nothing is lost.
    return float(value) if abs(value) >= 2**63 else value
