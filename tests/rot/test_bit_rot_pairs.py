"""Two files rot at once: what the one would have told of the other is still told, or told by a third."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from rot_kinds import deleted, flipped, folder_in_place, offsets, older, truncated
from rot_oracle import MODES, Look, Rot, look_at, verify
from rot_samples import SAMPLES, Sample, disk_of

from synthians_memory.layout import FAISS_FILE, INDEX, INDEX_LOG, MAPPING, entity_path
from synthians_memory.testing.store_history import require

CLOSED, KILLED, CUT, YOUNG = SAMPLES
M5, M4 = (entity_path("memory", name) for name in ("m5", "m4"))
PAIRS = 160
MANY_PAIRS = 10_000


def joined(one: Rot, other: Rot) -> Rot:
    return Rot(
        f"{one.what}, and {other.what}",
        {**one.changes, **other.changes},
        one.folders + other.folders,
        endless=one.endless or other.endless,
    )


def drawn(sample: Sample, path: str, rng: Random) -> Rot:
    match rng.randrange(5):
        case 0:
            return deleted(sample, path)
        case 1:
            return truncated(sample, path, rng.choice(offsets(sample, path)))
        case 2:
            return folder_in_place(path)
        case 3 if path in sample.older:
            return rng.choice(list(older(sample, path)))
        case _:
            return flipped(
                sample, path, rng.choice(offsets(sample, path)), 1 << rng.randrange(8), touched=rng.random() < 0.5
            )


def verify_pairs(seed: int, count: int) -> None:
    rng = Random(seed)
    for turn in range(count):
        sample = rng.choice(SAMPLES)
        one, other = rng.sample(sample.paths, 2)
        rot = joined(drawn(sample, one, rng), drawn(sample, other, rng))
        # Of the end of the journal and of a file that it had written, both lost, nothing tells.
        if not rot.endless:
            verify(sample, rot, MODES[turn % len(MODES)], disk_of(rot.of(sample.image), rot.folders).reopen)


@pytest.mark.parametrize("seed", range(4))
def test_two_files_rot_at_once(seed: int) -> None:
    verify_pairs(seed, PAIRS // 4)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(100, 110))
def test_many_pairs_of_files_rot_at_once(seed: int) -> None:
    verify_pairs(seed, MANY_PAIRS // 10)


def looks(sample: Sample, rot: Rot, turn: int) -> list[Look]:
    disk = disk_of(rot.of(sample.image), rot.folders)
    return [look_at(disk.reopen(), MODES[turn], sample) for _ in range(2)]


Lose = Callable[[Sample, str], Rot]
LOSSES: dict[str, Lose] = {
    "deleted": deleted,
    "a byte": lambda sample, path: flipped(sample, path, 40, 2),
    "half": lambda sample, path: truncated(sample, path, 60),
    "a folder": lambda sample, path: folder_in_place(path),
}


@pytest.mark.parametrize("path", [INDEX, INDEX_LOG])
@pytest.mark.parametrize("name", LOSSES)
def test_a_memory_whose_file_is_gone_is_named_though_the_index_is_lost(name: str, path: str) -> None:
    """By a copy of the index, where that had it already, or else by its vector."""
    for lost, turn in ((M4, 0), (M5, 0), (M4, 4), (M5, 4), (M4, 5), (M5, 5)):
        rot = joined(LOSSES[name](CLOSED, path), deleted(CLOSED, lost))
        first, second = looks(CLOSED, rot, turn)
        told = [finding.message for finding in first.reported]
        wanted = repr(lost.partition("/")[2].removesuffix(".json"))
        require(any(wanted in message for message in told), f"nothing names {wanted}: {told}")
        assert second.served == first.served


@pytest.mark.parametrize("path", [MAPPING, FAISS_FILE])
@pytest.mark.parametrize("name", LOSSES)
def test_vectors_are_indexed_anew_beside_a_file_that_cannot_be_read(name: str, path: str) -> None:
    for turn, lose in enumerate(LOSSES.values(), list(LOSSES).index(name)):
        rot = joined(LOSSES[name](CLOSED, path), lose(CLOSED, M5))
        verify(CLOSED, rot, MODES[turn % len(MODES)], disk_of(rot.of(CLOSED.image), rot.folders).reopen)


def test_a_vector_that_lost_its_memory_is_reported_once() -> None:
    """No change of the journal stands for its removal, which has to reach the disk all the same."""
    rot = joined(deleted(CLOSED, INDEX), flipped(CLOSED, M5, 50, 1))
    first, second = looks(CLOSED, rot, 0)
    assert "vectors_damaged" in {finding.code for finding in first.reported}
    assert "vectors_damaged" not in {finding.code for finding in second.reported}


@pytest.mark.parametrize("sample", SAMPLES, ids=[sample.name for sample in SAMPLES])
def test_every_derived_file_rots_at_once(sample: Sample) -> None:
    derived = [path for path in sample.paths if "/" not in path or path.startswith(("vector_index/", "backups/"))]
    for turn, lose in enumerate(LOSSES.values()):
        rot = Rot("nothing yet", {})
        for path in derived:
            rot = joined(rot, lose(sample, path))
        verify(sample, rot, MODES[turn % len(MODES)], disk_of(rot.of(sample.image), rot.folders).reopen)
