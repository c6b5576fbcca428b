"""The files of a change of the model: frames in parts that only grow, and never after their process has ended.

It is not what the frames mean: `staged` and `previous` know that.

    part   := frame of the header | frame*
    header := frame numbered 0 with one record: JSON {log, version, store_id, token, embedder, dimension}

Frames are numbered from 1 in each part; the CRCs are salted with store, token, role and number of the part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import orjson

from synthians_memory.engine.documents import read_file
from synthians_memory.layout import FORMAT_VERSION, REEMBEDDING, PartRole, part_of_name, part_path
from synthians_memory.storage.backend import Backend, WritableFile
from synthians_memory.storage.framing import FRAME_HEADER, Body, Frame, body_size, frame_pieces, salt_of, scan

__all__ = [
    "Body",
    "Model",
    "PartFile",
    "PartWriter",
    "Series",
    "list_series",
    "read_part",
    "remove_series",
    "sync_parts",
]

# A part that has grown to so many bytes is followed by another.
_PART_BYTES: Final = 64 * 1024 * 1024
_RECORD_HEADER: Final = 12


class Model(NamedTuple):
    """Whose embeddings the frames hold.

    Attributes:
        embedder: its name; None where callers brought the vectors.
        dimension: length of the vectors; None where there was none.
    """

    embedder: str | None
    dimension: int | None


class Series(NamedTuple):
    """All parts of one role of one change.

    Attributes:
        token: names the change.
        role: what the parts hold.
    """

    token: str
    role: PartRole


class PartFile(NamedTuple):
    """What one part holds.

    Attributes:
        path: where it is.
        model: as its header says; None where that is not intact.
        bodies: each record of the intact frames: where it begins in the file, and its bytes.
        frames: how many intact frames there are, the header not counted.
    """

    path: str
    model: Model | None
    bodies: list[tuple[int, bytes]]
    frames: int


def _salt(store_id: str, series: Series, number: int) -> int:
    return salt_of(REEMBEDDING.encode(), store_id.encode(), f"{series.token}.{series.role}.{number}".encode())


def list_series(backend: Backend) -> dict[Series, int]:
    """Every series on disk, and the highest number of its parts. Raises DiskError."""
    found: dict[Series, int] = {}
    for name, _ in backend.scan(REEMBEDDING):
        part = part_of_name(name)
        if part is not None:
            series = Series(part[0], part[1])
            found[series] = max(found.get(series, 0), part[2])
    return found


def read_part(backend: Backend, store_id: str, series: Series, number: int) -> PartFile:
    """What is intact in one part; nothing for one that is missing. Raises DiskError."""
    path = part_path(*series, number)
    data = read_file(backend, path) or b""
    model: Model | None = None
    bodies: list[tuple[int, bytes]] = []
    frames = 0
    for part in scan(data, 0, _salt(store_id, series, number)).parts:
        if not isinstance(part, Frame):
            continue
        if part.sequence == 0:
            found = orjson.loads(part.payload[_RECORD_HEADER:])
            model = Model(found["embedder"], found["dimension"])
        else:
            frames += 1
            bodies += _bodies(part)
    return PartFile(path, model, bodies, frames)


def _bodies(frame: Frame) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(frame.payload):
        length = int.from_bytes(frame.payload[offset + 4 : offset + 8], "little")
        offset += _RECORD_HEADER
        yield frame.offset + FRAME_HEADER + offset, frame.payload[offset : offset + length]
        offset += length


def sync_parts(backend: Backend, series: Series, count: int) -> None:
    """Make parts durable that an earlier process may have left in the page cache only. Raises DiskError."""
    for number in range(1, count + 1):
        stat = backend.stat(part_path(*series, number))
        if stat is not None and stat.kind == "file":
            file = backend.open_existing(part_path(*series, number))
            try:
                file.sync()
            finally:
                file.close()
    backend.sync_folder(REEMBEDDING)


def remove_series(backend: Backend, gone: Sequence[Series]) -> None:
    """Remove the parts of these series. Raises DiskError; what is left is removed by the next call."""
    removed = False
    for series, count in list_series(backend).items():
        for number in range(1, count + 1) if series in gone else ():
            removed |= backend.unlink(part_path(*series, number))
    if removed:
        backend.sync_folder(REEMBEDDING)


class PartWriter:
    """Appends frames to one series; used by one thread at a time.

    Attributes:
        parts: the highest number of a part.
        frames: intact frames in all parts, headers not counted.
    """

    part_bytes = _PART_BYTES

    def __init__(self, backend: Backend, store_id: str, series: Series, model: Model, parts: int, frames: int) -> None:
        """Args:
        backend, store_id: the store's.
        series: whose parts these are.
        model: for the headers.
        parts, frames: what is there already; it is left as it is.
        """
        self._backend = backend
        self._store_id = store_id
        self._series = series
        self._model = model
        self.parts = parts
        self.frames = frames
        self._file: WritableFile | None = None
        self._size = 0
        self._sequence = 0
        self._named = False

    @property
    def path(self) -> str:
        """Of the part that is written to."""
        return part_path(*self._series, self.parts)

    def append(self, bodies: Sequence[Body]) -> list[int]:
        """Write one frame; returns where each of its records begins in the file at `path`. Not durable yet.

        Raises:
            DiskError: the part is not to be used any more.
        """
        if self._file is None or self._size >= self.part_bytes:
            self._begin_part()
        offset, starts = self._size + FRAME_HEADER, list[int]()
        for body in bodies:
            starts.append(offset + _RECORD_HEADER)
            offset += _RECORD_HEADER + body_size(body)
        self._sequence += 1
        self._write(self._sequence, bodies)
        self.frames += 1
        return starts

    def _begin_part(self) -> None:
        self.sync()
        self.close()
        self.parts += 1
        self._file = self._backend.create(self.path)
        self._size = self._sequence = 0
        self._named = False
        header = {
            "log": self._series.role,
            "version": FORMAT_VERSION,
            "store_id": self._store_id,
            "token": self._series.token,
            **self._model._asdict(),
        }
        self._write(0, [orjson.dumps(header)])

    def _write(self, sequence: int, bodies: Sequence[Body]) -> None:
        if self._file is None:
            return
        pieces = frame_pieces(_salt(self._store_id, self._series, self.parts), sequence, 0, 0, bodies)
        data = b"".join(pieces)
        self._file.write(data)
        self._size += len(data)

    def sync(self) -> None:
        """Make every frame durable, and the part's name. Raises DiskError: as `append`."""
        if self._file is not None:
            self._file.sync()
            if not self._named:
                self._backend.sync_folder(REEMBEDDING)
                self._named = True

    def discard(self) -> None:
        """Remove the part whose write or sync has failed; nobody knows what is durable of it. Raises DiskError."""
        if self._file is not None:
            self.close()
            self._backend.unlink(self.path)

    def close(self) -> None:
        """Release the descriptor; idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None
