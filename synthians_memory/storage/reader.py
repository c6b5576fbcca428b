"""A descriptor that stays open for reading.

It is not a cache: every call asks the system.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Sequence
from typing import Final

from synthians_memory.errors import disk_error
from synthians_memory.storage.descriptors import pread, require_regular

__all__ = ["LocalReader"]

# Linux alone has it.
_NO_WAIT: Final[int | None] = getattr(os, "RWF_NOWAIT", None)


class LocalReader:
    """`ReadableFile` of a local file; among `siblings` until it is closed, which it is when nobody has it any more."""

    __slots__ = ("__weakref__", "_descriptor", "_path", "_siblings")

    def __init__(self, descriptor: int, path: str, siblings: weakref.WeakSet[LocalReader]) -> None:
        """Take over `descriptor`, which is closed where this raises NotRegularFileError or another DiskError."""
        try:
            require_regular(os.fstat(descriptor))
        except OSError as error:
            os.close(descriptor)
            raise disk_error(error, "read", path) from error
        self._descriptor = descriptor
        self._path = path
        self._siblings = siblings
        siblings.add(self)

    def read_at(self, offset: int, length: int) -> bytes:
        """As `ReadableFile.read_at`."""
        try:
            data = pread(self._descriptor, length, offset)
            while len(data) < length and (more := pread(self._descriptor, length - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise disk_error(error, "read", self._path) from error
        return data

    def read_each(self, offsets: Sequence[int], length: int) -> list[bytes]:
        """As `ReadableFile.read_each`."""
        descriptor = self._descriptor
        try:
            found = [pread(descriptor, length, offset) for offset in offsets]
        except OSError as error:
            raise disk_error(error, "read", self._path) from error
        # A read that a signal cut short is asked again.
        return [
            data if len(data) == length else self.read_at(o, length) for o, data in zip(offsets, found, strict=True)
        ]

    def read_each_at_hand(self, offsets: Sequence[int], length: int) -> list[bytes] | None:
        """As `ReadableFile.read_each_at_hand`: what is in the page cache."""
        if _NO_WAIT is None:
            return None
        found, data = [], bytearray(length)
        try:
            for offset in offsets:
                if os.preadv(self._descriptor, [data], offset, _NO_WAIT) != length:
                    return None
                found.append(bytes(data))
        except OSError:
            return None
        return found

    def close(self) -> None:
        """As `ReadableFile.close`."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            self._siblings.discard(self)
            os.close(descriptor)

    def __del__(self, _close: Callable[[int], None] = os.close) -> None:
        # Where opening it was refused, there is nothing to close. Whoever is let go in one circle with it may close it
        # afterwards, and must not meet a number that stands for something else by then.
        descriptor, self._descriptor = getattr(self, "_descriptor", -1), -1
        if descriptor >= 0:
            _close(descriptor)
