"""The signals that end a command which goes on until somebody ends it.

It ends nothing itself: the command asks, and finishes what it does.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

__all__ = ["ending_by_signal"]

# What people and service managers end a program with.
_ENDING: Final = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ending_by_signal() -> Iterator[asyncio.Event]:
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
