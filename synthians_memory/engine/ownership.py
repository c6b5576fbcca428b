"""Who may use an open store: the event loop that opened it, in the process that opened it.

It is not the lock between processes; `storage.lock` is.
"""

from __future__ import annotations

import asyncio
import os
import weakref

from synthians_memory.errors import ForkedStoreError, WrongLoopError

__all__ = ["Ownership"]


class Ownership:
    """Remembers the present event loop and process; made inside that loop."""

    def __init__(self, owner: object) -> None:
        """Args:
        owner: whose end means that nobody can use the store any more.
        """
        self.loop = asyncio.get_running_loop()
        self._pid = os.getpid()
        self._owner = weakref.ref(owner)

    def require(self) -> None:
        """Refuse another process or another loop.

        Raises:
            ForkedStoreError, WrongLoopError: the call comes from elsewhere.
        """
        if os.getpid() != self._pid:
            raise ForkedStoreError("the store was opened before this process was forked")
        if _running_loop() is not self.loop:
            raise WrongLoopError("the store belongs to another event loop")

    def alive(self) -> bool:
        """Whether the loop can still run and the owner is still referenced; from any thread."""
        return self._owner() is not None and not self.loop.is_closed()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
