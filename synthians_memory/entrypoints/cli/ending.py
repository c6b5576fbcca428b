"""How commands that run until they are ended end: by Ctrl-C, or the signal of a service manager, behind what they are at.

It is no command itself.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, TypeVar

__all__ = ["ended_by_signal", "until_ended"]

T = TypeVar("T")

# What people and service managers end a program with.
_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ended_by_signal() -> Iterator[asyncio.Event]:
    """Set by the first signal that asks for the end; the next one ends the program as usual."""
    loop, ending = asyncio.get_running_loop(), asyncio.Event()

    def end() -> None:
        ending.set()
        release()

    def release() -> None:
        for number in _ENDING:
            loop.remove_signal_handler(number)

    with suppress(NotImplementedError, RuntimeError):
        # Neither on Windows nor outside of the main thread.
        for number in _ENDING:
            loop.add_signal_handler(number, end)
    try:
        yield ending
    finally:
        with suppress(NotImplementedError, RuntimeError):
            release()


async def until_ended(work: asyncio.Task[T], ending: asyncio.Event, otherwise: T) -> T:
    """What `work` comes to; `otherwise` where the end is asked for before, and `work` was cancelled."""
    waiting = asyncio.create_task(ending.wait())
    await asyncio.wait([work, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    work.cancel()
    await asyncio.wait([work, waiting])
    return otherwise if work.cancelled() else work.result()
