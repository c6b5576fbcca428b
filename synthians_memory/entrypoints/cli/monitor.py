"""The command monitor: health passes every so often, until it is ended; for a service manager.

It is not for a store that a program has open: that program runs a `Monitor` of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.ending import ending_by_signal
from synthians_memory.entrypoints.cli.exits import ExitCode, answer_to
from synthians_memory.entrypoints.cli.health import (
    NoBackupOption,
    NoMendOption,
    alerts_of,
    exit_code,
    health_place,
    warn,
)
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.snapshots import FromOption
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.errors import NotAStoreError, SynthiansMemoryError
from synthians_memory.maintenance.health_place import HealthSettings, configured_settings
from synthians_memory.maintenance.health_report import HealthReport
from synthians_memory.maintenance.monitor import Monitor
from synthians_memory.times import format_time

__all__ = ["EXAMPLES", "monitor"]

EXAMPLES: Final = ("--store notes monitor", "--store notes monitor --every 0.5 --sample 48")


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is asked for.

    Attributes:
        settings: of each pass.
        hours: from one to the next.
        passes: after how many it ends; None: when it is ended.
        directory: where the snapshots are.
    """

    settings: HealthSettings
    hours: float
    passes: int | None
    directory: str | None


def monitor(
    context: typer.Context,
    every: Annotated[
        float | None, typer.Option(min=0.0001, metavar="HOURS", help="Time between two passes; else as configured.")
    ] = None,
    sample: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Read one Nth of the entity files, another one in each pass; 1: all."),
    ] = 24,
    passes: Annotated[int | None, typer.Option(min=1, metavar="N", help="End after so many passes.")] = None,
    no_mend: NoMendOption = False,
    no_backup: NoBackupOption = False,
    directory: FromOption = None,
    as_json: JsonOption = False,
) -> int:
    """Make a health pass at once, and then every so often, until Ctrl-C or SIGTERM.

    A line for each pass. The store is open only while one goes on, so that other programs may use it in between. The exit code is that of
    the last pass, as of `health`; a pass that fails is told and logged, and the next one comes all the same.
    """
    place, output = Place.of(context), Output.wanted(as_json)
    if not os.path.isdir(place.path):
        # Later a place that is gone is a failing pass, and may be there again at the next one.
        raise NotAStoreError(f"there is no directory {place.path}", path=place.path)
    configuration = place.configuration
    wish = _Wish(
        configured_settings(configuration, sample=sample, mend=not no_mend, backup=not no_backup),
        configuration.check_interval_hours if every is None else every,
        passes,
        directory,
    )
    return run(_monitor(place, wish, output))


async def _monitor(place: Place, wish: _Wish, output: Output) -> int:
    codes = [ExitCode.OK]

    def passed(report: HealthReport) -> None:
        _print(report, output)
        codes.append(exit_code(report))

    def failed(error: Exception) -> None:
        tell("error", str(error))
        codes.append(answer_to(error).code if isinstance(error, SynthiansMemoryError) else ExitCode.DAMAGED)

    watching = Monitor(
        health_place(place.configuration, wish.directory),
        settings=wish.settings,
        alerts=alerts_of(place.configuration),
        interval_hours=wish.hours,
        on_report=passed,
        on_failure=failed,
    )
    with ending_by_signal() as ending:
        if wish.passes is None:
            every = "hour" if wish.hours == 1 else f"{wish.hours:g} hours"
            tell("monitoring", f"{place.path}, every {every}; Ctrl-C ends it.")
        await _until_ended(asyncio.create_task(watching.run(wish.passes)), ending)
    return codes[-1]


async def _until_ended(work: asyncio.Task[None], ending: asyncio.Event) -> None:
    """Let `work` go on until it ends, or is asked to; what it is at is finished."""
    waiting = asyncio.create_task(ending.wait())
    await asyncio.wait([work, waiting], return_when=asyncio.FIRST_COMPLETED)
    for task in (work, waiting):
        task.cancel()
    await asyncio.wait([work, waiting])
    if not work.cancelled():
        work.result()


def _print(report: HealthReport, output: Output) -> None:
    if output.json:
        fields = {"at": format_time(report.at), **report.log_fields()}
        output.line(json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace"))
    else:
        output.show(f"{format_time(report.at)} {report.outcome}: {report.memories:,} memories")
    warn(report)
