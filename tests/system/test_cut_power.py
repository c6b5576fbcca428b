"""Power cuts on real file systems: every state that the disk may be left in holds what was acknowledged."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from acknowledged import Acknowledged
from crash_images import POLICIES, PowerCuts, read_log
from disk_bench import Bench, Life
from editions import DIMENSION
from fork_server import ForkServer
from mounts import make_image, require_recording_disks, run

from synthians_memory import SynthiansMemoryError

CUTS = 2
MANY_CUTS = 40
RECORDINGS = 4
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


MODES: dict[str, dict[str, Any]] = {
    "commit": {"durability": "commit"},
    "interval": {"durability": "interval"},
    "behind": {"write_mode": "behind"},
}


def lives(rng: Random, **config: Any) -> list[Life]:
    """One is killed, one closes the store, one is killed."""
    settings = {"config": CONFIG | config, "seed": rng.random()}
    return [
        {**settings, "life": 1, "seconds": rng.uniform(0.2, 0.6)},
        {**settings, "life": 2, "steps": 10, "logged": 100.0},
        {**settings, "life": 3, "seconds": rng.uniform(0.2, 0.6), "logged": 0.6},
    ]


def recorded(bench: Bench, lives: list[Life], *, durable: bool = True) -> PowerCuts:
    """An empty disk on which stores live like that."""
    pristine = bench.images / "pristine"
    make_image(pristine, bench.kind)
    return PowerCuts(pristine, read_log(bench.record(pristine, lives)), Acknowledged(durable=durable))


async def cut_during_recovery(bench: Bench, cuts: PowerCuts, moment: int, count: int, rng: Random) -> int:
    """Cut the power at `moment`, and so many times again in the life that recovers from it."""
    cuts.advance(moment)
    crashed = bench.images / f"crashed {moment}"
    cuts.leave("shuffled", crashed, rng)
    life = {"config": CONFIG, "seed": moment, "life": 4, "tasks": 1, "steps": 2}
    again = PowerCuts(crashed, read_log(bench.record(crashed, [life])), cuts.history.copy())
    return await bench.cut(again, min(count, len(again.moments)), rng)


@pytest.mark.parametrize(
    ("options", "mode"),
    [
        (LAZY_EXT4, "commit"),
        (f"data=writeback,{LAZY_EXT4}", "commit"),
        (LAZY_EXT4, "interval"),
        (LAZY_EXT4, "behind"),
    ],
    ids=["ordered", "writeback", "interval", "behind"],
)
async def test_a_power_cut_on_ext4_loses_nothing_acknowledged(
    fork_server: ForkServer, images: Path, tmp_path: Path, options: str, mode: str
) -> None:
    bench, rng = Bench(fork_server, images, tmp_path, "ext4", options), Random(1)
    cuts = recorded(bench, lives(rng, **MODES[mode]), durable=mode != "interval")
    assert await bench.cut(cuts, CUTS, rng) == CUTS * len(POLICIES)
    assert cuts.history.operations > 0


async def test_a_second_power_cut_during_recovery_loses_nothing_acknowledged(
    fork_server: ForkServer, images: Path, tmp_path: Path
) -> None:
    bench, rng = Bench(fork_server, images, tmp_path, "ext4", LAZY_EXT4), Random(2)
    cuts = recorded(bench, lives(rng))
    moment = cuts.moments[-1] * 2 // 3
    assert await cut_during_recovery(bench, cuts, moment, CUTS // 2, rng) == CUTS // 2 * len(POLICIES)


async def test_a_store_that_syncs_no_content_is_caught(fork_server: ForkServer, images: Path, tmp_path: Path) -> None:
    bench, rng = Bench(fork_server, images, tmp_path, "ext4", LAZY_EXT4), Random(3)
    life = {"config": CONFIG, "seed": 3, "life": 1, "steps": 10, "planted": "no content is synced"}
    cuts = recorded(bench, [life])
    with pytest.raises((AssertionError, SynthiansMemoryError)):
        await bench.cut(cuts, CUTS, rng)


async def test_ext4_itself_recovers_from_the_images(fork_server: ForkServer, images: Path, tmp_path: Path) -> None:
    """What a file system cannot mend was no legal state of its disk."""
    bench, rng = Bench(fork_server, images, tmp_path, "ext4", LAZY_EXT4), Random(4)
    cuts = recorded(bench, lives(rng))
    for moment in sorted(rng.sample(cuts.moments, CUTS)):
        cuts.advance(moment)
        for policy in POLICIES:
            cuts.leave(policy, images / "cut", rng)
            run("e2fsck", "-y", "-E", "journal_only", str(images / "cut"))
            run("e2fsck", "-f", "-n", str(images / "cut"))


# The longer form

FILE_SYSTEMS = [
    ("ext4", LAZY_EXT4),
    ("ext4", f"data=writeback,{LAZY_EXT4}"),
    ("ext4", "data=journal,commit=300"),
    ("ext4", ""),
    ("ext4 fast_commit", LAZY_EXT4),
    ("xfs", ""),
    ("btrfs", "commit=300"),
]


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("kind", "options"), FILE_SYSTEMS)
async def test_many_power_cuts_lose_nothing_acknowledged(
    fork_server: ForkServer, images: Path, tmp_path: Path, kind: str, options: str, mode: str
) -> None:
    require_recording_disks(kind)
    bench, rng = Bench(fork_server, images, tmp_path, kind, options), Random(5)
    states = operations = 0
    for _ in range(RECORDINGS):
        cuts = recorded(bench, lives(rng, **MODES[mode]), durable=mode != "interval")
        states += await bench.cut(cuts, MANY_CUTS, rng)
        operations += cuts.history.operations
    print(f"{kind} {options} {mode}: {states} states after power cuts, {operations} acknowledged operations, 0 lost")


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_many_second_power_cuts_during_recovery_lose_nothing_acknowledged(
    fork_server: ForkServer, images: Path, tmp_path: Path
) -> None:
    bench, rng = Bench(fork_server, images, tmp_path, "ext4", LAZY_EXT4), Random(6)
    cuts = recorded(bench, lives(rng))
    states = 0
    for moment in sorted(rng.sample(cuts.moments, RECORDINGS)):
        states += await cut_during_recovery(bench, cuts, moment, MANY_CUTS // 4, rng)
    print(f"{states} states after a second power cut, 0 lost")
