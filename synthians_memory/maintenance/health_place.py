"""Where a store and its snapshots are, and what a health pass may do there.

It looks at nothing by itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Final

from synthians_memory.config import StoreConfig
from synthians_memory.engine.medium import local_medium
from synthians_memory.engine.part import Part
from synthians_memory.errors import InvalidValueError
from synthians_memory.maintenance.care import own_directory, snapshots_in, snapshots_to
from synthians_memory.maintenance.configuration import Configuration
from synthians_memory.maintenance.event_log import MOST_LOG_BYTES
from synthians_memory.maintenance.snapshot_folder import SnapshotFolder
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock, SystemClock

__all__ = ["HealthPlace", "HealthSettings", "configured_settings", "local_place"]

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class HealthSettings:
    """What a pass does.

    Attributes:
        sample: 1: every byte is read in each pass; N: that of entity files a share is read, so that N passes read all.
        mend: whether anything is mended.
        auto_rollback: whether a snapshot may take the place of the store, and what is in no backup be set aside.
        backup_enabled: whether the snapshot that is due is taken.
        backup_retention_days: how many days have a snapshot that stays.
        most_backup_age: seconds after which the newest whole snapshot is overdue.
        least_free_bytes: space below which people are told.
        least_free_inodes: likewise.
        most_log_bytes: size from which a log is set aside.
    """

    sample: int = 1
    mend: bool = True
    auto_rollback: bool = True
    backup_enabled: bool = True
    backup_retention_days: int = 7
    most_backup_age: float = 26 * 3600.0
    least_free_bytes: int = 64 * _MIB
    least_free_inodes: int = 1000
    most_log_bytes: int = MOST_LOG_BYTES

    def __post_init__(self) -> None:
        if self.sample < 1 or self.backup_retention_days < 1:
            raise InvalidValueError("sample and backup_retention_days must be at least 1")


def configured_settings(
    configuration: Configuration, *, sample: int = 1, mend: bool = True, backup: bool = True
) -> HealthSettings:
    """What the configuration of a store lets a pass do; `sample`, `mend` and `backup` as the caller wants them."""
    return HealthSettings(
        sample=sample,
        mend=mend,
        auto_rollback=configuration.auto_rollback,
        backup_enabled=backup and configuration.backup_enabled,
        backup_retention_days=configuration.backup_retention_days,
    )


@dataclass(frozen=True, slots=True)
class HealthPlace:
    """A store that nobody needs to have open.

    Attributes:
        open_store: opens its medium; DiskError or NotAStoreError where it is not there.
        make_store: the same, and makes its directory where it is gone.
        snapshots: opens the directory of its snapshots, held for reading (False) or for writing (True).
        parts: what lives in it beside its memories and assemblies.
        config: its settings.
        clock: source of time.
    """

    open_store: Callable[[], Backend]
    make_store: Callable[[], Backend]
    snapshots: Callable[[bool], AbstractContextManager[SnapshotFolder]]
    parts: Sequence[Part] = ()
    config: StoreConfig = field(default_factory=StoreConfig)
    clock: Clock = field(default_factory=SystemClock)


def local_place(
    config: StoreConfig,
    *,
    parts: Sequence[Part] = (),
    clock: Clock | None = None,
    snapshots: str | os.PathLike[str] | None = None,
) -> HealthPlace:
    """A store in a directory.

    Args:
        config: its settings, with its path.
        parts: as in HealthPlace; `facade.PARTS` are those of the library.
        clock: source of time; None: the machine's.
        snapshots: where its snapshots are; None: in its own directory.
    """

    @contextmanager
    def opened(exclusive: bool) -> Iterator[SnapshotFolder]:
        directory = os.fspath(snapshots) if snapshots is not None else _own(config, create=exclusive)
        with snapshots_to(directory) if exclusive else snapshots_in(directory) as folder:
            yield folder

    return HealthPlace(
        open_store=lambda: local_medium(config, create=False),
        make_store=lambda: local_medium(config, create=True),
        snapshots=opened,
        parts=parts,
        config=config,
        clock=clock or SystemClock(),
    )


def _own(config: StoreConfig, *, create: bool) -> str:
    backend = local_medium(config, create=False)
    try:
        return own_directory(backend, create=create)
    finally:
        backend.close()
