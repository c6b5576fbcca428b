"""Power cuts on a real file system while a program stores, decides and migrates: rows and memories hold what was acknowledged."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from crash_images import POLICIES, PowerCuts, copy_image, read_log
from mounts import make_image, mounted, mounted_image, require_recording_disks, tmpfs
from recording_disk import recording_disk
from tier_program import verified

PROGRAM = Path(__file__).with_name("tier_program.py")
# As lazy as ext4 may be: nothing reaches the disk because some time has passed, or because a file is renamed.
LAZY = "noauto_da_alloc,commit=300"


class History:
    """What the program acknowledged, as it stands in the disk's log."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, Any] = {}

    def note(self, line: Mapping[str, Any]) -> None:
        self.acknowledged[f"{line['table']} {line['id']}"] = line["record"]


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory for disk images."""
    require_recording_disks("ext4")
    with tmpfs(tmp_path / "images", "size=2g") as directory:
        yield directory


def recorded(images: Path, seconds: tuple[float, ...]) -> PowerCuts:
    """An empty disk on which the program lives so many times, and is killed each time after so many seconds."""
    pristine, backing, log = images / "pristine", images / "backing", images / "log"
    make_image(pristine, "ext4", mebibytes=96)
    copy_image(pristine, backing)
    with (
        recording_disk(backing, log) as disk,
        mounted(disk.device, images / "recorded", "ext4", LAZY) as target,
    ):
        for number, duration in enumerate(seconds):
            descriptor = disk.marks.fileno()
            arguments = [sys.executable, str(PROGRAM), str(target / "store"), str(number), str(descriptor)]
            with subprocess.Popen(arguments, stdout=subprocess.PIPE, pass_fds=[descriptor]) as process:
                assert process.stdout is not None
                assert process.stdout.readline()
                time.sleep(duration)
                os.kill(process.pid, signal.SIGKILL)
                process.stdout.read()
    return PowerCuts(pristine, read_log(log), cast(Any, History()))


async def cut(images: Path, cuts: PowerCuts, count: int, rng: Random) -> int:
    """Cut the power at so many random moments, and hold what is left against what was acknowledged; returns the most of that."""
    for moment in sorted(rng.sample(cuts.moments, count)):
        cuts.advance(moment)
        acknowledged = dict(cast(Any, cuts.history).acknowledged)
        for policy in POLICIES:
            cuts.leave(policy, images / "cut", rng)
            with mounted_image(images / "cut", images / "after", "ext4", LAZY) as target:
                if not (target / "store" / "tiers" / "longterm.db").exists():
                    assert not acknowledged, f"before record {moment}, {policy}"
                    continue
                try:
                    await verified(target / "store", acknowledged)
                except BaseException as error:
                    error.add_note(f"power cut before record {moment}, {policy}")
                    raise
    return len(acknowledged)


async def test_a_power_cut_loses_no_row_and_parts_no_goal(images: Path) -> None:
    rng = Random(1)
    assert await cut(images, recorded(images, (0.5, 0.5)), 3, rng) > 0


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("seed", range(3))
async def test_many_power_cuts_lose_no_row_and_part_no_goal(images: Path, seed: int) -> None:
    rng = Random(100 + seed)
    cuts = recorded(images, (rng.uniform(0.3, 1.0), rng.uniform(0.3, 1.0), rng.uniform(0.3, 1.0)))
    assert await cut(images, cuts, 40, rng) > 30
