"""Large documents read a few hundred lines at a time, so that no more of them than that is held as Python objects.

It verifies nothing: that the document is what was written, its seal has proved before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import orjson

from synthians_memory.errors import InvalidValueError

__all__ = ["Members", "read_sections"]

T = TypeVar("T")

# The name of a section, and some of its members in the document's order; "" for all that is in no section.
Members = tuple[str, dict[str, Any]]


def read_sections(data: bytes, names: Sequence[str], build: Callable[[Iterator[Members]], T], piece_bytes: int) -> T:
    """What `build` makes of the document.

    Args:
        data: a JSON object.
        names: its largest members, objects themselves, in the order in which they are written.
        build: takes all members, piece by piece; called once more, with whole sections, where the document is
            not laid out as the store writes it, or where the first call raised.
        piece_bytes: how much of a section is read at once, about; best so little that its values are gone
            before the garbage collector would look for them, which is after some hundred containers.

    Raises:
        ValueError, KeyError, AttributeError: it is no such document; and what `build` raises.
    """
    try:
        return build(_by_lines(data, names, piece_bytes))
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return build(_at_once(data, names))


def _at_once(data: bytes, names: Sequence[str]) -> Iterator[Members]:
    found = orjson.loads(data)
    for name in names:
        yield name, dict(found.pop(name).items())
    yield "", found


def _by_lines(data: bytes, names: Sequence[str], piece_bytes: int) -> Iterator[Members]:
    """The same, cut where lines end.

    No string in JSON goes over a line's end, and what parses between braces holds whole members; so a cut at
    another place than between two members of the section does not pass unnoticed.
    """
    at = _behind(data, b"{\n", 0)
    for name in names:
        at = _behind(data, b'  "%s": {\n' % name.encode(), at)
        if not data.startswith(b"  }", at):
            end = data.index(b"\n  },\n", at)
            for piece in _pieces(data, at, end, piece_bytes):
                yield name, orjson.loads(b"{%b}" % piece)
            at = end + 1
        at = _behind(data, b"  },\n", at)
    yield "", orjson.loads(b"{" + data[at:])


def _behind(data: bytes, wanted: bytes, at: int) -> int:
    if not data.startswith(wanted, at):
        raise InvalidValueError("the document is laid out in another way than the store writes it")
    return at + len(wanted)


def _pieces(data: bytes, start: int, end: int, piece_bytes: int) -> Iterator[bytes]:
    while start < end:
        cut = data.find(b",\n", start + piece_bytes, end)
        stop = end if cut < 0 else cut
        yield data[start:stop]
        start = stop + 2
