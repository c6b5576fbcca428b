"""Sealed documents in the store, written whole: temp, sync, rename, sync of the folder.

It is not for entity files, which are made durable an interval at a time.
"""

from __future__ import annotations

from collections.abc import Iterable

from synthians_memory.codec import seal, unseal
from synthians_memory.errors import DamagedViewError, DiskError, NotRegularFileError, SynthiansMemoryError
from synthians_memory.json_values import JsonObject, parse_strict
from synthians_memory.layout import scratch_path
from synthians_memory.storage.backend import Backend, EntryStat

__all__ = ["read_document", "read_file", "write_document", "write_whole"]


def _folder_of(path: str) -> str:
    return path.rpartition("/")[0]


def write_whole(backend: Backend, path: str, chunks: Iterable[bytes]) -> EntryStat:
    """Replace the file at `path` by `chunks`, durably and in one step.

    Raises:
        DiskError: the old file is still there, or (for a failing last sync) either of the two is.
    """
    name = path.rpartition("/")[2]
    scratch = scratch_path(_folder_of(path), name)
    backend.unlink(scratch)
    file = backend.create(scratch)
    try:
        for chunk in chunks:
            file.write(chunk)
        file.sync()
        stat = file.stat()
    except DiskError:
        file.close()
        backend.unlink(scratch)
        raise
    file.close()
    backend.replace(scratch, path)
    backend.sync_folder(_folder_of(path))
    return stat


def write_document(backend: Backend, path: str, lines: Iterable[bytes]) -> None:
    """Write a sealed document of `lines`; raises as `write_whole`."""
    write_whole(backend, path, [seal(lines)])


def read_file(backend: Backend, path: str) -> bytes | None:
    """The bytes of a file; None also where something that is no regular file has its name. Raises DiskError."""
    try:
        return backend.read(path)
    except NotRegularFileError:
        return None


def read_document(backend: Backend, path: str) -> JsonObject | None:
    """The fields of the sealed document at `path`, its content_hash left out; None where no file is.

    Raises:
        DamagedViewError: its seal is broken or missing, or it is no JSON object.
        DiskError: it cannot be read.
    """
    data = backend.read(path)
    if data is None:
        return None
    claimed, computed = unseal(data)
    if claimed != computed:
        raise DamagedViewError(f"{path} does not match its content_hash", path=path)
    try:
        found = parse_strict(data, path)
    except SynthiansMemoryError as error:
        raise DamagedViewError(error.message, path=path) from error
    if not isinstance(found, dict):
        raise DamagedViewError(f"{path} is not a JSON object", path=path)
    del found["content_hash"]
    return found
