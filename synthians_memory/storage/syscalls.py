"""System calls that Python does not offer, through the C library; absent ones are None.

They open nothing for writing, and decide nothing: when to use them is up to `local`.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from typing import Any, Final

__all__ = ["ReadAtHand", "RenameNew", "load_read_at_hand", "load_rename_new", "load_syncfs"]

# (descriptor of the folder, name in it, expected size) -> content, or None where it would have to be waited for.
ReadAtHand = Callable[[int, str, int], "bytes | None"]
# (folder of the old name, old name, folder of the new name, new name) -> False where the new name is taken.
RenameNew = Callable[[int, str, int, str], bool]

# The number that openat2 has on every architecture of Linux.
_OPENAT2: Final = 437
_RESOLVE_NO_SYMLINKS: Final = 0x04
_RESOLVE_BENEATH: Final = 0x08
_RESOLVE_CACHED: Final = 0x20
_RENAME_NOREPLACE: Final = 1
_NOT_TO_BE_HAD: Final = (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP)


class _OpenHow(ctypes.Structure):
    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def load_syncfs() -> Callable[[int], None] | None:
    """The C library's syncfs, raising OSError; None where it has none."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is None:
        return None

    def syncfs(descriptor: int) -> None:
        if function(ctypes.c_int(descriptor)) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    return syncfs


def load_rename_new() -> RenameNew | None:
    """renameat2 with RENAME_NOREPLACE; None where the C library has none. Raises OSError.

    A file system without that flag gives EINVAL.
    """
    function: Any = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)

    def rename_new(old_folder: int, old_name: str, folder: int, name: str) -> bool:
        if function(old_folder, os.fsencode(old_name), folder, os.fsencode(name), _RENAME_NOREPLACE) == 0:
            return True
        number = ctypes.get_errno()
        if number == errno.EEXIST:
            return False
        raise OSError(number, os.strerror(number))

    return rename_new


def load_read_at_hand() -> ReadAtHand | None:
    """A read that never waits for a disk: openat2 with RESOLVE_CACHED, then preadv2 with RWF_NOWAIT (Linux 5.12).

    The function gives the content of a regular file of exactly the expected size, where all of it is in the
    page cache; None in every other case, errors included: whoever can wait reads it again. Thread-safe. Follows
    no symlink.

    Returns:
        None where the platform has no such calls.
    """
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None, use_errno=True)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    how = _OpenHow(flags, 0, _RESOLVE_NO_SYMLINKS | _RESOLVE_BENEATH | _RESOLVE_CACHED)
    call: Any = library.syscall
    reference, size_of_how, number = ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how)), ctypes.c_long(_OPENAT2)
    call.restype = ctypes.c_long
    refused = False

    def read_at_hand(folder: int, name: str, size: int) -> bytes | None:
        nonlocal refused
        if refused:
            return None
        # One byte more than expected: a file that has grown is seen to have.
        content = bytearray(size + 1)
        descriptor = call(number, ctypes.c_int(folder), os.fsencode(name), reference, size_of_how)
        if descriptor < 0:
            refused = ctypes.get_errno() in _NOT_TO_BE_HAD
            return None
        try:
            if os.preadv(descriptor, [content], 0, os.RWF_NOWAIT) != size:
                return None
        except OSError as error:
            refused = error.errno in _NOT_TO_BE_HAD
            return None
        finally:
            os.close(descriptor)
        return bytes(memoryview(content)[:size])

    return read_at_hand
