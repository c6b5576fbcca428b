"""What open does before it trusts a directory: no store, lost superblock, vanished files, and how much it may drop unasked."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from damaged_stores import (
    NOON,
    TickingClock,
    assembly,
    codes,
    contents,
    copy_of,
    delete,
    fields_of,
    flip,
    key_of,
    listing,
    looked_at,
    make_store,
    memory,
    memory_file,
    memory_id,
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
    DamagedFileError,
    NotAStoreError,
    NotRegularFileError,
    ReadOnlyError,
    UnsupportedFormatError,
)

FIFTY = 50
SUPERBLOCK = "store.json"


@pytest.fixture(scope="module")
def fifty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("fifty") / "store", memories=FIFTY)


@pytest.fixture
def root(fifty: Path, tmp_path: Path) -> Path:
    return copy_of(fifty, tmp_path)


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
    (path / "memories").symlink_to("/tmp")


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
    before = contents(root)
    with pytest.raises(NotRegularFileError):
        open_store(root)
    assert contents(root) == before


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
        assert store.state.index.count("memory") == FIFTY
    with opened(root, startup_check="full") as store:
        assert not store.state.notes
        assert store.opening_report.findings == ()


# What was lost is not dropped unasked


def vanish(root: Path) -> Path:
    away = root.parent / "away"
    os.rename(root / "memories", away)
    return away


def vanish_leaving_the_folder(root: Path) -> Path:
    """As an unmounted directory does."""
    away = vanish(root)
    (root / "memories").mkdir(mode=0o700)
    return away


def put_back(root: Path, away: Path) -> None:
    if (root / "memories").exists():
        (root / "memories").rmdir()
    os.rename(away, root / "memories")


VANISH = [vanish, vanish_leaving_the_folder]


@pytest.mark.parametrize("leave", VANISH)
@pytest.mark.parametrize("settings", [{}, {"startup_check": "full"}, {"startup_check": "off"}, {"auto_repair": False}])
def test_a_vanished_folder_is_not_fifty_deletions(
    root: Path, leave: Callable[[Path], Path], settings: dict[str, Any]
) -> None:
    away = leave(root)
    with opened(root, **settings) as store:
        assert "50" in store.state.read_only_reason
        assert "repair" in store.state.read_only_reason
        if settings.get("startup_check") != "off":
            assert codes(store.opening_report.remaining)[:FIFTY] == [
                ("file_missing", memory_id(n)) for n in range(FIFTY)
            ]
            refused = [code for code, _ in codes(store.opening_report.remaining)[FIFTY:]]
            assert refused == ([] if settings else ["repair_refused"]) or settings.get("startup_check") == "full"
        with pytest.raises(ReadOnlyError):
            save(store, memory(60))
        with pytest.raises(ReadOnlyError):
            delete(store, key_of(1))
        with pytest.raises(DamagedFileError, match="missing"):
            store.load(key_of(1))
        assert store.state.index.count("memory") == FIFTY
        assert store.load(("assembly", "a0")) is not None
    assert contents(root / "memories") == {}
    put_back(root, away)
    with opened(root, startup_check="full") as store:
        assert store.opening_report.findings == ()
        assert not store.state.read_only_reason
        assert [content_of(store, n) for n in range(FIFTY)] == [f"memory {n}" for n in range(FIFTY)]
        save(store, memory(60))


@pytest.mark.parametrize("leave", VANISH)
def test_what_the_journal_holds_is_not_written_beside_a_vanished_folder(
    root: Path, leave: Callable[[Path], Path]
) -> None:
    """A power cut that also lost the mount: what only the journal has outlives any number of opens."""
    was = memory_file(root, 1).read_bytes()
    store = open_store(root)
    save(store, memory(1, "acknowledged"), memory(60))
    delete(store, key_of(2))
    store.release()
    memory_file(root, 1).write_bytes(was)
    memory_file(root, 60).unlink()
    memory_file(root, 2).write_bytes(sealed_version_file(memory(2), NOON))
    away = leave(root)
    for _ in range(3):
        with opened(root) as store:
            assert "memories" in store.state.read_only_reason
            assert content_of(store, 1) == "acknowledged"
            assert content_of(store, 60) == "memory 60"
            assert store.load(key_of(2)) is None
        assert contents(root / "memories") == {}
    put_back(root, away)
    with opened(root) as store:
        assert store.opening_report.clean
        assert content_of(store, 1) == "acknowledged"
        assert content_of(store, 60) == "memory 60"
        assert store.load(key_of(2)) is None
        assert only_notes(store.check("full"))
    assert was not in quarantined(root)


@pytest.mark.parametrize("leave", VANISH)
def test_a_person_may_say_that_it_stays_away(root: Path, leave: Callable[[Path], Path]) -> None:
    leave(root)
    with opened(root) as store:
        report = store.repair()
        assert len(report.actions) >= FIFTY
        assert report.clean
        assert not store.state.read_only_reason
        assert store.state.index.count("memory") == 0
        save(store, memory(60))
    with opened(root, startup_check="full") as store:
        assert store.state.index.ids("memory") == [memory_id(60)]
        assert codes(store.opening_report.findings) == [("member_missing", "a0")]


@pytest.mark.parametrize("lost", [10, 11])
def test_open_drops_ten_and_not_eleven(root: Path, lost: int) -> None:
    for number in range(lost):
        memory_file(root, number).unlink()
    with opened(root) as store:
        assert len(store.opening_report.findings) == lost
        if lost == 10:
            assert store.opening_report.clean
            assert store.state.index.count("memory") == FIFTY - 10
            save(store, memory(60))
        else:
            assert codes(store.opening_report.remaining)[-1] == ("repair_refused", None)
            assert store.opening_report.actions == ()
            assert "11" in store.state.read_only_reason
            assert store.state.index.count("memory") == FIFTY
            assert content_of(store, 20) == "memory 20"
            with pytest.raises(ReadOnlyError):
                save(store, memory(60))
            assert store.repair().clean
            save(store, memory(60))


@pytest.mark.parametrize("lost", [10, 11])
def test_each_thing_in_the_way_counts_once(root: Path, lost: int) -> None:
    for number in range(lost):
        memory_file(root, number).unlink()
        memory_file(root, number).mkdir()
    with opened(root) as store:
        assert store.opening_report.clean == (lost == 10)
        assert bool(store.state.read_only_reason) == (lost == 11)


def test_a_refusal_mends_nothing_else_either(root: Path) -> None:
    for number in range(11):
        memory_file(root, number).unlink()
    rewrite(memory_file(root, 20), sealed_version_file(memory(20, "newer"), NOON * 2))
    before = contents(root)
    with opened(root) as store:
        assert ("file_replaced", memory_id(20)) in codes(store.opening_report.remaining)
    assert contents(root) == before


def test_one_in_a_hundred_of_a_larger_store(tmp_path: Path) -> None:
    root = make_store(tmp_path / "store", memories=1500, assemblies=0)
    for lost, refused in ((15, False), (15, True)):
        numbers = range(15) if not refused else range(15, 31)
        for number in numbers:
            memory_file(root, number).unlink()
        with opened(root) as store:
            assert bool(store.state.read_only_reason) == refused
            assert store.state.index.count("memory") == 1500 - lost


def test_adoptions_are_not_counted(root: Path) -> None:
    for number in range(FIFTY):
        rewrite(memory_file(root, number), sealed_version_file(memory(number, "newer"), NOON * 2))
    with opened(root) as store:
        assert store.opening_report.clean
        assert content_of(store, 49) == "newer"


def test_a_store_that_was_emptied_properly_opens(root: Path) -> None:
    with opened(root) as store:
        delete(store, *(key_of(n) for n in range(FIFTY)))
    (root / "memories").rmdir()
    with opened(root) as store:
        assert not store.state.read_only_reason
        save(store, memory(1))
    assert memory_file(root, 1).exists()


# How closely open looks


def test_a_full_check_at_open_finds_what_has_the_same_size_and_time(root: Path) -> None:
    flip(memory_file(root, 1), 41)
    with opened(root, startup_check="off") as store:
        assert store.opening_report.findings == ()
    with opened(root, startup_check="quick") as store:
        assert store.opening_report.findings == ()
        with pytest.raises(DamagedFileError):
            store.load(key_of(1))
    with opened(root, startup_check="full") as store:
        assert codes(store.opening_report.findings) == [("file_damaged", memory_id(1))]
        assert codes(store.opening_report.remaining) == [("file_damaged", memory_id(1))]
        assert not store.opening_report.clean
        with pytest.raises(DamagedFileError):
            store.load(key_of(1))


# Scratch, modes, and a store that moves


def scratch(root: Path) -> list[Path]:
    names = ["", "memories/", "assemblies/", "journal/", "vector_index/", "backups/", "backups/index/", "quarantine/"]
    return [root / f"{name}.scratch-left" for name in names]


def test_leftover_scratch_is_noted_and_removed_by_repair(root: Path) -> None:
    with opened(root) as store:
        for path in scratch(root):
            rewrite(path, b"half")
        young = root / "memories" / ".scratch-young"
        young.write_bytes(b"half")
        os.utime(young, ns=(NOON * 2000, NOON * 2000))
        findings = store.check("quick")
        assert {f.path for f in findings} == {str(p.relative_to(root)) for p in scratch(root)}
        assert {(f.code, f.severity) for f in findings} == {("scratch", "note")}
        assert store.repair().clean
        assert looked_at(store, root, "full") == []
        assert young.exists()
        assert not any(path.exists() for path in scratch(root))


def test_recovery_removes_scratch(root: Path) -> None:
    store = open_store(root)
    save(store, memory(1, "again"))
    store.release()
    for path in scratch(root):
        path.write_bytes(b"half")
    with opened(root):
        assert not any(path.exists() for path in scratch(root))


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("no_umask")
def test_nobody_else_may_read_anything(tmp_path: Path) -> None:
    root = make_store(tmp_path / "a" / "store")
    rewrite(memory_file(root, 1), b"damaged")
    memory_file(root, 2).unlink()
    memory_file(root, 2).mkdir(mode=0o700)
    store = open_store(root, backup_interval=0.0)
    store.repair()
    save(store, memory(7), assembly("b", []))
    store.checkpoint()
    store.state.journal.prepare_spare()  # type: ignore[union-attr]
    modes = {name: stat.S_IMODE(mode) for name, (mode, _, _, _) in listing(tmp_path).items()}
    for name, mode in modes.items():
        assert mode == (0o700 if (tmp_path / name).is_dir() else 0o600), name
    assert any("quarantine/" in name for name in modes)
    assert any("backups/index/" in name for name in modes)
    assert "a/store/journal/reserve" in modes
    store.close()


def test_a_store_that_is_moved_while_it_is_open_goes_on(root: Path, tmp_path: Path) -> None:
    store = open_store(root)
    save(store, memory(1, "before"))
    moved = tmp_path / "elsewhere"
    os.rename(root, moved)
    save(store, memory(2, "after"))
    store.checkpoint()
    assert looked_at(store, moved, "full") == []
    assert content_of(store, 3) == "memory 3"
    store.close()
    assert not root.exists()
    with opened(moved, startup_check="full") as store:
        assert store.opening_report.findings == ()
        assert [content_of(store, n) for n in (1, 2, 3)] == ["before", "after", "memory 3"]


# Copies of the memory index


def copies(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "backups" / "index").iterdir())


def test_copies_of_the_memory_index_rotate(tmp_path: Path) -> None:
    root, clock = tmp_path / "store", TickingClock()
    kept: list[bytes] = []
    with opened(root, clock=clock, index_backup_count=3, backup_interval=60.0) as store:
        for number in range(6):
            clock.advance(61)
            save(store, memory(number))
            store.checkpoint()
            kept.append((root / "memory_index.json").read_bytes())
            save(store, memory(number, "too soon"))
            store.checkpoint()
        assert copies(root) == sorted(copies(root))
        assert [(root / "backups" / "index" / name).read_bytes() for name in copies(root)] == kept[-3:]
    clock.advance(-1000)
    with opened(root, clock=clock, index_backup_count=3, backup_interval=60.0) as store:
        save(store, memory(9))
        store.checkpoint()
    assert len(copies(root)) == 3
    clock.advance(10_000)
    with opened(root, clock=clock, index_backup_count=1, backup_interval=60.0) as store:
        save(store, memory(10))
    assert len(copies(root)) == 1
    assert (root / "backups" / "index" / copies(root)[0]).read_bytes() == (root / "memory_index.json").read_bytes()


def test_no_copies_are_made_where_none_are_wanted(tmp_path: Path) -> None:
    root = make_store(tmp_path / "store", index_backup_count=0, backup_interval=0.0)
    assert copies(root) == []


def test_other_files_beside_the_copies_are_left(tmp_path: Path) -> None:
    root = make_store(tmp_path / "store")
    mine = root / "backups" / "index" / "memory_index.mine.json"
    mine.write_bytes(b"mine")
    with opened(root, index_backup_count=1, backup_interval=0.0) as store:
        for number in range(3):
            save(store, memory(number, "again"))
            store.checkpoint()
        assert only_notes(store.check("full"))
    assert mine.read_bytes() == b"mine"
    assert len(copies(root)) == 2
