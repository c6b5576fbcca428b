"""The command restore: make the store again from a snapshot, wholly or one entity of it.

It deletes nothing: what it replaces is moved to the store's quarantine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Annotated, Final

import typer

from synthians_memory.codec import line_of
from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import AssemblyOption, JsonOption, kind_of
from synthians_memory.entrypoints.cli.output import Output, tell, tell_first
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.snapshots import FromOption, directory_of, opened, settings_of
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.errors import EntityNotFoundError, UsageError
from synthians_memory.facade import PARTS
from synthians_memory.layout import validate_id
from synthians_memory.maintenance.care import snapshots_in
from synthians_memory.maintenance.restore import Wanted, past_version, restore_store
from synthians_memory.maintenance.restore_report import Loss, RestoreReport
from synthians_memory.models import Entity
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import SystemClock, format_time, parse_time

__all__ = ["EXAMPLES", "restore"]

EXAMPLES: Final = (
    "--store notes restore",
    "--store notes restore --at 2026-11-20T12:00:00Z --to notes-of-friday",
    "--store notes restore --memory pep-0020-001 --id 20261120_120000",
)


def restore(
    context: typer.Context,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="The moment whose state is wanted, such as 2026-11-20T12:00:00Z.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--id", metavar="NAME", help="The snapshot, or the beginning of its name.")
    ] = None,
    to: Annotated[
        str | None, typer.Option(metavar="PATH", help="A new place, empty or not there yet, instead of the store.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="ID", help="One memory only, saved into the store as it is now.")
    ] = None,
    assembly: AssemblyOption = False,
    directory: FromOption = None,
    as_json: JsonOption = False,
) -> int:
    """Restore the store from its newest snapshot, or as it was at another moment.

    Every byte is proved before anything is replaced. What is replaced goes to the quarantine folder; what had been
    saved after the snapshot is named. Run it again where it was interrupted: it goes on. The exit code is 8.
    """
    if memory is not None and to is not None:
        raise UsageError("--memory saves into the store, and --to makes a new one", hint="Give one of the two.")
    wanted = Wanted(name, None if at is None else parse_time(at, "--at"))
    place, output = Place.of(context), Output.wanted(as_json)
    if memory is not None:
        return run(_one(place, directory, wanted, (memory, assembly), output))
    return run(_all(place, directory, wanted, to, output))


# The whole store


async def _all(place: Place, directory: str | None, wanted: Wanted, to: str | None, output: Output) -> int:
    report = await asyncio.to_thread(_restore, place, directory, wanted, to)
    if output.json:
        output.document(report.to_dict())
    else:
        _show(report, output)
    tell_first("missing", report.missing, "the snapshot never had them")
    tell_first("incomplete", report.problems, "see `backups`")
    return ExitCode.RESTORED


def _restore(place: Place, directory: str | None, wanted: Wanted, to: str | None) -> RestoreReport:
    target = place.path if to is None else to
    clock = SystemClock()
    with snapshots_in(directory_of(place, directory)) as folder, progress("restoring", "records") as move:
        past_of = None if to is None or place.is_empty else LocalBackend(place.path)
        try:
            return restore_store(
                lambda: LocalBackend(target, create=True),
                folder,
                wanted,
                clock,
                past_of=past_of,
                elsewhere=to is not None,
                config=settings_of(place),
                parts=PARTS,
                progress=lambda done, total: move(done, total=total),
            )
        finally:
            if past_of is not None:
                past_of.close()


def _show(report: RestoreReport, output: Output) -> None:
    if report.went_on:
        output.show("an earlier restore that had been cut off is complete")
    else:
        output.show(
            f"restored {report.memories:,} memories, {report.assemblies:,} assemblies and {report.files:,} other files"
        )
    output.show(f"as of {format_time(report.moment)}, from the snapshot {report.snapshot}")
    if report.loss is not None:
        output.show(_sentence(report.loss))
        output.show(f"what was replaced is in {report.quarantine}")


def _sentence(loss: Loss) -> str:
    if not loss.known:
        return f"what was saved after {format_time(loss.since)} is not known: the replaced store could not be read"
    until = format_time(loss.until) if loss.until else "the end"
    return (
        f"saved after that, until {until}, and in the replaced store only: {loss.newer:,} entities; "
        f"deleted after that, and back: {loss.returned:,}"
    )


# One entity


async def _one(place: Place, directory: str | None, wanted: Wanted, which: tuple[str, bool], output: Output) -> int:
    entity, moment = await asyncio.to_thread(_past, place, directory, wanted, which)
    async with place.writing() as store:
        report = await store.import_memories(_line(entity), overwrite=True)
    document = {
        "kind": entity.kind,
        "id": entity.entity_id,
        "moment": format_time(moment),
        "changed": report.imported > 0,
    }
    if output.json:
        output.document(document)
    else:
        output.show(f"restored {entity.kind} {entity.entity_id} as of {format_time(moment)}")
    if not report.imported:
        tell("unchanged", "the store holds that version already")
    return ExitCode.RESTORED


async def _line(entity: Entity) -> AsyncIterator[list[bytes]]:
    yield [line_of(entity)]


def _past(place: Place, directory: str | None, wanted: Wanted, which: tuple[str, bool]) -> tuple[Entity, datetime]:
    kind, entity_id = kind_of(which[1]), validate_id(which[0])
    with snapshots_in(directory_of(place, directory)) as folder, opened(place) as backend:
        entity, moment = past_version(folder, (kind, entity_id), wanted, backend)
    if entity is None:
        raise EntityNotFoundError(
            f"there was no {kind} {entity_id!r} at {format_time(moment)}", hint="`history` shows its versions."
        )
    return entity, moment
