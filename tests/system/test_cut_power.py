"""Power cuts on real file systems: every state that the disk may be left in holds what was acknowledged."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from acknowledged import Acknowledged
from crash_images import POLICIES, Policy, PowerCuts, copy_image, read_log
from editions import DIMENSION
from fork_server import ForkServer
from mounts import make_image, mounted, mounted_image, require_recording_disks, tmpfs
from recording_disk import recording_disk
from verdict import require_kept

CUTS = 8
MANY_CUTS = 100
CONFIG: dict[str, Any] = {
    "embedding_dimension": DIMENSION,
    "segment_bytes": 64 * 1024,
    "checkpoint_interval": 0.05,
    "index_backup_count": 1,
    "backup_interval": 0.1,
}
# The kernel is told to be as lazy as it may be: nothing reaches the disk because some time has passed, and a
# rename over a file does not force its content out first.
LAZY_EXT4 = "noauto_da_alloc,commit=300"


@dataclass(frozen=True)
class Bench:
    """Where disks are recorded and cut.

    Attributes:
        server: of the children.
        images: a directory in memory.
        kept: a directory for what a failed test leaves.
        kind, options: of the file system on the disks.
    """

    server: ForkServer
    images: Path
    kept: Path
    kind: str
    options: str

    def record(self, pristine: Path, lives: list[dict[str, Any]]) -> Path:
        """The log of a disk, `pristine` at first, while processes with a store on it come and go.

        Each has the settings of `work` and `seconds`, after which it is killed; without them it ends by itself.
        """
        backing, log = self.images / "backing", self.images / f"log of {pristine.name}"
        copy_image(pristine, backing)
        with recording_disk(backing, log) as disk:
            with mounted(disk.device, self.images / "recorded", self.kind.split()[0], self.options) as target:
                for life in lives:
                    settings = {key: value for key, value in life.items() if key != "seconds"}
                    path = str(target / "store")
                    with closing(self.server.start("work", report_to=disk.marks, path=path, **settings)) as child:
                        if "seconds" in life:
                            time.sleep(life["seconds"])
                        else:
                            assert child.end() == 0
        backing.with_suffix(".fuse").rmdir()
        return log

    async def cut(self, cuts: PowerCuts, count: int, rng: Random) -> int:
        """Cut the power at so many random moments, and require of each state it may leave what must hold."""
        moments = sorted(rng.sample(cuts.moments, count))
        for moment in moments:
            cuts.advance(moment)
            for policy in POLICIES:
                await self._require_kept(cuts, policy, rng, f"before record {moment}, {policy}")
        return len(moments) * len(POLICIES)

    async def _require_kept(self, cuts: PowerCuts, policy: Policy, rng: Random, what: str) -> None:
        image = self.images / "cut"
        cuts.leave(policy, image, rng)
        try:
            with mounted_image(image, self.images / "after", self.kind, self.options) as target:
                await require_kept(target / "store", cuts.history.copy())
        except BaseException as error:
            cuts.leave(policy, self.kept / "cut", rng)
            error.add_note(f"power cut {what}; the disk before recovery is {self.kept / 'cut'}")
            raise


@pytest.fixture
def images(tmp_path: Path) -> Iterator[Path]:
    """A place in memory for disk images."""
    with tmpfs(tmp_path / "images", "size=4g") as directory:
        yield directory


def lives(rng: Random, **config: Any) -> list[dict[str, Any]]:
    """One is killed, one closes the store, one is killed."""
    settings = {"config": CONFIG | config, "seed": rng.random()}
    return [
        {**settings, "life": 1, "seconds": rng.uniform(0.2, 0.6)},
        {**settings, "life": 2, "steps": 10, "logged": 100.0},
        {**settings, "life": 3, "seconds": rng.uniform(0.2, 0.6), "logged": 0.6},
    ]


async def record_and_cut(bench: Bench, count: int, seed: int, **config: Any) -> tuple[int, int]:
    """States verified, and operations acknowledged before the last cut."""
    rng = Random(seed)
    pristine = bench.images / "pristine"
    make_image(pristine, bench.kind)
    records = read_log(bench.record(pristine, lives(rng, **config)))
    cuts = PowerCuts(pristine, records, Acknowledged(durable=config.get("durability") != "interval"))
    states = await bench.cut(cuts, count, rng)
    cuts.advance(len(records))
    return states, cuts.history.operations


@pytest.mark.parametrize(
    ("options", "durability"),
    [(LAZY_EXT4, "commit"), (f"data=writeback,{LAZY_EXT4}", "commit"), (LAZY_EXT4, "interval")],
    ids=["ordered", "writeback", "interval"],
)
async def test_a_power_cut_on_ext4_loses_nothing_acknowledged(
    fork_server: ForkServer, images: Path, tmp_path: Path, options: str, durability: str
) -> None:
    require_recording_disks("ext4")
    bench = Bench(fork_server, images, tmp_path, "ext4", options)
    states, operations = await record_and_cut(bench, CUTS, 1, durability=durability)
    assert states == CUTS * len(POLICIES)
    assert operations > 30
