"""Every file of small stores rots in every way: nothing wrong is served, nothing is missing without a word, the rest goes on.

The ordinary run draws bytes and cuts, the same each time; the long one takes every byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from rot_kinds import coarse, flipped, offsets, truncated
from rot_oracle import MODES, Rot, verify
from rot_samples import SAMPLES, Sample, disk_of

FLIPS = 6
CUTS = 3

PLACES = [
    pytest.param(sample, path, id=f"{sample.name}-{path.replace('/', '-')}")
    for sample in SAMPLES
    for path in sample.paths
]


def verify_in_memory(sample: Sample, rot: Rot, turn: int) -> None:
    """In one of the ways of opening a store, by turns."""
    disk = disk_of(rot.of(sample.image), rot.folders)
    verify(sample, rot, MODES[turn % len(MODES)], disk.reopen)


def drawn(sample: Sample, path: str, count: int) -> Sequence[int]:
    every = offsets(sample, path)
    return sorted(Random(f"{sample.name} {path} {count}").sample(every, min(count, len(every))))


@pytest.mark.parametrize("turn", range(len(MODES)), ids=[mode.name for mode in MODES])
@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_without_rot_everything_is_served(sample: Sample, turn: int) -> None:
    verify_in_memory(sample, Rot("nothing happened", {}), turn)


@pytest.mark.parametrize(("sample", "path"), PLACES)
def test_a_flipped_bit(sample: Sample, path: str) -> None:
    for turn, offset in enumerate(drawn(sample, path, FLIPS)):
        rot = flipped(sample, path, offset, 1 << Random(offset).randrange(8), touched=turn % 4 > 1)
        verify_in_memory(sample, rot, turn)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("touched", [False, True], ids=["mtime-kept", "mtime-changed"])
@pytest.mark.parametrize(("sample", "path"), PLACES)
def test_every_byte_flipped(sample: Sample, path: str, touched: bool) -> None:
    for turn, offset in enumerate(offsets(sample, path)):
        mask = 0xFF if offset % 5 == 0 else 1 << Random(offset).randrange(8)
        verify_in_memory(sample, flipped(sample, path, offset, mask, touched=touched), turn + touched)


@pytest.mark.parametrize(("sample", "path"), PLACES)
def test_a_file_that_ends_early(sample: Sample, path: str) -> None:
    for turn, length in enumerate([0, *drawn(sample, path, CUTS)]):
        verify_in_memory(sample, truncated(sample, path, length), turn)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("sample", "path"), PLACES)
def test_a_file_that_ends_anywhere(sample: Sample, path: str) -> None:
    for turn, length in enumerate(offsets(sample, path)):
        verify_in_memory(sample, truncated(sample, path, length), turn)


@pytest.mark.parametrize("part", range(0, 6, 2))
@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_zeroed_extended_swapped_copied_deleted_older_or_a_folder(sample: Sample, part: int) -> None:
    for turn, rot in list(enumerate(coarse(sample)))[part::6]:
        verify_in_memory(sample, rot, turn // 6 + part)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("turn", range(len(MODES)), ids=[mode.name for mode in MODES])
@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_the_same_however_the_store_is_opened(sample: Sample, turn: int) -> None:
    for rot in coarse(sample):
        verify_in_memory(sample, rot, turn)
