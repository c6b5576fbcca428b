"""Files that a person or another program put into the store: adopted as ordinary writes, or set aside as conflicts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from damaged_stores import (
    NOON,
    assembly,
    codes,
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
    rewrite,
    save,
    sealed_version_file,
    vector,
    without_hash,
)

from synthians_memory.engine.repair import Step
from synthians_memory.engine.store import Store
from synthians_memory.errors import (
    ChangedOutsideError,
    DamagedFileError,
    EntityNotFoundError,
    NotRegularFileError,
)
from synthians_memory.layout import file_name
from synthians_memory.models import MemoryAssembly, MemoryEntry
from synthians_memory.times import from_micros

ONE = memory_id(1)
NEW = memory_id(900)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_store(tmp_path / "store")


def loaded(store: Store, number: int) -> MemoryEntry:
    found = store.load(key_of(number))
    assert isinstance(found, MemoryEntry)
    return found


def nearest(store: Store, seed: int) -> str:
    return store.search(vector(seed), 1, "memory", None)[0].memory_id


# A file that is not in the memory index


def test_a_sealed_file_from_another_store_is_adopted_byte_for_byte(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with opened(other) as store:
        save(store, memory(900))
    data = memory_file(other, 900).read_bytes()
    memory_file(root, 900).write_bytes(data)
    with opened(root, auto_repair=False) as store:
        assert looked_at(store, root, "quick") == looked_at(store, root, "full") == [("file_not_indexed", NEW)]
        assert store.load(key_of(900)) is None
    with opened(root) as store:
        assert store.opening_report.clean
        assert store.opening_report.actions == (f"adopt memories/{NEW}.json as it stands",)
        assert loaded(store, 900).content == "memory 900"
        assert nearest(store, 900) == NEW
        assert only_notes(store.check("full"))
    assert memory_file(root, 900).read_bytes() == data


def test_an_edited_file_that_is_not_indexed_is_adopted(root: Path) -> None:
    fields = {"memory_id": NEW, "content": "typed in", "embedding": vector(900).tolist(), "mood": ["own", "field"]}
    memory_file(root, 900).write_text(json.dumps(fields), encoding="utf-8")
    with opened(root, auto_repair=False) as store:
        assert looked_at(store, root, "quick") == [("file_not_indexed", NEW)]
        assert store.repair().clean
        assert loaded(store, 900).content == "typed in"
        assert loaded(store, 900).extra == {"mood": ["own", "field"]}
        assert nearest(store, 900) == NEW
    assert fields_of(memory_file(root, 900))["mood"] == ["own", "field"]


@pytest.mark.parametrize("offset", [41, 3])
def test_a_damaged_file_that_is_not_indexed_waits_for_a_person(root: Path, offset: int) -> None:
    path = memory_file(root, 900)
    path.write_bytes(sealed_version_file(memory(900), NOON))
    flip(path, offset)
    was = path.read_bytes()
    code = "file_damaged" if offset == 41 else "file_undecodable"
    with opened(root) as store:
        assert codes(store.opening_report.remaining) == [(code, NEW)]
        assert path.read_bytes() == was
        assert store.repair().clean
        assert not path.exists()
        assert was in quarantined(root)
        assert store.load(key_of(900)) is None
        assert only_notes(store.check("full"))


@pytest.mark.parametrize("entity_id", ["Ä/..", "CON", "a b", ".hidden", "%41", "x" * 200])
def test_ids_that_make_odd_file_names_are_adopted_and_repaired(root: Path, entity_id: str) -> None:
    path = root / "memories" / file_name(entity_id)
    entity = MemoryEntry(memory_id=entity_id, content="odd", embedding=vector(55))
    path.write_bytes(sealed_version_file(entity, NOON))
    with opened(root) as store:
        assert codes(store.opening_report.findings) == [("file_not_indexed", entity_id)]
        assert store.opening_report.clean
        assert nearest(store, 55) == entity_id
    rewrite(path, b"damaged")
    with opened(root) as store:
        assert store.repair().clean
        assert b"damaged" in quarantined(root)
        assert store.load(("memory", entity_id)) is None


def test_an_assembly_is_adopted_and_found(root: Path) -> None:
    data = sealed_version_file(assembly("new", [ONE, "nobody"], seed=77), NOON)
    (root / "assemblies" / "new.json").write_bytes(data)
    with opened(root) as store:
        assert codes(store.opening_report.findings) == [("file_not_indexed", "new")]
        found = store.load(("assembly", "new"))
        assert isinstance(found, MemoryAssembly)
        assert found.members == (ONE, "nobody")
        assert store.search(vector(77), 1, "assembly", None)[0].memory_id == "new"
        assert looked_at(store, root, "full") == [("member_missing", "new")]
        assert looked_at(store, root, "quick") == []
        assert store.repair().clean
        assert looked_at(store, root, "full") == [("member_missing", "new")]


def test_an_assembly_under_a_memory_name_is_no_memory(root: Path) -> None:
    data = sealed_version_file(assembly("new", []), NOON)
    (root / "memories" / "new.json").write_bytes(data)
    with opened(root) as store:
        assert codes(store.opening_report.remaining) == [("file_undecodable", "new")]
        assert store.repair().clean
    assert data in quarantined(root)


@pytest.mark.parametrize("name", ["README.txt", "M001.json", "A.json", ".DS_Store", "m001.json~", "%zz.json", "m.JSON"])
def test_a_name_that_no_id_has_is_noted_and_left(root: Path, name: str) -> None:
    path = root / "memories" / name
    path.write_bytes(b"mine")
    (root / "assemblies" / name).mkdir()
    with opened(root) as store:
        assert store.opening_report.actions == ()
        findings = [f for f in store.check("full") if f.code == "foreign_name"]
        assert [f.path for f in findings] == [f"memories/{name}", f"assemblies/{name}"]
        assert all(f.severity == "note" for f in findings)
        assert looked_at(store, root, "quick") == [("foreign_name", None)] * 2
        assert store.repair().actions == ()
    assert path.read_bytes() == b"mine"
    assert (root / "assemblies" / name).is_dir()


# Adoption is an ordinary journaled write


def test_a_replaced_file_keeps_its_own_update_time(root: Path) -> None:
    older = sealed_version_file(memory(1, "older"), NOON - 5_000_000)
    rewrite(memory_file(root, 1), older)
    with opened(root) as store:
        assert loaded(store, 1).updated_at == from_micros(NOON - 5_000_000)
        assert store.state.index.row(key_of(1)).updated_micros == NOON - 5_000_000  # type: ignore[union-attr]
    assert memory_file(root, 1).read_bytes() == older


def test_an_edited_file_is_updated_now(root: Path) -> None:
    before = fields_of(memory_file(root, 1))
    rewrite(memory_file(root, 1), without_hash(memory_file(root, 1).read_bytes()))
    with opened(root) as store:
        updated_at = loaded(store, 1).updated_at
        assert updated_at is not None
        assert updated_at.isoformat() > before["updated_at"].rstrip("Z")
    after = fields_of(memory_file(root, 1))
    assert {k: v for k, v in after.items() if k not in ("updated_at", "content_hash")} == {
        k: v for k, v in before.items() if k not in ("updated_at", "content_hash")
    }


@pytest.mark.parametrize("afterwards", ["left alone", "taken back", "lost"])
def test_what_was_adopted_is_in_the_journal(root: Path, afterwards: str) -> None:
    """Before a checkpoint the journal alone carries it, as any other write."""
    path = memory_file(root, 1)
    was, newer = path.read_bytes(), sealed_version_file(memory(1, "newer"), NOON * 2)
    rewrite(path, newer)
    store = open_store(root, auto_repair=False)
    store._repairer()._adopt_step(Step("adopt", f"memories/{path.name}", *key_of(1)))
    store.release()
    if afterwards == "taken back":
        rewrite(path, was)
    if afterwards == "lost":
        path.unlink()
    with opened(root, auto_repair=False) as store:
        assert loaded(store, 1).content == "newer"
        assert store.opening_report.findings == ()
    assert path.read_bytes() == newer


def test_a_changed_vector_is_found_and_the_old_one_is_not(root: Path) -> None:
    rewrite(memory_file(root, 1), sealed_version_file(memory(1, "moved", embedding=vector(321)), NOON * 2))
    with opened(root) as store:
        assert nearest(store, 321) == ONE
        assert nearest(store, 1) != ONE
    with opened(root) as store:
        assert nearest(store, 321) == ONE
        assert not store.state.notes


def test_a_vector_taken_away_is_no_longer_found(root: Path) -> None:
    rewrite(memory_file(root, 1), sealed_version_file(memory(1, "bare", embedding=None), NOON * 2))
    with opened(root) as store:
        assert loaded(store, 1).embedding is None
        assert ONE not in [hit.memory_id for hit in store.search(vector(1), 9, "memory", None)]
        assert only_notes(store.check("full"))


def test_a_file_that_only_has_another_time_is_as_it_was(root: Path) -> None:
    for number in range(5):
        path = memory_file(root, number)
        rewrite(path, path.read_bytes())
    with opened(root, startup_check="full") as store:
        assert store.opening_report.findings == ()
        assert looked_at(store, root, "quick") == looked_at(store, root, "full") == []
        assert loaded(store, 1).content == "memory 1"


def test_swapped_files_serve_neither(root: Path) -> None:
    one, two = memory_file(root, 1), memory_file(root, 2)
    first, second = one.read_bytes(), two.read_bytes()
    rewrite(one, second)
    rewrite(two, first)
    with opened(root) as store:
        wanted = [("file_undecodable", memory_id(1)), ("file_undecodable", memory_id(2))]
        assert codes(store.opening_report.remaining) == wanted
        assert looked_at(store, root, "full") == wanted
        for number in (1, 2):
            with pytest.raises((DamagedFileError, ChangedOutsideError)):
                store.load(key_of(number))
        rewrite(one, first)
        rewrite(two, second)
        assert looked_at(store, root, "full") == []
        assert loaded(store, 1).content == "memory 1"


def test_swapped_files_are_kept_by_repair(root: Path) -> None:
    one, two = memory_file(root, 1), memory_file(root, 2)
    first, second = one.read_bytes(), two.read_bytes()
    rewrite(one, second)
    rewrite(two, first)
    with opened(root, auto_repair=False) as store:
        assert store.repair().clean
        assert only_notes(store.check("full"))
    assert {first, second} <= set(quarantined(root))


# Adopting by name


def test_adopt_takes_a_file_whose_hash_line_is_wrong(root: Path) -> None:
    path = memory_file(root, 1)
    rewrite(path, path.read_bytes().replace(b"memory 1", b"as it should be"))
    with opened(root) as store:
        assert codes(store.opening_report.remaining) == [("file_damaged", ONE)]
        version = store.adopt(key_of(1))
        assert loaded(store, 1).content == "as it should be"
        assert version.data == path.read_bytes()
        assert only_notes(store.check("full"))
    with opened(root, startup_check="full") as store:
        assert store.opening_report.findings == ()
        assert loaded(store, 1).content == "as it should be"
    assert quarantined(root) == []


def test_adopt_takes_a_file_that_is_not_indexed(root: Path) -> None:
    memory_file(root, 900).write_bytes(sealed_version_file(memory(900), NOON))
    with opened(root, auto_repair=False) as store:
        store.adopt(key_of(900))
        assert nearest(store, 900) == NEW


@pytest.mark.parametrize(
    "data",
    [b"", b"no json", b'{"memory_id":"m002","content":"x"}', b'{"memory_id":"m001","content":"x","embedding":[1]}'],
)
def test_adopt_refuses_what_is_no_such_memory(root: Path, data: bytes) -> None:
    rewrite(memory_file(root, 1), data)
    with opened(root) as store:
        before = listing(root)
        with pytest.raises(DamagedFileError, match=r"m001\.json cannot be adopted"):
            store.adopt(key_of(1))
        assert listing(root) == before


def test_adopt_refuses_what_is_not_there_or_no_file(root: Path) -> None:
    memory_file(root, 1).unlink()
    memory_file(root, 1).symlink_to(memory_file(root, 2))
    with opened(root, auto_repair=False) as store:
        before = listing(root)
        with pytest.raises(EntityNotFoundError):
            store.adopt(key_of(900))
        with pytest.raises(NotRegularFileError):
            store.adopt(key_of(1))
        assert listing(root) == before


# A live write over a version that somebody else wrote


def foreign(kind: str) -> bytes:
    data = sealed_version_file(memory(1, "foreign"), NOON * 2)
    return data if kind == "sealed" else without_hash(data)


@pytest.mark.parametrize("kind", ["sealed", "edited"])
@pytest.mark.parametrize("deleting", [False, True])
def test_a_live_write_sets_a_foreign_version_aside_first(root: Path, kind: str, deleting: bool) -> None:
    with opened(root) as store:
        rewrite(memory_file(root, 1), foreign(kind))
        if deleting:
            delete(store, key_of(1))
            assert store.load(key_of(1)) is None
            assert not memory_file(root, 1).exists()
        else:
            save(store, memory(1, "mine"))
            assert loaded(store, 1).content == "mine"
        assert foreign(kind) in quarantined(root)
        assert codes(store.state.notes) == [("conflict", ONE)]
        assert store.state.counters.conflicts == 1
        assert only_notes(store.check("full"))
    with opened(root, startup_check="full") as store:
        assert store.opening_report.findings == ()


def test_a_live_write_sets_something_that_is_no_file_aside(root: Path) -> None:
    with opened(root) as store:
        memory_file(root, 1).unlink()
        memory_file(root, 1).symlink_to("/etc/hostname")
        save(store, memory(1, "mine"))
        assert memory_file(root, 1).is_file()
        assert not memory_file(root, 1).is_symlink()
        assert b"/etc/hostname" in quarantined(root)
        assert codes(store.state.notes) == [("conflict", ONE)]


def test_own_versions_are_no_conflict(root: Path) -> None:
    with opened(root) as store:
        for turn in range(5):
            save(store, memory(1, f"turn {turn}"))
        path = memory_file(root, 1)
        os.utime(path, ns=(1, 1))
        save(store, memory(1, "touched"))
        assert not store.state.notes
    assert quarantined(root) == []


@pytest.mark.parametrize("kind", ["sealed", "edited"])
@pytest.mark.parametrize("deleting", [False, True])
def test_replay_sets_a_foreign_version_aside_first(root: Path, kind: str, deleting: bool) -> None:
    store = open_store(root)
    if deleting:
        delete(store, key_of(1))
    else:
        save(store, memory(1, "acknowledged"))
    store.release()
    rewrite(memory_file(root, 1), foreign(kind))
    with opened(root) as store:
        assert foreign(kind) in quarantined(root)
        assert codes(store.state.notes) == [("conflict", ONE)]
        assert store.opening_report.findings == ()
        if deleting:
            assert store.load(key_of(1)) is None
        else:
            assert loaded(store, 1).content == "acknowledged"
        assert only_notes(store.check("full"))


@pytest.mark.parametrize("which", ["predecessor", "first", "last", "nothing", "garbage"])
def test_replay_goes_over_own_versions_and_over_what_does_not_parse(root: Path, which: str) -> None:
    path = memory_file(root, 1)
    versions = {"predecessor": path.read_bytes(), "nothing": b"", "garbage": b"{"}
    store = open_store(root)
    for turn in ("first", "last"):
        save(store, memory(1, turn))
        versions[turn] = path.read_bytes()
    store.release()
    rewrite(path, versions[which])
    with opened(root) as store:
        assert loaded(store, 1).content == "last"
        assert not store.state.notes
        assert store.opening_report.findings == ()
    assert path.read_bytes() == versions["last"]
    assert quarantined(root) == []
