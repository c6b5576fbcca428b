"""A health pass: a store is examined and mended, its due backup taken, its figures measured, the pass logged and told.

It keeps no time (`monitor`), and does none of the work itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from synthians_memory.engine.check import Progress
from synthians_memory.engine.store import Store
from synthians_memory.errors import (
    DamagedError,
    DiskError,
    NotAStoreError,
    StoreFormatError,
    StoreLockedError,
    StoreMovedError,
    SynthiansMemoryError,
)
from synthians_memory.layout import AUTOMEMORY_LOG, FAILURES_LOG, HEALTH_LOG, JOURNAL, SUPERBLOCK
from synthians_memory.maintenance.alerts import Alerts
from synthians_memory.maintenance.care import BackupReport
from synthians_memory.maintenance.copies import Copies
from synthians_memory.maintenance.due_backups import take_due
from synthians_memory.maintenance.event_log import EventLog
from synthians_memory.maintenance.health_place import HealthPlace, HealthSettings
from synthians_memory.maintenance.health_report import HealthReport, Outcome
from synthians_memory.maintenance.issue_document import Failure
from synthians_memory.maintenance.sampling import next_share, note_share
from synthians_memory.maintenance.source import Base, base_beside
from synthians_memory.maintenance.store_mending import Course, StoreMender, examined_parts, is_bad, snapshots_of
from synthians_memory.maintenance.vital_signs import VitalSigns, age_finding, measured, space_findings
from synthians_memory.reports import FINDING_CODES
from synthians_memory.storage.backend import Backend
from synthians_memory.times import from_micros

__all__ = ["failure_of", "finish_pass", "health_pass", "outcome_of", "tell_failed_pass"]

_LOGS: Final = (HEALTH_LOG, FAILURES_LOG, AUTOMEMORY_LOG)
_MOST_NAMED: Final = 20
# Another place is meant, or somebody else is at it: nothing is wrong with a store.
_NOT_TOLD: Final = (NotAStoreError, StoreLockedError, StoreMovedError)


def health_pass(
    place: HealthPlace,
    settings: HealthSettings | None = None,
    alerts: Alerts | None = None,
    *,
    progress: Progress | None = None,
) -> HealthReport:
    """One pass over a store that this process has not open. Another one that is killed is gone on with.

    A store that another program has open is only examined, and backed up: mending is left to that program's own monitor.

    Args:
        place: the store.
        settings: what may be done; None: everything.
        alerts: who is told of failures; None: the log and documents in the store.
        progress: as in `check`.

    Raises:
        StoreLockedError: another program has it open, and it cannot even be read.
        NotAStoreError: there is none, nor a snapshot of one.
        StoreMovedError, UnsupportedFormatError, EmbedderMismatchError: it is no work for this; nothing was changed.
        DiskError: the disk refuses; the next pass goes on.
    """
    settings = settings or HealthSettings()
    alerts = alerts or Alerts(place.open_store, place.clock)
    begun = place.clock.micros(), place.clock.monotonic()
    course = Course()
    try:
        holder = _examine(place, settings, course, progress)
        return finish_pass(place, settings, alerts, course, begun=begun, holder=holder)
    except Exception as error:
        if not isinstance(error, _NOT_TOLD):
            tell_failed_pass(place, alerts, error)
        raise


def _examine(place: HealthPlace, settings: HealthSettings, course: Course, progress: Progress | None) -> str:
    """Returns who has the store; "" for nobody."""
    if not settings.mend:
        _look(place, settings, course, progress)
        return ""
    try:
        StoreMender(place, settings, course, progress).run()
    except StoreLockedError as locked:
        try:
            _look(place, settings, course, progress)
        except (StoreFormatError, DamagedError) as error:
            raise locked from error
        return locked.holder or "another program"
    return ""


def _look(place: HealthPlace, settings: HealthSettings, course: Course, progress: Progress | None) -> None:
    """Examine without changing anything."""
    store = Store.open(place.open_store(), place.config, place.clock, read_only=True)
    try:
        if settings.sample > 1:
            course.read = next_share(store.state.backend, store.state.index.rows, settings.sample)
        found = store.check("full", progress, course.read if settings.sample > 1 else None)
        with snapshots_of(place, course.problems) as folder:
            copies = Copies(store.state.backend, store.state.superblock.store_id, folder)
            found += examined_parts(store, place, copies)
        course.findings, course.remaining = found, list(found)
        course.count(store)
    finally:
        store.release()


# What follows the examination


def finish_pass(
    place: HealthPlace,
    settings: HealthSettings,
    alerts: Alerts,
    course: Course,
    *,
    begun: tuple[int, float],
    holder: str = "",
    base: Callable[[Backend], Base] | None = None,
) -> HealthReport:
    """Take the due backup, measure, write the log, tell who is to be told.

    Args:
        place: as in `health_pass`.
        settings: as in `health_pass`.
        alerts: as in `health_pass`.
        course: what was found and done.
        begun: when the pass began: wall time in microseconds, and the monotonic clock.
        holder: who has the store open, so that nothing was mended; "" for nobody.
        base: as in SnapshotSource, for a store that this process has open.

    Returns:
        The report; nothing of a full disk or a busy log keeps it from being returned.
    """
    backup = _backup(place, settings, course, base) if course.opened and settings.backup_enabled else None
    signs = _measure(place, settings, course)
    for path in _LOGS:
        _tried(course, EventLog(place.open_store, path, place.clock, most_bytes=settings.most_log_bytes).rotate)
    if course.read:
        _tried(course, lambda: note_share(place.open_store, course.read))
    report = HealthReport(
        at=from_micros(begun[0]),
        outcome=outcome_of(course, reported_only=bool(holder) or not settings.mend),
        level="sampled" if course.read else "full",
        read=len(course.read),
        holder=holder,
        memories=course.memories,
        assemblies=course.assemblies,
        findings=tuple(course.findings),
        remaining=tuple(course.remaining),
        actions=tuple(course.actions),
        restored=tuple(course.restored),
        lost=tuple(course.lost),
        rollback=course.rollback,
        backup=backup,
        vital_signs=signs,
        problems=tuple(course.problems),
        steps=tuple(course.steps),
        seconds=place.clock.monotonic() - begun[1],
    )
    return _told(place, alerts, report)


def outcome_of(course: Course, *, reported_only: bool = False) -> Outcome:
    """What came of it, in a word."""
    damage = any(finding.severity == "damage" for finding in course.remaining)
    if not course.opened or (damage and not reported_only):
        return "failed"
    if course.restored or course.rollback or course.from_backup or course.given_up:
        return "restored"
    if any(is_bad(finding) for finding in course.remaining) or course.problems:
        return "findings"
    return "mended" if course.actions else "healthy"


def _tried(course: Course, step: Callable[[], object]) -> None:
    """What accompanies a pass does not undo it: a failure is a problem of the report."""
    try:
        step()
    except (DiskError, StoreLockedError) as error:
        course.problems.append(error.message)


def _backup(
    place: HealthPlace, settings: HealthSettings, course: Course, base: Callable[[Backend], Base] | None
) -> BackupReport | None:
    backend = place.open_store()
    try:
        with place.snapshots(True) as folder:
            report, found = take_due(
                backend,
                lambda: base(backend) if base is not None else base_beside(backend, place.clock),
                folder,
                place.clock,
                parts=place.parts,
                days=settings.backup_retention_days,
            )
    except SynthiansMemoryError as error:
        course.problems.append(f"no backup was taken: {error.message}")
        return None
    finally:
        backend.close()
    course.remaining = [*course.remaining, *found]
    return report


def _measure(place: HealthPlace, settings: HealthSettings, course: Course) -> VitalSigns:
    signs = VitalSigns()
    try:
        with snapshots_of(place, course.problems) as folder:
            manifests = folder.listing().manifests if folder is not None else ()
        backend = place.open_store()
        try:
            signs = measured(backend, manifests, place.clock.micros())
        finally:
            backend.close()
    except DiskError as error:
        course.problems.append(f"the store cannot be measured: {error.message}")
        return signs
    found = space_findings(signs, settings.least_free_bytes, settings.least_free_inodes)
    if settings.backup_enabled and course.opened:
        found += age_finding(signs, settings.most_backup_age)
    course.remaining = [*course.remaining, *found]
    course.findings = [*course.findings, *found]
    return signs


# Telling


def _told(place: HealthPlace, alerts: Alerts, report: HealthReport) -> HealthReport:
    with suppress(DiskError, StoreLockedError):
        EventLog(place.open_store, HEALTH_LOG, place.clock).append(**report.log_fields())
    failure = failure_of(report)
    if failure is None:
        return report
    try:
        alerts.tell(failure)
    except Exception as error:  # noqa: BLE001 - a hook is somebody else's code, and must not keep the report back
        problem = f"not everybody could be told: {type(error).__name__}"
        return replace(report, problems=(*report.problems, problem))
    return report


def failure_of(report: HealthReport) -> Failure | None:
    """What people have to be told of a pass; None where nothing is. It holds paths and codes, and no message that may quote a file."""
    if report.outcome in ("healthy", "mended") and not report.lost:
        return None
    bad = [finding for finding in report.remaining if is_bad(finding)]
    named = [f"{finding.code}: {finding.path or 'the store'} ({FINDING_CODES[finding.code][1]})" for finding in bad]
    details = [*named[:_MOST_NAMED], *_more(named)]
    details += [f"{putback.path} came back from {putback.origin}" for putback in report.restored[:_MOST_NAMED]]
    details += list(report.lost[:_MOST_NAMED])
    if report.rollback is not None:
        details.append(f"the store was made again from the snapshot {report.rollback.snapshot}")
    return Failure(
        f"health_{report.outcome}",
        _summary(report, len(bad)),
        tuple(details),
        tuple(sorted({*(f"{f.code} {f.path}" for f in bad), *(p.path for p in report.restored)})),
        report.steps,
    )


def _more(named: Sequence[str]) -> list[str]:
    return [f"and {len(named) - _MOST_NAMED} more"] if len(named) > _MOST_NAMED else []


def _summary(report: HealthReport, bad: int) -> str:
    if report.outcome == "failed" and report.problems:
        return f"a health pass could not mend the store: {report.problems[0]}"
    what = {
        "restored": f"a health pass brought back {len(report.restored)} files from a backup, or all of them",
        "failed": f"a health pass left {bad} findings that it cannot mend",
    }
    return what.get(report.outcome, f"a health pass left {bad} findings and {len(report.problems)} problems")


def tell_failed_pass(place: HealthPlace, alerts: Alerts, error: Exception, schedule: str = "health") -> None:
    """Tell of a pass, or other scheduled work, that ended with an error, and log it. Raises nothing of the library's."""
    what = type(error).__name__
    path = error.path if isinstance(error, SynthiansMemoryError) else None
    failure = Failure(
        "health_pass_failed" if schedule == "health" else "schedule_failed",
        f"the scheduled {schedule} ended with {what}" + (f" at {path}" if path else ""),
        subjects=(schedule, what, path or ""),
        steps=("Run `synthians-memory health` by hand, and read what it says.",),
    )
    try:
        if _is_store(place):
            log = EventLog(place.open_store, HEALTH_LOG, place.clock)
            log.append(outcome="failed", schedule=schedule, error=what, path=path)
            alerts.tell(failure)
    except Exception as untold:  # noqa: BLE001 - what is being told is raised by whoever called
        error.add_note(f"not everybody could be told: {type(untold).__name__}")


def _is_store(place: HealthPlace) -> bool:
    backend = place.open_store()
    try:
        return any(backend.stat(path) is not None for path in (SUPERBLOCK, JOURNAL))
    finally:
        backend.close()
