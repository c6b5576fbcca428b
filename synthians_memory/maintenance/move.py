"""Moving a store to another place: copied, every hash verified, made durable, and only then the old place given up.

It is no rename, also on one disk: between a rename and a word at the old place a program could make an empty store
there. What was moved stays at the old place until a person removes it, and no program opens it any more.

A move is cut into steps that can each be repeated, so that running it again goes on wherever it was interrupted:

    plan saved at the old place -> files copied beside the new place -> read back and compared
    -> the old place given up (its superblock) -> the copy gets its name -> the plan says that it is done
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import orjson

from synthians_memory.engine.documents import read_document, write_document
from synthians_memory.engine.moved import MOVED_FEATURE, is_given_up
from synthians_memory.engine.superblock import Superblock
from synthians_memory.errors import (
    DamagedError,
    DamagedViewError,
    DiskFullError,
    InvalidValueError,
    NotAStoreError,
    StoreFormatError,
    StoreLockedError,
    StoreMovedError,
)
from synthians_memory.layout import LOCK_FILE, MOVED, SUPERBLOCK, is_scratch
from synthians_memory.models import random_id
from synthians_memory.storage.backend import Backend, EntryStat
from synthians_memory.storage.filesystem import network_filesystem
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import Clock, SystemClock, format_time, from_micros

__all__ = ["MoveReport", "Place", "StoreMove", "move_store"]

_PIECE: Final = 1 << 20
# What is copied between two syncs.
_BATCH_FILES: Final = 500
_BATCH_BYTES: Final = 64 << 20
_HINT: Final = f"Remove {MOVED} from the store, and run the move again: it begins anew."
# Files of the store that belong to the place and not to the store.
_OF_THE_PLACE: Final = frozenset((LOCK_FILE, MOVED))

Progress = Callable[[int, int, int], None]


@dataclass(frozen=True, slots=True)
class MoveReport:
    """What a move did.

    Attributes:
        source: the old place.
        target: the new place.
        files: how many files the store has.
        size: their bytes.
        copied: of the files, those that were copied now; the others were there from an attempt before.
        left: paths of what cannot be copied (symlinks, FIFOs, devices): it is at the old place only.
        dry_run: whether nothing was changed.
    """

    source: str
    target: str
    files: int
    size: int
    copied: int
    left: tuple[str, ...] = ()
    dry_run: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


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
class _Plan:
    """Attributes:
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


def move_store(
    path: str | os.PathLike[str],
    new_path: str | os.PathLike[str],
    *,
    allow_network_filesystem: bool = False,
    dry_run: bool = False,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> MoveReport:
    """Move a store; running it again goes on where an attempt before was interrupted.

    Everything in its directory moves, other programs' files included. What stays is the old directory as it is, but
    for the superblock, with which no program opens it any more, and a file that names the new place; nothing is
    ever deleted. A program that has the store open read-only keeps it, and sees nothing new.

    Args:
        path: the store; no program may have it open for writing.
        new_path: where to; must not exist, or be an empty directory.
        allow_network_filesystem: move it to a network file system in spite of weaker locks and syncs.
        dry_run: look, refuse what would be refused, and change nothing.
        clock: source of time, for the plan.
        progress: called in this thread with the files that are done, of how many, and the bytes of those done; each
            file counts twice, copied and compared.

    Raises:
        NotAStoreError: there is no store.
        InvalidValueError: the new place cannot be: inside the store, not empty, or another than in a move begun before.
        StoreLockedError: a program has the store open.
        StoreMovedError: it was moved before.
        StoreFormatError: the new place is on a network file system.
        DamagedError: a copy is not what was copied; the old place stays as it was.
        DiskError: the disk refuses; the old place stays as it was, or the move goes on when it is repeated.
    """
    source, target = os.path.realpath(path), os.path.realpath(new_path)
    _require_apart(source, target)
    if os.path.ismount(target):
        raise InvalidValueError(f"{target} is a mount point", hint="Give a directory inside it.")
    kind = network_filesystem(os.path.dirname(target))
    if kind is not None and not allow_network_filesystem:
        raise StoreFormatError(f"{target} lies on a network file system ({kind})", path=target)
    if not os.path.isdir(source):
        raise NotAStoreError(f"{source} holds no store", path=source)
    ready = partial(_move, source, target, clock or SystemClock(), progress)
    if dry_run or not os.path.isdir(os.path.dirname(target)):
        # What is refused is refused before a directory is made.
        report = ready(dry_run=True)
        if dry_run:
            return report
    return ready(dry_run=False)


def _move(source: str, target: str, clock: Clock, progress: Progress | None, *, dry_run: bool) -> MoveReport:
    above = os.path.dirname(target)
    while dry_run and not os.path.isdir(above):
        above = os.path.dirname(above)
    with ExitStack() as opened:
        old, new = LocalBackend(os.path.dirname(source)), LocalBackend(above, create=not dry_run)
        opened.callback(old.close)
        opened.callback(new.close)
        places = Place(old, os.path.basename(source)), Place(new, os.path.basename(target))
        move = StoreMove(*places, clock, progress=progress, to=target)
        return move.dry_run() if dry_run else move.run()


def _require_apart(source: str, target: str) -> None:
    if source == target:
        raise InvalidValueError(f"the store is at {target} already", hint="Give another place.")
    if (target + os.sep).startswith(source + os.sep) or (source + os.sep).startswith(target + os.sep):
        raise InvalidValueError(
            f"{target} and the store at {source} lie inside one another", hint="Give a place outside the store."
        )


class StoreMove:
    """One move from one directory to another, each seen from above; used by one thread."""

    def __init__(
        self,
        old: Place,
        new: Place,
        clock: Clock,
        *,
        new_id: Callable[[], str] = random_id,
        progress: Progress | None = None,
        to: str = "",
    ) -> None:
        """Args:
        old, new: the places.
        clock: source of time.
        new_id: source of the name under which the copy is made.
        progress: as in `move_store`.
        to: the full path of the new place, where `new` does not give it.
        """
        self._old = old
        self._new = new
        self._to = to or new.path
        self._clock = clock
        self._new_id = new_id
        self._progress = progress
        self._left: list[str] = []
        self._copied = self._steps = self._bytes = 0

    def dry_run(self) -> MoveReport:
        """What a move would find; changes nothing. Raises as `move_store`."""
        with_lock = self._lock()
        try:
            facts, plan = self._facts(), self._plan()
            if not is_given_up(facts) and plan is None:
                self._require_free()
            files = self._files()
            return self._report(files, dry_run=True)
        finally:
            with_lock.release()

    def run(self) -> MoveReport:
        """Move, or go on with a move. Raises as `move_store`."""
        lock = self._lock()
        try:
            facts, plan = self._facts(), self._plan()
            if not is_given_up(facts):
                plan, files = self._copy(plan or self._begin())
            elif plan is None:
                raise StoreMovedError(f"the store at {self._old.path} was moved, and {MOVED} is lost", path=MOVED)
            else:
                files = self._files()
            self._give_up(facts)
            self._put_in_place(plan, facts)
            return self._report(files)
        finally:
            lock.release()

    def _report(self, files: dict[str, EntryStat], *, dry_run: bool = False) -> MoveReport:
        size = sum(stat.size for stat in files.values())
        left = tuple(sorted(self._left))
        return MoveReport(self._old.path, self._to, len(files), size, self._copied, left, dry_run)

    @property
    def _staging(self) -> str:
        """How the name of the copy begins: no other directory beside the new place is ever touched."""
        return f".{os.fsdecode(os.fsencode(self._new.name)[:100])}.moving-"

    # Before

    def _lock(self) -> Any:
        held = self._old.backend.lock(self._old.name, exclusive=True)
        if held is None:
            raise StoreLockedError(f"{self._old.path} is open in another program", path=self._old.path)
        return held

    def _facts(self) -> dict[str, Any]:
        """What the superblock says, and that it is one of a store that may be moved."""
        facts = read_document(self._old.backend, self._old.below(SUPERBLOCK))
        if facts is None:
            raise NotAStoreError(f"{self._old.path} holds no store", path=self._old.path)
        features = [name for name in facts.get("mandatory_features", ()) if name != MOVED_FEATURE]
        Superblock.from_facts({**facts, "mandatory_features": features})
        return facts

    def _plan(self) -> _Plan | None:
        """The plan of a move that was begun; raises where it leads elsewhere, or was finished."""
        try:
            found = read_document(self._old.backend, self._old.below(MOVED))
        except DamagedViewError:
            # Written by an attempt that changed nothing else yet, or damaged since: the superblock tells which.
            return None
        if found is None:
            return None
        try:
            plan = _Plan(**found)
            known = plan.staging.startswith(self._staging) and "/" not in plan.staging
        except (AttributeError, TypeError) as error:
            raise DamagedViewError(f"{MOVED} is no plan of a move", path=MOVED, hint=_HINT) from error
        # A disk that forgot the last rename in spite of its sync has the copy still, under its first name.
        if plan.state == "done" and self._new.backend.stat(plan.staging) is None:
            # Whoever said so may have been killed before its last word was durable.
            self._old.backend.sync_folder(self._old.name)
            what = f"the store at {self._old.path} was moved to {plan.to}"
            raise StoreMovedError(what, path=MOVED, hint=f"Give --store {plan.to}.")
        if plan.to != self._to:
            raise InvalidValueError(
                f"the store at {self._old.path} is being moved to {plan.to}",
                hint=f"Run `move {plan.to}` to go on with it.",
            )
        if not known:
            what = f"{MOVED} names a copy that no move makes, {plan.staging!r}"
            raise DamagedViewError(what, path=MOVED, hint=_HINT)
        return plan

    def _begin(self) -> _Plan:
        self._require_free()
        needed, free = sum(stat.size for stat in self._files().values()), self._new.backend.free_bytes()
        if free < needed:
            raise DiskFullError(f"{self._to} has room for {free} bytes, the store has {needed}", path=self._to)
        staging = self._staging + self._new_id()[:8]
        return self._save(_Plan(self._to, staging, "copying", format_time(from_micros(self._clock.micros()))))

    def _save(self, plan: _Plan) -> _Plan:
        self._write(MOVED, asdict(plan))
        return plan

    def _require_free(self) -> None:
        found = self._new.backend.stat(self._new.name)
        if found is not None and (found.kind != "folder" or any(self._new.backend.scan(self._new.name))):
            raise InvalidValueError(f"{self._to} is there already", hint="Give a path that does not exist yet.")

    def _write(self, path: str, facts: dict[str, Any]) -> None:
        lines = (b'  "%s": %s' % (name.encode(), orjson.dumps(value)) for name, value in facts.items())
        write_document(self._old.backend, self._old.below(path), lines)

    # The copy

    def _files(self) -> dict[str, EntryStat]:
        """Every file of the store, in order; what is neither file nor folder goes to `_left`."""
        self._left = []
        found = {}
        for path, stat in _walk(self._old.backend, self._old.name):
            if stat.kind == "file" and not self._stays(path):
                found[path] = stat
            elif stat.kind == "other":
                self._left.append(path)
        return dict(sorted(found.items()))

    def _stays(self, path: str) -> bool:
        return path in _OF_THE_PLACE or is_scratch(path.rpartition("/")[2])

    def _copy(self, plan: _Plan) -> tuple[_Plan, dict[str, EntryStat]]:
        """Make the copy whole and durable, whatever is there of it; every byte of it was read back."""
        files = self._files()
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

    def _prepare(self, plan: _Plan, files: dict[str, EntryStat], folders: list[str]) -> _Plan:
        """Folders for the copy, durable, and in them nothing that the store has not."""
        target, staging = self._new.backend, plan.staging
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
        target = self._new.backend
        for path, stat in sorted(_walk(target, staging), reverse=True):
            if stat.kind == "folder" and path not in folders:
                target.remove_folder(f"{staging}/{path}")
            elif stat.kind != "folder" and path not in files:
                target.unlink(f"{staging}/{path}")

    def _copy_file(self, plan: _Plan, path: str, hashes: dict[str, bytes], total: int) -> bool:
        """Copy one file and note its hash; False where a durable copy is there."""
        source, target = self._old.backend, self._new.backend
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
        self._copied += 1
        self._step(total, size)
        return True

    def _harden(self, staging: str, files: list[str]) -> None:
        """Make what was just copied durable."""
        target = self._new.backend
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
            if self._hash(self._new.backend, f"{staging}/{path}") != wanted:
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

    # The switch

    def _give_up(self, facts: dict[str, Any]) -> None:
        """From here on no program opens the old place. The copy is whole and durable."""
        others = [name for name in facts.get("mandatory_features", ()) if name != MOVED_FEATURE]
        features = [*others, MOVED_FEATURE]
        # Also where an earlier attempt did: its last sync may have failed.
        self._write(SUPERBLOCK, {**facts, "mandatory_features": features})

    def _put_in_place(self, plan: _Plan, facts: dict[str, Any]) -> None:
        target = self._new.backend
        if target.stat(plan.staging) is not None:
            self._require_free()
            target.remove_folder(self._new.name)
            target.replace(plan.staging, self._new.name)
        elif not self._has_arrived(facts):
            raise NotAStoreError(
                f"the copy {plan.staging} beside {self._to} is gone",
                path=plan.staging,
                hint=f"Put it back and run the move again. The store's data are whole at {self._old.path} as well.",
            )
        target.sync_folder("")
        self._save(replace(plan, state="done"))

    def _has_arrived(self, facts: dict[str, Any]) -> bool:
        found = read_document(self._new.backend, self._new.below(SUPERBLOCK))
        return found is not None and found.get("store_id") == facts["store_id"]


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
