"""Bytes of a file in immutable pages, so that a copy costs next to nothing and shares what does not change.

It does not know what is durable.
"""

from __future__ import annotations

__all__ = ["PAGE", "Pages"]

PAGE = 4096
_ZEROS = bytes(PAGE)


class Pages:
    """A growing array of bytes; not thread-safe."""

    __slots__ = ("_pages", "_size")

    def __init__(self) -> None:
        # What lies behind the size, in the last page, is zeros.
        self._pages: list[bytes] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def copy(self) -> Pages:
        """Equal pages that change by themselves."""
        twin = Pages()
        twin._pages, twin._size = self._pages.copy(), self._size
        return twin

    def read(self, start: int = 0, stop: int | None = None) -> bytes:
        """The bytes from `start` to `stop`, as far as they are there."""
        stop = self._size if stop is None else min(stop, self._size)
        if start >= stop:
            return b""
        first, last = start // PAGE, (stop - 1) // PAGE
        if first == last:
            return self._pages[first][start - first * PAGE : stop - first * PAGE]
        head, tail = self._pages[first][start - first * PAGE :], self._pages[last][: stop - last * PAGE]
        return b"".join([head, *self._pages[first + 1 : last], tail])

    def write(self, offset: int, data: bytes) -> None:
        """Put `data` at `offset`; a gap before it is zeros."""
        end = offset + len(data)
        self.resize(max(end, self._size))
        for number in range(offset // PAGE, -(-end // PAGE)):
            base = number * PAGE
            piece = data[max(base - offset, 0) : base + PAGE - offset]
            if len(piece) < PAGE:
                start, old = max(offset - base, 0), self._pages[number]
                piece = old[:start] + piece + old[start + len(piece) :]
            self._pages[number] = _ZEROS if piece == _ZEROS else piece

    def resize(self, size: int) -> None:
        """Cut off what is behind `size`, or grow to it with zeros."""
        count = -(-size // PAGE)
        self._pages += [_ZEROS] * (count - len(self._pages))
        del self._pages[count:]
        if size < self._size and size % PAGE:
            self._pages[-1] = self._pages[-1][: size % PAGE].ljust(PAGE, b"\0")
        self._size = size
