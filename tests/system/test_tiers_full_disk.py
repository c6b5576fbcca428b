"""Tiers on a disk that is full: a write is refused, what was acknowledged stays, and with space again it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mounts import make_image, mounted_image, require_disks, require_mounts, tmpfs

from synthians_memory import MemoryPersistence
from synthians_memory.errors import DiskError, DiskFullError
from synthians_memory.layout import WORKING_DB
from synthians_memory.tiers import Event, Goal, Tiers

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
BALLAST = "file of another program"


@contextmanager
def small_disk(kind: str, place: Path) -> Iterator[Path]:
    if kind == "ext4":
        require_disks(kind)
        make_image(place / "image", kind, mebibytes=12)
        with mounted_image(place / "image", place / "disk", kind) as disk:
            yield disk
    else:
        require_mounts()
        with tmpfs(place / "disk", "size=6m") as disk:
            yield disk


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
async def test_a_full_disk_refuses_rows_and_loses_none(tmp_path: Path, kind: str) -> None:
    with small_disk(kind, tmp_path) as disk:
        (disk / BALLAST).write_bytes(b"x" * 1_500_000)
        acknowledged = await _filled(disk)
        async with MemoryPersistence(disk / "store", embedding_dimension=4) as store, Tiers(store) as tiers:
            assert {goal.key for goal in await tiers.working.get_active_goals()} == acknowledged
            assert [f for f in await store.verify_consistency() if f.severity != "note"] == []


async def _filled(disk: Path) -> set[str]:
    """Store goals until the disk is full, then free space and go on; the ids of those that were acknowledged."""
    acknowledged: set[str] = set()
    async with MemoryPersistence(disk / "store", embedding_dimension=4) as store, Tiers(store) as tiers:

        async def store_next() -> None:
            goal = Goal(id=f"g{len(acknowledged)}", description="x", metadata={"text": "y" * 3000})
            acknowledged.add((await tiers.working.store_goal(goal)).key)

        async def store_all() -> None:
            while True:
                await store_next()

        with pytest.raises(DiskFullError, match=r"tiers/working\.db"):
            await store_all()
        assert (disk / "store" / WORKING_DB).exists()
        # It says so each time, reads go on, and a larger write changes nothing either.
        with pytest.raises(DiskFullError):
            await store_next()
        with pytest.raises(DiskError):
            await tiers.working.store_events(
                [Event(category="c", source="s", data={"t": "z" * 9000}) for _ in range(99)]
            )
        assert len(await tiers.working.get_active_goals()) == len(acknowledged)
        (disk / BALLAST).unlink()
        for _ in range(20):
            await store_next()
        assert await tiers.working.get_events() == []
    return acknowledged
