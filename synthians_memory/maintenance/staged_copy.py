"""The copy of a store that a move makes beside the new place: every file, made durable by batches, and compared.

It gives nothing up and names nothing: `move` does.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal

from synthians_memory.errors import DamagedError
from synthians_memory.layout import LOCK_FILE, MOVED, is_scratch
from synthians_memory.storage.backend import Backend, EntryStat

__all__ = ["MovePlan", "Place", "Progress", "StagedCopy"]

Progress = Callable[[int, int, int], None]

_PIECE: Final = 1 << 20
# What is copied between two syncs.
_BATCH_FILES: Final = 500
_BATCH_BYTES: Final = 64 << 20
# Files of the store that belong to the place and not to the store.
_OF_THE_PLACE: Final = frozenset((LOCK_FILE, MOVED))


@dataclass(frozen=True, slots=True)
class Place:
    """A store's directory, seen from the one that holds it.

    Attributes:
        backend: of the directory that holds it.
        name: in there.
    """

    backend: Backend
    name: str

    @property
    def path(self) -> str:
        """Where that is."""
        return os.path.join(self.backend.location, self.name)

    def below(self, path: str) -> str:
        """The path of a file of the store, for `backend`."""
        return f"{self.name}/{path}"


@dataclass(frozen=True, slots=True)
class MovePlan:
    """What a move has to do, and how far it is.

    Attributes:
        to: the new place.
        staging: the name that the copy has, beside the new place, until it is whole.
        state: "copying", or "done" when the new place has its name.
        started: when.
        durable_through: in their order, the last file whose copy is known to be durable.
    """

    to: str
    staging: str
    state: Literal["copying", "done"]
    started: str
    durable_through: str = ""


class StagedCopy:
    """One copy, as far as it is; used by one thread.

    Attributes:
        left: paths of what is neither file nor folder, as of the last look.
        copied: how many files were copied now.
    """

    def __init__(
        self, old: Place, target: Backend, save: Callable[[MovePlan], MovePlan], progress: Progress | None
    ) -> None:
        """Args:
        old: what is copied.
        target: where to.
        save: makes a plan durable, and returns it.
        progress: told the files that are done, of how many, and the bytes of those copied.
        """
        self.left: list[str] = []
        self.copied = 0
        self._old = old
        self._target = target
        self._save = save
        self._progress = progress
        self._steps = self._bytes = 0

    def files(self) -> dict[str, EntryStat]:
        """Every file of the store, in order; what is neither file nor folder goes to `left`."""
        self.left = []
        found = {}
        for path, stat in _walk(self._old.backend, self._old.name):
            if stat.kind == "file" and not self._stays(path):
                found[path] = stat
            elif stat.kind == "other":
                self.left.append(path)
        return dict(sorted(found.items()))

    def _stays(self, path: str) -> bool:
        return path in _OF_THE_PLACE or is_scratch(path.rpartition("/")[2])

    def make(self, plan: MovePlan) -> tuple[MovePlan, dict[str, EntryStat]]:
        """Make the copy whole and durable, whatever is there of it; every byte of it was read back."""
        files = self.files()
        folders = sorted(path for path, stat in _walk(self._old.backend, self._old.name) if stat.kind == "folder")
        plan = self._prepare(plan, files, folders)
        hashes: dict[str, bytes] = {}
        for batch in _batches(files):
            fresh = [path for path in batch if self._copy_file(plan, path, hashes, len(files))]
            if fresh:
                self._harden(plan.staging, fresh)
            if batch[-1] > plan.durable_through:
                plan = self._save(replace(plan, durable_through=batch[-1]))
        self._compare(plan.staging, hashes)
        return plan, files

    def _prepare(self, plan: MovePlan, files: dict[str, EntryStat], folders: list[str]) -> MovePlan:
        """Folders for the copy, durable, and in them nothing that the store has not."""
        target, staging = self._target, plan.staging
        wanted = {staging, *(f"{staging}/{folder}" for folder in folders)}
        missing = [path for path in wanted if target.stat(path) is None]
        if missing or not plan.durable_through:
            # What is there may be in the cache only: it is made anew, since a sync that failed is never made up for.
            plan = self._save(replace(plan, durable_through=""))
            self._remove_strangers(staging, set(), set())
            target.remove_folder(staging)
            for path in sorted(wanted):
                target.make_folder(path)
            for path in ("", *sorted(wanted)):
                target.sync_folder(path)
        self._remove_strangers(staging, set(files), set(folders))
        return plan

    def _remove_strangers(self, staging: str, files: set[str], folders: set[str]) -> None:
        target = self._target
        for path, stat in sorted(_walk(target, staging), reverse=True):
            if stat.kind == "folder" and path not in folders:
                target.remove_folder(f"{staging}/{path}")
            elif stat.kind != "folder" and path not in files:
                target.unlink(f"{staging}/{path}")

    def _copy_file(self, plan: MovePlan, path: str, hashes: dict[str, bytes], total: int) -> bool:
        """Copy one file and note its hash; False where a durable copy is there."""
        source, target = self._old.backend, self._target
        original, copy = self._old.below(path), f"{plan.staging}/{path}"
        if path <= plan.durable_through and target.stat(copy) is not None:
            hashes[path] = self._hash(source, original)
            if self._hash(target, copy) == hashes[path]:
                self._step(total, 0)
                return False
        target.unlink(copy)
        hasher, size = hashlib.sha256(), 0
        file = target.create(copy)
        try:
            for piece in _pieces(source, original):
                file.write(piece)
                hasher.update(piece)
                size += len(piece)
        finally:
            file.close()
        hashes[path] = hasher.digest()
        self.copied += 1
        self._step(total, size)
        return True

    def _harden(self, staging: str, files: list[str]) -> None:
        """Make what was just copied durable."""
        target = self._target
        if target.sync_filesystem():
            return
        for path in files:
            file = target.open_existing(f"{staging}/{path}")
            try:
                file.sync()
            finally:
                file.close()
        for path in {f"{staging}/{path}".rpartition("/")[0] for path in files}:
            target.sync_folder(path)

    def _compare(self, staging: str, hashes: dict[str, bytes]) -> None:
        for path, wanted in hashes.items():
            if self._hash(self._target, f"{staging}/{path}") != wanted:
                raise DamagedError(
                    f"the copy of {path} is not what was written", path=path, hint="Try the disk with `verify-disk`."
                )
            self._step(len(hashes), 0)

    def _hash(self, backend: Backend, path: str) -> bytes:
        hasher = hashlib.sha256()
        for piece in _pieces(backend, path):
            hasher.update(piece)
        return hasher.digest()

    def _step(self, total: int, size: int) -> None:
        self._steps += 1
        self._bytes += size
        if self._progress is not None:
            self._progress(self._steps, 2 * total, self._bytes)


def _walk(backend: Backend, root: str) -> Iterator[tuple[str, EntryStat]]:
    """Everything below `root`, with paths relative to it; a folder before what is in it."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        for name, stat in sorted(backend.scan(f"{root}/{folder}" if folder else root)):
            path = f"{folder}/{name}" if folder else name
            if stat.kind == "folder":
                waiting.append(path)
            yield path, stat


def _batches(files: dict[str, EntryStat]) -> Iterator[list[str]]:
    batch, size = list[str](), 0
    for path, stat in files.items():
        batch.append(path)
        size += stat.size
        if len(batch) >= _BATCH_FILES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _pieces(backend: Backend, path: str) -> Iterator[bytes]:
    offset = 0
    while piece := backend.read(path, offset, _PIECE):
        yield piece
        offset += len(piece)
