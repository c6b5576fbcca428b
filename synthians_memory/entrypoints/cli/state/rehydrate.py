"""The command state rehydrate: everything that the files of the state say, as one JSON object.

It changes none of them, and fails for nothing that it finds in them.
"""

from __future__ import annotations

import asyncio
import os
from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.output import Output, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.state.place import StateDirOption, StatePlace
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.streams import STANDARD_STREAM, write_lines

__all__ = ["EXAMPLES", "rehydrate_state"]

EXAMPLES: Final = (
    "--store notes state rehydrate",
    "state rehydrate --state-dir .memory --output .memory/context.json",
)


def rehydrate_state(
    context: typer.Context,
    state_dir: StateDirOption = None,
    output: Annotated[
        str, typer.Option(metavar="FILE", help="Written in one step, its directory made; - is standard output.")
    ] = STANDARD_STREAM,
) -> int:
    """Print the whole state as one JSON object.

    What is missing, cannot be read or does not fit its schema is a warning, in the object and on standard error; the exit code
    is 0 all the same. No file of the state is changed, and a program may go on writing meanwhile.
    """
    return run(_rehydrate(StatePlace.of(context, state_dir), output))


async def _rehydrate(place: StatePlace, output: str) -> int:
    if output != STANDARD_STREAM:
        place.require_other(output)
    found = await asyncio.to_thread(place.rehydrate)
    for warning in found.warnings:
        tell("warning", warning)
    data = found.to_json()
    if output == STANDARD_STREAM:
        Output(json=True).line(data)
    else:
        _make_directory_of(output)
        async with write_lines(output) as lines:
            await lines.write(data.split(b"\n"))
    return ExitCode.OK


def _make_directory_of(path: str) -> None:
    directory = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(directory):
        LocalBackend(directory, create=True).close()
