"""What embedders ask of their arguments.

These are no rules of the store: that checks its own values.
"""

from __future__ import annotations

from collections.abc import Sequence

from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.json_values import checked_text

__all__ = ["checked_name", "checked_texts"]


def checked_name(name: object, hint: str) -> str:
    """`name`, if it is a string and not empty; else InvalidTypeError or InvalidValueError with `hint`."""
    if not isinstance(name, str):
        raise InvalidTypeError(f"a name must be a string, not {type(name).__name__}", hint=hint)
    if not name:
        raise InvalidValueError("a name is empty", hint=hint)
    return name


def checked_texts(texts: Sequence[str]) -> list[str]:
    """`texts` as a list of plain strings.

    Raises:
        InvalidTypeError: a single string, or something that is none.
        InvalidValueError: a lone surrogate in one of them.
    """
    if isinstance(texts, str):
        raise InvalidTypeError("texts is one string", hint="Pass a list of strings.")
    return [checked_text(text, f"texts[{i}]") for i, text in enumerate(texts)]
