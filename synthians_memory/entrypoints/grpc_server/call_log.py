"""The log of a service: one JSON object a line, of what was called and how it ended, and never of what a call holds.

It is not an audit: where its reader is too slow, lines are left out, and how many is said.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol

from synthians_memory.times import Clock, SystemClock, format_time, from_micros

__all__ = ["CallLog", "LineStream", "logging_into", "places_of"]

_MOST_WAITING: Final = 10_000


class LineStream(Protocol):
    """Where lines go, such as standard error."""

    def write(self, text: str, /) -> Any:
        """Take `text`; may wait."""

    def flush(self) -> Any:
        """Hand on what was taken."""


class CallLog:
    """Writes lines in a thread of its own, so that whoever logs never waits for the reader; thread-safe.

    Args:
        stream: where lines go; None: nowhere.
        clock: the times in them.
    """

    def __init__(self, stream: LineStream | None, clock: Clock | None = None) -> None:
        self._stream = stream
        self._clock = clock or SystemClock()
        self._waiting: queue.Queue[str | None] = queue.Queue(_MOST_WAITING)
        self._left_out = 0
        self._thread = threading.Thread(target=self._write_all, name="call-log", daemon=True)
        if stream is not None:
            self._thread.start()

    def write(self, event: str, **facts: object) -> None:
        """Log what happened, with facts that JSON can carry. Never waits, never raises."""
        if self._stream is None:
            return
        line = {"time": format_time(from_micros(self._clock.micros())), "event": event, **facts}
        if self._left_out:
            line["left_out"] = self._left_out
        try:
            self._waiting.put_nowait(json.dumps(line, default=str))
        except queue.Full:
            self._left_out += 1
        else:
            self._left_out = 0

    def close(self, seconds: float = 2.0) -> None:
        """Hand on what waits, for so many seconds at most."""
        if self._thread.is_alive():
            try:
                self._waiting.put(None, timeout=seconds)
            except queue.Full:
                return
            self._thread.join(seconds)

    def _write_all(self) -> None:
        while (line := self._waiting.get()) is not None and self._stream is not None:
            try:
                self._stream.write(line + "\n")
                self._stream.flush()
            except (OSError, ValueError):
                # The reader is gone, and there is nobody left to tell.
                return


def places_of(error: BaseException) -> list[str]:
    """Where `error` came from, without its message, which may quote what a call holds."""
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)]


class _Records(logging.Handler):
    """Records of the standard library's logging, without their messages, which may quote what a call holds."""

    def __init__(self, log: CallLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        facts: dict[str, object] = {"logger": record.name, "level": record.levelname}
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            facts |= {"error": type(error).__name__, "at": places_of(error)}
        self._log.write("library", **facts)


@contextmanager
def logging_into(log: CallLog) -> Iterator[None]:
    """Meanwhile what libraries log, as gRPC does of a message that is none, becomes lines of `log`."""
    root, records = logging.getLogger(), _Records(log)
    root.addHandler(records)
    try:
        yield
    finally:
        root.removeHandler(records)
