"""Programs of the fork server's children that back a store up, and restore it, until they end or are killed."""

from __future__ import annotations

from typing import Any

from workload import Report

from synthians_memory.maintenance.care import backup_store, snapshots_in
from synthians_memory.maintenance.restore import Wanted, restore_store
from synthians_memory.maintenance.source import SnapshotSource, base_beside
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import SystemClock


def back_up(settings: dict[str, Any], report: Report) -> None:
    """Take one snapshot after the other of the store at `path` into `to`; tells when each begins and is done."""
    clock = SystemClock()
    while True:
        report.say(begins=True)
        backend = LocalBackend(settings["path"])
        source = SnapshotSource(backend, lambda backend=backend: base_beside(backend, clock), clock)  # type: ignore[misc]
        taken = backup_store(source, settings["to"], full=settings["full"])
        backend.close()
        report.say(taken=taken.snapshot.name)


def restore(settings: dict[str, Any], report: Report) -> None:
    """Make the store at `path` again from the snapshot `name` in `to`."""
    report.say(begins=True)
    with snapshots_in(settings["to"]) as folder:
        restore_store(lambda: LocalBackend(settings["path"]), folder, Wanted(settings["name"]), SystemClock())
    report.say(restored=True)
