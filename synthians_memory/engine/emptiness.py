"""Whether a store may be made in a directory: only where nothing of anybody is.

It makes nothing; `recovery` does.
"""

from __future__ import annotations

from synthians_memory.errors import NotAStoreError
from synthians_memory.layout import CONFIGURATION, INITIAL_FOLDERS, LOCK_FILE, PART_FOLDERS, SUPERBLOCK, is_scratch
from synthians_memory.storage.backend import Backend

__all__ = ["require_empty"]


def require_empty(backend: Backend, problem: str) -> None:
    """Refuse a directory that holds anything but its settings, and what an interrupted making of a store leaves.

    Args:
        backend: the directory, in which no superblock was found.
        problem: why, for the message.

    Raises:
        NotAStoreError: something else is there; nothing was changed.
    """
    folders = {path.split("/")[0] for path in INITIAL_FOLDERS}
    for name, stat in backend.scan(""):
        known = name in (CONFIGURATION, LOCK_FILE) or is_scratch(name)
        if stat.kind == "folder" and name in PART_FOLDERS:
            known = True
        elif stat.kind == "folder" and name in folders:
            known = not any(_occupied(backend, path) for path in INITIAL_FOLDERS if path.split("/")[0] == name)
        if not known:
            raise NotAStoreError(
                f"{backend.location} is not empty and holds no store ({problem}; {name} is there)",
                path=name,
                hint="Give the path of a store or of an empty directory; nothing was changed. "
                f"`migrate` gives a store of before {SUPERBLOCK} one.",
            )


def _occupied(backend: Backend, folder: str) -> bool:
    below = {path for path in INITIAL_FOLDERS if path.startswith(f"{folder}/")}
    return any(not is_scratch(name) and f"{folder}/{name}" not in below for name, _ in backend.scan(folder))
