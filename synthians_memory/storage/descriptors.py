"""What is the same for every open descriptor: reading a regular file whole, and writing the rest of a short write.

It opens, closes and changes nothing itself, and raises OSError as the system does.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from typing import Final

__all__ = ["is_directory", "pread", "read_regular", "require_regular", "write_rest"]


def read_regular(descriptor: int, offset: int, length: int | None) -> bytes:
    """Bytes from `offset` up to what is the end now, at most `length`."""
    status = os.fstat(descriptor)
    require_regular(status)
    wanted = status.st_size - offset
    if length is not None and length < wanted:
        wanted = length
    if wanted <= 0:
        return b""
    data = pread(descriptor, wanted, offset)
    if len(data) == wanted:
        return data
    pieces = [data]
    while data and (wanted := wanted - len(data)):
        offset += len(data)
        data = pread(descriptor, wanted, offset)
        pieces.append(data)
    return b"".join(pieces)


def require_regular(status: os.stat_result) -> None:
    """Raise an OSError that maps to NotRegularFileError unless `status` is that of a regular file."""
    if not stat.S_ISREG(status.st_mode):
        number = errno.EISDIR if stat.S_ISDIR(status.st_mode) else errno.ENXIO
        raise OSError(number, "not a regular file")


def is_directory(path: str) -> bool:
    """Whether it is one; unlike os.path.isdir it does not take a disk that cannot answer for a "no"."""
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def write_rest(data: bytes | bytearray | memoryview, done: int, write: Callable[[memoryview, int], int]) -> None:
    """Write the bytes of `data` behind the first `done`; `write` takes the rest and its offset in `data`."""
    whole = memoryview(data).cast("B")
    while done < len(whole):
        step = write(whole[done:], done)
        if step == 0:
            raise OSError(errno.EIO, "the system writes no more bytes and gives no reason")
        done += step


def _pread_by_seek(descriptor: int, length: int, offset: int) -> bytes:
    """os.pread, which Windows has not. Untested: the suite runs on Linux only."""
    os.lseek(descriptor, offset, os.SEEK_SET)
    return os.read(descriptor, length)


pread: Final[Callable[[int, int, int], bytes]] = getattr(os, "pread", _pread_by_seek)
