"""What can still be read of a damaged entity file: the lines that are whole.

It is not repair: what it returns is put beside the damaged file for a person, never into the store.
"""

from __future__ import annotations

from typing import Any

import orjson

from synthians_memory.errors import InvalidValueError
from synthians_memory.json_values import parse_strict

__all__ = ["salvage"]


def salvage(data: bytes) -> bytes | None:
    """The top-level fields of `data` that parse on their own, as JSON with one a line; None for none.

    Entity files have one top-level field per line, so damage is confined to the lines it hit.
    """
    found: dict[str, Any] = {}
    for line in data.split(b"\n"):
        text = line.strip().rstrip(b",")
        if not text.startswith(b'"'):
            continue
        try:
            fields = parse_strict(b"{" + text + b"}", "line")
        except InvalidValueError:
            continue
        found.update({name: value for name, value in fields.items() if name != "content_hash"})
    if not found:
        return None
    return orjson.dumps(found, option=orjson.OPT_INDENT_2) + b"\n"
