"""Files rot beneath a store that is open: it goes on serving, a full check names it, a repair mends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from rot_kinds import content_end
from rot_oracle import require_served
from rot_samples import CONFIG, LATER, LOG_SHARE, SAMPLES, disk_of

from synthians_memory.engine.store import Store
from synthians_memory.layout import FAISS_FILE, INDEX, INDEX_LOG, MAPPING, SUPERBLOCK, VECTORS_LOG
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.store_scenarios import logged_views
from synthians_memory.testing.store_verifier import require_agreeing_files

SAMPLE = SAMPLES[0]
CODES = {
    SUPERBLOCK: "superblock_damaged",
    INDEX: "index_damaged",
    INDEX_LOG: "index_damaged",
    MAPPING: "vectors_damaged",
    FAISS_FILE: "vectors_damaged",
    VECTORS_LOG: "vectors_damaged",
}
Inflict = Callable[[MemoryBackend, str], None]


@pytest.fixture(autouse=True)
def _logged() -> Iterator[None]:
    with logged_views(LOG_SHARE):
        yield


def flip(offset: int) -> Inflict:
    def inflict(disk: MemoryBackend, path: str) -> None:
        data = disk.read(path) or b""
        file = disk.open_existing(path)
        at = offset % content_end(data)
        file.write_at(at, bytes([data[at] ^ 4]))
        file.close()

    return inflict


def replace_by(data: bytes) -> Inflict:
    def inflict(disk: MemoryBackend, path: str) -> None:
        disk.unlink(path)
        file = disk.create(path)
        file.write(data)
        file.close()

    return inflict


def remove(disk: MemoryBackend, path: str) -> None:
    disk.unlink(path)


def put_folder(disk: MemoryBackend, path: str) -> None:
    disk.unlink(path)
    disk.make_folder(path)


ROT: dict[str, Inflict] = {
    "a-byte": flip(11),
    "a-later-byte": flip(-9),
    "a-byte-in-the-middle": flip(300),
    "empty": replace_by(b""),
    "zeros": replace_by(bytes(500)),
    "garbage": replace_by(bytes(range(256)) * 3),
    "deleted": remove,
    "a-folder": put_folder,
}


@pytest.mark.parametrize("name", ROT)
@pytest.mark.parametrize("path", CODES)
def test_it_is_served_named_and_mended(path: str, name: str) -> None:
    disk = disk_of(SAMPLE.image)
    store = Store.open(disk, CONFIG, ManualClock(LATER))
    ROT[name](disk, path)
    require_served(store, SAMPLE)
    codes = {finding.code for finding in store.check("full")}
    assert codes == {CODES[path]} or (name == "a-folder" and codes == {CODES[path], "not_a_file"})
    report = store.repair()
    assert report.clean
    assert store.check("full") == []
    require_served(store, SAMPLE)
    store.close()
    require_agreeing_files(disk.reopen(), SAMPLE.truth)
    again = Store.open(disk.reopen(), CONFIG, ManualClock(LATER))
    assert not again.state.notes
    assert again.opening_report.findings == ()
    require_served(again, SAMPLE)
    again.close()


@pytest.mark.parametrize("name", ROT)
@pytest.mark.parametrize("path", CODES)
def test_unnoticed_it_is_rebuilt_at_the_next_open(path: str, name: str) -> None:
    """The store is killed: what it would have written on closing it did not."""
    disk = disk_of(SAMPLE.image)
    store = Store.open(disk, CONFIG, ManualClock(LATER))
    ROT[name](disk, path)
    store.release()
    again = Store.open(disk.reopen(), CONFIG, ManualClock(LATER))
    assert CODES[path] in {note.code for note in again.state.notes}
    require_served(again, SAMPLE)
    assert again.check("full") == []
    again.close()
    require_agreeing_files(disk.reopen(), SAMPLE.truth)
