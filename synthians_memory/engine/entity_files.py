"""Entity files: written by temp-then-rename, removed, and made durable an interval at a time.

It is not the place that decides what is written; it keeps no entity in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from synthians_memory.errors import DiskError, UsageError
from synthians_memory.layout import ENTITY_FOLDERS, Kind, entity_path, scratch_path
from synthians_memory.storage.backend import Backend, EntryStat, FileWrite, WritableFile
from synthians_memory.storage.whole_files import discard, write_scratch

__all__ = ["EntityFiles"]

# Up to so many files of an interval are synced one by one; more of them by one syncfs.
_HELD: Final = 16


class EntityFiles:
    """The files under memories/ and assemblies/, written by one thread.

    An interval is what was written since the last `begin_interval`. Its files are either held open or
    covered by `sync_filesystem`; where the platform lacks that, they are opened again and synced.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._held: dict[str, WritableFile] = {}
        self._unheld: list[str] = []
        self._folders: set[Kind] = set()
        self._token = 0
        # Whether a sync of a folder has failed since the interval began, outside of the interval's own.
        self.doubtful = False

    def write(self, kind: Kind, entity_id: str, data: bytes) -> EntryStat:
        """Put `data` under the entity's final name in one step; not durable yet.

        Raises:
            DiskError: the final name is as it was before, or (for a failing rename) may have changed whole.
        """
        stat = self._write(kind, entity_id, data, self._replace)
        if stat is None:
            raise UsageError(f"a file of {entity_id!r} stood in the way of one that replaces it")
        return stat

    def write_new(self, kind: Kind, entity_id: str, data: bytes) -> EntryStat | None:
        """As `write`, where nothing has the entity's name; None, with nothing done, where something has."""
        return self._write(kind, entity_id, data, self._backend.rename_new)

    def _write(self, kind: Kind, entity_id: str, data: bytes, rename: Callable[[str, str], bool]) -> EntryStat | None:
        scratch, path = self._scratch(kind), entity_path(kind, entity_id)
        file, stat = write_scratch(self._backend, scratch, data)
        try:
            renamed = rename(scratch, path)
        except DiskError:
            file.close()
            discard(self._backend, scratch)
            raise
        if not renamed:
            file.close()
            discard(self._backend, scratch)
            return None
        self._folders.add(kind)
        self._hold(file, path)
        return stat

    def _scratch(self, kind: Kind) -> str:
        self._token += 1
        return scratch_path(ENTITY_FOLDERS[kind], str(self._token))

    def takes_many(self, count: int) -> bool:
        """Whether `write_many` is the way for `count` files: fewer stay open until their interval is synced."""
        return bool(self._unheld) or len(self._held) + count > _HELD

    def write_many(
        self, kind: Kind, files: Sequence[tuple[str, bytes, tuple[int, int] | None]]
    ) -> list[EntryStat | DiskError | None]:
        """Put many files under their final names, each in one step; not durable yet.

        Args:
            kind: of all of them.
            files: for each the id, the data, and size and mtime_ns of the file it replaces (None: of none).

        Returns:
            As `Backend.write_files`.
        """
        paths = [entity_path(kind, entity_id) for entity_id, _, _ in files]
        writes = [
            FileWrite(self._scratch(kind), path, data, seen) for path, (_, data, seen) in zip(paths, files, strict=True)
        ]
        outcomes = self._backend.write_files(writes)
        self._folders.add(kind)
        self._hold_none()
        self._unheld += paths
        return outcomes

    def _replace(self, scratch: str, path: str) -> bool:
        self._backend.replace(scratch, path)
        return True

    def _hold(self, file: WritableFile, path: str) -> None:
        if self._unheld:
            file.close()
            self._unheld.append(path)
            return
        superseded = self._held.pop(path, None)
        if superseded is not None:
            superseded.close()
        self._held[path] = file
        if len(self._held) <= _HELD:
            return
        self._hold_none()

    def _hold_none(self) -> None:
        # `sync_filesystem` covers what is closed, so none of an interval that needs it stays open.
        for held in self._held.values():
            held.close()
        self._unheld += self._held
        self._held = {}

    def remove(self, kind: Kind, entity_id: str) -> bool:
        """Take the entity's name away; False where it was not there. Not durable yet.

        Raises:
            DiskError: the name is still there.
        """
        self._folders.add(kind)
        return self._backend.unlink(entity_path(kind, entity_id))

    def remove_again(self, kind: Kind, entity_id: str) -> None:
        """Take the entity's name away once more after a sync of its folder has failed.

        The removal that was lost is not made up for by another sync, so the name comes and goes again.

        Raises:
            DiskError: the name may be there, with an empty file.
        """
        if not self.remove(kind, entity_id):
            scratch = self._scratch(kind)
            write_scratch(self._backend, scratch, b"")[0].close()
            self._backend.replace(scratch, entity_path(kind, entity_id))
            self._backend.unlink(entity_path(kind, entity_id))

    def begin_interval(self) -> IntervalFiles:
        """Hand over what was written since the last call; later writes belong to the next interval."""
        interval = IntervalFiles(self._backend, self._held, self._unheld, self._folders)
        self._held, self._unheld, self._folders = {}, [], set()
        return interval

    def close(self) -> None:
        """Release the descriptors; syncs nothing."""
        self.begin_interval().close()


class IntervalFiles:
    """The files and names of one interval, to be made durable once."""

    def __init__(self, backend: Backend, held: dict[str, WritableFile], unheld: list[str], folders: set[Kind]) -> None:
        self._backend = backend
        self._held = held
        self._unheld = unheld
        self._folders = folders

    def sync(self) -> None:
        """Make contents durable, then names. May run beside the writer's next interval.

        Raises:
            DiskError: some content or name may not be durable; syncing again proves nothing.
        """
        try:
            if not self._unheld or not self._backend.sync_filesystem():
                self._sync_each()
            for kind in sorted(self._folders):
                self._backend.sync_folder(ENTITY_FOLDERS[kind])
        finally:
            self.close()

    def _sync_each(self) -> None:
        for file in self._held.values():
            file.sync()
        for path in dict.fromkeys(self._unheld):
            stat = self._backend.stat(path)
            if stat is not None and stat.kind == "file":
                file = self._backend.open_existing(path)
                try:
                    file.sync()
                finally:
                    file.close()

    def close(self) -> None:
        """Release the descriptors; idempotent."""
        for file in self._held.values():
            file.close()
        self._held = {}
