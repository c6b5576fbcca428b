"""Files of lines that a user names, read and written off the event loop: plain, gzip, standard input and output.

It is not the store's door to its own files, and knows nothing of what a line says.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from typing import Protocol

import aiofiles
from aiofiles.threadpool.binary import AsyncBufferedIOBase

from synthians_memory.errors import DamagedError, DiskError, InvalidValueError, SynthiansMemoryError, disk_error
from synthians_memory.layout import scratch_path
from synthians_memory.storage.local import sync_content, sync_directory

__all__ = ["CHUNK_BYTES", "MAX_LINE_BYTES", "STANDARD_STREAM", "LineWriter", "read_lines", "write_lines"]

STANDARD_STREAM = "-"
CHUNK_BYTES = 1 << 20
MAX_LINE_BYTES = 64 << 20

# What editors and spreadsheets on Windows write before the text; no part of the first line.
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_GZIP_SUFFIX = ".gz"
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib's number for a gzip wrapper, whose header it writes without name and time
_GZIP_LEVEL = 6
_SCRATCH_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL


async def read_lines(
    path: str | os.PathLike[str], *, chunk_bytes: int = CHUNK_BYTES, max_line_bytes: int = MAX_LINE_BYTES
) -> AsyncGenerator[list[bytes], None]:
    r"""The lines of a file, in order, many at a time, without their "\n"; empty lines are lines. A byte order mark of UTF-8
    at the beginning is left out.

    A file called *.gz, or that begins like one, is decompressed, all its members in turn. Memory is bounded by
    `max_line_bytes` and a few `chunk_bytes`. Lines before an error are delivered before it is raised; those of a
    damaged gzip file may be wrong themselves, since its checksum stands at its end.

    Args:
        path: the file, or "-" for standard input.
        chunk_bytes: how much is read, and decompressed, in one step.
        max_line_bytes: the longest line that is accepted.

    Raises:
        InvalidValueError: a longer line; the message has its number, counted from 1.
        DamagedError: gzip that is cut off or damaged; the message has the number of the first line not delivered.
        DiskError: the file cannot be opened or read.
    """
    name = os.fspath(path)
    lines = _LineSplitter(name, max_line_bytes)
    decoder: _Decoder | None = None
    async with aclosing(_read_chunks(name, chunk_bytes)) as chunks:
        async for data in chunks:
            if decoder is None:
                decoder = _decoder_for(name, data, lines, chunk_bytes)
            if found := await asyncio.to_thread(decoder.feed, data):
                yield found
            while decoder.more:
                if found := await asyncio.to_thread(decoder.feed, b""):
                    yield found
    if decoder is None:
        decoder = _decoder_for(name, b"", lines, chunk_bytes)
    if found := decoder.finish():
        yield found


@asynccontextmanager
async def write_lines(path: str | os.PathLike[str], *, chunk_bytes: int = CHUNK_BYTES) -> AsyncIterator[LineWriter]:
    """Write a file of lines that appears whole, and durable, when the block ends; not at all when it raises.

    A file of that name is replaced in one step, by one of mode 0600; a symlink is followed to what it names. What
    is no regular file (a pipe, a terminal, standard output) is written to as the lines come.

    Args:
        path: the file, compressed where it is called *.gz (equal lines give equal bytes), or "-" for standard output.
        chunk_bytes: how much is gathered before it is compressed and written.

    Raises:
        DiskError: the file cannot be made, written or put in place.
    """
    name = os.fspath(path)
    encoder = _gzip_encoder() if name.endswith(_GZIP_SUFFIX) else None
    if name == STANDARD_STREAM:
        writer = LineWriter(aiofiles.stdout_bytes, name, None, chunk_bytes)
        yield writer
        await writer.finish()
        return
    target = await asyncio.to_thread(_replaceable_target, name)
    if target is None:
        async with _opened_for_writing(name, name) as file:
            writer = LineWriter(file, name, encoder, chunk_bytes)
            yield writer
            await writer.finish()
        return
    scratch = await asyncio.to_thread(_make_scratch, name, os.path.dirname(target))
    try:
        async with _opened_for_writing(name, scratch) as file:
            writer = LineWriter(file, name, encoder, chunk_bytes)
            yield writer
            await writer.finish()
            with _named_errors("sync", name):
                await asyncio.to_thread(sync_content, file.fileno())
        with _named_errors("write", name):
            await asyncio.to_thread(_put_in_place, scratch, target)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell of
            os.unlink(scratch)
        raise


class LineWriter:
    """Where lines are written to; made by `write_lines`, for one task at a time."""

    def __init__(self, file: _AsyncFile, path: str, encoder: zlib._Compress | None, chunk_bytes: int) -> None:
        self._file = file
        self._path = path
        self._encoder = encoder
        self._chunk_bytes = chunk_bytes
        self._gathered = bytearray()

    async def write(self, lines: Iterable[bytes]) -> None:
        r"""Append lines, given without "\n"; give many in one call.

        Raises:
            InvalidValueError: a line with "\n" in it; none of `lines` was written.
            DiskError: the file cannot be written.
        """
        batch = list(lines)
        text = b"\n".join(batch)
        if text.count(b"\n") != max(0, len(batch) - 1):
            raise InvalidValueError(f"a line for {self._path} has a line break in it", path=self._path)
        if batch:
            self._gathered += text
            self._gathered += b"\n"
        if len(self._gathered) >= self._chunk_bytes:
            await self._drain()

    async def finish(self) -> None:
        """Write out what is gathered; `write_lines` calls it."""
        await self._drain()
        with _named_errors("write", self._path):
            if self._encoder is not None:
                await self._file.write(self._encoder.flush())
            await self._file.flush()

    async def _drain(self) -> None:
        data, self._gathered = bytes(self._gathered), bytearray()
        if self._encoder is not None:
            data = await asyncio.to_thread(self._encoder.compress, data)
        with _named_errors("write", self._path):
            await self._file.write(data)


class _AsyncFile(Protocol):
    """What a writer needs of a file of aiofiles."""

    async def write(self, data: bytes, /) -> int: ...

    async def flush(self) -> None: ...


class _Decoder(Protocol):
    """Turns what is read into lines, a bounded step at a time."""

    @property
    def more(self) -> bool:
        """Whether another `feed`, of nothing, goes on with what it already has."""

    def feed(self, data: bytes) -> list[bytes]:
        """Lines that are complete with `data`."""

    def finish(self) -> list[bytes]:
        """The last line, where it has no line break."""


class _LineSplitter:
    """Plain text; also the second half of every other decoder."""

    def __init__(self, path: str, max_line_bytes: int) -> None:
        self.number = 1  # of the line that is not complete yet
        self._path = path
        self._max_line_bytes = max_line_bytes
        self._pieces: list[bytes] = []
        self._open_bytes = 0
        self._failure: SynthiansMemoryError | None = None

    @property
    def more(self) -> bool:
        return self._failure is not None

    def feed(self, data: bytes) -> list[bytes]:
        if self._failure is not None:
            raise self._failure
        lines = data.split(b"\n")
        self._pieces.append(lines[0])
        if len(lines) > 1:
            lines[0] = b"".join(self._pieces)
            self._pieces = [lines.pop()]
            self._open_bytes = 0
        else:
            lines = []
        self._open_bytes += len(self._pieces[-1])
        return self._within_bounds(self._without_mark(lines))

    def finish(self) -> list[bytes]:
        (last,) = self._without_mark([b"".join(self._pieces)])
        self._pieces = []
        return [last] if last else []

    def _without_mark(self, lines: list[bytes]) -> list[bytes]:
        if self.number == 1 and lines:
            lines[0] = lines[0].removeprefix(_BYTE_ORDER_MARK)
        return lines

    def _within_bounds(self, lines: list[bytes]) -> list[bytes]:
        """The lines before the first that is too long; the next `feed` raises for that one."""
        bound = self._max_line_bytes
        if lines and max(map(len, lines)) > bound:
            lines = lines[: next(i for i, line in enumerate(lines) if len(line) > bound)]
            self._fail(self.number + len(lines))
        elif self._open_bytes > bound:
            self._fail(self.number + len(lines))
        self.number += len(lines)
        return lines

    def _fail(self, number: int) -> None:
        self._failure = InvalidValueError(
            f"line {number} of {self._path} is longer than {self._max_line_bytes} bytes",
            path=self._path,
            hint="Give one JSON object a line; raise the bound if the line is meant to be that long.",
        )


class _GzipDecoder:
    """The members of a gzip file, one behind the other."""

    def __init__(self, path: str, lines: _LineSplitter, step_bytes: int) -> None:
        self._path = path
        self._lines = lines
        self._step_bytes = step_bytes
        self._member: zlib._Decompress | None = zlib.decompressobj(_GZIP_WINDOW)
        self._rest = b""
        # The last step ended at its bound: there may be more, be it inside the decompressor only.
        self._full = False
        self._failure: DamagedError | None = None

    @property
    def more(self) -> bool:
        return self._full or self._failure is not None or self._lines.more

    def feed(self, data: bytes) -> list[bytes]:
        if self._failure is not None:
            raise self._failure
        self._rest += data
        text = bytearray()
        try:
            while len(text) < self._step_bytes and self._step(text):
                pass
        except zlib.error as error:
            found = self._lines.feed(bytes(text))
            self._failure = self._damage(f"is damaged ({error})")
            return found
        self._full = len(text) >= self._step_bytes
        return self._lines.feed(bytes(text))

    def finish(self) -> list[bytes]:
        if self._member is not None:
            raise self._damage("ends too early")
        return self._lines.finish()

    def _step(self, text: bytearray) -> bool:
        """Decompress more of what is at hand into `text`; whether something is left of it."""
        if self._member is None:
            self._rest = self._rest.lstrip(b"\0")  # padding, as tapes and block devices add
            if not self._rest:
                return False
            self._member = zlib.decompressobj(_GZIP_WINDOW)
        text += self._member.decompress(self._rest, self._step_bytes - len(text))
        if self._member.eof:
            self._rest = self._member.unused_data
            self._member = None
        else:
            self._rest = self._member.unconsumed_tail
        return bool(self._rest)

    def _damage(self, what: str) -> DamagedError:
        return DamagedError(
            f"gzip file {self._path} {what} at line {self._lines.number}",
            path=self._path,
            hint="Get an intact copy of the file.",
        )


def _decoder_for(path: str, start: bytes, lines: _LineSplitter, step_bytes: int) -> _Decoder:
    if path.endswith(_GZIP_SUFFIX) or (start and _GZIP_MAGIC.startswith(start[:2])):
        return _GzipDecoder(path, lines, step_bytes)
    return lines


async def _read_chunks(name: str, chunk_bytes: int) -> AsyncGenerator[bytes, None]:
    """What is read as it comes, at most `chunk_bytes` at a time."""
    if name == STANDARD_STREAM:
        with _named_errors("read", "standard input"):
            while data := await aiofiles.stdin_bytes.read1(chunk_bytes):
                yield data
        return
    with _named_errors("read", name):
        async with aiofiles.open(name, "rb") as file:
            while data := await file.read1(chunk_bytes):
                yield data


@asynccontextmanager
async def _opened_for_writing(name: str, path: str) -> AsyncIterator[AsyncBufferedIOBase]:
    """`path`, emptied; errors call it `name`."""
    with _named_errors("write", name):
        file = await aiofiles.open(path, "wb")
    try:
        yield file
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell of
            await file.close()
        raise
    with _named_errors("write", name):
        await file.close()


def _gzip_encoder() -> zlib._Compress:
    return zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)


def _replaceable_target(name: str) -> str | None:
    """The full path of the regular file that `name` is, or would be; None where it is something to write into."""
    with _named_errors("write", name):
        try:
            mode = os.stat(name).st_mode
        except FileNotFoundError:
            return os.path.realpath(name)
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
        return os.path.realpath(name) if stat.S_ISREG(mode) else None


def _make_scratch(name: str, directory: str) -> str:
    """An empty file of our own in `directory`, mode 0600, that becomes `name` in the end."""
    with _named_errors("write", name):
        number = 0
        while True:
            scratch = os.path.join(directory, scratch_path("", f"{os.getpid()}-{number}"))
            try:
                os.close(os.open(scratch, _SCRATCH_FLAGS, 0o600))
            except FileExistsError:  # of another export, or left behind by one that was killed
                number += 1
            else:
                return scratch


def _put_in_place(scratch: str, target: str) -> None:
    os.replace(scratch, target)
    sync_directory(os.path.dirname(target))


@contextmanager
def _named_errors(action: str, path: str) -> Iterator[None]:
    """An OSError inside becomes the library's own, which names the file as the user did."""
    try:
        yield
    except DiskError:
        raise
    except OSError as error:
        mapped = disk_error(error, action, path)
        mapped.hint = "Look at the path, its permissions and the space on its disk."
        raise mapped from error
