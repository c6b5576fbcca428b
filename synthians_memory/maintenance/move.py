"""Moving a store to another place: copied, every hash verified, made durable, and only then the old place given up.

It is no rename, also on one disk: between a rename and a word at the old place a program could make an empty store
there. What was moved stays at the old place until a person removes it, and no program opens it any more.

A move is cut into steps that can each be repeated, so that running it again goes on wherever it was interrupted:

    plan saved at the old place -> files copied beside the new place -> read back and compared
    -> the old place given up (its superblock) -> the copy gets its name -> the plan says that it is done
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Final

import orjson

from synthians_memory.engine.documents import read_document, write_document
from synthians_memory.engine.moved import MOVED_FEATURE, is_given_up
from synthians_memory.engine.superblock import Superblock
from synthians_memory.errors import (
    DamagedViewError,
    DiskFullError,
    InvalidValueError,
    NotAStoreError,
    StoreFormatError,
    StoreLockedError,
    StoreMovedError,
)
from synthians_memory.layout import MOVED, SUPERBLOCK
from synthians_memory.maintenance.staged_copy import MovePlan, Place, Progress, StagedCopy
from synthians_memory.models import random_id
from synthians_memory.storage.backend import EntryStat
from synthians_memory.storage.filesystem import network_filesystem
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import Clock, SystemClock, format_time, from_micros

__all__ = ["MoveReport", "Place", "StoreMove", "move_store"]

_HINT: Final = f"Remove {MOVED} from the store, and run the move again: it begins anew."


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
        self._copy = StagedCopy(old, new.backend, self._save, progress)

    def dry_run(self) -> MoveReport:
        """What a move would find; changes nothing. Raises as `move_store`."""
        lock = self._lock()
        try:
            facts, plan = self._facts(), self._plan()
            if not is_given_up(facts) and plan is None:
                self._require_free()
            files = self._copy.files()
            return self._report(files, dry_run=True)
        finally:
            lock.release()

    def run(self) -> MoveReport:
        """Move, or go on with a move. Raises as `move_store`."""
        lock = self._lock()
        try:
            facts, plan = self._facts(), self._plan()
            if not is_given_up(facts):
                plan, files = self._copy.make(plan or self._begin())
                # It may have been taken since the plan was made, and from here on there is no way back.
                self._require_free()
            elif plan is None:
                raise StoreMovedError(f"the store at {self._old.path} was moved, and {MOVED} is lost", path=MOVED)
            else:
                files = self._copy.files()
            self._give_up(facts)
            self._put_in_place(plan, facts)
            return self._report(files)
        finally:
            lock.release()

    def _report(self, files: dict[str, EntryStat], *, dry_run: bool = False) -> MoveReport:
        size = sum(stat.size for stat in files.values())
        left = tuple(sorted(self._copy.left))
        return MoveReport(self._old.path, self._to, len(files), size, self._copy.copied, left, dry_run)

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

    def _plan(self) -> MovePlan | None:
        """The plan of a move that was begun; raises where it leads elsewhere, or was finished."""
        try:
            found = read_document(self._old.backend, self._old.below(MOVED))
        except DamagedViewError:
            # Written by an attempt that changed nothing else yet, or damaged since: the superblock tells which.
            return None
        if found is None:
            return None
        try:
            plan = MovePlan(**found)
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

    def _begin(self) -> MovePlan:
        self._require_free()
        needed, free = sum(stat.size for stat in self._copy.files().values()), self._new.backend.free_bytes()
        if free < needed:
            raise DiskFullError(f"{self._to} has room for {free} bytes, the store has {needed}", path=self._to)
        staging = self._staging + self._new_id()[:8]
        return self._save(MovePlan(self._to, staging, "copying", format_time(from_micros(self._clock.micros()))))

    def _save(self, plan: MovePlan) -> MovePlan:
        self._write(MOVED, asdict(plan))
        return plan

    def _require_free(self) -> None:
        found = self._new.backend.stat(self._new.name)
        if found is not None and (found.kind != "folder" or any(self._new.backend.scan(self._new.name))):
            raise InvalidValueError(f"{self._to} is there already", hint="Give a path that does not exist yet.")

    def _write(self, path: str, facts: dict[str, Any]) -> None:
        lines = (b'  "%s": %s' % (name.encode(), orjson.dumps(value)) for name, value in facts.items())
        write_document(self._old.backend, self._old.below(path), lines)

    # The switch

    def _give_up(self, facts: dict[str, Any]) -> None:
        """From here on no program opens the old place. The copy is whole and durable."""
        others = [name for name in facts.get("mandatory_features", ()) if name != MOVED_FEATURE]
        features = [*others, MOVED_FEATURE]
        # Also where an earlier attempt did: its last sync may have failed.
        self._write(SUPERBLOCK, {**facts, "mandatory_features": features})

    def _put_in_place(self, plan: MovePlan, facts: dict[str, Any]) -> None:
        target = self._new.backend
        if target.stat(plan.staging) is not None:
            self._require_free()
            target.remove_folder(self._new.name)
            target.replace(plan.staging, self._new.name)
        elif not self._has_arrived(facts):
            raise NotAStoreError(
                f"the copy {plan.staging} beside {self._to} is gone",
                path=plan.staging,
                hint="Put it back and run the move again. Or, if it is lost, take the old place back: it is whole. Remove "
                f"{SUPERBLOCK} and {MOVED} there, and open it.",
            )
        target.sync_folder("")
        self._save(replace(plan, state="done"))

    def _has_arrived(self, facts: dict[str, Any]) -> bool:
        found = read_document(self._new.backend, self._new.below(SUPERBLOCK))
        return found is not None and found.get("store_id") == facts["store_id"]
