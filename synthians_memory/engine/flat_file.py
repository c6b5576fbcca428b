"""A flat FAISS file, taken in pieces: as an index in memory, or as where its rows are and what they are proved by.

It is not FAISS (`faiss_index` is), and reads no file itself.
"""

from __future__ import annotations

from array import array
from typing import Any, Final

import numpy as np

from synthians_memory.config import Metric
from synthians_memory.engine.exact_rows import FiledRows, sums_of
from synthians_memory.engine.faiss_index import HAS_FAISS, FaissIndex, bytes_of, empty_flat, parsed
from synthians_memory.errors import DamagedViewError
from synthians_memory.storage.backend import ReadableFile

__all__ = ["MOST_DIMENSIONS", "FlatFile", "RowScan", "flat_head"]

# Few and large: between any two the interpreter may be busy with another thread.
_FILE_PIECE: Final = 4 << 20
MOST_DIMENSIONS: Final = (1 << 31) - 1
# In the bytes of a flat index: behind four letters for its kind, and its dimension.
_ROWS_AT: Final = 8


def flat_head(rows: int, dimension: int, metric: Metric) -> bytes:
    """What FAISS writes before the rows of a flat index of so many; behind them it writes nothing."""
    flat = empty_flat(dimension, metric)
    return _head_of(flat, len(bytes_of(flat)) + 4 * dimension * rows)[0]


class FlatFile:
    """The bytes of a FAISS file, taken one piece after the other, so that no second copy of its rows is ever held.

    Nothing of it counts before its hash is known to be right. Only a file that begins as FAISS itself begins
    a flat index of as many rows is taken as rows; any other is kept, for FAISS to parse.
    """

    def __init__(self, size: int, dimension: int, metric: Metric, spare_bytes: int = 0) -> None:
        """Nothing taken yet.

        Args:
            size: length of the file in bytes.
            dimension: of the vectors it should hold.
            metric: of the index it should hold.
            spare_bytes: of rows that will be added to the index later.
        """
        self._dimension = dimension
        self._metric: Metric = metric
        self._row_bytes = 4 * dimension
        self._head, self._rows = b"", 0
        self._flat: Any = None
        # What is no whole row yet; without an index, everything.
        self._kept: list[bytes] = []
        if HAS_FAISS and 0 < dimension <= MOST_DIMENSIONS:
            self._flat = empty_flat(dimension, metric)
            self._head, self._rows = _head_of(self._flat, size)
            # Room for all rows at once; the vector of an emptied index keeps what it has taken.
            self._flat.codes.resize(self._rows * self._row_bytes + spare_bytes)
            self._flat.reset()

    @property
    def wanted(self) -> int:
        """How many bytes should be taken next."""
        rows = max(1, _FILE_PIECE // max(1, self._row_bytes))
        return len(self._head) + rows * max(1, self._row_bytes)

    def take(self, piece: bytes) -> None:
        """Take the next bytes, at least one."""
        if self._head:
            if not piece.startswith(self._head):
                self._flat = None
            else:
                piece = piece[len(self._head) :]
            self._head = b""
        self._kept.append(piece)
        if self._flat is not None:
            self._add_rows()

    def _add_rows(self) -> None:
        data = b"".join(self._kept)
        rows = len(data) // self._row_bytes
        if rows:
            self._flat.add(np.frombuffer(data, dtype="<f4", count=rows * self._dimension).reshape(rows, -1))
        self._kept = [data[rows * self._row_bytes :]]

    def index(self) -> FaissIndex:
        """The index in the bytes taken, whose hash was verified before.

        Raises:
            DamagedViewError: not a flat index of this dimension and metric, or FAISS is missing.
        """
        data = b"".join(self._kept)
        if self._flat is None:
            return parsed(data, self._dimension, self._metric)
        if data or self._head or self._flat.ntotal != self._rows:
            raise DamagedViewError("the FAISS file has another length than it says")
        return FaissIndex(self._flat, self._metric)


class RowScan:
    """The bytes of a FAISS file, taken one piece after the other, of which no row is kept, but the checksum of each.

    As with `FlatFile`, nothing of it counts before the file's hash is known to be right.
    """

    def __init__(self, size: int, dimension: int, metric: Metric) -> None:
        """Nothing taken yet; a file of `size` bytes that should hold rows of this dimension and metric."""
        self._row_bytes = 4 * dimension
        self._head, self._count = _head_of(empty_flat(dimension, metric), size)
        self._taken = b""
        self._is_flat = len(self._head) + self._count * self._row_bytes == size
        self._sums = array("I")

    @property
    def wanted(self) -> int:
        """How many bytes should be taken next."""
        return (0 if self._sums else len(self._head)) + max(1, _FILE_PIECE // self._row_bytes) * self._row_bytes

    def take(self, piece: bytes) -> None:
        """Take the next bytes, at least one."""
        if not self._sums and not self._taken:
            self._is_flat = self._is_flat and piece.startswith(self._head)
            piece = piece[len(self._head) :]
        if self._is_flat:
            data = self._taken + piece
            whole = len(data) // self._row_bytes * self._row_bytes
            self._sums.extend(sums_of(memoryview(data)[:whole], self._row_bytes))
            self._taken = data[whole:]

    def filed(self, file: ReadableFile) -> FiledRows | None:
        """Where the rows are in `file`, whose bytes these were; None where it is no flat index of this kind."""
        if not self._is_flat or self._taken or len(self._sums) != self._count:
            return None
        return FiledRows(file, len(self._head), np.array(self._sums, dtype=np.uint32))


def _head_of(flat: Any, size: int) -> tuple[bytes, int]:
    """What stands before the rows in a file of `size` bytes that FAISS writes of an index like`flat`, and how many rows.

    The bytes of `flat`, which is empty, with the number of rows behind its kind and dimension, and that of the
    rows' numbers at the end.
    """
    empty = bytes_of(flat)
    numbers = max(0, size - len(empty)) // 4
    rows = numbers // int(flat.d)
    counts = rows.to_bytes(8, "little"), numbers.to_bytes(8, "little")
    return empty[:_ROWS_AT] + counts[0] + empty[_ROWS_AT + 8 : -8] + counts[1], rows
