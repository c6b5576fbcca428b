"""The exact rows behind codes, by position: in files as far as possible, and proved by a checksum whenever they are read.

It is not an index and compares nothing. Its files are derived: the snapshot that was verified or written last, and a scratch
file without a name for what came since, which ends with the process. Rows that could not be written there are in memory.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from synthians_memory.engine.exact import Matrix, Positions
from synthians_memory.errors import DamagedViewError, DiskError
from synthians_memory.layout import FAISS_FILE, VECTORS, scratch_path
from synthians_memory.models import Vector
from synthians_memory.storage.backend import Backend, ReadableFile, WritableFile

__all__ = ["ExactRows", "FiledRows", "NotAtHandError", "Sums", "sums_of"]

Sums = npt.NDArray[np.uint32]

_NOWHERE: Final = -1
# Fewer are not worth a write.
_FEW: Final = 256
# Rows that may be taken back into memory at once.
_MOST_HELD: Final = 4096
# Rows that are read while others wait for it.
_MOST_AT_HAND: Final = 256
_NUMBERS: Final = itertools.count()


class NotAtHandError(Exception):
    """Rows would have to be waited for, by one who does not."""


def sums_of(data: bytes | memoryview, row_bytes: int) -> list[int]:
    """The CRC-32 of each row in the bytes of rows."""
    whole = memoryview(data)
    return [zlib.crc32(whole[start : start + row_bytes]) for start in range(0, len(whole), row_bytes)]


class FiledRows(NamedTuple):
    """Rows in a verified file.

    Attributes:
        file: open for reading.
        start: byte of the first row.
        sums: of each row, as it was when the file was verified.
    """

    file: ReadableFile
    start: int
    sums: Sums


class _Scratch(NamedTuple):
    writer: WritableFile
    reader: ReadableFile


class _Growing:
    """A column that grows by halves."""

    def __init__(self, values: npt.NDArray[Any]) -> None:
        self._held = values
        self._count = len(values)

    @property
    def values(self) -> npt.NDArray[Any]:
        return self._held[: self._count]

    def add(self, values: npt.NDArray[Any]) -> None:
        needed = self._count + len(values)
        if needed > len(self._held):
            grown = np.empty((max(needed, len(self._held) * 3 // 2), *self._held.shape[1:]), dtype=self._held.dtype)
            grown[: self._count] = self.values
            self._held = grown
        self._held[self._count : needed] = values
        self._count = needed


class ExactRows:
    """Rows of one length; changed by one thread at a time, while nobody reads. What is read is what was appended.

    The invariant: a row has its checksum from when its bytes were known to be right (verified with their file, or on their
    way from the journal), and bytes with another checksum are never returned. They are replaced by what `again` gives.

    Attributes:
        again: gives a row anew from where it came from; None where that cannot be had.
        patient: whether reads may wait for a disk; where not, they raise NotAtHandError instead.
    """

    def __init__(self, dimension: int, backend: Backend | None, filed: FiledRows | None = None) -> None:
        """Args:
        dimension: of each row.
        backend: where a scratch file may be made; None: what is not in a file stays in memory.
        filed: the first rows.
        """
        self.again: Callable[[int], Vector | None] = lambda _: None
        self.patient = True
        self._dimension = dimension
        self._row_bytes = 4 * dimension
        self._backend = backend
        self._file = filed.file if filed is not None else None
        self._scratch: _Scratch | None = None
        self._scratch_bytes = 0
        sums = filed.sums if filed is not None else np.empty(0, dtype=np.uint32)
        self._sums = _Growing(sums)
        # Of the rows in files: twice the byte, and one more where it is in the scratch file.
        first = (np.arange(len(sums), dtype=np.int64) * self._row_bytes + (filed.start if filed else 0)) * 2
        self._places = _Growing(first)
        self._held = _Growing(np.empty((0, dimension), dtype=np.float32))
        # By place.
        self._mended: dict[int, Vector] = {}

    def __len__(self) -> int:
        return len(self._sums.values)

    @property
    def held(self) -> int:
        """How many of them are in memory: the last ones."""
        return len(self._held.values)

    def append(self, rows: Matrix) -> None:
        """Take rows, in memory for now."""
        rows = np.ascontiguousarray(rows, dtype="<f4")
        self._sums.add(np.array(sums_of(rows.tobytes(), self._row_bytes), dtype=np.uint32))
        self._held.add(rows)

    def settle(self) -> None:
        """Write what is in memory to the scratch file, if it is worth a write; what cannot be written stays."""
        rows = self._held.values
        if self._backend is None or len(rows) < _FEW:
            return
        try:
            if self._scratch is None:
                self._scratch, self._scratch_bytes = _new_scratch(self._backend), 0
            self._scratch.writer.write_at(self._scratch_bytes, rows.tobytes())
        except DiskError:
            # They are in memory still, and tried again with the next ones: a full disk must not fail a save.
            return
        bytes_before = np.arange(len(rows), dtype=np.int64) * self._row_bytes
        self._places.add((self._scratch_bytes + bytes_before) * 2 + 1)
        self._scratch_bytes += len(rows) * self._row_bytes
        self._held = _Growing(np.empty((0, self._dimension), dtype=np.float32))

    def rows(self, start: int, stop: int) -> Matrix:
        """A copy of the rows from `start` up to `stop`; raises as `at`."""
        return self.at(np.arange(start, max(start, min(stop, len(self))), dtype=np.int64))

    def at(self, positions: Positions) -> Matrix:
        """Copies of the rows at these positions, in their order.

        Raises:
            DamagedViewError: one of them is not what it was, and cannot be had anew.
        """
        filed = len(self._places.values)
        inside = positions < filed
        if inside.all():
            return self._read(positions)
        found = np.empty((len(positions), self._dimension), dtype=np.float32)
        found[inside] = self._read(positions[inside])
        found[~inside] = self._held.values[positions[~inside] - filed]
        return found

    def _read(self, positions: Positions) -> Matrix:
        places = self._places.values[positions]
        if len(places) == 0:
            return np.empty((0, self._dimension), dtype=np.float32)
        if not self.patient and len(places) > _MOST_AT_HAND:
            raise NotAtHandError
        step = np.diff(places)
        if not self.patient or len(step) < 2 * np.count_nonzero(step != 2 * self._row_bytes):
            pieces = self._each(places.tolist())
            sums = [zlib.crc32(piece) for piece in pieces]
            data = b"".join(pieces)
        else:
            data = b"".join(self._runs(places))
            sums = sums_of(data, self._row_bytes)
        rows: Matrix = np.frombuffer(bytearray(data), dtype="<f4").reshape(len(positions), self._dimension)
        wrong = np.array(sums, dtype=np.uint32) != self._sums.values[positions]
        for number in np.flatnonzero(wrong).tolist():
            if places[number] != _NOWHERE:
                rows[number] = self._row_again(int(positions[number]), int(places[number]))
        return rows

    def _each(self, places: list[int]) -> list[bytes]:
        """The bytes of the rows at these places; zeros where there are none."""
        found = [b""] * len(places)
        for file, side in ((self._file, 0), (self._scratch.reader if self._scratch is not None else None, 1)):
            numbers = [number for number, place in enumerate(places) if place & 1 == side and place != _NOWHERE]
            for number, data in zip(numbers, self._rows_in(file, [places[n] >> 1 for n in numbers]), strict=True):
                found[number] = data
        return [data if len(data) == self._row_bytes else data.ljust(self._row_bytes, b"\0") for data in found]

    def _rows_in(self, file: ReadableFile | None, offsets: list[int]) -> list[bytes]:
        if file is None or not offsets:
            return [b""] * len(offsets)
        if not self.patient:
            return _at_hand(file, offsets, self._row_bytes)
        try:
            return file.read_each(offsets, self._row_bytes)
        except DiskError:
            return [_read_or_nothing(file, offset, self._row_bytes) for offset in offsets]

    def _runs(self, places: npt.NDArray[np.int64]) -> Iterator[bytes]:
        """The same, where many rows follow each other: one read for those in a row."""
        breaks = np.flatnonzero(np.diff(places) != 2 * self._row_bytes) + 1
        edges = [0, *breaks.tolist(), len(places)]
        for start, stop in itertools.pairwise(edges):
            place, wanted = int(places[start]), (stop - start) * self._row_bytes
            scratch = self._scratch.reader if self._scratch is not None else None
            file = scratch if place & 1 else self._file
            data = b"" if file is None or place == _NOWHERE else _read_or_nothing(file, place >> 1, wanted)
            # After an error the readable rows of the run are still to be had.
            yield data if len(data) == wanted else b"".join(self._each(places[start:stop].tolist()))

    def _row_again(self, position: int, place: int) -> Vector:
        row = self._mended.get(place)
        if row is None and not self.patient:
            raise NotAtHandError
        if row is None:
            row = self.again(position)
            if row is None:
                raise DamagedViewError("exact rows of the vector index are not what was written", path=FAISS_FILE)
            self._sums.values[position] = zlib.crc32(np.ascontiguousarray(row, dtype="<f4").tobytes())
            self._mended[place] = row
        return row

    def keep(self, positions: Positions) -> None:
        """Drop every row but those at the ascending `positions`; reads and writes nothing."""
        filed = len(self._places.values)
        within = int(np.searchsorted(positions, filed))
        self._sums = _Growing(self._sums.values[positions])
        self._held = _Growing(self._held.values[positions[within:] - filed])
        self._places = _Growing(self._places.values[positions[:within]])

    def rebase(self, living: Positions, total: int, file: ReadableFile, start: int) -> None:
        """Take rows from another file from now on, and give up the files they were in where nothing else needs them.

        Args:
            living: positions of the rows that `file` has, ascending, one behind the other.
            total: positions below it that `file` does not have belong to nobody any more, and read as zeros; all rows
                of the file before are below it.
            file: holds the same bytes; where it does not, that is found out when they are read.
            start: byte of the first row.

        Raises:
            DamagedViewError: a row that `file` does not have cannot be read; nothing was changed.
        """
        filed = len(self._places.values)
        later = self._places.values[total:]
        held = self._held.values[max(0, total - filed) :]
        if 0 < len(later) <= _MOST_HELD:
            # So that the scratch file ends now and then, however many rows keep coming.
            later, held = later[:0], np.concatenate([self.rows(total, filed), held])
        places = np.full(total, _NOWHERE, dtype=np.int64)
        places[living] = (start + np.arange(len(living), dtype=np.int64) * self._row_bytes) * 2
        self._places, self._held = _Growing(np.concatenate([places, later])), _Growing(held)
        if self._file is not None:
            self._file.close()
        self._file = file
        self._mended = {place: row for place, row in self._mended.items() if place & 1 and len(later)}
        if not len(later):
            self._drop_scratch()

    def close(self) -> None:
        """Release the files; idempotent."""
        self._drop_scratch()
        if self._file is not None:
            self._file.close()

    def __del__(self) -> None:
        self.close()

    def _drop_scratch(self) -> None:
        if self._scratch is not None:
            _close(*self._scratch)
            self._scratch = None


def _at_hand(file: ReadableFile, offsets: list[int], row_bytes: int) -> list[bytes]:
    found = file.read_each_at_hand(offsets, row_bytes)
    if found is None:
        raise NotAtHandError
    return found


def _read_or_nothing(file: ReadableFile, offset: int, wanted: int) -> bytes:
    try:
        return file.read_at(offset, wanted)
    except DiskError:
        # What cannot be read is as good as damaged: the checksum says so, and the row is had anew.
        return b""


def _new_scratch(backend: Backend) -> _Scratch:
    """A file that nobody finds, and that is gone when its descriptors are; raises DiskError."""
    path = scratch_path(VECTORS, f"rows-{next(_NUMBERS)}")
    backend.unlink(path)
    writer = backend.create(path)
    reader = None
    try:
        reader = backend.open_read(path)
        backend.unlink(path)
    except DiskError:
        # Where what is open cannot be removed.
        _close(writer, reader)
        with suppress(DiskError):
            backend.unlink(path)
        raise
    if reader is None:
        writer.close()
        raise DiskError(f"{path} was taken away", path=path)
    return _Scratch(writer, reader)


def _close(*files: WritableFile | ReadableFile | None) -> None:
    for file in files:
        if file is not None:
            file.close()
