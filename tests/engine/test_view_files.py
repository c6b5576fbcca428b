"""Views are read back in pieces and columns: always as one by one, whatever the pieces and whoever wrote the file."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pytest
from damaged_stores import copy_of, make_store, memory, only_notes, open_store, opened, resealed, save, vector
from hypothesis import given
from hypothesis import strategies as st

from synthians_memory.codec import content_hash_text
from synthians_memory.config import Metric, StoreConfig
from synthians_memory.engine import flat_file, rebuild, sections
from synthians_memory.engine.faiss_index import new_index
from synthians_memory.engine.flat_file import FlatFile
from synthians_memory.engine.index import MemoryIndex
from synthians_memory.engine.rows import NEVER, row_from_json, rows_from_json, unpack
from synthians_memory.engine.sections import Members, read_sections
from synthians_memory.engine.store import Store
from synthians_memory.engine.vectors import VectorView
from synthians_memory.errors import DamagedViewError, DiskError
from synthians_memory.layout import FAISS_FILE, INDEX, MAPPING, VECTORS_LOG, Kind
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import SystemClock, format_time

KINDS: tuple[Kind, ...] = ("memory", "assembly")


# Rows


def row_values(kind: Kind) -> st.SearchStrategy[dict[str, Any]]:
    times = st.datetimes(timezones=st.just(UTC)).map(format_time)
    sizes = st.integers(0, 2**63 - 1)
    fields = {
        "filepath": st.just("memories/m.json"),
        "created_at": times,
        "updated_at": times,
        "content_hash": st.binary(min_size=32, max_size=32).map(content_hash_text),
        "embedding_hash": st.none() | st.binary(min_size=16, max_size=16).map(bytes.hex),
        "size": sizes,
        "mtime_ns": sizes,
    }
    own = {"quickrecal_score": st.floats(0, 1) | st.integers(0, 1)}
    if kind == "assembly":
        own = {"member_count": st.integers(0, 2**31 - 1)}
    return st.fixed_dictionaries({**fields, **own})


def outcome(pack: Callable[[], Any]) -> Any:
    try:
        return pack()
    except (KeyError, TypeError, ValueError) as error:
        return type(error)


@given(kind=st.sampled_from(KINDS), data=st.data())
def test_many_rows_are_packed_as_one_by_one(kind: Kind, data: st.DataObject) -> None:
    found = data.draw(st.lists(row_values(kind), max_size=5))
    assert rows_from_json(kind, found) == [row_from_json(kind, row) for row in found]


ODD_TIMES = (
    *("2026-11-20T12:00:00Z", "2026-11-20 12:00:00.000000Z", "2026-11-20T12:00:00.000000+01:00", "20261120T120000Z"),
    *("0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z", "0000-01-01T00:00:00.000000Z"),
    *("2026-02-29T00:00:00.000000Z", "2024-02-29T00:00:00.000000Z", "2026-13-01T00:00:00.000000Z"),
    *("2026-11-20T24:00:00.000000Z", "2026-11-20T23:59:60.000000Z", "2026-11-20T12:60:00.000000Z"),
    *("2026-00-20T12:00:00.000000Z", "2026-11-00T12:00:00.000000Z", "2026-11-20T12:00:00.00000/Z"),
    *("2026-11-20T12:00:00.00000٣Z", "", "NaT", None, 3),
)
ODD_HASHES = (
    "sha256:" + "g" * 64,
    "sha256:" + "AB" * 32,
    "SHA256:" + "ab" * 32,
    "sha256:" + " a" * 32,
    "sha256:",
    "",
    None,
)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("created_at", text) for text in ODD_TIMES),
        *(("content_hash", text) for text in ODD_HASHES),
        *(("embedding_hash", text) for text in ("", "ab" * 15, "zz" * 16, " a" * 16, "AB" * 16, 7, "é" * 32)),
        *(("size", value) for value in (2**63, -(2**63) - 1, 1.5, "7", None, True, -1)),
        *(("quickrecal_score", value) for value in ("0.5", None, 10**400, True)),
        ("mtime_ns", ...),
    ],
)
def test_an_odd_row_among_others_counts_as_it_does_alone(name: str, value: object) -> None:
    good = {
        "created_at": "2026-11-20T12:00:00.000001Z",
        "updated_at": "2026-11-20T12:00:00.000002Z",
        "quickrecal_score": 0.5,
        "content_hash": "sha256:" + "cd" * 32,
        "embedding_hash": None,
        "size": 7,
        "mtime_ns": 8,
    }
    odd = {**good, name: value}
    if value is ...:
        del odd[name]
    one_by_one = outcome(lambda: [row_from_json("memory", row) for row in (good, odd, good)])
    assert outcome(lambda: rows_from_json("memory", [good, odd, good])) == one_by_one


@given(
    st.text("0123456789-T:.Z", min_size=27, max_size=27)
    | st.from_regex(r"\d{4}-[01]\d-[0-3]\dT[0-2]\d:[0-6]\d:[0-6]\d\.\d{6}Z", fullmatch=True)
)
def test_a_time_is_read_in_a_column_as_alone(text: str) -> None:
    row = {"created_at": text, "updated_at": "1969-12-31T23:59:59.999999Z", "member_count": 3}
    row |= {"content_hash": "sha256:" + "cd" * 32, "embedding_hash": None, "size": 7, "mtime_ns": 8}
    alone = outcome(lambda: row_from_json("assembly", row))
    assert outcome(lambda: rows_from_json("assembly", [row])) == ([alone] if isinstance(alone, bytes) else alone)


def test_what_was_packed_is_what_was_written() -> None:
    row = {"created_at": "1969-12-31T23:59:59.999999Z", "updated_at": "9999-12-31T23:59:59.999999Z", "member_count": 3}
    row |= {"content_hash": "sha256:" + "cd" * 32, "embedding_hash": "ab" * 16, "size": 7, "mtime_ns": 8}
    found = unpack(rows_from_json("assembly", [row])[0])
    # To the last microsecond of the year 9999.
    assert found[:2] == (-1, 253_402_300_800_000_000 - 1)
    assert found[2:] == (0.0, b"\xcd" * 32, b"\xab" * 16, 7, 8, 3, NEVER)


# Sections


def collected(members: Iterator[Members]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for name, part in members:
        found.setdefault(name, {}).update(part)
    return found


def written(document: dict[str, Any], names: tuple[str, ...]) -> bytes:
    """As the store writes it: one member of a section a line."""
    lines = ["{\n"]
    for name in names:
        members = [f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in document[name].items()]
        lines.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(members) + ("\n" if members else "") + "  },\n")
    rest = [f"  {json.dumps(name)}: {json.dumps(value)}" for name, value in document.items() if name not in names]
    return ("".join(lines) + ",\n".join(rest) + "\n}\n").encode()


documents = st.fixed_dictionaries(
    {
        "a": st.dictionaries(st.text(max_size=4), st.lists(st.text(max_size=4), max_size=2), max_size=6),
        "b": st.dictionaries(st.text(max_size=4), st.dictionaries(st.text(max_size=2), st.integers(0, 9)), max_size=6),
        "metadata": st.just({"x": 1}),
        "content_hash": st.just("none"),
    }
)


@given(document=documents, piece=st.integers(1, 60), indent=st.sampled_from([None, 0, 1, 2, 4]))
def test_a_document_is_the_same_in_pieces_and_in_any_layout(
    document: dict[str, Any], piece: int, indent: int | None
) -> None:
    wanted = {"a": document["a"], "b": document["b"], "": {"metadata": {"x": 1}, "content_hash": "none"}}
    wanted = {name: part for name, part in wanted.items() if part}
    for data in (written(document, ("a", "b")), json.dumps(document, indent=indent).encode()):
        found = read_sections(data, ["a", "b"], collected, piece)
        assert {name: part for name, part in found.items() if part} == wanted


def test_a_document_as_the_store_writes_it_is_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "_at_once", lambda *_: pytest.fail("it was read at once"))
    members = {f"k{n}": n for n in range(100)}
    data = written({"a": members, "b": {}, "metadata": 1}, ("a", "b"))
    parts = read_sections(data, ["a", "b"], list, 100)
    assert len(parts) > 5
    assert collected(iter(parts)) == {"a": members, "": {"metadata": 1}}


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"nonsense", b'{"a": [], "b": {}}', b'{\n  "a": {\n  },\n'])
def test_what_is_no_such_document_is_refused(data: bytes) -> None:
    with pytest.raises((ValueError, KeyError, AttributeError, TypeError)):
        read_sections(data, ["a", "b"], collected, 10)


# FAISS files

METRICS: tuple[Metric, ...] = ("cosine", "ip", "l2")
Rows = npt.NDArray[np.float32]


def rows_of(count: int, dimension: int) -> Rows:
    return np.random.default_rng(count).standard_normal((count, dimension)).astype(np.float32)


def taken(data: bytes, dimension: int, metric: Metric, piece: int, size: int | None = None) -> FlatFile:
    file = FlatFile(len(data) if size is None else size, dimension, metric, spare_bytes=100)
    for start in range(0, len(data), piece):
        file.take(data[start : start + piece])
    return file


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [0, 1, 50])
@pytest.mark.parametrize("piece", [45, 46, 100, 10_000])
def test_a_file_of_faiss_is_taken_in_pieces(
    metric: Metric, count: int, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flat_file, "parsed", lambda *_: pytest.fail("it was kept for FAISS to parse"))
    rows, index = rows_of(count, 7), new_index(7, metric)
    index.add(rows)
    pieces: list[bytes] = []
    index.serialise(pieces.append)
    found = taken(b"".join(pieces), 7, metric, piece).index()
    assert len(found) == count
    assert np.array_equal(found.rows(0, count), rows)
    more = rows_of(60, 7)
    found.add(more)
    assert np.array_equal(found.rows(count, count + 60), more)


@pytest.mark.parametrize("metric", METRICS)
def test_a_flat_index_that_begins_in_another_way_is_parsed(metric: Metric) -> None:
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    generic = faiss.IndexFlat(7, kind)
    generic.add(rows_of(9, 7))
    data = faiss.serialize_index(generic).tobytes()
    head = data.index(rows_of(9, 7).tobytes())
    for piece in (1, 20, head, 10_000):
        found = taken(data, 7, metric, piece).index()
        assert np.array_equal(found.rows(0, 9), rows_of(9, 7))


@pytest.mark.parametrize("dimension", [-1, 0, 6, 8, 2**31, 2**70])
def test_a_file_of_another_dimension_is_refused(dimension: int) -> None:
    index = faiss.IndexFlatIP(7)
    index.add(rows_of(9, 7))
    file = taken(faiss.serialize_index(index).tobytes(), dimension, "ip", 100)
    with pytest.raises(DamagedViewError):
        file.index()


def test_a_file_that_is_shorter_than_it_says_is_refused() -> None:
    index = faiss.IndexFlatIP(7)
    index.add(rows_of(9, 7))
    data = faiss.serialize_index(index).tobytes()
    for size in (0, 4, 44, 45, len(data) - 28, len(data) - 1):
        with pytest.raises(DamagedViewError):
            taken(data[:size], 7, "ip", 100, len(data)).index()


# A whole store


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With rows in both logs, and a vector that was replaced."""
    root = make_store(tmp_path_factory.mktemp("sound") / "store")
    with pytest.MonkeyPatch.context() as patch:
        for view in (MemoryIndex, VectorView):
            patch.setattr(view, "small_bytes", 0)
            patch.setattr(view, "log_share", 100.0)
        with opened(root) as store:
            for number in (1, 2, 900):
                save(store, memory(number, embedding=vector(1000 + number)))
                store.checkpoint()
    return root


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    return copy_of(sound, tmp_path)


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VectorView, "worth_a_thread", 0)


def contents(root: Path) -> Any:
    with opened(root) as store:
        state = store.state
        ids = {kind: state.index.ids(kind) for kind in KINDS}
        vectors = [(key, state.vectors.vector(key)) for kind in KINDS for key in [(kind, i) for i in ids[kind]]]
        rows = {kind: dict(state.index.rows[kind]) for kind in KINDS}
        hits = [store.search(vector(n), 5, kind, None) for n in range(3) for kind in KINDS]
        return rows, [(key, None if row is None else row.tolist()) for key, row in vectors], hits


def test_a_store_is_the_same_when_its_vectors_are_read_in_another_thread(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = contents(root)
    monkeypatch.setattr(VectorView, "worth_a_thread", 0)
    threads = threading.active_count()
    assert contents(root) == wanted
    assert threading.active_count() == threads


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize("path", [FAISS_FILE, MAPPING, VECTORS_LOG])
def test_damage_is_seen_in_another_thread_as_well(root: Path, path: str) -> None:
    wanted = contents(root)
    data = bytearray((root / path).read_bytes())
    data[len(data) // 2] ^= 1
    (root / path).write_bytes(data)
    with opened(root) as store:
        assert any(note.code == "vectors_damaged" for note in store.state.notes)
    assert contents(root) == wanted


@pytest.mark.usefixtures("ahead")
@pytest.mark.parametrize("failing", [INDEX, FAISS_FILE, VECTORS_LOG])
def test_an_error_of_the_other_thread_is_raised_by_open(
    root: Path, failing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = LocalBackend.read

    def failing_read(self: LocalBackend, path: str, *rest: Any) -> bytes | None:
        if path == failing:
            raise DiskError(f"cannot read {path}", path=path)
        return read(self, path, *rest)

    monkeypatch.setattr(LocalBackend, "read", failing_read)
    threads = threading.active_count()
    with pytest.raises(DiskError, match=failing):
        Store.open(LocalBackend(root), StoreConfig(), SystemClock())
    assert threading.active_count() == threads
    monkeypatch.undo()
    with opened(root) as store:
        assert only_notes(store.check("full"))


@pytest.mark.parametrize("path", [INDEX, MAPPING])
def test_a_view_in_another_layout_is_the_same(root: Path, path: str) -> None:
    wanted = contents(root)
    resealed(root / path, lambda fields: None)
    document = json.loads((root / path).read_bytes())
    assert len((root / path).read_bytes().splitlines()) < len(document) + 3
    assert contents(root) == wanted


def test_views_that_agree_are_not_compared_one_by_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(root)
    monkeypatch.setattr(rebuild, "_differences", lambda *_: pytest.fail("they do not agree"))
    assert list(rebuild.vector_defects(store.state)) == []
    store.release()
