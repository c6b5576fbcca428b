"""What a value in the files of the state may be: the closed vocabularies, and the checks of what a caller gives.

It is not the schemas, which judge what is found in a file; what passes here fits them.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, TypeVar

from synthians_memory.errors import DamagedFileError, InvalidTypeError, InvalidValueError
from synthians_memory.json_values import JsonObject, checked_copy, checked_text

__all__ = [
    "EventType",
    "MadeBy",
    "Phase",
    "checked_choice",
    "checked_health",
    "checked_number",
    "checked_optional_text",
    "checked_texts",
    "list_member",
    "object_member",
]


class Phase(StrEnum):
    """Where in its life a system is."""

    PLANNING = "planning"
    BUILDING = "building"
    TESTING = "testing"
    DEPLOYED = "deployed"


class MadeBy(StrEnum):
    """Who decided."""

    HUMAN = "human"
    AGENT = "agent"


class EventType(StrEnum):
    """What happened."""

    WORKFLOW_RUN = "workflow_run"
    TEST_PASS = "test_pass"  # noqa: S105 - no password
    TEST_FAIL = "test_fail"
    DEPLOY = "deploy"
    ERROR = "error"
    HEALTH_CHECK = "health_check"


_Choice = TypeVar("_Choice", bound=StrEnum)


def checked_choice(kind: type[_Choice], value: object, what: str) -> _Choice:
    """The member of `kind` that `value` is.

    Raises:
        InvalidValueError: it is none; the message names those that there are.
    """
    for member in kind:
        if isinstance(value, str) and value == member:
            return member
    shown = repr(value[:60]) if isinstance(value, str) else f"of type {type(value).__name__}"
    raise InvalidValueError(f"{what} cannot be {shown}", hint=f"Give one of: {', '.join(kind)}.")


def checked_health(value: object, what: str) -> int:
    """A health from 0 to 100.

    Raises:
        InvalidTypeError: no integer; a bool is none.
        InvalidValueError: outside 0..100.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"{what} must be an integer, not {type(value).__name__}")
    if not 0 <= value <= 100:
        raise InvalidValueError(f"{what} must lie in 0..100")
    return int(value)


def checked_number(value: object, what: str) -> int | float:
    """A finite number.

    Raises:
        InvalidTypeError: no number; a bool is none.
        InvalidValueError: NaN, an infinity, or an integer beyond 64 bits.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidTypeError(f"{what} must be a number, not {type(value).__name__}")
    number: int | float = checked_copy(value, what)
    return number


def checked_optional_text(value: object, what: str) -> str | None:
    """None, or `value` as `checked_text` has it."""
    return None if value is None else checked_text(value, what)


def checked_texts(values: Iterable[Any], what: str) -> tuple[str, ...]:
    """Texts, in their order.

    Raises:
        InvalidTypeError: a single text, no sequence, or an element that is no string.
        InvalidValueError: an element with lone surrogates.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise InvalidTypeError(f"{what} must be several texts, not {type(values).__name__}")
    return tuple(checked_text(value, f"{what}[{i}]") for i, value in enumerate(values))


def object_member(document: JsonObject, member: str, path: str) -> JsonObject:
    """The object that `document`, read from the file `path`, has under `member`; DamagedFileError where it is none."""
    value = document[member]
    if not isinstance(value, dict):
        raise _misfit(member, path, "object")
    return value


def list_member(document: JsonObject, member: str, path: str) -> list[Any]:
    """The array that `document`, read from the file `path`, has under `member`; DamagedFileError where it is none."""
    value = document[member]
    if not isinstance(value, list):
        raise _misfit(member, path, "array")
    return value


def _misfit(member: str, path: str, wanted: str) -> DamagedFileError:
    return DamagedFileError(
        f"{member} in {path} is no {wanted}, so that nothing can be added to it",
        path=path,
        hint="Correct the file by hand, or move it away; it was not changed.",
    )
