"""What the commands about snapshots share: the store's back end, its settings, and how a snapshot is shown.

It is no command itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.table import Table

from synthians_memory.config import StoreConfig
from synthians_memory.entrypoints.cli.output import table
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.maintenance.care import own_directory
from synthians_memory.maintenance.snapshots import SnapshotInfo
from synthians_memory.storage.local import LocalBackend

__all__ = ["FromOption", "directory_of", "opened", "settings_of", "snapshot_table"]

FromOption = Annotated[
    str | None, typer.Option("--from", metavar="DIR", help="Where the snapshots are; without it in the store itself.")
]


def settings_of(place: Place) -> StoreConfig:
    """The store's settings, as the configuration has them."""
    return place.configuration.store_config


@contextmanager
def opened(place: Place) -> Iterator[LocalBackend]:
    """The store's directory, of which nothing is changed by opening it.

    Raises:
        NotAStoreError, DiskError: as `Place.require`.
    """
    place.require()
    backend = LocalBackend(place.path)
    try:
        yield backend
    finally:
        backend.close()


def directory_of(place: Place, written: str | None) -> str:
    """The directory that --from means.

    Raises:
        NotAStoreError, EntityNotFoundError, DiskError: there is none in the store.
    """
    if written is not None:
        return written
    with opened(place) as backend:
        return own_directory(backend)


def snapshot_table(snapshots: Sequence[SnapshotInfo]) -> Table:
    """One row for each."""
    rows = [
        (
            info.name,
            info.ring,
            info.taken_at.strftime("%Y-%m-%dT%H:%M:%SZ") if info.taken_at else "",
            f"{info.memories:,} + {info.assemblies:,}",
            "; ".join(info.problems[:3]) or (f"{info.missing} missing" if info.missing else "whole"),
        )
        for info in snapshots
    ]
    return table(("name", "ring", "moment", "entities", "state"), rows, wrapped=("state",))
