"""Memory index and vector index are lost, damaged, old or wrong: they are rebuilt from the entity files, and equal those before."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damaged_stores import (
    TickingClock,
    assembly,
    codes,
    contents,
    copy_of,
    delete,
    flip,
    key_of,
    looked_at,
    make_store,
    memory,
    memory_id,
    only_notes,
    open_store,
    opened,
    resealed,
    rewrite,
    save,
    vector,
)

from synthians_memory.engine.index import MemoryIndex
from synthians_memory.engine.store import Store
from synthians_memory.engine.vectors import VectorView
from synthians_memory.layout import Kind

Inflict = Callable[[Path], None]

KINDS: tuple[Kind, ...] = ("memory", "assembly")
INDEX = "memory_index.json"
INDEX_LOG = "memory_index.log"
MAPPING = "vector_index/mapping.json"
FAISS = "vector_index/memory_vectors.faiss"
NEXT = "vector_index/memory_vectors.faiss.next"
VECTORS_LOG = "vector_index/vectors.log"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("sound") / "store")


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose views have several groups in their logs, behind older snapshots."""
    root = make_store(tmp_path_factory.mktemp("logged") / "store")
    with pytest.MonkeyPatch.context() as patch:
        keep_logs(patch)
        with opened(root, clock=TickingClock()) as store:
            for number in (5, 6, 7):
                save(store, memory(number))
                delete(store, key_of(number - 4))
                store.checkpoint()
    return root


def keep_logs(patch: pytest.MonkeyPatch) -> None:
    """As if the store were large: a checkpoint appends to the logs instead of writing snapshots."""
    for view in (MemoryIndex, VectorView):
        patch.setattr(view, "small_bytes", 0)
        patch.setattr(view, "log_share", 100.0)


def rows(root: Path) -> dict[str, Any]:
    """What the memory index says of every entity."""
    with opened(root) as store:
        return {kind: dict(store.state.index.rows[kind]) for kind in KINDS}


def require_all_found(store: Store) -> None:
    """Every memory and assembly is loaded, and is the nearest to its own vector."""
    for kind in KINDS:
        for entity_id in store.state.index.ids(kind):
            entity = store.load((kind, entity_id))
            assert entity is not None
            assert entity.vector is not None
            (hit,) = store.search(entity.vector, 1, kind, None)
            assert hit.memory_id == entity_id
            assert hit.score == pytest.approx(1.0, abs=1e-5)
    assert store.state.vectors.count("memory") == store.state.index.count("memory")
    assert only_notes(store.check("full"))


def remove(path: Path) -> None:
    path.unlink()


def flip_middle(path: Path) -> None:
    flip(path, path.stat().st_size // 2)


def halve(path: Path) -> None:
    rewrite(path, path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    rewrite(path, b"")


def garbage(path: Path) -> None:
    rewrite(path, bytes(range(256)) * 3)


def sealed_nonsense(**changes: Any) -> Inflict:
    return lambda path: resealed(path, lambda fields: fields.update(changes))


def in_metadata(**changes: Any) -> Inflict:
    return lambda path: resealed(path, lambda fields: fields["metadata"].update(changes))


DAMAGE = {"missing": remove, "flipped": flip_middle, "truncated": halve, "empty": empty, "garbage": garbage}
NONSENSE = {
    "lists": sealed_nonsense(memories=[1, 2], assemblies=[]),
    "numbers": sealed_nonsense(memories={"m001": 5}),
    "no metadata": sealed_nonsense(metadata=[]),
    "no sequence": in_metadata(sequence="x"),
    "a sequence ahead": in_metadata(sequence=10**6),
    "another epoch": in_metadata(epoch="another"),
}
INDEX_ROW = {"filepath": "memories/m001.json", "created_at": "x", "updated_at": "x", "size": 10**30}


# The files of the memory index


@pytest.mark.parametrize("inflict", [*DAMAGE.values(), *NONSENSE.values()], ids=[*DAMAGE, *NONSENSE])
@pytest.mark.parametrize("auto_repair", [True, False])
def test_open_rebuilds_a_lost_memory_index(sound: Path, tmp_path: Path, inflict: Inflict, auto_repair: bool) -> None:
    root = copy_of(sound, tmp_path)
    before = rows(root)
    inflict(root / INDEX)
    with opened(root, auto_repair=auto_repair) as store:
        assert codes(store.state.notes) == [("index_damaged", None)]
        assert store.opening_report.findings == ()
        require_all_found(store)
    assert rows(root) == before
    with opened(root, startup_check="full") as store:
        assert not store.state.notes
        assert store.opening_report.findings == ()


@pytest.mark.parametrize(
    "change", [{"size": 10**30}, {"created_at": 5}, {"content_hash": 5}, {"embedding_hash": "xyz"}]
)
def test_a_sealed_row_that_makes_no_sense_is_damage_too(sound: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    root = copy_of(sound, tmp_path)
    resealed(root / INDEX, lambda fields: fields["memories"][memory_id(1)].update(change))
    with opened(root) as store:
        assert codes(store.state.notes) == [("index_damaged", None)]
        require_all_found(store)


@pytest.mark.parametrize("inflict", DAMAGE.values(), ids=DAMAGE)
def test_check_names_a_lost_memory_index_and_repair_writes_it(sound: Path, tmp_path: Path, inflict: Inflict) -> None:
    root = copy_of(sound, tmp_path)
    with opened(root) as store:
        inflict(root / INDEX)
        assert looked_at(store, root, "quick") == []
        assert looked_at(store, root, "full") == [("index_damaged", None)]
        report = store.repair()
        assert codes(report.findings) == [("index_damaged", None)]
        assert report.clean
        assert looked_at(store, root, "full") == []
    with opened(root) as store:
        assert not store.state.notes
        require_all_found(store)


@pytest.mark.parametrize("inflict", DAMAGE.values(), ids=DAMAGE)
def test_a_reader_names_a_lost_memory_index_and_changes_nothing(sound: Path, tmp_path: Path, inflict: Inflict) -> None:
    root = copy_of(sound, tmp_path)
    inflict(root / INDEX)
    before = contents(root)
    store = open_store(root, read_only=True)
    assert looked_at(store, root, "full") == [("index_damaged", None)]
    assert store.load(key_of(1)) is not None
    store.close()
    assert contents(root) == before


def test_an_index_that_names_too_much_too_little_or_other_versions_yields_to_the_files(
    sound: Path, tmp_path: Path
) -> None:
    root = copy_of(sound, tmp_path)

    def change(fields: dict[str, Any]) -> None:
        found = fields["memories"]
        found["ghost"] = {**found[memory_id(1)], "filepath": "memories/ghost.json"}
        del found[memory_id(2)]
        found[memory_id(3)].update(content_hash="sha256:" + "0" * 64, size=1)

    resealed(root / INDEX, change)
    wanted = [
        ("file_missing", "ghost"),
        ("file_not_indexed", memory_id(2)),
        ("file_replaced", memory_id(3)),
        ("vector_missing", "ghost"),
    ]
    with opened(root, auto_repair=False) as store:
        assert looked_at(store, root, "quick") == wanted
    with opened(root) as store:
        assert codes(store.opening_report.findings) == wanted
        assert store.opening_report.clean
        assert store.state.index.count("memory") == 5
        require_all_found(store)


def test_an_index_rebuilt_from_many_files_equals_the_one_before(tmp_path: Path) -> None:
    root = make_store(tmp_path / "store", memories=300, assemblies=30)
    with opened(root) as store:
        save(store, *(memory(n, "again") for n in range(0, 300, 7)), memory(5, "bare", embedding=None))
        delete(store, *(key_of(n) for n in range(3, 300, 50)), ("assembly", "a3"))
    before = rows(root)
    assert (len(before["memory"]), len(before["assembly"])) == (294, 29)
    for name in (INDEX, INDEX_LOG, MAPPING, FAISS, VECTORS_LOG):
        (root / name).unlink()
    with opened(root) as store:
        assert {code for code, _ in codes(store.state.notes)} == {"index_damaged", "vectors_damaged"}
        assert store.opening_report.findings == ()
        assert only_notes(store.check("full"))
        assert store.state.vectors.count("memory") == 293
    assert rows(root) == before


# Their logs


def cut_commit_line(path: Path) -> None:
    """The last group lost the line that commits it."""
    lines = path.read_bytes().split(b"\n")
    assert lines[-2].startswith(b'{"commit"')
    rewrite(path, b"\n".join(lines[:-2]) + b"\n")


def cut_some_bytes(path: Path) -> None:
    rewrite(path, path.read_bytes()[:-12])


def flip_last_group(path: Path) -> None:
    flip(path, -40)


def flip_header(path: Path) -> None:
    flip(path, 20)


LOGS = {
    "flipped header": flip_header,
    "flipped in the middle": flip_middle,
    "flipped at the end": flip_last_group,
    "some bytes short": cut_some_bytes,
    "truncated": halve,
    "empty": empty,
    "missing": remove,
}
DAMAGED_LOGS = [
    *((INDEX_LOG, code, inflict) for code, inflict in {**LOGS, "no commit line": cut_commit_line}.items()),
    *((VECTORS_LOG, code, inflict) for code, inflict in LOGS.items()),
]
LOG_NAMES = [f"{log.rpartition('/')[2]}, {name}" for log, name, _ in DAMAGED_LOGS]


@pytest.mark.parametrize(("log", "name", "inflict"), DAMAGED_LOGS, ids=LOG_NAMES)
def test_open_makes_good_what_a_log_lost(logged: Path, tmp_path: Path, log: str, name: str, inflict: Inflict) -> None:
    root = copy_of(logged, tmp_path)
    before = rows(root)
    inflict(root / log)
    code = "index_damaged" if log == INDEX_LOG else "vectors_damaged"
    with opened(root) as store:
        assert codes(store.state.notes) == [(code, None)]
        assert store.opening_report.findings == ()
        require_all_found(store)
    assert rows(root) == before
    with opened(root) as store:
        assert not store.state.notes


@pytest.mark.parametrize(("log", "name", "inflict"), DAMAGED_LOGS, ids=LOG_NAMES)
def test_check_names_what_a_log_lost(
    logged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str, name: str, inflict: Inflict
) -> None:
    keep_logs(monkeypatch)
    root = copy_of(logged, tmp_path)
    with opened(root) as store:
        inflict(root / log)
        code = "index_damaged" if log == INDEX_LOG else "vectors_damaged"
        assert looked_at(store, root, "full") == [(code, None)]
        assert store.repair().clean
        assert looked_at(store, root, "full") == []
    with opened(root) as store:
        assert not store.state.notes
        require_all_found(store)


@pytest.mark.parametrize("log", [INDEX_LOG, VECTORS_LOG])
def test_what_follows_the_last_group_does_not_count(
    logged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str
) -> None:
    keep_logs(monkeypatch)
    root = copy_of(logged, tmp_path)
    before = rows(root)
    with (root / log).open("ab") as file:
        file.write(b'{"put":"memory","id":"m001","row":{}}\n{"remo' if log == INDEX_LOG else b"SM" * 40)
    with opened(root) as store:
        assert not store.state.notes
        assert store.opening_report.findings == ()
        save(store, memory(8))
    after = rows(root)
    assert after["memory"].keys() == {*before["memory"], memory_id(8)}
    with opened(root) as store:
        require_all_found(store)


@pytest.mark.parametrize("snapshot_too", [False, True])
def test_files_of_an_earlier_moment_are_not_taken_for_present_ones(
    logged: Path, tmp_path: Path, snapshot_too: bool
) -> None:
    """As after a restore of single files from a backup."""
    root = copy_of(logged, tmp_path)
    old = contents(root)
    with opened(root) as store:
        save(store, memory(6, "changed"), memory(9), assembly("late", [memory_id(9)], seed=44))
        delete(store, key_of(4))
    before = rows(root)
    for name in (INDEX_LOG, VECTORS_LOG, *((INDEX, MAPPING, FAISS) if snapshot_too else ())):
        rewrite(root / name, old[name])
    with opened(root) as store:
        assert bool(store.state.notes) == snapshot_too
        assert store.opening_report.findings == ()
        require_all_found(store)
        assert store.load(key_of(4)) is None
    assert rows(root) == before


def test_a_snapshot_of_an_earlier_moment_is_not_joined_with_a_later_log(
    logged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_of(logged, tmp_path)
    old = contents(root)
    with opened(root) as store:
        save(store, memory(6, "changed", embedding=vector(66)))
    keep_logs(monkeypatch)
    with opened(root) as store:
        save(store, memory(9))
    for name in (INDEX, MAPPING, FAISS):
        rewrite(root / name, old[name])
    with opened(root) as store:
        assert {code for code, _ in codes(store.state.notes)} == {"index_damaged", "vectors_damaged"}
        require_all_found(store)


# The files of the vector index


def remove_all(path: Path) -> None:
    for file in path.parent.iterdir():
        file.unlink()


LOST = [
    *((path, name, inflict) for path in (MAPPING, FAISS) for name, inflict in DAMAGE.items()),
    *((MAPPING, name, inflict) for name, inflict in NONSENSE.items()),
    (MAPPING, "another store", in_metadata(store_id="another")),
    (MAPPING, "another metric", in_metadata(metric="l2")),
    (MAPPING, "another dimension", in_metadata(dimension=4)),
    (MAPPING, "no next id", in_metadata(next_vector_id="x")),
    (MAPPING, "everything", remove_all),
]


@pytest.mark.parametrize(
    ("path", "name", "inflict"), LOST, ids=[f"{path.rpartition('/')[2]}, {name}" for path, name, _ in LOST]
)
def test_open_rebuilds_a_lost_vector_index(sound: Path, tmp_path: Path, path: str, name: str, inflict: Inflict) -> None:
    root = copy_of(sound, tmp_path)
    inflict(root / path)
    with opened(root) as store:
        assert codes(store.state.notes) == [("vectors_damaged", None)]
        assert store.opening_report.findings == ()
        require_all_found(store)
    with opened(root, startup_check="full") as store:
        assert not store.state.notes
        assert store.opening_report.findings == ()
        assert store.state.vectors.position == store.state.index.position
        require_all_found(store)


@pytest.mark.parametrize(
    ("path", "name", "inflict"), LOST[:10], ids=[f"{path.rpartition('/')[2]}, {name}" for path, name, _ in LOST[:10]]
)
def test_check_names_a_lost_vector_index_and_repair_writes_it(
    sound: Path, tmp_path: Path, path: str, name: str, inflict: Inflict
) -> None:
    root = copy_of(sound, tmp_path)
    with opened(root) as store:
        inflict(root / path)
        assert looked_at(store, root, "quick") == []
        assert looked_at(store, root, "full") == [("vectors_damaged", None)]
        assert store.repair().clean
        assert looked_at(store, root, "full") == []
    with opened(root) as store:
        assert not store.state.notes
        require_all_found(store)


@pytest.mark.parametrize("data", [b"", b"leftover", None])
def test_a_leftover_of_an_interrupted_snapshot_harms_nothing(sound: Path, tmp_path: Path, data: bytes | None) -> None:
    root = copy_of(sound, tmp_path)
    (root / NEXT).write_bytes((root / FAISS).read_bytes() if data is None else data)
    with opened(root, startup_check="full") as store:
        assert not store.state.notes
        assert store.opening_report.findings == ()
        save(store, memory(9))
    assert not (root / NEXT).exists()
    with opened(root) as store:
        require_all_found(store)


def test_a_snapshot_that_was_not_renamed_yet_counts(sound: Path, tmp_path: Path) -> None:
    root = copy_of(sound, tmp_path)
    os.rename(root / FAISS, root / NEXT)
    (root / FAISS).write_bytes(b"the one before")
    with opened(root) as store:
        assert not store.state.notes
        require_all_found(store)
        save(store, memory(9))
    with opened(root) as store:
        require_all_found(store)
