"""The command verify-disk: try the disk that a store will live on, crash suite included.

It looks at no store: what is there already is left alone.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final

import typer
from rich.text import Text

from synthians_memory.entrypoints.cli.exits import ExitCode, InputMissingError
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, table, tell
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.stores import path_of_store
from synthians_memory.errors import InvalidValueError
from synthians_memory.testing.disk_trial import UNSEEN, DiskReport, try_disk
from synthians_memory.times import SystemClock

__all__ = ["EXAMPLES", "verify_disk"]

EXAMPLES: Final = ("--store notes verify-disk", "synthians-memory verify-disk /mnt/data --kills 200")

_STYLES: Final = {"ok": "", "warning": "yellow", "failed": "bold red", "lost": "bold red", "skipped": "dim"}
_ENDINGS: Final = ("SIGTERM", "SIGHUP")


def verify_disk(
    context: typer.Context,
    path: Annotated[
        str | None,
        typer.Argument(metavar="PATH", help="A directory on the disk; without it that of the store, or the one above."),
    ] = None,
    kills: Annotated[int, typer.Option(min=0, metavar="N", help="How many processes to kill.")] = 20,
    as_json: JsonOption = False,
) -> int:
    """Try the disk that a store will live on.

    Finds out what the file system does, how long syncs take, and what processes leave that are killed while they write. Works in a
    fresh directory inside PATH, removes it afterwards, and touches nothing else. The exit code is 1 where something is
    not as the store needs it, and 5 where something was lost.
    """
    output = Output.wanted(as_json)
    directory = _directory(path_of_store(context) if path is None else path)
    try:
        with _ended_like_interrupted(), progress("killing", "processes") as move:
            report = try_disk(
                directory,
                kills=kills,
                seed=SystemClock().micros(),
                progress=lambda done, total: move(done, total=total),
            )
    except KeyboardInterrupt:
        tell("interrupted", "the directory of the trial was removed.")
        return ExitCode.INTERRUPTED
    _tell(report, output)
    if report.has("lost"):
        return ExitCode.DAMAGED
    return ExitCode.OK if report.suitable else ExitCode.FINDINGS


def _directory(path: str) -> str:
    """`path`, or where it is missing the directory that it would be made in.

    Raises:
        InputMissingError: that is missing as well.
        InvalidValueError: it is no directory.
    """
    found = os.path.abspath(path)
    if not os.path.lexists(found):
        found = os.path.dirname(found)
    if not os.path.exists(found):
        raise InputMissingError(f"there is no directory {found}", path=found, hint="Give an existing directory.")
    if not os.path.isdir(found):
        raise InvalidValueError(
            f"{found} is no directory", path=found, hint="Give a directory on the disk to be tried."
        )
    return found


@contextmanager
def _ended_like_interrupted() -> Iterator[None]:
    """A process that is told to end cleans up as after a Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in _ENDINGS if hasattr(signal, name)]
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _tell(report: DiskReport, output: Output) -> None:
    if output.json:
        output.document(report.to_dict())
        return
    rows = [(f.name, Text(f.result, _STYLES[f.result]), Text(cleaned(f.detail))) for f in report.facts]
    output.show(table(("test", "result", "what was seen"), rows, wrapped=("what was seen",)), "")
    output.show(_verdict(report), UNSEEN)


def _verdict(report: DiskReport) -> str:
    place, seconds = report.directory.rpartition(os.sep)[0] or os.sep, f"({report.seconds:.1f} s)"
    if not report.suitable:
        return f"{place} is no place for a store {seconds}."
    warnings = f", with {report.warnings} warnings" if report.warnings else ""
    return f"{place} does what a store needs{warnings} {seconds}."
