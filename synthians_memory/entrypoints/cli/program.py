"""The frame around every command: its event loop, and the exit code that each way of ending it gives.

It is not a command, and knows none.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import sys
from collections.abc import Coroutine, Mapping
from typing import Any, ClassVar, Final, cast

import typer
from typer.core import TyperCommand, TyperGroup

from synthians_memory.entrypoints.cli.exits import ExitCode, answer_to
from synthians_memory.entrypoints.cli.output import flush_output, tell
from synthians_memory.errors import DiskError, SynthiansMemoryError, disk_error

__all__ = ["Program", "RunningCommand", "fail", "run"]

# The root of typer's errors of usage has no public name in all of its versions.
_UsageError: Final = cast("type[Any]", typer.BadParameter.__base__)


class Program(TyperGroup):
    """All commands; each returns its exit code, and no error of theirs ends in a traceback.

    Attributes:
        aliases: other names, which no list shows, of commands.
    """

    aliases: ClassVar[Mapping[str, str]] = {}

    def get_command(self, context: Any, name: str) -> Any:
        """The command of that name or alias; None where there is none."""
        return super().get_command(context, self.aliases.get(name, name))

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command line and leave with its exit code. SystemExit always."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="replace")
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except _UsageError as error:
            code = _misused(error)
        sys.exit(int(code or 0))

    def invoke(self, context: Any) -> Any:
        """Run one command; its exit code, or that of what ended it."""
        try:
            code = super().invoke(context)
        except SynthiansMemoryError as error:
            code = fail(error)
        unwritten = flush_output()
        if unwritten is not None and code != ExitCode.BROKEN_PIPE:
            code = fail(disk_error(unwritten, "write", "standard output"))
        return code


class RunningCommand(TyperCommand):
    """A command that runs another program, and passes on its exit code: misuse has one that tells them apart."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        """Read its arguments. Ends with NOT_RECORDED where they are wrong."""
        try:
            return super().make_context(*args, **extra)
        except _UsageError as error:
            _misused(error)
            raise typer.Exit(ExitCode.NOT_RECORDED) from error


def fail(error: SynthiansMemoryError) -> ExitCode:
    """Say what happened and what to do about it; the exit code for it. A reader that went away is no failure."""
    if isinstance(error, DiskError) and error.errno == errno.EPIPE:
        return ExitCode.BROKEN_PIPE
    answer = answer_to(error)
    tell("error", error.message)
    if answer.hint:
        tell("hint", answer.hint)
    return answer.code


def _misused(error: Any) -> ExitCode:
    message = error.format_message().rstrip(".")
    tell("error", message)
    path = error.ctx.command_path if error.ctx else "synthians-memory"
    if message.startswith("No such option: --store"):
        tell("hint", "Write --store PATH before the command.")
    else:
        tell("hint", f"See {path} --help.")
    return ExitCode.USAGE


def run(work: Coroutine[Any, Any, int]) -> int:
    """Run a command's work in an event loop of its own; its exit code.

    Ctrl-C cancels the work, which closes the store and keeps all that was acknowledged, and ends the process.
    """
    with asyncio.Runner() as runner:
        try:
            return runner.run(work)
        except KeyboardInterrupt:
            tell("interrupted", "everything that was acknowledged is kept.")
            tell("hint", "Run the same command again: it goes on, or skips what is done already.")
            flush_output()
            # A thread that waits for standard input cannot be woken, and closing the loop would wait for it.
            os._exit(ExitCode.INTERRUPTED)
