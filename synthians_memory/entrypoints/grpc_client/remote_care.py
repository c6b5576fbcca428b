"""What a remote store does for its own good: imports, checks, repairs, counts.

It does none of it itself, and what only an operator does is not here: purge, reembed, backup, history.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any, Final, Literal, cast

import orjson

from synthians_memory.config import CheckLevel
from synthians_memory.engine.searching import require_positive
from synthians_memory.entrypoints.grpc_client.connection import FOREVER, Connection
from synthians_memory.entrypoints.grpc_client.remote_entities import pieces
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2 as wire
from synthians_memory.entrypoints.grpc_server.records import (
    assembly_from,
    finding_from,
    kind_message,
    memory_from,
    repair_report,
)
from synthians_memory.errors import InvalidValueError, ServiceError, SynthiansMemoryError
from synthians_memory.layout import Kind, validate_id
from synthians_memory.models import Entity
from synthians_memory.reports import Finding, ImportReport, LineProblem, RepairReport
from synthians_memory.storage.streams import read_lines

__all__ = ["RemoteCare"]

Progress = Callable[[int, int], None] | None
Source = str | os.PathLike[str] | AsyncIterator[list[bytes]]

_PIECE_BYTES: Final = 1 << 20


class RemoteCare:
    """Import, check, repair and counts of a remote store.

    Attributes:
        connection: to the service.
    """

    connection: Connection

    async def import_memories(
        self,
        source: Source,
        *,
        chunk: int = 1000,
        embed: bool = False,
        overwrite: bool = False,
        stop_on_error: bool = False,
        progress: Callable[[ImportReport], None] | None = None,
    ) -> ImportReport:
        """As `Persistence.import_memories`, of a source on this side; never repeated: whoever repeats it skips what is there."""
        require_positive("chunk", chunk)
        options = wire.ImportOptions(chunk=chunk, embed=embed, overwrite=overwrite, stop_on_error=stop_on_error)
        feed = _Feed(source, options)
        report = ImportReport()
        try:
            async with aclosing(self.connection.stream("Import", feed.requests)) as responses:
                async for response in responses:
                    if response.wanted:
                        feed.wanted.release()
                        continue
                    report = _grown(report, response)
                    if progress is not None and not response.done:
                        progress(report)
        except SynthiansMemoryError:
            if feed.failure is not None:
                raise feed.failure from None
            raise
        finally:
            feed.end()
        return report

    async def verify_consistency(self, level: CheckLevel = "full", *, progress: Progress = None) -> list[Finding]:
        """As `MemoryPersistence.verify_consistency`; `progress` is called in the event loop, now and then."""
        if level not in ("quick", "full", "off"):
            raise InvalidValueError(f"level is {level!r}", hint='Write "quick" or "full".')

        async def once() -> list[Finding]:
            findings: list[Finding] = []
            async with aclosing(self._watched("Check", wire.CheckRequest(level=level), progress)) as responses:
                async for response in responses:
                    findings += map(finding_from, response.findings)
                    if response.done:
                        return findings
            raise _cut_off("check")

        return await self.connection.repeated(once)

    async def verify_and_repair_consistency(self, dry_run: bool = False, *, progress: Progress = None) -> RepairReport:
        """As `Persistence.verify_and_repair_consistency`; never repeated. `progress` as in `verify_consistency`."""
        async with aclosing(self._watched("Repair", wire.RepairRequest(dry_run=dry_run), progress)) as responses:
            async for response in responses:
                if response.HasField("report"):
                    return repair_report(response.report)
        raise _cut_off("repair")

    async def sweep_expired(self, *, dry_run: bool = False, progress: Progress = None) -> int:
        """As `MemoryPersistence.sweep_expired`; never repeated. `progress` as in `verify_consistency`."""
        request = wire.SweepExpiredRequest(dry_run=dry_run)
        async with aclosing(self._watched("SweepExpired", request, progress)) as responses:
            async for response in responses:
                if response.HasField("deleted"):
                    return int(response.deleted)
        raise _cut_off("sweep")

    async def adopt(self, entity_id: str, *, kind: Kind = "memory") -> Entity:
        """As `Persistence.adopt`; never repeated."""
        if kind not in ("memory", "assembly"):
            raise InvalidValueError(f"kind is {kind!r}", hint='Write "memory" or "assembly".')
        request = wire.AdoptRequest(id=validate_id(entity_id), kind=kind_message(kind))
        response = await self.connection.ask("Adopt", request, repeat=False)
        return assembly_from(response.assembly) if kind == "assembly" else memory_from(response.memory)

    async def flush(self) -> None:
        """As `Persistence.flush`."""
        await self.connection.ask("Flush", wire.FlushRequest(), repeat=True, timeout=FOREVER)

    async def checkpoint(self) -> None:
        """As `Persistence.checkpoint`."""
        await self.connection.ask("Checkpoint", wire.CheckpointRequest(), repeat=True, timeout=FOREVER)

    async def refresh(self) -> None:
        """Nothing: a service serves what its store has acknowledged at the moment of each call."""
        self.connection.require()

    def stats(self) -> dict[str, Any]:
        """As `Persistence.stats`, asked for while the calling thread waits; `fetch_stats` lets others go on."""
        self.connection.require()
        return _stats(self.connection.ask_blocking("GetStats", wire.GetStatsRequest()))

    async def fetch_stats(self) -> dict[str, Any]:
        """What `stats` gives, without keeping the event loop from others."""
        return _stats(await self.connection.ask("GetStats", wire.GetStatsRequest(), repeat=True))

    async def _watched(self, name: str, request: Any, progress: Progress) -> AsyncGenerator[Any, None]:
        async with aclosing(self.connection.stream(name, request)) as responses:
            async for response in responses:
                if progress is not None and response.HasField("progress") and response.progress.total:
                    progress(response.progress.done, response.progress.total)
                yield response


class _Feed:
    """The requests of one import, each when it is wanted; what its source raises is kept, and the service told of it."""

    def __init__(self, source: Source, options: wire.ImportOptions) -> None:
        self._source = source
        self._options = options
        self._ended = False
        self.wanted = asyncio.Semaphore(0)
        self.failure: Exception | None = None

    def end(self) -> None:
        """Nothing more is wanted."""
        self._ended = True
        self.wanted.release()

    async def requests(self) -> AsyncIterator[wire.ImportRequest]:
        yield wire.ImportRequest(options=self._options)
        async for request in self._lines():
            await self.wanted.acquire()
            if self._ended:
                return
            yield request

    async def _lines(self) -> AsyncIterator[wire.ImportRequest]:
        lines = read_lines(self._source) if isinstance(self._source, str | os.PathLike) else self._source
        try:
            async for some in lines:
                for part in pieces(some, len, _PIECE_BYTES):
                    yield wire.ImportRequest(lines=part)
        except Exception as error:  # noqa: BLE001 - the source is somebody else's code; the import raises it
            self.failure = error
            yield wire.ImportRequest(source_failed=True)
        else:
            yield wire.ImportRequest(last=True)


def _grown(report: ImportReport, response: wire.ImportResponse) -> ImportReport:
    problems = [LineProblem(p.line, cast(Literal["invalid", "conflict"], p.code), p.reason) for p in response.problems]
    return ImportReport(
        response.imported,
        response.skipped,
        response.overwritten,
        (*report.problems, *problems),
        response.problem_count,
    )


def _stats(response: wire.GetStatsResponse) -> dict[str, Any]:
    return cast("dict[str, Any]", orjson.loads(response.stats_json))


def _cut_off(what: str) -> ServiceError:
    return ServiceError(f"the service ended a {what} without its outcome")
