"""What a purge asks to take entities out of a store's own backups: its snapshots, and the archive of its journal.

It knows nothing of snapshots elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from synthians_memory.engine.traces import Traces
from synthians_memory.errors import DamagedError, DiskError, StoreLockedError
from synthians_memory.layout import ARCHIVE, SNAPSHOTS
from synthians_memory.maintenance.care import own_directory, snapshots_to
from synthians_memory.maintenance.forgetting import forget_in_archive, forget_in_files, forget_in_snapshots
from synthians_memory.reports import LeftPlace, PurgedPlace
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend

__all__ = ["SnapshotEraser", "WithoutTraces"]

WithoutTraces = Callable[[str, Callable[[], bytes], Traces], bytes | None]


class SnapshotEraser:
    """`engine.purge.Eraser` of what lies in `backups/`."""

    of_backups = True

    def __init__(self, without: WithoutTraces | None = None) -> None:
        """Args: without: gives, of the path of a database of the tiers and what reads it, one without the purged; None: it stays."""
        self._without = without

    @property
    def folder(self) -> str:
        """The snapshots; the archive goes with them."""
        return SNAPSHOTS

    def erase(self, backend: Backend, traces: Traces) -> Sequence[PurgedPlace]:
        """Take the entities out of every snapshot and archived segment; idempotent.

        Raises:
            DiskError: something may be left: a backup is damaged, kept busy by somebody else, or cannot be written.
        """
        try:
            return [*_in_snapshots(backend, traces, self._without), *_in_archive(backend, traces)]
        except (DamagedError, StoreLockedError) as error:
            hint = "When that is put right, or over, run the purge again: it goes on."
            message = f"{error.message}, so that backups may still hold what is purged"
            raise DiskError(message, path=error.path, hint=hint) from error

    def left(self, backend: Backend, traces: Traces) -> Sequence[LeftPlace]:
        """Nothing."""
        return ()


def _in_snapshots(backend: Backend, traces: Traces, without: WithoutTraces | None) -> Iterator[PurgedPlace]:
    if not isinstance(backend, LocalBackend) or backend.stat(SNAPSHOTS) is None:
        return
    with snapshots_to(own_directory(backend)) as folder:
        count = max((forget_in_snapshots(folder, key) for key in sorted(traces.keys)), default=0)
        databases = forget_in_files(folder, lambda path, read: without(path, read, traces)) if without else 0
    if databases:
        yield PurgedPlace(SNAPSHOTS, f"databases of {databases} snapshots, built anew without its row", "rewritten", 0)
    if count:
        yield PurgedPlace(SNAPSHOTS, f"{count} snapshots, which stay without it", "rewritten", 0)


def _in_archive(backend: Backend, traces: Traces) -> Iterator[PurgedPlace]:
    count = sum(forget_in_archive(backend, key) for key in sorted(traces.keys))
    if count:
        yield PurgedPlace(ARCHIVE, f"{count} archived segments, which stay without it", "rewritten", 0)
