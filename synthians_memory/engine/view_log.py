"""The append-only log beside a view's snapshot: groups, each synced before it counts.

It is not the journal, and it does not know what a group holds.
"""

from __future__ import annotations

from synthians_memory.engine.documents import write_whole
from synthians_memory.errors import DiskError
from synthians_memory.storage.backend import Backend, WritableFile

__all__ = ["ViewLog"]


class ViewLog:
    """One log file. After a failed append it is replaced, never cut and never synced again."""

    def __init__(self, backend: Backend, path: str) -> None:
        self._backend = backend
        self._path = path
        self._file: WritableFile | None = None
        self._header = b""
        self.size = 0
        self._clean = False

    @property
    def clean(self) -> bool:
        """Whether everything in the file is committed, so that a group may be appended."""
        return self._clean

    def adopt(self, header: bytes, committed: int, total: int) -> None:
        """Go on with the file as it was found.

        Args:
            header: its header as it should be.
            committed: bytes of header and committed groups.
            total: bytes of the file; more than `committed` means an unfinished group.
        """
        self._header, self.size, self._clean = header, committed, committed == total

    def append(self, group: bytes) -> None:
        """Add one group and sync it.

        Raises:
            DiskError: the group does not count, and the log is replaced before the next append.
        """
        if not self._clean:
            self._replace_with_committed()
        try:
            if self._file is None:
                self._file = self._backend.open_existing(self._path)
            self._file.write(group)
            self._file.sync()
        except DiskError:
            self.invalidate()
            raise
        self.size += len(group)

    def _replace_with_committed(self) -> None:
        committed = self._backend.read(self._path, len(self._header), self.size - len(self._header)) or b""
        if len(committed) != self.size - len(self._header):
            raise DiskError(f"cannot continue {self._path}: it is shorter than it was", path=self._path)
        self.start(self._header, committed)

    def start(self, header: bytes, carried: bytes = b"") -> None:
        """Replace the file by a new one of `header` and the committed groups in `carried`; raises DiskError."""
        self.close()
        self._clean = False
        write_whole(self._backend, self._path, [header, carried])
        self._header, self.size, self._clean = header, len(header) + len(carried), True

    def invalidate(self) -> None:
        """Note that the file may hold an unfinished group."""
        self._clean = False
        self.close()

    def close(self) -> None:
        """Release the descriptor; idempotent."""
        if self._file is not None:
            self._file.close()
            self._file = None
