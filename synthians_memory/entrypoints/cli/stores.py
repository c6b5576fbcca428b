"""The store that a command works on: found, opened for what the command does, its opening reported.

It is not the store's own opening, which `MemoryPersistence` does.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self

import typer

from synthians_memory.embedder import Embedder
from synthians_memory.entrypoints.cli.output import tell, tell_first
from synthians_memory.errors import NotAStoreError, SearchTimeoutError, disk_error
from synthians_memory.facade import MemoryPersistence
from synthians_memory.layout import CONFIGURATION
from synthians_memory.maintenance.configuration import Configuration, load_configuration, store_path

__all__ = ["Place", "index_words", "path_of_store"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the store is, and with which settings.

    Attributes:
        configuration: what holds for it.
    """

    configuration: Configuration

    @classmethod
    def of(cls, context: typer.Context) -> Self:
        """What --store, the environment and the configuration files say. Raises as `load_configuration`."""
        return cls(load_configuration(_written(context)))

    @property
    def path(self) -> str:
        """The store's directory."""
        return self.configuration.path

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the store that the environment or a file gives."""
        return self.configuration.settings

    @property
    def is_empty(self) -> bool:
        """Whether nothing is there yet, but at most the store's own settings.

        Raises:
            NotAStoreError: something is, and no directory.
            DiskError: it cannot be looked at.
        """
        try:
            with os.scandir(self.path) as entries:
                return all(entry.name == CONFIGURATION for entry in entries)
        except FileNotFoundError:
            return True
        except NotADirectoryError as error:
            raise NotAStoreError(
                f"{self.path} is no directory", path=self.path, hint="Give --store the directory of a store."
            ) from error
        except OSError as error:
            raise disk_error(error, "read", self.path) from error

    def require(self) -> None:
        """Refuse a place where a store would have to be made first.

        Raises:
            NotAStoreError, DiskError: as `is_empty`, or it is.
        """
        if self.is_empty:
            raise NotAStoreError(
                f"{self.path} holds no store",
                path=self.path,
                hint="Give --store the directory of a store, or make one with `init` or `import`.",
            )

    @asynccontextmanager
    async def reading(self, embedder: Embedder | None = None) -> AsyncIterator[MemoryPersistence]:
        """The store, open read-only: nothing on disk changes, and a writer may go on beside.

        Its searches are exact: a command ends before lists of vectors would be there to look into.
        """
        self.require()
        settings = {**self.settings, "target_recall": 1.0}
        async with MemoryPersistence(self.path, read_only=True, embedder=embedder, **settings) as store:
            yield store

    @asynccontextmanager
    async def writing(
        self, *, create: bool = False, embedder: Embedder | None = None, **overrides: Any
    ) -> AsyncIterator[MemoryPersistence]:
        """The store, open for changes; what recovery and repair did at the opening is told on standard error.

        Args:
            create: whether it is made where nothing is.
            embedder: as `MemoryPersistence`.
            overrides: settings that go before those of the environment and of files.
        """
        if not create:
            self.require()
        settings = {**self.settings, **overrides}
        async with MemoryPersistence(self.path, embedder=embedder, **settings) as store:
            _tell_of_opening(store)
            yield store

    async def recorded_embedder(self) -> str | None:
        """The name of the embedder whose vectors the store holds; None where it names none.

        Raises:
            NotAStoreError, DiskError: as `require`.
        """
        async with self.reading() as store:
            name: str | None = store.stats()["embedder"]
            return name


def path_of_store(context: typer.Context) -> str:
    """The store's directory, for a command that needs no settings of it. Raises as `store_path`."""
    return store_path(_written(context))


def _written(context: typer.Context) -> str | None:
    """What --store says; None without it. The environment is asked where the configuration is loaded."""
    root = context.find_root()
    source = root.get_parameter_source("store")
    return str(root.params["store"]) if source is not None and source.name == "COMMANDLINE" else None


async def index_words(store: MemoryPersistence, seconds: float | None = None) -> None:
    """Bring the text index up to date, so that commands that only read find it so.

    Args:
        store: open for changes.
        seconds: how long at most; what is done by then stays, and is gone on with the next time. None: no limit.

    Raises:
        DiskError: an entity cannot be read.
    """
    with suppress(SearchTimeoutError):
        # A question without a word finds nothing, and waits for the index like any other.
        await store.recall("", 1, "text", timeout=seconds)


def _tell_of_opening(store: MemoryPersistence) -> None:
    report, stats = store.opening_report, store.stats()
    tell_first("recovered", [note["message"] for note in stats["notes"]], "see `stats`")
    tell_first("repaired", list(report.actions), "what was moved is in the quarantine folder")
    remaining = [finding for finding in report.remaining if finding.severity != "note"]
    tell_first("found", [finding.message for finding in remaining], "see `check`")
    if remaining:
        tell("hint", "Run `check` to see what is wrong, then `repair`.")
