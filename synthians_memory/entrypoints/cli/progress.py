"""Progress on standard error, where a person sits before it: records, rate, time gone and time left.

It is not a report: nothing that it shows is needed to know what happened.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["Moving", "progress"]


class Moving(Protocol):
    """Told how far the work is; from any thread."""

    def __call__(self, records: int, done: float | None = None, total: float | None = None) -> None:
        """`records` are behind us; they are `done` of `total`, in any unit, where that is known."""


class _Rate(ProgressColumn):
    """Records a second since the beginning."""

    def render(self, task: Task) -> Text:
        seconds = task.elapsed
        return Text(f"{task.fields['records'] / seconds:,.0f}/s" if seconds else "")


@contextmanager
def progress(doing: str, unit: str) -> Iterator[Moving]:
    """Show progress while the block runs; nothing where standard error is no terminal.

    Args:
        doing: the verb ("importing").
        unit: what is counted ("records").
    """
    if not sys.stderr.isatty():
        yield _unseen
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[records]:,} " + unit),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    console = Console(file=sys.stderr, markup=False, highlight=False)
    with Progress(*columns, console=console) as shown:
        task = shown.add_task(doing, total=None, records=0)

        def move(records: int, done: float | None = None, total: float | None = None) -> None:
            shown.update(task, records=records, completed=done if done is not None else records, total=total)

        yield move


def _unseen(records: int, done: float | None = None, total: float | None = None) -> None:
    """Nobody looks."""
