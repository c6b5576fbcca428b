"""Which directories open takes for a store: never one that is full of other things, always one whose superblock is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damaged_stores import (
    NOON,
    codes,
    contents,
    copy_of,
    fields_of,
    flip,
    key_of,
    listing,
    looked_at,
    make_store,
    memory,
    only_notes,
    open_store,
    opened,
    quarantined,
    resealed,
    rewrite,
    save,
    sealed_version_file,
)

from synthians_memory.engine.store import Store
from synthians_memory.errors import (
    NotAStoreError,
    UnsupportedFormatError,
)

SUPERBLOCK = "store.json"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("sound") / "store", memories=10)


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    return copy_of(sound, tmp_path)


def content_of(store: Store, number: int) -> str:
    found = store.load(key_of(number))
    assert found is not None
    return str(found.__dict__["content"])


# A directory that is no store


def in_root(path: Path) -> None:
    (path / "notes.txt").write_bytes(b"mine")


def in_memories(path: Path) -> None:
    (path / "memories").mkdir()
    (path / "memories" / "m001.json").write_bytes(sealed_version_file(memory(1), NOON))


def deep(path: Path) -> None:
    (path / "backups" / "index").mkdir(parents=True)
    (path / "backups" / "index" / "memory_index.20261120_120000_004000.json").write_bytes(b"{}")


def other_folder(path: Path) -> None:
    (path / "photos").mkdir()


def file_for_folder(path: Path) -> None:
    (path / "memories").write_bytes(b"a file")


def link_for_folder(path: Path) -> None:
    (path / "memories").symlink_to("/etc")


def hidden(path: Path) -> None:
    (path / ".git").mkdir()


def garbage_superblock(path: Path) -> None:
    (path / SUPERBLOCK).write_bytes(b"not ours")


def garbage_index(path: Path) -> None:
    (path / "memory_index.json").write_bytes(b"{}")


def foreign_segment(path: Path) -> None:
    (path / "journal").mkdir()
    (path / "journal" / "0000000001.wal").write_bytes(b"SMJ1" + bytes(5000))


@pytest.mark.parametrize(
    "fill",
    [
        in_root, in_memories, deep, other_folder, file_for_folder, link_for_folder, hidden, garbage_superblock,
        garbage_index, foreign_segment,
    ],
)  # fmt: skip
@pytest.mark.parametrize("read_only", [False, True])
def test_a_directory_that_is_no_store_is_refused_and_left(
    tmp_path: Path, fill: Callable[[Path], None], read_only: bool
) -> None:
    root = tmp_path / "dir"
    root.mkdir()
    fill(root)
    before = listing(root)
    with pytest.raises(NotAStoreError) as caught:
        open_store(root, read_only=read_only)
    assert caught.value.hint
    assert listing(root) == before


def only_lock(path: Path) -> None:
    (path / "store.lock").write_bytes(b"left behind")


def only_scratch(path: Path) -> None:
    (path / ".scratch-store.json").write_bytes(b"half a super")
    (path / "memories").mkdir()
    (path / "memories" / ".scratch-7").write_bytes(b"half")


def only_folders(path: Path) -> None:
    for name in ("memories", "assemblies", "journal", "backups", "backups/index", "quarantine", "vector_index"):
        (path / name).mkdir()


def nothing(path: Path) -> None:
    return


@pytest.mark.parametrize("fill", [nothing, only_lock, only_scratch, only_folders])
def test_lock_scratch_and_empty_folders_count_as_empty(tmp_path: Path, fill: Callable[[Path], None]) -> None:
    root = tmp_path / "dir"
    root.mkdir()
    fill(root)
    with opened(root) as store:
        save(store, memory(1))
    with opened(root) as store:
        assert content_of(store, 1) == "memory 1"
        assert not store.state.notes
    assert not [name for name in listing(root) if "scratch" in name or "lock" in name]


def test_a_reader_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(NotAStoreError):
        open_store(tmp_path, read_only=True)
    assert listing(tmp_path) == {}


# The superblock


def lose(path: Path) -> None:
    path.unlink()


def change(**fields: Any) -> Callable[[Path], None]:
    return lambda path: resealed(path, lambda found: found.update(fields))


def drop(name: str) -> Callable[[Path], None]:
    return lambda path: resealed(path, lambda found: found.pop(name))


LOST = {
    "missing": lose,
    "empty": lambda path: rewrite(path, b""),
    "truncated": lambda path: rewrite(path, path.read_bytes()[:100]),
    "flipped": lambda path: flip(path, 30),
    "garbage": lambda path: rewrite(path, b"\xff" * 300),
    "no epoch": drop("epoch"),
    "a list": lambda path: rewrite(path, b"[]"),
}


@pytest.mark.parametrize("inflict", LOST.values(), ids=LOST)
@pytest.mark.parametrize("without_journal", [False, True])
def test_a_lost_superblock_is_rebuilt_from_its_copies(
    root: Path, inflict: Callable[[Path], None], without_journal: bool
) -> None:
    path = root / SUPERBLOCK
    wanted = fields_of(path)
    inflict(path)
    was = path.read_bytes() if path.exists() else None
    if without_journal:
        for segment in (root / "journal").iterdir():
            segment.unlink()
    with opened(root, embedding_dimension=8) as store:
        assert ("superblock_damaged", None) in codes(store.state.notes)
        assert store.opening_report.findings == ()
        assert content_of(store, 7) == "memory 7"
        assert only_notes(store.check("full"))
    found = fields_of(path)
    if without_journal:
        assert found.pop("epoch") != wanted.pop("epoch")
        del found["content_hash"], wanted["content_hash"]
    assert found == wanted
    assert was is None or was in quarantined(root)
    with opened(root) as store:
        assert not store.state.notes


@pytest.mark.parametrize("inflict", LOST.values(), ids=LOST)
def test_check_names_a_lost_superblock_and_repair_writes_it(root: Path, inflict: Callable[[Path], None]) -> None:
    path = root / SUPERBLOCK
    wanted = path.read_bytes()
    with opened(root) as store:
        inflict(path)
        was = path.read_bytes() if path.exists() else None
        assert looked_at(store, root, "quick") == [("superblock_damaged", None)]
        assert looked_at(store, root, "full") == [("superblock_damaged", None)]
        assert store.repair().clean
        assert looked_at(store, root, "full") == []
        assert was is None or was in quarantined(root)
    assert path.read_bytes() == wanted


def test_a_superblock_that_is_no_file_is_moved_aside(root: Path) -> None:
    with opened(root) as store:
        (root / SUPERBLOCK).unlink()
        (root / SUPERBLOCK).symlink_to("/etc/passwd")
        assert looked_at(store, root, "quick") == [("superblock_damaged", None)]
        assert store.repair().clean
        assert b"/etc/passwd" in quarantined(root)
    (root / SUPERBLOCK).unlink()
    (root / SUPERBLOCK).mkdir()
    with opened(root) as store:
        assert codes(store.state.notes) == [("superblock_damaged", None)]
        assert content_of(store, 7) == "memory 7"
    with opened(root) as store:
        assert not store.state.notes


def test_a_reader_rebuilds_a_lost_superblock_in_memory_only(root: Path) -> None:
    (root / SUPERBLOCK).unlink()
    before = listing(root)
    store = open_store(root, read_only=True)
    assert looked_at(store, root, "quick") == [("superblock_damaged", None)]
    assert content_of(store, 7) == "memory 7"
    store.close()
    assert listing(root) == before


@pytest.mark.parametrize(
    "inflict", [change(format_version=2), change(mandatory_features=["zstd"]), change(format_version="1")]
)
@pytest.mark.parametrize("read_only", [False, True])
def test_a_newer_store_is_refused_and_left(root: Path, inflict: Callable[[Path], None], read_only: bool) -> None:
    inflict(root / SUPERBLOCK)
    before = contents(root)
    with pytest.raises(UnsupportedFormatError, match="Install a newer"):
        open_store(root, read_only=read_only)
    assert contents(root) == before


def test_a_superblock_of_another_store_makes_a_new_life(root: Path, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", memories=1)
    store = open_store(root)
    save(store, memory(3, "in the journal"))
    store.release()
    rewrite(root / SUPERBLOCK, (other / SUPERBLOCK).read_bytes())
    with opened(root) as store:
        assert ("journal_foreign", None) in codes(store.state.notes)
        assert store.opening_report.clean
        assert content_of(store, 3) == "in the journal"
        assert store.state.index.count("memory") == 10
    with opened(root, startup_check="full") as store:
        assert not store.state.notes
        assert store.opening_report.findings == ()
