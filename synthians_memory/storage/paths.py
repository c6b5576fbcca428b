"""Taking store paths apart: a folder, a name, and the refusal of whatever could leave the store.

It touches no disk and knows no particular name.
"""

from __future__ import annotations

import sys

from synthians_memory.errors import InvalidValueError

__all__ = ["split"]

_REFUSED_NAMES = frozenset(("", ".", ".."))
# What leads elsewhere inside a name: nothing on POSIX; a separator, a drive or a stream on Windows.
_REFUSED_CHARACTERS = "\\:" if sys.platform == "win32" else ""


def split(path: str) -> tuple[str, str]:
    """The folder ("" is the store itself) and the name of `path`; the folder is not looked at any further.

    Raises:
        InvalidValueError: an absolute path, or a name that is empty, ".", "..", or has a NUL.
    """
    folder, slash, name = path.rpartition("/")
    if name in _REFUSED_NAMES or (slash and not folder) or "\0" in name:
        raise _refusal(path)
    if _REFUSED_CHARACTERS and any(character in name for character in _REFUSED_CHARACTERS):
        raise _refusal(path)
    return folder, name


def _refusal(path: str) -> InvalidValueError:
    return InvalidValueError(
        f"{path!r} is no path inside a store",
        hint="Give folder and name with '/' between them, relative to the store, without '.' and '..'.",
    )
