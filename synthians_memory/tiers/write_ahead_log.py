"""SQLite's write-ahead log, looked at before SQLite does: whether it holds committed changes that SQLite would silently drop.

It mends nothing. SQLite takes a log up to the first frame that is not intact, which is right for the torn end that a power
cut leaves, and wrong for bytes that have changed in the middle: what was committed behind them is dropped without a word. A
transaction is synced before the next one is written; so where an intact frame follows one that ends a transaction, all
up to that end was durable once, and a frame there that is not intact is damage.

    log    := header of 32 bytes: magic, version, page size, number, salt (8), checksum (8) | frame*
    frame  := page number, pages in the database where a transaction ends with it else 0, salt (8), checksum (8) | page

Integers are big-endian. A frame's checksum covers its first 8 bytes and its page, and begins with that of the frame before
it, as https://www.sqlite.org/fileformat2.html has it; so each frame can be held against the one before, whatever came before that.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from synthians_memory.engine.documents import read_file
from synthians_memory.layout import database_side_files, set_aside_path
from synthians_memory.storage.backend import Backend
from synthians_memory.times import from_micros

__all__ = ["DamagedLog", "damaged_log", "set_log_aside"]

_HEADER: Final = 32
_FRAME: Final = 24
_MAGIC: Final = 0x377F0682
_LOOKS: Final = 2
_PAGES: Final = frozenset(1 << power for power in range(9, 17))

_Numbers = npt.NDArray[np.uint32]


class DamagedLog(NamedTuple):
    """A log with committed changes that SQLite will not take.

    Attributes:
        path: of the log.
        frame: the number of the first frame that is not intact, from 0.
        frames: how many frames there are, this one and those behind it that are of the same log.
    """

    path: str
    frame: int
    frames: int

    def __str__(self) -> str:
        return f"{self.path} is damaged at frame {self.frame}: what was committed there and behind it is lost"


def damaged_log(backend: Backend, path: str) -> DamagedLog | None:
    """What is wrong with the log of the database at `path`; None where nothing is, and where there is none.

    A torn end is nothing wrong. Beside a writer a log may look damaged for a moment, and not again in the same way; so it is
    looked at more than once. Raises DiskError, NotRegularFileError.
    """
    log = database_side_files(path)[0]
    found = _first_lost(read_file(backend, log) or b"")
    for _ in range(_LOOKS):
        if found is None or _first_lost(read_file(backend, log) or b"") != found:
            return None
    return None if found is None else DamagedLog(log, *found)


def set_log_aside(backend: Backend, damaged: DamagedLog) -> str:
    """Keep a durable copy of a damaged log beside it; returns the copy's path. Done twice it is the same. Raises DiskError."""
    stat, data = backend.stat(damaged.path), read_file(backend, damaged.path) or b""
    # By the time of its last change, so that an opening that is cut off does not make another one.
    target = set_aside_path(damaged.path, from_micros((stat.mtime_ns if stat is not None else 0) // 1000))
    backend.unlink(target)
    file = backend.create(target)
    try:
        file.write(data)
        file.sync()
    finally:
        file.close()
    backend.sync_folder(target.rpartition("/")[0])
    return target


def _first_lost(data: bytes) -> tuple[int, int] | None:
    """The first frame that is not intact, and how many there are, where something committed stands at or behind it."""
    header = np.frombuffer(data[:_HEADER], ">u4")
    if len(header) < _HEADER // 4:
        return None
    order = ">u4" if int(header[0]) & 1 else "<u4"
    if int(header[0]) & ~1 == _MAGIC and int(header[2]) in _PAGES and _is_intact(data, order):
        return _first_of(data, int(header[2]), order)
    # SQLite would take nothing at all. The header is synced before the first frame, so frames behind it are no torn end.
    found = [_behind_any(data, page, order) for page in sorted(_PAGES) for order in (">u4", "<u4")]
    return next((frames for frames in found if frames is not None), None)


def _is_intact(data: bytes, order: str) -> bool:
    words = np.frombuffer(data[:24], order).astype(np.uint32)
    stored = np.frombuffer(data[24:_HEADER], ">u4")
    return bool((_checksums(np.zeros((1, 2), np.uint32), words[np.newaxis]) == stored).all())


def _first_of(data: bytes, page: int, order: str) -> tuple[int, int] | None:
    table = _frames(data, page)
    if len(table) == 0:
        return None
    header, heads = np.frombuffer(data[:_HEADER], ">u4"), _heads(table)
    # A frame of an earlier use of the file has another salt.
    ours = (heads[:, 2:4] == header[4:6]).all(axis=1)
    linked = ours & _linked(header, heads, table, order)
    if linked.all() or not linked.any():
        return None
    broken, last = int(np.argmin(linked)), int(np.flatnonzero(linked)[-1])
    ends = np.flatnonzero(ours & (heads[:, 1] != 0))
    return (broken, last + 1 - broken) if ((ends >= broken) & (ends < last)).any() else None


def _behind_any(data: bytes, page: int, order: str) -> tuple[int, int] | None:
    table = _frames(data, page)
    if len(table) < 2:
        return None
    linked = _linked(np.zeros(_HEADER // 4, ">u4"), _heads(table), table, order)
    return (0, int(np.flatnonzero(linked)[-1]) + 1) if linked[1:].any() else None


def _frames(data: bytes, page: int) -> npt.NDArray[np.uint8]:
    count = (len(data) - _HEADER) // (_FRAME + page)
    return np.frombuffer(data, np.uint8, count * (_FRAME + page), _HEADER).reshape(count, _FRAME + page)


def _heads(table: npt.NDArray[np.uint8]) -> npt.NDArray[np.generic]:
    return table[:, :_FRAME].copy().view(">u4")


def _linked(
    header: npt.NDArray[np.generic], heads: npt.NDArray[np.generic], table: npt.NDArray[np.uint8], order: str
) -> npt.NDArray[np.bool_]:
    """Whether each frame has the checksum that follows from the one before it."""
    stored = heads[:, 4:6].astype(np.uint32)
    before = np.vstack([header[6:8].astype(np.uint32)[np.newaxis], stored[:-1]])
    covered = np.hstack([table[:, :8], table[:, _FRAME:]]).view(order).astype(np.uint32)
    # Zeros follow from zeros, and no frame is of page 0.
    return np.asarray((_checksums(before, covered) == stored).all(axis=1) & (heads[:, 0] != 0))


def _checksums(before: _Numbers, words: _Numbers) -> _Numbers:
    """The checksums of rows of words, each begun with a pair: s0 += x + s1, s1 += y + s0 for each two words x and y."""
    begun, weights = _weights(words.shape[1] // 2)
    summed = [(words * weight).sum(axis=1, dtype=np.uint32) for weight in weights]
    return np.stack(
        [before[:, 0] * row[0] + before[:, 1] * row[1] + part for row, part in zip(begun, summed, strict=True)], axis=1
    )


@cache
def _weights(steps: int) -> tuple[_Numbers, tuple[_Numbers, _Numbers]]:
    """What `steps` steps make of the pair that they begin with, and what each word adds to both sums, modulo 2**32.

    One step is linear: (s0, s1) becomes (s0 + s1 + x, s0 + 2 s1 + x + y).
    """
    power = ((1, 0), (0, 1))
    first, second = list[int](), list[int]()
    for _ in range(steps):
        (a, b), (c, d) = power
        # The last word comes first here.
        first += [b, a + b]
        second += [d, c + d]
        power = (((a + b) % 2**32, (a + 2 * b) % 2**32), ((c + d) % 2**32, (c + 2 * d) % 2**32))
    as_numbers = [np.array([n % 2**32 for n in reversed(numbers)], np.uint32) for numbers in (first, second)]
    return np.array(power, np.uint32), (as_numbers[0], as_numbers[1])
