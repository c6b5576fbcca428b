"""Traces: how entities that are to be purged are recognised in bytes that may be anything.

It removes nothing, and what it learns of their texts it keeps in memory only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

import orjson

from synthians_memory.codec import unseal
from synthians_memory.engine.records import Key, guess_key, stated_size
from synthians_memory.layout import Kind, entity_path
from synthians_memory.storage.framing import FRAME_MAGIC, RECORD_HEADER, RECORD_MAGIC

__all__ = ["Traces"]

_ID_FIELDS: Final[dict[Kind, bytes]] = {"memory": b'"memory_id":', "assembly": b'"assembly_id":'}
# Lines of an entity file that hold what somebody wrote, or what was computed from it.
_TELLING: Final = re.compile(
    rb'^\s*"(?:content|name|description|embedding|composite_embedding|hyperbolic_embedding)": ?(.+?),?$', re.MULTILINE
)
_BOUNDARY: Final = re.compile(re.escape(FRAME_MAGIC) + b"|" + re.escape(RECORD_MAGIC))
# A text is known again by any stretch of it that holds one of its pieces whole; a shorter one by all of it.
_PIECE: Final = 24
_SHORTEST: Final = 8
_QUOTED: Final = 64


class Traces:
    """What is known of the entities `keys`, and grows by `learn`; used by one thread.

    Attributes:
        paths, file_names: of their files.
        hashes: content hashes of the versions seen, as hexadecimal digits.
    """

    def __init__(self, keys: Iterable[Key]) -> None:
        self.keys = frozenset(keys)
        self.paths = frozenset(entity_path(*key) for key in self.keys)
        self.file_names = frozenset(path.rpartition("/")[2] for path in self.paths)
        self.hashes: set[str] = set()
        self._names = [
            _ID_FIELDS[kind] + space + text for kind, i in self.keys for space in (b" ", b"") for text in _spelt(i)
        ]
        self._rows = [text + b":" for _, i in self.keys for text in _spelt(i)]
        self._pieces: set[bytes] = set()
        self._short: set[bytes] = set()
        self._quotes: set[bytes] = set()

    def learn(self, data: bytes) -> None:
        """Know the texts and numbers in the bytes of a file, or of what is left of one, of these entities again."""
        self.hashes.add(unseal(data)[1].hex())
        for text in _TELLING.findall(data):
            inner = text[1:-1]
            self._quotes.update(quote[:_QUOTED] for quote in _forms(text) if len(quote) >= _SHORTEST)
            if len(inner) >= _PIECE:
                self._pieces.update(inner[at : at + _PIECE] for at in range(0, len(inner) - _PIECE + 1, _PIECE))
                self._pieces.add(inner[-_PIECE:])
            elif len(inner) >= _SHORTEST:
                self._short.add(inner)

    def names(self, data: bytes) -> bool:
        """Whether `data` is the file, or a line, of one of the entities."""
        return any(name in data for name in self._names)

    def lists(self, data: bytes) -> bool:
        """Whether a JSON document has one of the ids as the name of a member, as the memory index has."""
        return any(row in data for row in self._rows)

    def tells(self, data: bytes) -> bool:
        """Whether a text of the entities, or a piece of one, stands in `data`."""
        if any(text in data for text in self._short):
            return True
        pieces = self._pieces
        return bool(pieces) and any(data[at : at + _PIECE] in pieces for at in range(len(data) - _PIECE + 1))

    def quoted_in(self, data: bytes) -> bool:
        """Whether the beginning of one of the texts stands in `data`, plain or escaped; cheap also for much of it."""
        return self.names(data) or any(quote in data for quote in self._quotes)

    def mentions(self, data: bytes) -> bool:
        """Whether one of the ids stands in a JSON document as a value."""
        return any(row[:-1] in data for row in self._rows)

    def blanked(self, data: bytes) -> tuple[bytes, int]:
        """`data`, a stretch of a journal in whatever state, with zeros in the place of the entities' records.

        What names another entity is kept, whatever it holds. Returns how many bytes were blanked as well.
        """
        copy, count = bytearray(data), 0
        for start, stop in self._own_ranges(data):
            count += len(data[start:stop].strip(b"\0"))
            copy[start:stop] = bytes(stop - start)
        return bytes(copy), count

    def _own_ranges(self, data: bytes) -> Iterator[tuple[int, int]]:
        starts = sorted({0, *(match.start() for match in _BOUNDARY.finditer(data))})
        for start, stop in zip(starts, [*starts[1:], len(data)], strict=True):
            stretch = data[start:stop]
            record = stretch[RECORD_HEADER:] if stretch.startswith(RECORD_MAGIC) else b""
            key = guess_key(record)
            if key in self.keys:
                # The magic bytes may stand in the text of the record as well.
                size = stated_size(data[start : start + RECORD_HEADER], record)
                yield start, stop if size is None else max(stop, min(start + RECORD_HEADER + size, len(data)))
            elif key is None and (self.names(stretch) or self.tells(stretch)):
                yield start, stop


def _forms(text: bytes) -> Iterator[bytes]:
    """A value as it stands in a file, without its quotes or brackets, and a text also plain and in ASCII."""
    yield text[1:-1]
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return
    if isinstance(value, str):
        yield value.encode()
        yield json.dumps(value).encode()[1:-1]


def _spelt(entity_id: str) -> set[bytes]:
    """The id as JSON, in both usual spellings."""
    return {orjson.dumps(entity_id), json.dumps(entity_id).encode()}
