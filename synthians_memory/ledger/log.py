"""The log's file: its last entry, appending behind it, and reading it from the beginning.

It locks nothing (the ledger does), and does not judge the chain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Final

from synthians_memory.engine.documents import write_whole
from synthians_memory.errors import DamagedError, DiskError
from synthians_memory.layout import LEDGER_LOG, path_in, set_aside_path
from synthians_memory.ledger.entries import Entry, inspect_line
from synthians_memory.storage.backend import Backend, WritableFile
from synthians_memory.times import Clock, from_micros

__all__ = ["Line", "Log", "Tail", "free_name"]

_TAIL_BYTES: Final = 64 * 1024
_CHUNK_BYTES: Final = 1 << 20
# Behind the last whole line, or in place of its line break: the file is to be put in place anew.
_MARK: Final = b"#"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the log.

    Attributes:
        number: from 1.
        offset: where it begins, in bytes.
        data: without the line break.
        whole: whether a line break ends it.
    """

    number: int
    offset: int
    data: bytes
    whole: bool


@dataclass(frozen=True, slots=True)
class Tail:
    """The end of the log.

    Attributes:
        end: bytes of all whole lines.
        entry: the last one; None in an empty log.
    """

    end: int
    entry: Entry | None

    @property
    def run_id(self) -> str:
        """The run of the last entry; "" in an empty log."""
        return self.entry.run_id if self.entry else ""

    @property
    def hash_self(self) -> str | None:
        """The hash of the last entry; None in an empty log."""
        return self.entry.hash_self if self.entry else None


class Log:
    """The file of entries in one folder; one thread at a time.

    Args:
        backend: where.
        folder: the ledger's, relative to `backend`.
        clock: for the names of what is set aside.
        name: of the file.
    """

    def __init__(self, backend: Backend, folder: str, clock: Clock, name: str = LEDGER_LOG) -> None:
        self._backend = backend
        self._folder = folder
        self._clock = clock
        self._path = path_in(folder, name)

    @property
    def path(self) -> str:
        """Its path, relative to the back end."""
        return self._path

    def size(self) -> int:
        """Its length in bytes; 0 where it is missing."""
        stat = self._backend.stat(self._path)
        return stat.size if stat is not None else 0

    def tail(self, limit: int | None = None) -> Tail:
        """The end of what its first `limit` bytes (default: all) hold in whole lines; changes nothing.

        Raises:
            DamagedError: the last line is not what was written.
            DiskError: it cannot be read.
        """
        end, line = self._last_entry_line(self.size() if limit is None else limit)
        return Tail(end, self._read_entry(line) if end else None)

    def tail_end(self, limit: int | None = None) -> int:
        """Where the whole lines among the first `limit` bytes (default: all) end, whatever they are. Raises DiskError."""
        return self._last_entry_line(self.size() if limit is None else limit)[0]

    def settle(self) -> tuple[Tail, str | None]:
        """The end to append to, in a file that is there, durable, and whole; the lock is held until after the append.

        What is torn, which was never acknowledged, is copied beside the log, durably; then the log is put in place
        anew without it. A last line that lacks nothing but its line break is an entry like any other. Reads no more than the last lines unless there is something torn.

        Returns:
            The tail, and the path of what was set aside, or None.

        Raises:
            DamagedError: the last line is whole, and not what was written.
            DiskError: it cannot be read or put in place.
        """
        size = self.size()
        tail = self.tail(size)
        rest = self._backend.read(self._path, tail.end, size - tail.end) if size > tail.end else b""
        if rest:
            entry, _ = inspect_line(rest)
            if entry is not None and entry.hash_prev == tail.hash_self:
                # Only its line break is missing, which the next append writes with it.
                return Tail(size + 1, entry), None
        return tail, self._renew(tail.end, rest or b"") if rest or not size else None

    def append(self, tail: Tail, entry: Entry) -> None:
        """Put `entry` behind `tail`, durably; the lock is held since `settle` gave it.

        The line before is written once more with it: a sync that failed on it, in a process that could not undo
        it, must not leave a hole before what is acknowledged now.

        Raises:
            DiskError: it is not there, or it is torn and set aside at the next append.
        """
        before = tail.entry.line + b"\n" if tail.entry else b""
        data = before + entry.line + b"\n"
        start = tail.end - len(before)
        file = self._backend.open_existing(self._path)
        try:
            file.write_at(start, data)
            file.sync()
        except DiskError:
            _disown(file, start + len(data))
            raise
        finally:
            file.close()

    def lines(self, end: int | None = None) -> Iterator[Line]:
        """Every line up to the byte `end` (default: the present end), from the first on. Raises DiskError."""
        number, offset = 1, 0
        begun: list[bytes] = []
        for chunk in self.chunks(end):
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                whole = b"".join([*begun, line])
                begun = []
                yield Line(number, offset, whole, whole=True)
                number, offset = number + 1, offset + len(whole) + 1
            begun.append(rest)
        if torn := b"".join(begun):
            yield Line(number, offset, torn, whole=False)

    def entries(self, end: int | None = None) -> Iterator[Entry]:
        """Every line that is an entry, in order; what is damaged is left out. Raises DiskError."""
        for line in self.lines(end):
            entry, _ = inspect_line(line.data)
            if entry is not None and line.whole:
                yield entry

    def find(self, run_id: str) -> Entry | None:
        """The latest entry of a run; None where there is none."""
        wanted = b'"run_id":"' + run_id.encode() + b'"'
        found: Entry | None = None
        for line in self.lines():
            if wanted in line.data and line.whole:
                entry, _ = inspect_line(line.data)
                found = entry if entry is not None and entry.run_id == run_id else found
        return found

    def chunks(self, end: int | None = None) -> Iterator[bytes]:
        """Its bytes up to `end` (default: the present end), some at a time. Raises DiskError."""
        end = self.size() if end is None else end
        for offset in range(0, end, _CHUNK_BYTES):
            data = self._backend.read(self._path, offset, min(_CHUNK_BYTES, end - offset))
            if not data:
                return
            yield data

    def _last_entry_line(self, limit: int) -> tuple[int, bytes]:
        """As `_last_line`, without lines that no process wrote so."""
        end, line = self._last_line(limit)
        # An entry has no such byte: it is what a disk leaves of a write that did not get there before the power went.
        while b"\0" in line:
            end, line = self._last_line(end - len(line) - 1)
        return end, line

    def _last_line(self, limit: int) -> tuple[int, bytes]:
        """Where the whole lines among the first `limit` bytes end, and the last of them."""
        length = _TAIL_BYTES
        while True:
            start = max(0, limit - length)
            data = self._backend.read(self._path, start, limit - start) or b""
            end = data.rfind(b"\n") + 1
            begin = data.rfind(b"\n", 0, max(0, end - 1)) + 1
            if start == 0 or begin:
                return start + end if end else 0, data[begin : max(0, end - 1)]
            length *= 2

    def _read_entry(self, line: bytes) -> Entry:
        entry, reason = inspect_line(line)
        if entry is None:
            raise DamagedError(
                f"the last line of {self._path} is not what was written: {reason}",
                path=self._path,
                hint="Nothing was appended. See `ledger doctor`; put the line back from a copy, or move the log away.",
            )
        return entry

    def _renew(self, end: int, torn: bytes) -> str | None:
        """Put the log in place anew with its first `end` bytes, and a mark that the next append writes over.

        The mark goes only once the name of the file is durable: while it is there, nothing is ever appended to a
        file that a power cut could take away.
        """
        kept = None
        if torn not in (b"", _MARK):
            kept = free_name(self._backend, lambda micros: set_aside_path(self._path, from_micros(micros)), self._clock)
            write_whole(self._backend, kept, [torn])
        write_whole(self._backend, self._path, chain(self.chunks(end), [_MARK]))
        return kept


def free_name(backend: Backend, name_at: Callable[[int], str], clock: Clock) -> str:
    """The path that `name_at` gives for the time now (microseconds), or for the next moment with a free one."""
    micros = clock.micros()
    while backend.stat(name_at(micros)) is not None:
        micros += 1
    return name_at(micros)


def _disown(file: WritableFile, end: int) -> None:
    """Take the line break away from a line that could not be made durable, so that it counts as torn."""
    with suppress(DiskError):  # the first error is the one to tell of
        if file.stat().size >= end:
            file.write_at(end - 1, _MARK)
