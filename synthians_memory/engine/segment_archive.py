"""The archive of the journal: segments that a checkpoint drops, kept so that the past can be replayed.

It is not the journal: recovery never reads it, and nothing depends on it but a restore to a moment.
"""

from __future__ import annotations

from typing import Final

from synthians_memory.engine.documents import read_file, write_whole
from synthians_memory.layout import ARCHIVE, BACKUPS, archive_folder, archived_path, segment_path
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.segment import HEADER_BLOCK

__all__ = ["archive_segment"]

# Zeros at the end of the last frame belong to it; those behind it do not.
_ALIGNMENT: Final = 64


def archive_segment(backend: Backend, epoch: str, number: int) -> None:
    """Keep a copy of a segment, without the zeros behind its last frame, durably; idempotent.

    A segment that is a header only has nothing that is worth keeping.

    Raises:
        DiskError: there may be none; the segment must stay in the journal.
    """
    data = read_file(backend, segment_path(number))
    if data is None:
        return
    length = len(data.rstrip(b"\0"))
    if len(data) <= HEADER_BLOCK or length <= HEADER_BLOCK:
        return
    for folder in (BACKUPS, ARCHIVE, archive_folder(epoch)):
        backend.make_folder(folder)
        # Whoever made it may have died before its name was durable.
        backend.sync_folder(folder.rpartition("/")[0])
    kept = data[: -(-length // _ALIGNMENT) * _ALIGNMENT]
    write_whole(backend, archived_path(epoch, number), [kept])
