"""Disks that fail under a real file system: what is not durable is not acknowledged, and what was is kept."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from acknowledged import Acknowledged
from crash_images import POLICIES, PowerCuts, read_log
from disk_bench import Bench, Life, Meanwhile, await_in_log
from editions import DIMENSION
from fork_server import ForkServer
from mounts import make_image
from recording_disk import BROKEN, HEALTHY, UNFLUSHABLE, RecordingDisk

CONFIG: dict[str, Any] = {
    "embedding_dimension": DIMENSION,
    "segment_bytes": 64 * 1024,
    "checkpoint_interval": 0.05,
}
LAZY_EXT4 = "noauto_da_alloc,commit=300"


def fails_for_good(health: bytes) -> Meanwhile:
    def meanwhile(disk: RecordingDisk, log: Path) -> None:
        await_in_log(log, "done", times=20)
        disk.become(health)
        await_in_log(log, "refused", "failed", times=3)

    return meanwhile


def fails_for_a_moment(health: bytes) -> Meanwhile:
    def meanwhile(disk: RecordingDisk, log: Path) -> None:
        fails_for_good(health)(disk, log)
        disk.become(HEALTHY)

    return meanwhile


@pytest.mark.parametrize("health", [BROKEN, UNFLUSHABLE], ids=["writes", "flushes"])
@pytest.mark.parametrize(
    ("fails", "options"),
    [(fails_for_good, LAZY_EXT4), (fails_for_a_moment, f"errors=continue,{LAZY_EXT4}")],
    ids=["for good", "for a moment"],
)
async def test_a_failing_disk_loses_nothing_acknowledged(
    fork_server: ForkServer, images: Path, tmp_path: Path, health: bytes, fails: Any, options: str
) -> None:
    bench, rng = Bench(fork_server, images, tmp_path, "ext4", options), Random(1)
    pristine = images / "pristine"
    make_image(pristine, "ext4")
    life: Life = {"config": CONFIG, "seed": 1, "life": 1, "seconds": 0.3, "faulty": True}
    records = read_log(bench.record(pristine, [life], fails(health)))
    cuts = PowerCuts(pristine, records, Acknowledged())
    cuts.advance(len(records))
    assert cuts.history.operations >= 20
    assert cuts.history.refusals
    for policy in POLICIES:
        await bench.require_kept(cuts, policy, rng, f"at the end, {policy}")
