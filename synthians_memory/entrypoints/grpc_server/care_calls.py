"""The calls of StoreService that check, mend, import and count.

It is not the care itself: each call is one of the facade's, between a message and a message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum
from typing import Any, Final, Generic, TypeVar, cast

from synthians_memory.config import CheckLevel
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2 as wire
from synthians_memory.entrypoints.grpc_server.records import (
    assembly_message,
    finding_message,
    json_bytes,
    kind_from,
    memory_message,
    repair_message,
)
from synthians_memory.errors import BatchTooLargeError, UsageError
from synthians_memory.facade import MemoryPersistence
from synthians_memory.models import MemoryEntry
from synthians_memory.reports import ImportReport

__all__ = ["CareCalls"]

Value = TypeVar("Value")

_FINDINGS: Final = 1000
# Between two words of progress, seconds.
_PACE: Final = 0.2


class SourceFailedError(UsageError):
    """The client of an import could not read its own source on."""


class CareCalls:
    """Calls of who looks after a store.

    Args:
        store: open; its event loop is that of the calls.
    """

    def __init__(self, store: MemoryPersistence) -> None:
        self.store = store

    async def Import(
        self, requests: AsyncIterator[wire.ImportRequest], _context: Any
    ) -> AsyncIterator[wire.ImportResponse]:
        """Store lines of JSONL by chunks; raises as `import_memories`."""
        source = aiter(requests)
        first = await anext(source, None)
        if first is None:
            raise UsageError("the import has no options", hint="Send them in the first request.")
        options = first.options
        told: asyncio.Queue[ImportReport | _Word] = asyncio.Queue()
        lines = _Lines(first, source, self.store.config.max_batch_bytes, lambda: told.put_nowait(_Word.WANTED))

        def tell(report: ImportReport) -> None:
            lines.stored()
            told.put_nowait(report)

        importing = asyncio.ensure_future(
            self.store.import_memories(
                lines.read(),
                chunk=options.chunk if options.HasField("chunk") else 1000,
                embed=options.embed,
                overwrite=options.overwrite,
                stop_on_error=options.stop_on_error,
                progress=tell,
            )
        )
        importing.add_done_callback(lambda _: told.put_nowait(_Word.ENDED))
        sent = 0
        try:
            while (word := await told.get()) is not _Word.ENDED:
                if isinstance(word, ImportReport):
                    yield _import_message(word, sent)
                    sent = len(word.problems)
                else:
                    yield wire.ImportResponse(wanted=True)
            report = await importing
        finally:
            importing.cancel()
        yield _import_message(report, sent, done=True)

    async def Check(self, request: wire.CheckRequest, _context: Any) -> AsyncIterator[wire.CheckResponse]:
        """Progress, and then what is wrong; raises as `verify_consistency`."""
        level = cast(CheckLevel, request.level or "full")
        watched = _Watched(lambda progress: self.store.verify_consistency(level, progress=progress))
        async for done, total in watched.progress():
            yield wire.CheckResponse(progress=wire.Progress(done=done, total=total))
        findings = watched.outcome()
        for start in range(0, len(findings), _FINDINGS):
            yield wire.CheckResponse(findings=map(finding_message, findings[start : start + _FINDINGS]))
        yield wire.CheckResponse(done=True)

    async def Repair(self, request: wire.RepairRequest, _context: Any) -> AsyncIterator[wire.RepairResponse]:
        """Progress, and then what was done; raises as `verify_and_repair_consistency`."""
        watched = _Watched(
            lambda progress: self.store.verify_and_repair_consistency(request.dry_run, progress=progress)
        )
        async for done, total in watched.progress():
            yield wire.RepairResponse(progress=wire.Progress(done=done, total=total))
        yield wire.RepairResponse(report=repair_message(watched.outcome()))

    async def SweepExpired(
        self, request: wire.SweepExpiredRequest, _context: Any
    ) -> AsyncIterator[wire.SweepExpiredResponse]:
        """Progress, and then how many were deleted; raises as `sweep_expired`."""
        watched = _Watched(lambda progress: self.store.sweep_expired(dry_run=request.dry_run, progress=progress))
        async for done, total in watched.progress():
            yield wire.SweepExpiredResponse(progress=wire.Progress(done=done, total=total))
        yield wire.SweepExpiredResponse(deleted=watched.outcome())

    async def Adopt(self, request: wire.AdoptRequest, _context: Any) -> wire.AdoptResponse:
        """Take a file as it stands; raises as `adopt`."""
        entity = await self.store.adopt(request.id, kind=kind_from(request.kind))
        if isinstance(entity, MemoryEntry):
            return wire.AdoptResponse(memory=memory_message(entity))
        return wire.AdoptResponse(assembly=assembly_message(cast(Any, entity)))

    async def Flush(self, _request: wire.FlushRequest, _context: Any) -> wire.FlushResponse:
        """As `flush`."""
        await self.store.flush()
        return wire.FlushResponse()

    async def Checkpoint(self, _request: wire.CheckpointRequest, _context: Any) -> wire.CheckpointResponse:
        """As `checkpoint`."""
        await self.store.checkpoint()
        return wire.CheckpointResponse()

    async def GetStats(self, _request: wire.GetStatsRequest, _context: Any) -> wire.GetStatsResponse:
        """As `stats` and `opening_report`."""
        return wire.GetStatsResponse(
            stats_json=json_bytes(self.store.stats()), opening_report=repair_message(self.store.opening_report)
        )


class _Watched(Generic[Value]):
    """Work that tells of its progress, from whichever thread, and its outcome."""

    def __init__(self, work: Callable[[Callable[[int, int], None]], Awaitable[Value]]) -> None:
        self._latest: tuple[int, int] | None = None
        self._work = asyncio.ensure_future(work(self._note))

    def _note(self, done: int, total: int) -> None:
        self._latest = done, total

    async def progress(self) -> AsyncIterator[tuple[int, int]]:
        """How far it is, now and then, until it ends; the work is cancelled where nobody goes on asking."""
        try:
            while not self._work.done():
                await asyncio.wait([self._work], timeout=_PACE)
                latest, self._latest = self._latest, None
                # A word now and then also where there is nothing to tell: it shows that somebody is there.
                yield latest or (0, 0)
        finally:
            self._work.cancel()

    def outcome(self) -> Value:
        """What the work, which has ended, gave or raised."""
        return self._work.result()


class _Word(Enum):
    """What an import has to say besides its reports."""

    WANTED = 1
    ENDED = 2


class _Lines:
    """The lines of an import, asked for one request at a time; no chunk of them is larger than a batch may be."""

    def __init__(
        self,
        first: wire.ImportRequest,
        source: AsyncIterator[wire.ImportRequest],
        most_bytes: int,
        ask: Callable[[], None],
    ) -> None:
        self._request: wire.ImportRequest | None = first
        self._source = source
        self._most_bytes = most_bytes
        self._ask = ask
        self._waiting_bytes = 0

    def stored(self) -> None:
        """What was read so far is stored, but for less than a chunk."""
        self._waiting_bytes = 0

    async def read(self) -> AsyncIterator[list[bytes]]:
        """The lines of each request."""
        while self._request is not None:
            request = self._request
            if request.source_failed:
                raise SourceFailedError(
                    "the client could not read its source on", hint="Repeat the import from its beginning."
                )
            self._waiting_bytes += request.ByteSize()
            if self._waiting_bytes > self._most_bytes:
                raise BatchTooLargeError(f"a chunk has over {self._most_bytes} bytes", hint="Ask for smaller chunks.")
            if request.lines:
                yield list(request.lines)
            if request.last:
                return
            self._ask()
            self._request = await anext(self._source, None)


def _import_message(report: ImportReport, sent: int, *, done: bool = False) -> wire.ImportResponse:
    return wire.ImportResponse(
        imported=report.imported,
        skipped=report.skipped,
        overwritten=report.overwritten,
        problems=[wire.LineProblem(line=p.line, code=p.code, reason=p.reason) for p in report.problems[sent:]],
        problem_count=report.problem_count,
        done=done,
    )
