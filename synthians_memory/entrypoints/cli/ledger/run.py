"""The command ledger run: run a command, and record it with all that it prints.

It decides nothing about the command's own exit code, which it passes on.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.ledger.places import DirOption, directory_of, writing_ledger
from synthians_memory.entrypoints.cli.output import tell
from synthians_memory.entrypoints.cli.program import fail
from synthians_memory.errors import InvalidValueError, SynthiansMemoryError
from synthians_memory.ledger.running import CompletedRun, run_command

__all__ = ["EXAMPLES", "run"]

EXAMPLES: Final = ("--store notes ledger run --task notes:1 -- make test", "--store notes ledger run python -V")


def run(
    context: typer.Context,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="CMD...", help="The program and its arguments, after --.")
    ] = None,
    *,
    task: Annotated[str | None, typer.Option(metavar="ID", help="The task that it belongs to.")] = None,
    layer: Annotated[str | None, typer.Option(metavar="LAYER", help="Its layer, such as L4.")] = None,
    fact: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A fact derived from it. May be repeated.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A further variable that is kept. May be repeated.")
    ] = None,
    input_file: Annotated[
        list[str] | None, typer.Option("--input", metavar="FILE", help="A file to keep as an input. May be repeated.")
    ] = None,
    output_file: Annotated[
        list[str] | None,
        typer.Option("--output", metavar="FILE", help="A file that it makes, to keep. May be repeated."),
    ] = None,
    directory: DirOption = None,
) -> int:
    """Run a command, and record it.

    Its output is passed on and kept in the capsule of the run, its exit code passed on and recorded, also where it fails or is
    interrupted. 125 says that it could not be recorded, 126 that it could not be executed, 127 that there is no such command.
    """
    given: dict[str, Any] = {"task": task, "layer": layer, "derived_facts": fact}
    event = {name: value for name, value in given.items() if value}
    try:
        if not command:
            raise InvalidValueError("there is no command to run", hint="Give it after --: ledger run -- make test")
        with writing_ledger(directory_of(context, directory)) as ledger:
            done: CompletedRun = run_command(
                ledger,
                command,
                event,
                environment=os.environ,
                echo=_echo,
                keep=env or (),
                inputs=input_file or (),
                outputs=output_file or (),
            )
    except SynthiansMemoryError as error:
        fail(error)
        return ExitCode.NOT_RECORDED
    tell("recorded", f"run {done.run_id}, exit status {done.exit_status}")
    return done.exit_status


def _echo(stream: str, data: bytes) -> None:
    target = sys.stdout if stream == "stdout" else sys.stderr
    # Nobody may be listening any more; the capsule has it.
    with suppress(OSError):
        target.flush()
        target.buffer.write(data)
        target.flush()
