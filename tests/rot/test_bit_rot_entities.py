"""No flipped bit of an entity file gets past load or a full check, nor past a quick one where the file's time changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rot_samples import CONFIG, LATER, SAMPLES, FileTimes, disk_of

from synthians_memory.engine.check import check_entity
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.errors import ChangedOutsideError, DamagedFileError
from synthians_memory.layout import entity_path
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.clock import ManualClock

SAMPLE = SAMPLES[0]
KEYS = sorted(SAMPLE.truth)
NAMES = [f"{kind}-{entity_id}" for kind, entity_id in KEYS]


class RottingFile:
    """The file of one entity of an open store, whose bytes change beneath it and go back.

    The store keeps nothing in memory, so that every load reads the file.
    """

    def __init__(self, key: Key) -> None:
        self.key = key
        self.path = entity_path(*key)
        self.image = SAMPLE.image[self.path]
        self._times = FileTimes()
        self._disk: MemoryBackend = disk_of(SAMPLE.image, times=self._times)
        config = replace(CONFIG, cache_bytes=0, auto_repair=False)
        self.store = Store.open(self._disk, config, ManualClock(LATER))
        self._file = self._disk.open_existing(self.path)

    def write(self, offset: int, byte: int, *, touched: bool = False) -> None:
        self._times.now_micros = LATER if touched else self.image.mtime_ns // 1000
        self._file.write_at(offset, bytes([byte]))

    def require_seen(self, offset: int, mask: int, *, touched: bool = False, whole: bool = False) -> None:
        """`mask` flips bits of one byte: load refuses, and check names it."""
        self.write(offset, self.image.data[offset] ^ mask, touched=touched)
        with pytest.raises((DamagedFileError, ChangedOutsideError)) as caught:
            self.store.load(self.key)
        assert caught.value.path == self.path
        finding = check_entity(self.store.state, self.key)
        assert finding is not None, f"byte {offset} ^ {mask:#04x} of {self.path} is not seen"
        if whole:
            assert finding in self.store.check("full")
        if touched:
            assert finding in self.store.check("quick")
        self.write(offset, self.image.data[offset])

    def close(self) -> None:
        assert self.store.load(self.key) == SAMPLE.truth[self.key].stored_entity()
        assert self.store.check("full") == []
        self._file.close()
        self.store.close()


@pytest.mark.parametrize("key", KEYS, ids=NAMES)
def test_a_flipped_bit_in_every_byte_is_seen_by_load_and_check(key: Key) -> None:
    file = RottingFile(key)
    for offset in range(len(file.image.data)):
        file.require_seen(offset, 1 << offset * 5 % 8, whole=offset % 16 == 0, touched=offset % 16 == 8)
    file.close()


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("key", KEYS, ids=NAMES)
def test_every_change_of_every_byte_is_seen_by_load_and_check(key: Key) -> None:
    file = RottingFile(key)
    for offset in range(len(file.image.data)):
        for mask in range(1, 256):
            file.require_seen(offset, mask, whole=mask == 1, touched=mask == 2)
    file.close()


@pytest.mark.parametrize("key", KEYS, ids=NAMES)
def test_a_hash_line_under_another_name_is_no_edit_by_a_person(key: Key) -> None:
    """Nobody takes the line away by changing a letter of its name: adopting that would keep the damage for good."""
    file = RottingFile(key)
    name = file.image.data.rindex(b"content_hash")
    for offset in range(name, name + len("content_hash")):
        for mask in (0x01, 0x04, 0x20):
            file.write(offset, file.image.data[offset] ^ mask)
            finding = check_entity(file.store.state, key)
            assert finding is not None
            assert finding.severity == "damage"
            file.write(offset, file.image.data[offset])
    file.close()
