"""A monitor: health passes, and whatever else has its hours, in one task of an event loop.

It mends nothing itself (`health`, `store_mending`), and asks the program where its open store has to be closed for that.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

from synthians_memory.config import StoreConfig
from synthians_memory.engine.part import MendingPart, Part
from synthians_memory.engine.persistence import Persistence
from synthians_memory.engine.session import Session
from synthians_memory.errors import (
    ForkedStoreError,
    InvalidTypeError,
    InvalidValueError,
    StoreClosedError,
    WrongLoopError,
)
from synthians_memory.maintenance.alerts import Alerts
from synthians_memory.maintenance.copies import Copies
from synthians_memory.maintenance.health import finish_pass, health_pass, tell_failed_pass
from synthians_memory.maintenance.health_place import HealthPlace, HealthSettings, local_place
from synthians_memory.maintenance.health_report import HealthReport
from synthians_memory.maintenance.sampling import next_share
from synthians_memory.maintenance.source import Base, base_of_open_store
from synthians_memory.maintenance.store_mending import Course, examined_parts, is_bad, mend_open_store, snapshots_of
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend

__all__ = ["Monitor", "Reopen", "Schedule"]

T = TypeVar("T")

_SECONDS_AN_HOUR: Final = 3600.0
_HEALTH: Final = "health"
# The program has taken the store away: nothing is left to watch.
_OVER: Final = (StoreClosedError, WrongLoopError, ForkedStoreError)
_CLOSE: Final = (
    "Close the store, run `synthians-memory health`, and open it again: it cannot be mended while it is open."
)


class Reopen(Protocol):
    """What a program does when its open store has to be closed to be mended."""

    async def __call__(self, mend: Callable[[], Awaitable[None]]) -> Persistence:
        """Close the store, await `mend()`, open the store again, and return it open.

        Called in the event loop, by the monitor's task. The monitor goes on with what is returned; what is raised is logged and told,
        and tried again with the next pass.
        """


@dataclass(frozen=True, slots=True)
class Schedule:
    """Something that is done again and again.

    Attributes:
        name: for logs.
        seconds: from one beginning to the next; what is missed meanwhile is left out.
        work: does it. What it raises is logged and told, and ends no schedule.
    """

    name: str
    seconds: float
    work: Callable[[], Awaitable[object]]


class Monitor:
    """Passes over one store, at once and then every so often, beside whatever the event loop has to do.

    An async context manager: the task runs until its block ends. A store that the program itself has open is mended
    while it is open: repair, and files from backups. A store that is given by its place is opened and closed by each pass.

    Attributes:
        reports: of the latest passes, the last one at the end; at most 100.
        failure: what has ended the monitor by itself, such as a store that was closed; None while nothing has.
    """

    def __init__(
        self,
        store: Persistence | HealthPlace | str | os.PathLike[str],
        *,
        parts: Sequence[Part] = (),
        settings: HealthSettings | None = None,
        alerts: Alerts | None = None,
        interval_hours: float = 1.0,
        schedules: Sequence[Schedule] = (),
        on_report: Callable[[HealthReport], None] | None = None,
        on_failure: Callable[[Exception], None] | None = None,
        reopen: Reopen | None = None,
        place: HealthPlace | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Starts nothing yet.

        Args:
            store: open in this event loop; or where it is, when nobody has it open: its directory, or a place.
            parts: as in HealthPlace, where `store` is none; `facade.PARTS` are those of the library.
            settings: of each pass; None: everything is allowed, and 24 passes read all files.
            alerts: who is told of failures; None: the log and documents in the store.
            interval_hours: from one pass to the next.
            schedules: what else is done.
            on_report: called in the event loop with the report of each pass.
            on_failure: called in the event loop with what ended a pass, or other scheduled work.
            reopen: for an open store; None: what needs it closed is left, and reported.
            place: where an open store and its snapshots are, if not on the local disk as its config says.
            sleep: waits so many seconds, for tests.

        Raises:
            InvalidValueError, InvalidTypeError: an argument is wrong.
        """
        if not (math.isfinite(interval_hours) and interval_hours > 0):
            raise InvalidValueError(f"interval_hours is {interval_hours}; it must be a finite number above 0")
        self._store = store if isinstance(store, Persistence) else None
        self._place = place or _place_of(store, parts)
        self._settings = settings or HealthSettings(sample=24)
        self._alerts = alerts or Alerts(self._place.open_store, self._place.clock)
        health = Schedule(_HEALTH, interval_hours * _SECONDS_AN_HOUR, self.run_once)
        self._schedules = (health, *schedules)
        self._on_report = on_report
        self._on_failure = on_failure
        self._reopen = reopen
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        # What a pass over the closed store could not mend: it is not closed for that again.
        self._left: set[Finding] = set()
        self.reports: list[HealthReport] = []
        self.failure: BaseException | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._guarded(), name="synthians-monitor")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the monitor, behind the pass that is under way. Raises what has ended it before, where the block raises nothing."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        if error is None and self.failure is not None:
            raise self.failure

    async def _guarded(self) -> None:
        try:
            await self.run()
        except Exception as error:  # noqa: BLE001 - whoever ends the monitor is told, whatever it was
            self.failure = error

    async def run(self, passes: int | None = None) -> None:
        """Keep all schedules, until it is cancelled, or has made so many health passes.

        Raises:
            StoreClosedError, WrongLoopError, ForkedStoreError: the store is not to be had any more.
        """
        clock = self._place.clock
        due = dict.fromkeys(self._schedules, clock.monotonic())
        while passes is None or passes > 0:
            for schedule in [schedule for schedule, moment in due.items() if moment <= clock.monotonic()]:
                await self._keep(schedule)
                due[schedule] = _next(due[schedule], schedule.seconds, clock.monotonic())
                if schedule.name == _HEALTH and passes is not None:
                    passes -= 1
            if passes is None or passes > 0:
                await self._sleep(max(0.0, min(due.values()) - clock.monotonic()))

    async def _keep(self, schedule: Schedule) -> None:
        try:
            await schedule.work()
        except _OVER:
            raise
        except Exception as error:  # noqa: BLE001 - one failing pass must not be the last one
            if self._on_failure is not None:
                self._on_failure(error)
            # A pass over a closed store has told of it already.
            if self._store is not None or schedule.name != _HEALTH:
                failed: Exception = error
                await asyncio.to_thread(lambda: tell_failed_pass(self._place, self._alerts, failed, schedule.name))

    async def run_once(self) -> HealthReport:
        """One pass now; returns its report.

        Raises:
            StoreClosedError, WrongLoopError, ForkedStoreError: as `run`.
            SynthiansMemoryError: as `health_pass`.
        """
        report = await (self._pass_of_open_store() if self._store is not None else self._pass_of_place())
        self.reports = [*self.reports, report][-100:]
        if self._on_report is not None:
            self._on_report(report)
        return report

    async def _pass_of_place(self) -> HealthReport:
        return await _in_thread(lambda: health_pass(self._place, self._settings, self._alerts))

    # A store that the program has open

    async def _pass_of_open_store(self) -> HealthReport:
        session = _inside(self._store)
        clock = self._place.clock
        begun, course = (clock.micros(), clock.monotonic()), Course()
        course.findings = await session.in_thread(lambda: self._examined(session, course))
        course.remaining = list(course.findings)
        writable = session.store.state.journal is not None
        if self._settings.mend and writable and any(map(_calls, course.findings)):
            await self._mend(session, course)
            if self._reopen is not None and self._needs_closing(session, course):
                return await self._closed_for(self._reopen)
        await session.in_thread(lambda: course.count(session.store))
        only = not (self._settings.mend and writable)
        return await self._finished(session, course, begun, only)

    def _examined(self, session: Session, course: Course) -> list[Finding]:
        store, passes = session.store, self._settings.sample
        share = next_share(store.state.backend, store.state.index.rows, passes) if passes > 1 else None
        found = store.check("full", None, share)
        with snapshots_of(self._place, course.problems) as folder:
            copies = Copies(store.state.backend, store.state.superblock.store_id, folder)
            found += examined_parts(store, self._place, copies)
        if store.state.read_only_reason and store.state.journal is not None:
            found.append(Finding("repair_refused", "the store has turned read-only"))
        course.read = share or []
        return found

    async def _mend(self, session: Session, course: Course) -> None:
        journal = session.store.state.journal
        if journal is not None and journal.failure is not None:
            course.problems.append(f"the journal has failed: {journal.failure.message}")
            course.steps.append(_CLOSE)
            return
        course.read = []
        await session.in_writer(lambda: mend_open_store(session.store, self._place, self._settings, course))
        reason = session.store.state.read_only_reason
        if reason:
            course.problems.append(f"the store is read-only: {reason}")
        if reason or self._of_closed_parts(course.remaining) - self._left:
            course.steps.append(_CLOSE)

    def _of_closed_parts(self, findings: Sequence[Finding]) -> set[Finding]:
        """What a part mends while nobody has its files open."""
        parts = [part for part in self._place.parts if isinstance(part, MendingPart)]
        return {finding for finding in findings for part in parts if part.mends(finding)}

    def _needs_closing(self, session: Session, course: Course) -> bool:
        return bool(session.store.state.read_only_reason) or _CLOSE in course.steps

    async def _closed_for(self, reopen: Reopen) -> HealthReport:
        made: list[HealthReport] = []

        async def mend() -> None:
            report = await self._pass_of_place()
            self._left = self._of_closed_parts(report.remaining)
            made.append(report)

        self._store = await reopen(mend)
        _inside(self._store)
        if not made:
            raise InvalidTypeError(
                "reopen has not awaited mend()", hint="Close the store, await mend(), open it again."
            )
        return made[0]

    async def _finished(
        self, session: Session, course: Course, begun: tuple[int, float], reported_only: bool
    ) -> HealthReport:
        loop = asyncio.get_running_loop()

        def base(backend: Backend) -> Base:
            taken = session.in_writer(lambda: base_of_open_store(session.store))
            return asyncio.run_coroutine_threadsafe(taken, loop).result()

        settings = replace(self._settings, mend=not reported_only)
        return await _in_thread(
            lambda: finish_pass(
                self._place,
                settings,
                self._alerts,
                course,
                begun=begun,
                base=base if session.store.state.journal is not None else None,
            )
        )


def _calls(finding: Finding) -> bool:
    return is_bad(finding) or finding.code == "scratch"


def _next(moment: float, seconds: float, now: float) -> float:
    """The next time after `now` at which a schedule is due that was due at `moment`."""
    return max(moment + seconds, moment + seconds * math.ceil((now - moment) / seconds))


def _place_of(store: Persistence | HealthPlace | str | os.PathLike[str], parts: Sequence[Part]) -> HealthPlace:
    if isinstance(store, HealthPlace):
        return store
    if isinstance(store, str | os.PathLike):
        return local_place(StoreConfig(storage_path=os.fspath(store)), parts=parts)
    if not isinstance(store, Persistence):
        raise InvalidTypeError("a monitor needs an open store, or the directory of one", hint="See `local_place`.")
    # The store's own clock is no business of its users.
    return local_place(store.config, parts=parts, clock=store._clock)  # noqa: SLF001


def _inside(store: Persistence | None) -> Session:
    if store is None:
        raise StoreClosedError("there is no open store")
    return store._opened()  # noqa: SLF001


async def _in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread; whoever is cancelled meanwhile waits for its end, so that no lock outlives a monitor."""
    future = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await asyncio.wait([future])
        raise
