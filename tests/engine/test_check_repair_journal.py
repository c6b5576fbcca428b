"""The journal is lost or damaged: what other frames and the files still have is served, and what is missing is named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from damaged_stores import (
    codes,
    contents,
    delete,
    fields_of,
    flip,
    key_of,
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
from synthians_memory.errors import DamagedFileError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store")


def content_of(store: Store, number: int) -> str | None:
    found = store.load(key_of(number))
    return None if found is None else str(found.__dict__["content"])


def segments(root: Path) -> list[Path]:
    return sorted((root / "journal").glob("*.wal"))


def crash_with(root: Path, *groups: list[int]) -> dict[str, bytes]:
    """Save the memories of each group in one batch, then die; returns what the files were before."""
    before = contents(root / "memories")
    store = open_store(root)
    for group in groups:
        save(store, *(memory(n, f"new {n}") for n in group))
    store.release()
    return before


def as_if_never_written(root: Path, before: dict[str, bytes]) -> None:
    """The entity files as a power cut may leave them, that no checkpoint had made durable."""
    for path in (root / "memories").iterdir():
        path.unlink()
    for name, data in before.items():
        (root / "memories" / name).write_bytes(data)


def flip_text(root: Path, text: str) -> Path:
    """One bit of `text` in the segment that has it; returns the segment."""
    for segment in segments(root):
        offset = segment.read_bytes().find(text.encode())
        if offset >= 0:
            flip(segment, offset)
            return segment
    raise AssertionError(f"no segment holds {text!r}")


def require_sound_again(root: Path, memories: int) -> None:
    with opened(root, startup_check="full") as store:
        assert not store.state.notes
        assert only_notes(store.opening_report.findings)
        assert store.state.index.count("memory") == memories
        for number in range(memories):
            assert content_of(store, number) in (f"memory {number}", f"new {number}")


# Lost whole


@pytest.mark.parametrize("how", ["segments", "folder"])
def test_after_a_clean_stop_nothing_hangs_on_the_journal(root: Path, how: str) -> None:
    epoch = fields_of(root / "store.json")["epoch"]
    for segment in segments(root):
        segment.unlink()
    if how == "folder":
        shutil.rmtree(root / "journal")
    with opened(root) as store:
        assert store.opening_report.findings == ()
        assert [content_of(store, n) for n in range(5)] == [f"memory {n}" for n in range(5)]
        assert store.state.index.position.epoch == store.state.vectors.position.epoch == store.state.superblock.epoch
        assert store.state.superblock.epoch != epoch
        assert only_notes(store.check("full"))
        save(store, memory(5))
    require_sound_again(root, 6)


def test_a_new_life_never_gives_a_number_again(root: Path) -> None:
    with opened(root) as store:
        last = store.state.journal.last_sequence  # type: ignore[union-attr]
        assert last > 0
    for segment in segments(root):
        segment.unlink()
    with opened(root) as store:
        save(store, memory(5))
        assert store.state.journal.last_sequence > last  # type: ignore[union-attr]


def test_lost_after_a_crash_the_files_that_got_written_are_adopted(root: Path) -> None:
    crash_with(root, [1], [5], [6])
    memory_file(root, 3).unlink()
    shutil.rmtree(root / "journal")
    with opened(root) as store:
        assert store.opening_report.clean
        assert [content_of(store, n) for n in (1, 5, 6)] == ["new 1", "new 5", "new 6"]
        assert only_notes(store.check("full"))
        assert store.load(key_of(3)) is None


def test_one_segment_of_several_is_lost(root: Path) -> None:
    """A later header tells that there was one, and how far it reached."""
    store = open_store(root, segment_bytes=16 * 1024)
    before = contents(root / "memories")
    for number in range(5, 60):
        save(store, memory(number, f"new {number}"))
    store.release()
    paths = [s for s in segments(root) if b"new" in s.read_bytes()]
    assert len(paths) >= 3
    paths[1].unlink()
    written = contents(root / "memories")
    as_if_never_written(root, before)
    with opened(root) as store:
        damage = [f for f in store.state.notes if f.code == "journal_damaged"]
        assert len(damage) == 1
        assert damage[0].severity == "damage"
        kept = {n for n in range(60) if content_of(store, n) is not None}
        lost = set(range(60)) - kept
        assert lost
        assert lost == set(range(min(lost), max(lost) + 1))
        assert {5, 59} <= kept
        assert only_notes(store.check("full"))
    for number in lost:
        memory_file(root, number).write_bytes(written[f"{memory_id(number)}.json"])
    with opened(root) as store:
        assert {code for code, _ in codes(store.opening_report.findings)} == {"file_not_indexed"}
    require_sound_again(root, 60)


# Damaged in places


@pytest.mark.parametrize("files_survive", [False, True])
def test_a_damaged_frame_that_was_durable_is_named(root: Path, files_survive: bool) -> None:
    before = crash_with(root, [5], [6], [7])
    segment = flip_text(root, "new 6")
    was = segment.read_bytes()
    if not files_survive:
        as_if_never_written(root, before)
    with opened(root, auto_repair=False) as store:
        (damage,) = store.state.notes
        assert (damage.code, damage.severity, damage.entity_id) == ("journal_damaged", "damage", memory_id(6))
        assert was in quarantined(root)
        assert [content_of(store, n) for n in (5, 6, 7)] == ["new 5", None, "new 7"]
        wanted = [("file_not_indexed", memory_id(6))] if files_survive else []
        assert looked_at(store, root, "full") == wanted
    with opened(root) as store:
        assert store.opening_report.clean
        assert content_of(store, 6) == ("new 6" if files_survive else None)
    if files_survive:
        require_sound_again(root, 8)


def test_the_intact_records_of_a_damaged_batch_are_applied(root: Path) -> None:
    before = crash_with(root, [5, 6, 7], [8])
    flip_text(root, "new 6")
    as_if_never_written(root, before)
    with opened(root) as store:
        (damage,) = store.state.notes
        assert memory_id(6) in damage.message
        assert [content_of(store, n) for n in (5, 6, 7, 8)] == ["new 5", None, "new 7", "new 8"]
        assert store.opening_report.findings == ()
        assert only_notes(store.check("full"))


def test_a_damaged_update_leaves_the_version_before(root: Path) -> None:
    before = crash_with(root, [1], [2])
    flip_text(root, "new 1")
    as_if_never_written(root, before)
    with opened(root) as store:
        assert [f.code for f in store.state.notes] == ["journal_damaged"]
        assert content_of(store, 1) == "memory 1"
        assert content_of(store, 2) == "new 2"
    require_sound_again(root, 5)


def test_the_version_before_a_damaged_frame_is_no_conflict_for_the_next(root: Path) -> None:
    before = contents(root / "memories")
    store = open_store(root)
    for content in ("first", "second"):
        save(store, memory(1, content))
    store.release()
    flip_text(root, '"first"')
    as_if_never_written(root, before)
    with opened(root) as store:
        assert [f.code for f in store.state.notes] == ["journal_damaged"]
        assert content_of(store, 1) == "second"


@pytest.mark.parametrize("files_survive", [False, True])
def test_a_damaged_tail_that_nothing_claims_is_cut_and_kept(root: Path, files_survive: bool) -> None:
    before = crash_with(root, [5], [6])
    segment = flip_text(root, "new 6")
    offset = segment.read_bytes().find(b"new 6"[1:]) - 1
    was = segment.read_bytes()[offset - 10 : offset + 100]
    if not files_survive:
        as_if_never_written(root, before)
    with opened(root) as store:
        assert [(f.code, f.severity) for f in store.state.notes] == [("journal_torn", "note")]
        assert any(was in data for data in quarantined(root))
        assert content_of(store, 5) == "new 5"
        assert content_of(store, 6) == ("new 6" if files_survive else None)
        assert store.opening_report.clean
        save(store, memory(9))
    with opened(root) as store:
        assert not store.state.notes


def test_garbage_behind_the_last_frame_is_cut(root: Path) -> None:
    crash_with(root, [5])
    (segment,) = [s for s in segments(root) if b"new 5" in s.read_bytes()]
    data = bytearray(segment.read_bytes())
    end = len(data.rstrip(b"\0")) + 64
    data[end : end + 300] = bytes(range(256)) + bytes(44)
    segment.write_bytes(data)
    with opened(root) as store:
        assert {code for code, _ in codes(store.state.notes)} <= {"journal_torn"}
        assert content_of(store, 5) == "new 5"
    require_sound_again(root, 6)


def test_a_damaged_header_costs_nothing(root: Path) -> None:
    crash_with(root, [5], [6])
    for segment in segments(root):
        if b"new 5" in segment.read_bytes():
            flip(segment, 20)
    before = contents(root / "memories")
    with opened(root) as store:
        assert [content_of(store, n) for n in (5, 6)] == ["new 5", "new 6"]
        assert store.opening_report.clean
    assert contents(root / "memories").keys() == before.keys()
    require_sound_again(root, 7)


def test_a_segment_that_is_none_is_set_aside(root: Path) -> None:
    path = root / "journal" / "0000000900.wal"
    path.write_bytes(b"no segment" * 600)
    (root / "journal" / "notes.txt").write_bytes(b"mine")
    with opened(root) as store:
        assert codes(store.state.notes) == [("journal_damaged", None)]
        assert not path.exists()
        assert b"no segment" * 600 in quarantined(root)
        save(store, memory(5))
    assert (root / "journal" / "notes.txt").read_bytes() == b"mine"
    assert int(segments(root)[-1].stem) > 900
    require_sound_again(root, 6)


def test_a_segment_of_another_store_is_set_aside(root: Path, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", memories=1)
    crash_with(other, [70])
    foreign = max(segments(other), key=lambda s: s.stat().st_size)
    path = root / "journal" / "0000000800.wal"
    path.write_bytes(foreign.read_bytes())
    with opened(root) as store:
        assert [code for code, _ in codes(store.state.notes)] == ["journal_foreign"]
        assert foreign.read_bytes() in quarantined(root)
        assert content_of(store, 70) is None
    require_sound_again(root, 5)


def test_a_reader_names_journal_damage_and_changes_nothing(root: Path) -> None:
    crash_with(root, [5], [6], [7])
    flip_text(root, "new 6")
    before = contents(root)
    store = open_store(root, read_only=True)
    assert ("journal_damaged", memory_id(6)) in looked_at(store, root, "full")
    assert content_of(store, 5) == "new 5"
    store.close()
    assert contents(root) == before


def test_damage_in_a_live_journal_is_found_copied_and_left_behind(root: Path) -> None:
    with opened(root) as store:
        for number in (5, 6, 7):
            save(store, memory(number, f"new {number}"))
        segment = flip_text(root, "new 6")
        was = segment.read_bytes()
        assert looked_at(store, root, "quick") == []
        assert looked_at(store, root, "full") == [("journal_damaged", memory_id(6))]
        assert store.repair().clean
        assert was in quarantined(root)
        assert looked_at(store, root, "full") == []
        assert content_of(store, 6) == "new 6"
    require_sound_again(root, 8)


# Restoring from what is still there


def damage_file(root: Path, number: int) -> bytes:
    path = memory_file(root, number)
    rewrite(path, path.read_bytes().replace(b'"tags": ["t"]', b'"tags": ["t'))
    return path.read_bytes()


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
@pytest.mark.parametrize("missing", [False, True])
def test_repair_restores_the_acknowledged_version_from_cache_or_journal(
    root: Path, cache_bytes: int, missing: bool
) -> None:
    with opened(root, cache_bytes=cache_bytes) as store:
        save(store, memory(1, "acknowledged"))
        wanted = memory_file(root, 1).read_bytes()
        was = damage_file(root, 1)
        if missing:
            memory_file(root, 1).unlink()
        if not cache_bytes:
            with pytest.raises(DamagedFileError):
                store.load(key_of(1))
        report = store.repair()
        assert codes(report.findings) == [("file_missing" if missing else "file_undecodable", memory_id(1))]
        assert report.clean
        assert memory_file(root, 1).read_bytes() == wanted
        assert content_of(store, 1) == "acknowledged"
        assert missing or was in quarantined(root)
        assert only_notes(store.check("full"))
    with opened(root, startup_check="full") as store:
        assert store.opening_report.findings == ()
        assert content_of(store, 1) == "acknowledged"


def test_an_older_version_in_the_journal_is_not_restored(root: Path) -> None:
    with opened(root, cache_bytes=0) as store:
        save(store, memory(1, "first"))
        store.checkpoint()
        save(store, memory(1, "second"))
        delete(store, key_of(2))
        rewrite(memory_file(root, 1), b"")
        memory_file(root, 2).write_bytes(b"")
        assert store.repair().clean
        assert content_of(store, 1) == "second"
        assert store.load(key_of(2)) is None
        assert not memory_file(root, 2).exists()


def test_open_restores_from_the_journal_what_no_longer_parses(root: Path) -> None:
    crash_with(root, [1])
    damage_file(root, 1)
    with opened(root) as store:
        assert content_of(store, 1) == "new 1"
        assert store.opening_report.findings == ()
    require_sound_again(root, 5)


def test_open_sets_aside_what_parses_and_restores_from_the_journal(root: Path) -> None:
    """A wrong hash line: somebody may have meant it."""
    crash_with(root, [1])
    path = memory_file(root, 1)
    rewrite(path, path.read_bytes().replace(b"new 1", b"mine!"))
    was = path.read_bytes()
    with opened(root) as store:
        assert content_of(store, 1) == "new 1"
        assert codes(store.state.notes) == [("conflict", memory_id(1))]
        assert was in quarantined(root)
    require_sound_again(root, 5)


def test_a_replaced_file_whose_old_version_is_cached_is_adopted_all_the_same(root: Path) -> None:
    with opened(root) as store:
        save(store, memory(1, "acknowledged"))
        rewrite(memory_file(root, 1), sealed_version_file(memory(1, "newer"), 2**50))
        assert store.repair().clean
        assert content_of(store, 1) == "newer"
