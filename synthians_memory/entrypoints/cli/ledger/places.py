"""The ledger that a command works on: that of the store, or any directory.

It does no ledger's work.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from synthians_memory.embedder import Embedder
from synthians_memory.entrypoints.cli.embedders import known_embedder
from synthians_memory.entrypoints.cli.output import tell
from synthians_memory.entrypoints.cli.stores import Place, path_of_store
from synthians_memory.errors import MissingExtraError
from synthians_memory.layout import LEDGER, SUPERBLOCK
from synthians_memory.ledger.ledger import Ledger
from synthians_memory.ledger.opening import open_ledger
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import MemoryBackend

__all__ = [
    "LATEST",
    "DirOption",
    "directory_of",
    "embedder_of",
    "reading_ledger",
    "run_named",
    "store_of",
    "writing_ledger",
]

LATEST = "latest"

DirOption = Annotated[
    str | None,
    typer.Option("--dir", metavar="PATH", help="The ledger's directory. Without it: ledger in the store's directory."),
]


def directory_of(context: typer.Context, written: str | None) -> str:
    """Where the ledger is."""
    return written if written is not None else os.path.join(path_of_store(context), LEDGER)


def store_of(context: typer.Context, written: str | None) -> Place | None:
    """The store that the ledger lies in; None where it lies elsewhere, or no store is there.

    Raises:
        InvalidValueError: a setting of the store is wrong.
    """
    if written is not None:
        return None
    place = Place.of(context)
    return place if os.path.lexists(os.path.join(place.path, SUPERBLOCK)) else None


@contextmanager
def writing_ledger(directory: str) -> Iterator[Ledger]:
    """The ledger, made where it is missing; torn lines that it found are told on standard error."""
    ledger = open_ledger(directory)
    try:
        yield ledger
    finally:
        for path in ledger.set_aside:
            tell("recovered", f"a torn line, which was never acknowledged, was set aside as {path}")
        ledger.close()


@contextmanager
def reading_ledger(directory: str) -> Iterator[Ledger]:
    """The ledger; an empty one, as is told, where there is none."""
    backend: Backend
    if os.path.lexists(directory):
        backend = LocalBackend(directory)
    else:
        tell("hint", f"There is no ledger in {directory} yet; `ledger log` and `ledger run` make one.")
        backend = MemoryBackend()
    ledger = Ledger(backend)
    try:
        yield ledger
    finally:
        ledger.close()


def run_named(ledger: Ledger, written: str) -> str:
    """The run that a user means; "latest" is that of the last entry."""
    return (ledger.head().run_id if written == LATEST else "") or written


async def embedder_of(place: Place) -> Embedder | None:
    """The embedder that the store names; None where it names none, or one that is not installed."""
    try:
        return await known_embedder(place, None)
    except MissingExtraError as error:
        tell("hint", f"Saved without embeddings: {error.message}.")
        return None
