"""Planted mistakes: a store that trusts its disk in one place more than it should fails the suite of bit rot."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from rot_kinds import deleted, flipped, folder_in_place, is_segment, offsets
from rot_oracle import MODES, Rot, verify
from rot_samples import SAMPLES, Sample, disk_of, is_entity

import synthians_memory.engine.index as index_module
import synthians_memory.engine.recovery as recovery_module
import synthians_memory.engine.state as state_module
import synthians_memory.engine.vector_files as vector_files_module
import synthians_memory.engine.vector_log as vector_log_module
import synthians_memory.storage.segment as segment_module
from synthians_memory.engine.index import MemoryIndex
from synthians_memory.engine.repair import Planner, Repairer, Step
from synthians_memory.engine.store import Store
from synthians_memory.layout import FAISS_FILE, INDEX, INDEX_LOG, MAPPING, VECTORS_LOG
from synthians_memory.reports import RepairReport
from synthians_memory.storage.framing import BadRange, Frame, Scan, scan

CLOSED, _, CUT, _ = SAMPLES
Plant = Callable[[pytest.MonkeyPatch], None]


class Anything:
    """Equal to every hash."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def trusting_scan(data: bytes, start: int, salt: int) -> Scan:
    """As if the CRC of the payload were right."""
    found = scan(data, start, salt)
    return Scan([_taken(part) for part in found.parts], found.end)


def _taken(part: Frame | BadRange) -> Frame | BadRange:
    if isinstance(part, Frame) or part.sequence is None:
        return part
    return Frame(part.offset, part.end, part.sequence, 0, part.synced_through, part.payload)


def load_compares_no_hash(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(state_module, "version_of", lambda data: Anything())


def index_seal_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(index_module, "unseal", lambda data: (b"", b""))


def index_log_groups_count_without_their_crc(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(index_module, "_group_crc", lambda lines, position: Crc())


class Crc(int):
    """Written as it is compared: equal to any."""

    def __format__(self, form: str) -> str:
        return Text()


class Text(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def mapping_seal_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vector_files_module, "unseal", lambda data: (b"", b""))


def faiss_file_is_taken_unverified(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vector_files_module, "_is_named", lambda digest, mapping: True)


def vector_log_is_not_verified(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vector_log_module, "scan", trusting_scan)


def journal_frames_are_not_verified(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(segment_module, "scan", trusting_scan)


def damage_in_the_journal_is_not_reported(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery_module, "damage_findings", lambda contents: [])


def damaged_files_are_removed(patch: pytest.MonkeyPatch) -> None:
    def remove(repairer: Repairer, step: Step) -> None:
        repairer._state.backend.unlink(step.path)

    patch.setattr(Repairer, "_set_aside", remove)


def damaged_files_are_forgotten_at_open(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Planner, "_file_actions", lambda *_, **__: ("set_aside", "forget"))
    quiet = Store._check_at_open

    def check(store: Store) -> None:
        quiet(store)
        store.opening_report = RepairReport()

    patch.setattr(Store, "_check_at_open", check)


def an_index_that_does_not_reach_is_trusted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery_module, "_reaches", lambda *_: True)


def a_lost_index_is_taken_for_an_empty_store(patch: pytest.MonkeyPatch) -> None:
    load = MemoryIndex.load

    def forgiving(index: MemoryIndex) -> str:
        load(index)
        return ""

    patch.setattr(MemoryIndex, "load", forgiving)
    patch.setattr(recovery_module, "_reaches", lambda *_: True)


def what_stands_in_the_way_stays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recovery_module, "set_obstacles_aside", lambda *_: [])


def flips(sample: Sample, wanted: Callable[[str], bool], every: int) -> Iterator[Rot]:
    for path in filter(wanted, sample.paths):
        for offset in offsets(sample, path)[::every]:
            yield flipped(sample, path, offset, 0x01, touched=True)


def of(*paths: str) -> Callable[[str], bool]:
    return lambda path: path in paths


PLANTED: list[tuple[Plant, Sample, Callable[[Sample], Iterator[Rot]]]] = [
    (load_compares_no_hash, CLOSED, lambda s: flips(s, is_entity, 90)),
    (index_seal_is_not_looked_at, CLOSED, lambda s: flips(s, of(INDEX), 60)),
    (index_log_groups_count_without_their_crc, CLOSED, lambda s: flips(s, of(INDEX_LOG), 40)),
    (mapping_seal_is_not_looked_at, CLOSED, lambda s: flips(s, of(MAPPING), 20)),
    (faiss_file_is_taken_unverified, CLOSED, lambda s: flips(s, of(FAISS_FILE), 3)),
    (vector_log_is_not_verified, CLOSED, lambda s: flips(s, of(VECTORS_LOG), 7)),
    (journal_frames_are_not_verified, CUT, lambda s: flips(s, is_segment, 250)),
    (damage_in_the_journal_is_not_reported, CUT, lambda s: flips(s, is_segment, 250)),
    (damaged_files_are_removed, CLOSED, lambda s: flips(s, is_entity, 200)),
    (damaged_files_are_forgotten_at_open, CLOSED, lambda s: flips(s, is_entity, 200)),
    (an_index_that_does_not_reach_is_trusted, CLOSED, lambda s: flips(s, of(INDEX_LOG), 40)),
    (a_lost_index_is_taken_for_an_empty_store, CLOSED, lambda s: iter([deleted(s, INDEX)] * len(MODES))),
    (what_stands_in_the_way_stays, CLOSED, lambda s: map(folder_in_place, [INDEX, MAPPING, FAISS_FILE])),
]


@pytest.mark.parametrize(("plant", "sample", "rots"), PLANTED, ids=[plant.__name__ for plant, _, _ in PLANTED])
def test_a_planted_mistake_is_caught(
    plant: Plant,
    sample: Sample,
    rots: Callable[[Sample], Iterator[Rot]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def verify_all() -> None:
        for turn, rot in enumerate(rots(sample)):
            verify(sample, rot, MODES[turn % len(MODES)], disk_of(rot.of(sample.image), rot.folders).reopen)

    verify_all()
    plant(monkeypatch)
    # As a broken promise, or as a foreign exception that says something.
    with pytest.raises(Exception, match=r"."):
        verify_all()
