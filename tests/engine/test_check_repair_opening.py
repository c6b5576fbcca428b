"""What open does unasked: how much it drops, how closely it looks, what it leaves behind, and for whom to read."""

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
    rewrite,
    save,
    sealed_version_file,
)

from synthians_memory.engine.store import Store
from synthians_memory.errors import (
    DamagedFileError,
    ReadOnlyError,
)

FIFTY = 50


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
        assert "all its 50 files" in store.state.read_only_reason
        assert "repair" in store.state.read_only_reason
        if settings.get("startup_check") != "off":
            missing = [("file_missing", memory_id(n)) for n in range(FIFTY)]
            refused = [("repair_refused", None)] if settings.get("auto_repair", True) else []
            assert codes(store.opening_report.remaining) == missing + refused
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
def test_a_vanished_folder_is_noticed_by_an_index_that_is_only_a_hint(
    root: Path, leave: Callable[[Path], Path]
) -> None:
    away = leave(root)
    for segment in (root / "journal").iterdir():
        segment.unlink()
    with opened(root) as store:
        assert "all its 50 files" in store.state.read_only_reason
        assert store.state.index.count("memory") == FIFTY
    put_back(root, away)
    with opened(root, startup_check="full") as store:
        assert store.opening_report.findings == ()
        assert content_of(store, 49) == "memory 49"


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


def test_deletes_that_only_the_journal_knows_are_no_loss(root: Path) -> None:
    store = open_store(root)
    delete(store, *(key_of(n) for n in range(FIFTY)))
    store.release()
    assert contents(root / "memories") == {}
    with opened(root) as store:
        assert not store.state.read_only_reason
        assert store.opening_report.findings == ()
        assert store.state.index.count("memory") == 0
        save(store, memory(1))


def test_a_store_that_was_filled_only_in_the_journal_is_written_out(root: Path) -> None:
    store = open_store(root)
    save(store, *(memory(n, "again") for n in range(FIFTY)))
    store.release()
    for path in (root / "memories").iterdir():
        path.unlink()
    with opened(root) as store:
        assert not store.state.read_only_reason
        assert store.opening_report.findings == ()
        assert content_of(store, 49) == "again"


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
        present = (root / "memory_index.json").read_bytes()
    assert len(copies(root)) == 3
    assert present in [(root / "backups" / "index" / name).read_bytes() for name in copies(root)]
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
