"""What is written as KEY=VALUE or as JSON: conditions of a filter, and metadata.

It judges no condition: the store does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from synthians_memory.errors import InvalidValueError
from synthians_memory.json_values import parse_strict

__all__ = ["WhereOption", "conditions", "json_or_text", "pairs"]

WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Only those whose metadata hold this value, written as JSON or else taken as text; or a whole filter as "
        'JSON: \'{"pep": {"$gt": 500}}\'. May be repeated: all must hold.',
    ),
]


def conditions(written: Sequence[str]) -> dict[str, Any] | None:
    """The filter that several --where mean; None without one. Raises InvalidValueError."""
    filters = [_filter(text) for text in written if text.lstrip().startswith("{")]
    equal = pairs([text for text in written if not text.lstrip().startswith("{")], "--where")
    filters += [equal] if equal else []
    if len(filters) < 2:
        return filters[0] if filters else None
    return {"$and": filters}


def pairs(written: Sequence[str], option: str) -> dict[str, Any]:
    """What several KEY=VALUE mean; a value is read as JSON, or else is text. Raises InvalidValueError."""
    found: dict[str, Any] = {}
    for text in written:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidValueError(f"{option} {text!r} is no KEY=VALUE", hint=f"Write it as in {option} status=Final.")
        if key in found:
            raise InvalidValueError(f"{option} names {key!r} twice", hint="Give each key once.")
        found[key] = json_or_text(value)
    return found


def _filter(text: str) -> dict[str, Any]:
    try:
        value = parse_strict(text.encode("utf-8", "surrogatepass"), "--where")
    except InvalidValueError as error:
        raise InvalidValueError(
            f"--where {text!r} begins like JSON and is none: {error.message}",
            hint='Write a filter as in --where \'{"pep": {"$gt": 500}}\', within single quotes.',
        ) from error
    if not isinstance(value, dict):
        raise InvalidValueError(f"--where {text!r} is no JSON object", hint="Write KEY=VALUE, or a filter as JSON.")
    return value


def json_or_text(value: str) -> Any:
    """What a user writes as a value: JSON, or else the text itself."""
    try:
        return parse_strict(value.encode("utf-8", "surrogatepass"), "value")
    except InvalidValueError:
        return value
