"""Writing a report about a store into a file that a user names.

It is not the page itself, and writes nothing into the store.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping

from synthians_memory.errors import InvalidValueError
from synthians_memory.maintenance.configuration import load_configuration
from synthians_memory.maintenance.report.facts import MOST_POINTS, Progress, gather_facts
from synthians_memory.maintenance.report.page import page_of
from synthians_memory.storage.streams import STANDARD_STREAM, write_lines
from synthians_memory.times import Clock, SystemClock

__all__ = ["report_page", "write_report"]


async def write_report(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    contents: bool = True,
    points: int = MOST_POINTS,
    environment: Mapping[str, str] = os.environ,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> int:
    """Write a page in HTML about the store at `path`; the store is only read, beside a writer as well.

    Args:
        path: the store's directory.
        out: the file, which appears whole or not at all; "-" is standard output.
        contents: whether the page shows how memories begin; else it has their ids alone.
        points: at most so many memories on the map.
        environment: as for `load_configuration`.
        clock: source of time.
        progress: called in another thread with what is done, how many steps of it, and of how many (0: not known).

    Returns:
        The length of the page in bytes.

    Raises:
        InvalidValueError: `out` lies in the store, or a setting is wrong.
        NotAStoreError, StoreFormatError, DiskError: the store cannot be opened for reading, or `out` not be written.
    """
    _require_outside(os.fspath(path), os.fspath(out))
    page = await asyncio.to_thread(
        report_page, path, contents=contents, points=points, environment=environment, clock=clock, progress=progress
    )
    async with write_lines(out) as lines:
        await lines.write(page.split(b"\n"))
    return len(page) + 1


def report_page(
    path: str | os.PathLike[str],
    *,
    contents: bool = True,
    points: int = MOST_POINTS,
    environment: Mapping[str, str] = os.environ,
    clock: Clock | None = None,
    progress: Progress | None = None,
) -> bytes:
    """The page that `write_report` writes, made in the calling thread; arguments and errors are the same."""
    config = load_configuration(path, environment).store_config.with_overrides(target_recall=1.0)
    facts = gather_facts(
        os.fspath(path),
        clock or SystemClock(),
        config=config,
        contents=contents,
        points=points,
        progress=progress or _unseen,
    )
    return page_of(facts)


def _unseen(name: str, done: int, total: int) -> None:
    """Nobody looks."""


def _require_outside(store: str, out: str) -> None:
    if out == STANDARD_STREAM:
        return
    inside, root = os.path.realpath(out), os.path.realpath(store)
    if inside == root or inside.startswith(root + os.sep):
        raise InvalidValueError(
            f"{out} lies in the store, which a report does not change", path=out, hint="Name a file elsewhere."
        )
