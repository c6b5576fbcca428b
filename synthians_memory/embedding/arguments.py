"""What every embedder asks of its texts.

It is no rule of the store: that checks its own values.
"""

from __future__ import annotations

from collections.abc import Sequence

from synthians_memory.errors import InvalidTypeError
from synthians_memory.json_values import checked_text

__all__ = ["checked_texts"]


def checked_texts(texts: Sequence[str]) -> list[str]:
    """`texts` as a list of plain strings.

    Raises:
        InvalidTypeError: a single string, or something that is none.
        InvalidValueError: a lone surrogate in one of them.
    """
    if isinstance(texts, str):
        raise InvalidTypeError("texts is one string", hint="Pass a list of strings.")
    return [checked_text(text, f"texts[{i}]") for i, text in enumerate(texts)]
