"""Vectors that are missing, stale, orphaned or wrong, in files whose hashes are all right: found by identity, never by count."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pytest
from damaged_stores import (
    codes,
    copy_of,
    fields_of,
    key_of,
    looked_at,
    make_store,
    memory,
    memory_file,
    memory_id,
    only_notes,
    open_store,
    opened,
    resealed,
    save,
    sha256_of,
    vector,
)

from synthians_memory.codec import encode
from synthians_memory.engine.store import Store
from synthians_memory.engine.view import Change, describe

MAPPING = "vector_index/mapping.json"
FAISS = "vector_index/memory_vectors.faiss"

Rows = npt.NDArray[np.float32]
# Changes rows of the FAISS file and the fields of mapping.json; returns the rows.
Rewrite = Callable[[Rows, dict[str, Any]], Rows]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("sound") / "store")


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    return copy_of(sound, tmp_path)


def rewrite_vectors(root: Path, rewrite: Rewrite) -> None:
    """Change the vector index as a program would that knows its format, hashes and all."""
    index = faiss.deserialize_index(np.frombuffer((root / FAISS).read_bytes(), dtype=np.uint8))
    rows = index.reconstruct_n(0, index.ntotal)
    fields = fields_of(root / MAPPING)
    rows = rewrite(rows, fields)
    changed = faiss.IndexFlatIP(rows.shape[1])
    changed.add(np.ascontiguousarray(rows))
    data = faiss.serialize_index(changed).tobytes()
    (root / FAISS).write_bytes(data)

    def change(found: dict[str, Any]) -> None:
        found.update(fields)
        found["metadata"].update(faiss_bytes=len(data), faiss_sha256=sha256_of(data))

    resealed(root / MAPPING, change)


def nearest(store: Store, seed: int) -> str:
    return store.search(vector(seed), 1, "memory", None)[0].memory_id


def require_all_found(store: Store) -> None:
    for number in range(5):
        assert nearest(store, number) == memory_id(number)
    assert len(store.search(vector(1), 99, "memory", None)) == 5
    assert store.search(vector(9000), 1, "assembly", None)[0].memory_id == "a0"
    assert only_notes(store.check("full"))


def missing(rows: Rows, fields: dict[str, Any]) -> Rows:
    del fields["memories"][memory_id(1)]
    return np.delete(rows, 1, axis=0)


def orphan(rows: Rows, fields: dict[str, Any]) -> Rows:
    fields["memories"]["ghost"] = [fields["metadata"]["next_vector_id"], "00" * 16]
    fields["metadata"]["next_vector_id"] += 1
    return np.insert(rows, 5, rows[1], axis=0)


def missing_and_orphan(rows: Rows, fields: dict[str, Any]) -> Rows:
    """As many as before."""
    return orphan(missing(rows, fields), fields)[[0, 1, 2, 3, 1, 4]]


def stale(rows: Rows, fields: dict[str, Any]) -> Rows:
    fields["memories"][memory_id(1)][1] = "11" * 16
    rows[1] = -rows[1]
    return rows


def swapped_names(rows: Rows, fields: dict[str, Any]) -> Rows:
    """Each of two memories has the other's vector, and its hash."""
    found = fields["memories"]
    found[memory_id(1)], found[memory_id(2)] = found[memory_id(2)], found[memory_id(1)]
    return rows


def all_gone(rows: Rows, fields: dict[str, Any]) -> Rows:
    fields["memories"] = {}
    return rows[5:]


def assembly_missing(rows: Rows, fields: dict[str, Any]) -> Rows:
    fields["assemblies"] = {}
    return rows[:5]


DRIFT = {
    "missing": missing,
    "orphan": orphan,
    "missing and orphan": missing_and_orphan,
    "stale": stale,
    "swapped names": swapped_names,
    "all gone": all_gone,
    "assembly missing": assembly_missing,
}


@pytest.mark.parametrize("rewrite", DRIFT.values(), ids=DRIFT)
@pytest.mark.parametrize("startup_check", ["off", "quick"])
def test_open_reconciles_by_identity_and_hash(root: Path, rewrite: Rewrite, startup_check: str) -> None:
    rewrite_vectors(root, rewrite)
    with opened(root, startup_check=startup_check, auto_repair=False) as store:
        assert codes(store.state.notes) == [("vectors_damaged", None)]
        require_all_found(store)
    with opened(root) as store:
        assert not store.state.notes
        require_all_found(store)


@pytest.mark.parametrize("rewrite", DRIFT.values(), ids=DRIFT)
def test_a_reader_reconciles_without_writing(root: Path, rewrite: Rewrite) -> None:
    rewrite_vectors(root, rewrite)
    store = open_store(root, read_only=True)
    assert looked_at(store, root, "quick") == []
    assert nearest(store, 1) == memory_id(1)
    store.close()


# The hash is right and the numbers are not: only reading the embeddings tells


def wrong_row(rows: Rows, fields: dict[str, Any]) -> Rows:
    rows[1] = rows[4]
    return rows


def swapped_rows(rows: Rows, fields: dict[str, Any]) -> Rows:
    return rows[[0, 2, 1, 3, 4, 5]]


def slightly_off(rows: Rows, fields: dict[str, Any]) -> Rows:
    rows[1, 3] += np.float32(1e-4)
    return rows


def wrong_assembly(rows: Rows, fields: dict[str, Any]) -> Rows:
    rows[5] = rows[0]
    return rows


WRONG = {
    "one": (wrong_row, [memory_id(1)]),
    "swapped": (swapped_rows, [memory_id(1), memory_id(2)]),
    "slightly off": (slightly_off, [memory_id(1)]),
    "assembly": (wrong_assembly, ["a0"]),
}


@pytest.mark.parametrize(("rewrite", "ids"), WRONG.values(), ids=WRONG)
def test_a_full_check_finds_wrong_vectors_and_repair_rebuilds_them(
    root: Path, rewrite: Rewrite, ids: list[str]
) -> None:
    rewrite_vectors(root, rewrite)
    wanted = [("vector_wrong", entity_id) for entity_id in ids]
    with opened(root) as store:
        assert store.opening_report.findings == ()
        assert looked_at(store, root, "quick") == []
        assert looked_at(store, root, "full") == wanted
        before = store.state.vectors._next_vector_id
        report = store.repair()
        assert codes(report.findings) == wanted
        assert report.clean
        require_all_found(store)
        assert store.state.vectors._next_vector_id > before
    with opened(root, startup_check="full") as store:
        assert store.opening_report.findings == ()
        require_all_found(store)


def test_a_full_check_at_open_mends_wrong_vectors(root: Path) -> None:
    rewrite_vectors(root, swapped_rows)
    with opened(root, startup_check="full") as store:
        assert [code for code, _ in codes(store.opening_report.findings)] == ["vector_wrong"] * 2
        assert store.opening_report.clean
        require_all_found(store)


# The vector index in memory has drifted from the memory index


def forget_one(store: Store) -> None:
    store.state.vectors.apply([Change(key_of(1), None)])


def index_another(store: Store) -> None:
    other = encode(memory(1, embedding=vector(50))).stamp(1)
    store.state.vectors.apply([describe(other)])


def index_a_ghost(store: Store) -> None:
    store.state.vectors.apply([describe(encode(memory(800)).stamp(1))])


def forget_and_index_a_ghost(store: Store) -> None:
    forget_one(store)
    index_a_ghost(store)


@pytest.mark.parametrize(
    ("drift", "wanted"),
    [
        (forget_one, [("vector_missing", memory_id(1))]),
        (index_another, [("vector_stale", memory_id(1))]),
        (index_a_ghost, [("vector_orphan", memory_id(800))]),
        (forget_and_index_a_ghost, [("vector_missing", memory_id(1)), ("vector_orphan", memory_id(800))]),
    ],
)
def test_check_names_drifted_vectors_and_repair_mends_them(
    root: Path, drift: Callable[[Store], None], wanted: list[tuple[str, str]]
) -> None:
    with opened(root) as store:
        drift(store)
        assert looked_at(store, root, "quick") == wanted
        assert looked_at(store, root, "full") == wanted
        assert store.repair().clean
        require_all_found(store)
    with opened(root) as store:
        assert not store.state.notes
        require_all_found(store)


def test_a_vector_left_by_a_memory_without_one_is_an_orphan(root: Path) -> None:
    with opened(root) as store:
        save(store, memory(700, "bare", embedding=None))
        index = encode(memory(700)).stamp(1)
        store.state.vectors.apply([describe(index)])
        assert looked_at(store, root, "quick") == [("vector_orphan", memory_id(700))]
        assert store.repair().clean
        assert looked_at(store, root, "full") == []
        assert memory_id(700) not in [hit.memory_id for hit in store.search(vector(700), 9, "memory", None)]


def test_no_vector_is_asked_of_a_file_that_is_damaged(root: Path) -> None:
    """It keeps the acknowledged one until somebody decides about the file."""
    path = memory_file(root, 1)
    path.write_bytes(path.read_bytes().replace(b"memory 1", b"memory X"))
    with opened(root) as store:
        assert looked_at(store, root, "full") == [("file_damaged", memory_id(1))]
        assert nearest(store, 1) == memory_id(1)
