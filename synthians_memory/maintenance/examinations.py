"""What a doctor looks at inside a store's directory, one after the other; each examination changes nothing.

It is not the check of the memories themselves, which the engine has, nor what is around the store (`surroundings`).
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final

import orjson

from synthians_memory.engine.part import Part
from synthians_memory.engine.store import Store
from synthians_memory.errors import (
    DamagedError,
    DiskError,
    EmbedderMismatchError,
    EntityNotFoundError,
    InvalidValueError,
    NotAStoreError,
    NotRegularFileError,
    OutdatedFormatError,
    PermissionDeniedError,
    StoreLockedError,
    StoreMovedError,
    SynthiansMemoryError,
    UnsupportedFormatError,
)
from synthians_memory.layout import (
    FALLBACK,
    HEALTH_LOG,
    ISSUES,
    PURGE_PLAN,
    REPAIR_PLAN,
    RESTORE,
    RESTORE_MARK,
    RESTORE_PLAN,
)
from synthians_memory.maintenance.care import own_directory, snapshots_in
from synthians_memory.maintenance.diagnosis import Examined, trouble, troubles_of
from synthians_memory.maintenance.fallback import Fallback, parked_memory
from synthians_memory.maintenance.snapshots import SnapshotInfo, verify_snapshots
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.lock import read_holder
from synthians_memory.times import format_time, from_micros, parse_time, to_micros

__all__ = [
    "Progress",
    "examine_alerts",
    "examine_interrupted",
    "examine_lock",
    "examine_parked",
    "examine_part",
    "examine_passes",
    "examine_snapshots",
    "examine_store",
    "examined_findings",
    "own_snapshots",
    "unopened",
]

# Called with what is examined, how many steps of it are done, and of how many; 0 where that is not known.
Progress = Callable[[str, int, int], None]

_HOUR_MICROS: Final = 3_600_000_000
_DAY_MICROS: Final = 24 * _HOUR_MICROS
# So many passes may be left out before that is worth a word.
_MISSED: Final = 3
_OLD_DAYS: Final = 2
_LAST_LINES_BYTES: Final = 64 * 1024
# Error of an opening -> the code of the trouble; the first row that fits counts.
_REFUSALS: Final[tuple[tuple[type[SynthiansMemoryError], str], ...]] = (
    (StoreMovedError, "store_moved"),
    (NotAStoreError, "no_store"),
    (OutdatedFormatError, "format_older"),
    (UnsupportedFormatError, "format_newer"),
    (EmbedderMismatchError, "settings_refused"),
    (StoreLockedError, "store_busy"),
    (PermissionDeniedError, "permissions_missing"),
)
_HINTED: Final = ("store_moved", "settings_refused", "store_unreadable")


# The store itself


def examine_store(store: Store, location: str, progress: Progress) -> Examined:
    """A full check of an open store: files, indexes, journal, vectors.

    Raises:
        SynthiansMemoryError: it could not be checked to its end.
    """
    findings = store.check("full", lambda done, total: progress("memories", done, total))
    index = store.state.index
    counts = f"{index.count('memory'):,} memories, {index.count('assembly'):,} assemblies"
    detail = f"{counts}, {index.position.sequence:,} changes so far; every byte read"
    return Examined.of("memories", detail, troubles_of(findings, location))


def unopened(
    error: SynthiansMemoryError,
    location: str,
    *,
    can_restore: bool = False,
    restoring: bool = False,
    owner: str | None = None,
) -> Examined:
    """What to say of a store that cannot be opened, not even for reading.

    Args:
        error: why.
        location: its directory.
        can_restore: whether it has snapshots of its own.
        restoring: whether a restore has put files in place, and has not ended.
        owner: of the directory, where that is another user.
    """
    code = next((code for kind, code in _REFUSALS if isinstance(error, kind)), "store_unreadable")
    if restoring and code == "format_newer":
        code = "restore_unfinished"
    elif can_restore and code in ("no_store", "store_unreadable"):
        # An empty store would hide that there are backups.
        code = "store_lost"
    if owner is not None and code == "permissions_missing":
        code = "owner_needed"
    # The hint of an error speaks to programs as well; the remedy has the whole command.
    advice = error.hint if code in _HINTED else ""
    found = trouble(code, error.message, location, name=shlex.quote(owner or ""), advice=advice)
    return Examined("memories", "skipped", f"not opened: {error.message}", (found,), error)


def examine_part(part: Part, backend: Backend, location: str) -> Examined:
    """A full check of one part beside the memories."""
    try:
        findings = list(part.check(backend, "full"))
    except (DiskError, DamagedError) as error:
        found = trouble("unexamined", f"{part.name}: {error.message}", location)
        return Examined.of(part.name, "it cannot be looked at", [found])
    return examined_findings(part.name, findings, location)


def examined_findings(name: str, findings: Sequence[Finding], location: str) -> Examined:
    """What was examined, where all there is to say of it are findings."""
    return Examined.of(name, f"{len(findings):,} findings" if findings else "in order", troubles_of(findings, location))


# Who has it, and what was left half done


def examine_lock(backend: Backend) -> tuple[str, Examined]:
    """The holder, "" where nobody holds it, and what to say of that. Raises DiskError."""
    lock = backend.lock("", exclusive=False)
    named = read_holder(backend)
    if lock is None:
        holder = str(named) if named else "another program"
        return holder, Examined.of("lock", f"held by {holder}; this diagnosis works beside it")
    lock.release()
    left = f"; the note of {named}, which has ended, goes with the next opening" if named else ""
    return "", Examined.of("lock", f"nobody has it open for changes{left}")


def examine_interrupted(backend: Backend, location: str, *, held: bool) -> Examined:
    """Plans of what was interrupted; where a program holds the store it may be at one of them. Raises DiskError."""
    plans = [
        ("restore_unfinished", RESTORE_PLAN, "a restore was cut off while it put files in place"),
        ("restore_left", RESTORE_MARK, "a restore was cut off while it gathered files"),
        ("repair_unfinished", REPAIR_PLAN, "a repair was interrupted"),
        ("purge_unfinished", PURGE_PLAN, "a purge was interrupted"),
    ]
    left = [(code, what) for code, path, what in plans if backend.stat(path) is not None]
    if left and left[0][0] == "restore_unfinished":
        left = [one for one in left if one[0] != "restore_left"]
    if held and left:
        return Examined.of("interrupted work", f"the holder may be at it: {', '.join(what for _, what in left)}")
    found = [trouble(code, what, location, file=RESTORE) for code, what in left]
    return Examined.of("interrupted work", "none" if not left else f"{len(left)} left", found)


# Backups


def examine_snapshots(
    directory: str | None, location: str, *, now: int, changed: int | None, progress: Progress
) -> Examined:
    """Every snapshot, each byte of it read and hashed, and how old the newest whole one is.

    Args:
        directory: of the snapshots; None where the store has none.
        location: the store's directory.
        now: the time, microseconds since 1970.
        changed: the number of the store's last change; None where that is not known, 0 where it holds nothing.
        progress: called with the number of pieces read.
    """
    if directory is None:
        missing = [trouble("backup_missing", "no snapshot was ever taken into the store", location)] if changed else []
        return Examined.of("backups", "none", missing)
    try:
        with snapshots_in(directory) as folder:
            found = verify_snapshots(folder, lambda done: progress("backups", done, 0))
    except (DiskError, DamagedError, StoreLockedError, EntityNotFoundError, InvalidValueError) as error:
        return _unread_snapshots(error, location)
    return _judged_snapshots(found, location, now=now, changed=changed)


def _unread_snapshots(error: SynthiansMemoryError, location: str) -> Examined:
    if isinstance(error, StoreLockedError):
        return Examined("backups", "skipped", f"{error.message}; try again when it is done")
    return Examined.of("backups", error.message, [trouble("backups_unreadable", error.message, location)])


def _judged_snapshots(found: Sequence[SnapshotInfo], location: str, *, now: int, changed: int | None) -> Examined:
    troubles = []
    damaged = [info for info in found if not info.whole]
    if damaged:
        why = damaged[-1].problems[0] if damaged[-1].problems else f"it lacks {damaged[-1].missing} files"
        more = f"; and {len(damaged) - 1:,} more are not whole" if len(damaged) > 1 else ""
        troubles.append(trouble("snapshot_damaged", f"the snapshot {damaged[-1].name}: {why}{more}", location))
    whole = [info for info in found if info.whole and info.taken_at is not None]
    if not whole:
        if changed:
            troubles.append(trouble("backup_missing", "there is no whole snapshot", location))
        return Examined.of("backups", f"{len(found):,} snapshots, none of them whole", troubles)
    newest = max(whole, key=lambda info: info.name)
    taken = to_micros(newest.taken_at) if newest.taken_at else now
    days = max(0, now - taken) // _DAY_MICROS
    if days >= _OLD_DAYS and changed is not None and changed != newest.sequence:
        troubles.append(
            trouble("backup_old", f"the newest whole snapshot, {newest.name}, is {days} days old", location)
        )
    detail = f"{len(found):,} snapshots read and hashed; the newest whole one is of {format_time(from_micros(taken))}"
    return replace(Examined.of("backups", detail, troubles), has_copies=True)


def own_snapshots(backend: Backend) -> str | None:
    """The directory of the store's own snapshots; None where there are none. Raises DiskError."""
    try:
        return own_directory(backend) if isinstance(backend, LocalBackend) else None
    except EntityNotFoundError:
        return None


# What is kept for people


def examine_parked(open_backend: Callable[[], Backend], location: str) -> Examined:
    """Memories that could not be stored. Raises DiskError."""
    try:
        lines = Fallback(open_backend).lines()
    except NotRegularFileError as error:
        return Examined.of("parked memories", error.message, [trouble("parked_unreadable", error.message, location)])
    memories = sum(parked_memory(line) is not None for line in lines)
    found = []
    if memories:
        found.append(trouble("memories_parked", f"{memories:,} memories are parked in {FALLBACK}", location))
    if memories < len(lines):
        found.append(
            trouble("parked_unreadable", f"{len(lines) - memories:,} lines of {FALLBACK} hold no memory", location)
        )
    return Examined.of("parked memories", f"{memories:,}" if lines else "none", found)


def examine_alerts(backend: Backend, location: str) -> Examined:
    """Documents on failures that nobody has settled. Raises DiskError."""
    names = sorted(name for name, stat in backend.scan(ISSUES) if stat.kind == "file" and name.endswith(".md"))
    found = []
    if names:
        path = f"{ISSUES}/{names[-1]}"
        found.append(
            trouble(
                "alerts_open", f"{len(names):,} in {ISSUES}/; the newest: {_title(backend, path)}", location, file=path
            )
        )
    return Examined.of("alerts", f"{len(names):,} open" if names else "none", found)


def _title(backend: Backend, path: str) -> str:
    text = (backend.read(path, 0, 4096) or b"").decode(errors="replace")
    titles = (line.removeprefix("title: ") for line in text.splitlines() if line.startswith("title: "))
    return next(titles, path)


def examine_passes(backend: Backend, location: str, *, now: int, hours: float) -> Examined:
    """When the health monitor last passed, and how that ended.

    Args:
        backend: the store.
        location: its directory.
        now: the time, microseconds since 1970.
        hours: how much time is meant to lie between two passes.

    Raises:
        DiskError: the log cannot be read.
    """
    lines = list(_last_lines(backend, HEALTH_LOG))
    if not lines:
        return Examined.of("health passes", "none: `health` from cron, or `monitor` in a program, makes them")
    outcome, at = str(lines[-1].get("outcome", "unknown")), lines[-1].get("at")
    detail = f"the last one at {at or 'an unknown time'}: {outcome}"
    found = [trouble("pass_failed", detail, location)] if outcome == "failed" else []
    if isinstance(at, str) and _is_overdue(at, now, hours):
        found.append(trouble("pass_overdue", f"{detail}; one is meant to come every {hours:g} hours", location))
    return Examined.of("health passes", detail, found)


def _is_overdue(at: str, now: int, hours: float) -> bool:
    with suppress(InvalidValueError):
        return now - to_micros(parse_time(at)) > _MISSED * hours * _HOUR_MICROS
    return False


def _last_lines(backend: Backend, path: str) -> Iterator[dict[str, Any]]:
    """The objects in the last lines of a log; what is no object is left out."""
    stat = backend.stat(path)
    if stat is None or stat.kind != "file":
        return
    data = backend.read(path, max(0, stat.size - _LAST_LINES_BYTES)) or b""
    for line in data.splitlines():
        try:
            found = orjson.loads(line)
        except orjson.JSONDecodeError:  # cut off at its beginning, or torn
            continue
        if isinstance(found, dict):
            yield found
