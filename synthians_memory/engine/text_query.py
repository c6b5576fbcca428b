"""What a person types, as terms that the full-text index can look for. Every text is a query.

It searches nothing and knows no grammar: words, "phrases in quotes", and the beginnings of words with a star (prefix*).
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["MOST_TERMS", "terms_of", "typed_text"]

# Words of a longer text beyond these are not looked for.
MOST_TERMS: Final = 128
_PART: Final = re.compile(r'"([^"]*)"?|([^\s"]+)')


def typed_text(text: str) -> str:
    """`text` without what no index and no embedder can take: zero characters and lone surrogates."""
    return text.replace("\0", " ").encode("utf-8", "replace").decode()


def terms_of(text: str) -> list[str]:
    """The terms in `text`, each an expression of FTS5, without repetitions; empty where there is no word.

    Nothing that is typed is taken for an operator: every term is quoted.
    """
    found: dict[str, None] = {}
    for match in _PART.finditer(typed_text(text)):
        term = _term(match[1] if match[1] is not None else match[2], phrase=match[1] is not None)
        if term:
            found[term] = None
            if len(found) == MOST_TERMS:
                break
    return list(found)


def _term(text: str, *, phrase: bool) -> str:
    if not any(map(str.isalnum, text)):
        return ""
    star = "*" if text.endswith("*") and not phrase and text[-2].isalnum() else ""
    return f'"{text.rstrip("*")}"{star}'
