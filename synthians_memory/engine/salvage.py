"""What can still be read of a damaged entity file: the lines that are whole.

It is not repair: what it returns is put beside the damaged file for a person, never into the store.
"""

from __future__ import annotations

from synthians_memory.errors import InvalidValueError
from synthians_memory.json_values import parse_strict

__all__ = ["salvage"]


def salvage(data: bytes) -> bytes | None:
    """The top-level fields of `data` that parse on their own, as JSON with one a line; None for none.

    Entity files have one top-level field per line, so damage is confined to the lines it hit. The lines
    are kept as they stand: a value that no entity may have is still the person's to look at.
    """
    found: dict[tuple[str, ...], bytes] = {}
    for line in data.split(b"\n"):
        text = line.strip().rstrip(b",")
        if not text.startswith(b'"'):
            continue
        try:
            fields = parse_strict(b"{" + text + b"}", "line")
        except InvalidValueError:
            continue
        if "content_hash" not in fields:
            found[tuple(fields)] = b"  " + text
    if not found:
        return None
    return b"{\n" + b",\n".join(found.values()) + b"\n}\n"
