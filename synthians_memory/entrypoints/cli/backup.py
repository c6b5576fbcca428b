"""The command backup: take a snapshot of the store.

It changes nothing but the directory of snapshots, and works beside a program that writes to the store.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, tell_first
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.snapshots import opened, settings_of
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.facade import PARTS
from synthians_memory.maintenance.care import BackupReport, backup_store, own_directory
from synthians_memory.maintenance.manifest import Ring
from synthians_memory.maintenance.source import SnapshotSource, base_beside
from synthians_memory.times import SystemClock

__all__ = ["EXAMPLES", "Kept", "backup"]

EXAMPLES: Final = ("--store notes backup", "--store notes backup /mnt/copies/notes --ring hourly")


class Kept(StrEnum):
    """How long a snapshot is kept."""

    HOURLY = "hourly"
    DAILY = "daily"
    MANUAL = "manual"


_RINGS: Final[dict[Kept, Ring]] = {Kept.HOURLY: "hourly", Kept.DAILY: "daily", Kept.MANUAL: "manual"}


def backup(
    context: typer.Context,
    to: Annotated[
        str | None, typer.Argument(metavar="TO", help="A directory for snapshots; without it one in the store itself.")
    ] = None,
    ring: Annotated[
        Kept, typer.Option(help="How long it is kept: the last 24 hours, the last days, or the last 7 taken by hand.")
    ] = Kept.MANUAL,
    full: Annotated[
        bool, typer.Option("--full", help="Read every file again, and store anew what is missing or rotten.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Take a snapshot.

    A program may go on writing meanwhile; the snapshot holds the state of one moment. Only what changed since the last
    one is copied, and all of that is read again. The exit code is 5 where something could not be had.
    """
    place, output = Place.of(context), Output.wanted(as_json)
    return run(_backup(place, to, _RINGS[ring], full, output))


async def _backup(place: Place, to: str | None, ring: Ring, full: bool, output: Output) -> int:
    report = await asyncio.to_thread(_take, place, to, ring, full)
    info = report.snapshot
    if output.json:
        output.document(report.to_dict())
    else:
        output.show(
            f"{info.name}: {info.memories:,} memories, {info.assemblies:,} assemblies, {info.files:,} other files; "
            f"{report.written_files:,} files with {report.written_bytes:,} bytes are new in {report.directory}"
        )
        output.show(*(f"no longer kept: {name}" for name in report.removed))
    tell_first("damaged", info.problems, "run `check`")
    tell_first("damaged", report.problems, "run `backups --verify`")
    return ExitCode.DAMAGED if info.problems or report.problems else ExitCode.OK


def _take(place: Place, to: str | None, ring: Ring, full: bool) -> BackupReport:
    days, clock = settings_of(place).backup_retention_days, SystemClock()
    with opened(place) as backend, progress("copying", "records") as move:
        source = SnapshotSource(backend, lambda: base_beside(backend, clock), clock)
        return backup_store(
            source,
            own_directory(backend, create=True) if to is None else to,
            ring=ring,
            parts=PARTS,
            days=days,
            full=full,
            progress=lambda done, total: move(done, total=total),
        )
