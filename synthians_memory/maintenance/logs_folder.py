"""The folder `logs/` of a store, opened and locked for one step.

It is not one of the files in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from synthians_memory.layout import LOGS
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.lock import lock_folder

__all__ = ["PATIENCE", "locked_logs"]

# Seconds; a step takes milliseconds.
PATIENCE: Final = 5.0


@contextmanager
def locked_logs(open_backend: Callable[[], Backend], patience: float = PATIENCE) -> Iterator[Backend]:
    """A back end of its own, with `logs/` there and locked against every other user of this; closed at the end.

    Args:
        open_backend: opens the store's medium.
        patience: how long to wait where somebody else keeps the folder busy, seconds.

    Raises:
        StoreLockedError: somebody does for longer.
        DiskError: the folder cannot be made or locked.
    """
    backend = open_backend()
    try:
        if backend.make_folder(LOGS):
            backend.sync_folder("")
        held = lock_folder(backend, LOGS, wait=patience)
        try:
            yield backend
        finally:
            held.release()
    finally:
        backend.close()
