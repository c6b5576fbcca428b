"""The switch from what a store was to what it shall be: a saved plan of steps, each of which can be taken twice.

It prepares nothing: when it begins, all that the store shall be is durable in a folder of its own, and proved.

    plan durable -> superblock that nobody opens a store with -> what was there to quarantine, what shall be there into
    its place, name by name -> the new superblock -> the plan removed

Until the third arrow the store is what it was, from the fourth on what it shall be. In between it cannot be opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import orjson

from synthians_memory.engine.documents import read_document, read_file, write_document, write_whole
from synthians_memory.engine.part import Part
from synthians_memory.engine.replaced_stores import REPLACED
from synthians_memory.engine.superblock import RESTORING, Superblock, store_superblock
from synthians_memory.errors import DamagedViewError, NotRegularFileError
from synthians_memory.json_values import JsonObject, parse_strict
from synthians_memory.layout import (
    INDEX,
    INDEX_BACKUPS,
    INDEX_LOG,
    JOURNAL,
    QUARANTINE,
    REPAIR_PLAN,
    RESTORE,
    RESTORE_PLAN,
    SUPERBLOCK,
    TEXT,
    VECTORS,
    quarantine_path,
    stamp_of,
)
from synthians_memory.maintenance.staging import discard_staged, staged
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock, format_time, from_micros

__all__ = ["Plan", "carry_out", "finish_interrupted", "is_cut_off", "make_plan", "read_plan"]

# What is derived, or tells of a life that ends; it goes, and comes back of itself.
_GOING: Final = (JOURNAL, INDEX, INDEX_LOG, VECTORS, TEXT, INDEX_BACKUPS, REPAIR_PLAN)
_NOTE: Final = "reason.json"
# The folder with all that one restore replaced.


@dataclass(frozen=True, slots=True)
class Plan:
    """A switch.

    Attributes:
        snapshot: name of the snapshot that the store is made from.
        moment: the moment whose state it shall have, microseconds since 1970.
        quarantine: the folder for what is replaced; "" where nothing is.
        going: what is moved there, paths relative to the store.
        coming: what takes its place from where it is staged.
    """

    snapshot: str
    moment: int
    quarantine: str
    going: tuple[str, ...]
    coming: tuple[str, ...]


def make_plan(
    backend: Backend, clock: Clock, snapshot: str, moment: int, coming: Sequence[str], parts: Sequence[str]
) -> Plan:
    """Save a plan, durably, with a folder in quarantine for what will be replaced; nothing is replaced yet.

    Args:
        backend: the store.
        clock: source of time.
        snapshot: as in Plan.
        moment: as in Plan.
        coming: names at the top of the store that are staged.
        parts: names at the top of the store that go although nothing may be staged for them.

    Raises:
        DiskError: it may be saved or not.
    """
    going = tuple(dict.fromkeys((*coming, *parts, *_GOING)))
    replaces = any(backend.stat(path) is not None for path in (SUPERBLOCK, *going))
    quarantine = _quarantine_folder(backend, clock, snapshot) if replaces else ""
    plan = Plan(snapshot, moment, quarantine, going, tuple(coming))
    fields = {
        "snapshot": plan.snapshot,
        "moment": plan.moment,
        "quarantine": plan.quarantine,
        "going": plan.going,
        "coming": plan.coming,
    }
    write_document(backend, RESTORE_PLAN, (b'  "%s": %s' % (n.encode(), orjson.dumps(v)) for n, v in fields.items()))
    return plan


def _quarantine_folder(backend: Backend, clock: Clock, snapshot: str) -> str:
    if backend.make_folder(QUARANTINE):
        backend.sync_folder("")
    micros = clock.micros()
    while not backend.make_folder(folder := quarantine_path(stamp_of(from_micros(micros)), "").rstrip("/")):
        micros += 1
    reason = f"it was replaced by what the snapshot {snapshot} holds"
    note = {"path": REPLACED, "folder": "", "reason": reason, "time": format_time(from_micros(micros))}
    write_whole(backend, f"{folder}/{_NOTE}", [orjson.dumps(note) + b"\n"])
    replaced = f"{folder}/{REPLACED}"
    backend.make_folder(replaced)
    backend.sync_folder(folder)
    old = read_file(backend, SUPERBLOCK)
    if old is not None:
        write_whole(backend, f"{replaced}/{SUPERBLOCK}", [old])
    backend.sync_folder(QUARANTINE)
    return replaced


def is_cut_off(backend: Backend) -> bool:
    """Whether the store is in the middle of a switch, so that nobody can open it. Raises DiskError."""
    data = read_file(backend, SUPERBLOCK)
    try:
        found = parse_strict(data, SUPERBLOCK) if data else None
    except ValueError:
        return False
    return isinstance(found, dict) and RESTORING in (found.get("mandatory_features") or ())


def finish_interrupted(backend: Backend, parts: Sequence[Part] = ()) -> Plan | None:
    """Go on with a switch that was cut off; what was prepared for one that had not begun is removed.

    Args:
        backend: the store, locked.
        parts: are told when their files are in place.

    Returns:
        The plan that was gone on with, or had come to its end but for the removal of the folder; None where none had
        begun, or where its plan is not to be read any more: then everything is in its place, in quarantine or still
        staged, and another restore puts it right.

    Raises:
        DiskError: it can be gone on with again.
    """
    plan = read_plan(backend)
    if plan is not None and is_cut_off(backend):
        carry_out(backend, plan, parts=parts)
    elif plan is not None and _has_ended(backend):
        discard_staged(backend)
    else:
        plan = None
    return plan


def _has_ended(backend: Backend) -> bool:
    """Whether the new superblock is in its place; a power cut may leave it under its old name as well."""
    waiting = read_file(backend, staged(SUPERBLOCK))
    return waiting is None or waiting == read_file(backend, SUPERBLOCK)


def read_plan(backend: Backend) -> Plan | None:
    """The plan that is saved; None where there is none, or none that is intact. Raises DiskError."""
    try:
        found = read_document(backend, RESTORE_PLAN)
        return None if found is None else _plan_of(found)
    except (DamagedViewError, NotRegularFileError, KeyError, TypeError):
        return None


def _plan_of(found: JsonObject) -> Plan:
    return Plan(
        str(found["snapshot"]),
        int(found["moment"]),
        str(found["quarantine"]),
        tuple(map(str, found["going"])),
        tuple(map(str, found["coming"])),
    )


def carry_out(
    backend: Backend, plan: Plan, superblock: Superblock | None = None, *, parts: Sequence[Part] = ()
) -> None:
    """Take every step of `plan`, from wherever it is; the store is what it shall be afterwards.

    Args:
        backend: the store, locked.
        plan: saved.
        superblock: what the store shall be; without it the switch has begun already.
        parts: are told when their files are in place.

    Raises:
        DiskError: it can be gone on with.
    """
    if superblock is not None and not is_cut_off(backend):
        store_superblock(backend, replace(superblock, mandatory_features=(RESTORING,)))
    else:
        # A process that was killed may have taken a step and not made it durable.
        _sync_steps(backend, plan)
    for path in plan.going:
        _switch(backend, plan, path)
    for part in parts if plan.quarantine else ():
        part.restored(backend, plan.quarantine)
    # Renamed within no step before: this makes the store whole.
    _move(backend, staged(SUPERBLOCK), SUPERBLOCK)
    discard_staged(backend)


def _sync_steps(backend: Backend, plan: Plan) -> None:
    folders = {path.rpartition("/")[0] for path in plan.going}
    for folder in (plan.quarantine, *sorted(folders), RESTORE):
        if folder in ("", RESTORE) or backend.stat(folder) is not None:
            backend.sync_folder(folder)


def _switch(backend: Backend, plan: Plan, path: str) -> None:
    waits = path in plan.coming and backend.stat(staged(path)) is not None
    # What has nothing waiting for its place is in it already.
    if (waits or path not in plan.coming) and backend.stat(path) is not None:
        _move(backend, path, f"{plan.quarantine}/{path.replace('/', '_')}")
    if waits:
        _move(backend, staged(path), path)


def _move(backend: Backend, source: str, target: str) -> None:
    backend.replace(source, target)
    left = backend.stat(source)
    if left is not None and left.kind == "file":
        # A power cut may have left a file under both names, and then a rename does nothing.
        backend.unlink(source)
    backend.sync_folder(target.rpartition("/")[0])
    backend.sync_folder(source.rpartition("/")[0])
