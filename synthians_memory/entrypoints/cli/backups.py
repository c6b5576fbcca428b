"""The command backups: show the snapshots that there are, and prove them.

It takes none and removes none.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.snapshots import FromOption, directory_of, snapshot_table
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.errors import EntityNotFoundError
from synthians_memory.maintenance.care import snapshots_in
from synthians_memory.maintenance.snapshots import SnapshotInfo, list_snapshots, verify_snapshots

__all__ = ["EXAMPLES", "backups"]

EXAMPLES: Final = ("--store notes backups", "--store notes backups --verify --from /mnt/copies/notes")


def backups(
    context: typer.Context,
    verify: Annotated[bool, typer.Option("--verify", help="Read and hash every byte that they need.")] = False,
    directory: FromOption = None,
    as_json: JsonOption = False,
) -> int:
    """Show all snapshots.

    The exit code is 5 where one is damaged, as far as it was looked at, or lacks something that could not be had.
    """
    return run(_backups(Place.of(context), directory, verify, Output.wanted(as_json)))


async def _backups(place: Place, directory: str | None, verify: bool, output: Output) -> int:
    where, found = await asyncio.to_thread(_look, place, directory, verify)
    if output.json:
        output.document({"directory": where, "verified": verify, "snapshots": [info.to_dict() for info in found]})
    else:
        output.show(snapshot_table(found) if found else "no snapshots")
    return ExitCode.OK if all(info.whole for info in found) else ExitCode.DAMAGED


def _look(place: Place, directory: str | None, verify: bool) -> tuple[str, list[SnapshotInfo]]:
    try:
        where = directory_of(place, directory)
    except EntityNotFoundError:
        return "", []
    with snapshots_in(where) as folder:
        if not verify:
            return where, list_snapshots(folder)
        with progress("verifying", "parts") as move:
            return where, verify_snapshots(folder, move)
