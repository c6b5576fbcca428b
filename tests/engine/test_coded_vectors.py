"""With 8-bit storage a search finds what it finds with rows in memory, scores included, in a fraction of the memory."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clustered import Rows, drawn, named
from damaged_stores import resealed

from synthians_memory import MemoryAssembly, MemoryEntry, MemoryPersistence, MemoryVectorIndex
from synthians_memory.config import Metric, StoreConfig, VectorStorage
from synthians_memory.engine import coded_index, coding, exact_rows
from synthians_memory.engine.coded_index import CodedIndex, CodedLists, exact_rows_of
from synthians_memory.engine.coding import Bounds
from synthians_memory.engine.exact import NumpyIndex, RowIndex, prepare
from synthians_memory.engine.exact_rows import ExactRows
from synthians_memory.engine.faiss_index import HAS_FAISS, InvertedIndex, Training, new_index
from synthians_memory.engine.flat_file import flat_head
from synthians_memory.engine.vectors import VectorView
from synthians_memory.errors import DamagedViewError, DiskError, InvalidValueError
from synthians_memory.layout import FAISS_FILE, MAPPING, VECTORS, VECTORS_LOG
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.storage.reader import LocalReader
from synthians_memory.testing.faults import Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.store_crash import StoreSweep
from synthians_memory.testing.store_scenarios import SCENARIOS, StoreScenario

pytestmark = pytest.mark.skipif(not HAS_FAISS, reason="without FAISS there are no codes")

METRICS: list[Metric] = ["cosine", "ip", "l2"]
DIMENSION, COUNT = 24, 3_000
HELD = named(drawn(COUNT, DIMENSION, seed=1))
QUERIES = drawn(30, DIMENSION, seed=2)
EITHER: list[VectorStorage] = ["float32", "8-bit"]
each_order = pytest.mark.parametrize(
    "order",
    [
        ("8-bit", "float32", "8-bit"),
        pytest.param(("8-bit", "8-bit"), marks=pytest.mark.long),
        pytest.param(("8-bit", "float32", "8-bit", "float32"), marks=pytest.mark.long),
    ],
    ids=" then ".join,
)


@pytest.fixture
def codes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a few rows are coded, and written to files."""
    monkeypatch.setattr(coded_index, "_FEW", 8)
    monkeypatch.setattr(exact_rows, "_FEW", 4)


def pair(metric: Metric = "cosine", **settings: Any) -> tuple[MemoryVectorIndex, MemoryVectorIndex]:
    """An index with rows in memory, and one with codes."""
    plain = MemoryVectorIndex(DIMENSION, metric=metric, backend=MemoryBackend(), **settings)
    coded = MemoryVectorIndex(DIMENSION, metric=metric, backend=MemoryBackend(), vector_storage="8-bit", **settings)
    return plain, coded


def check_equal(plain: MemoryVectorIndex, coded: MemoryVectorIndex) -> None:
    """Ids and scores, bit for bit."""
    ids = list(plain._view.hashes("memory"))
    some = [None, ids[::2]]
    for query in QUERIES[:10]:
        for k in (1, 10, 150):
            for allowed in some:
                assert coded.search(query, k, allowed=allowed) == plain.search(query, k, allowed=allowed)
    # Of a few allowed rows the scores are computed in another order.
    for query, few in itertools.product(QUERIES[:10], (ids[::20], ids[::300])):
        ours, theirs = coded.search(query, 5, allowed=few), plain.search(query, 5, allowed=few)
        assert [i for i, _ in ours] == [i for i, _ in theirs]
        assert [s for _, s in ours] == pytest.approx([s for _, s in theirs], abs=1e-5)
    assert coded.search_batch(QUERIES, 10) == [coded.search(query, 10) for query in QUERIES]


def change(index: MemoryVectorIndex, seed: int) -> None:
    ids = np.random.default_rng(seed).permutation(list(index._view.hashes("memory"))).tolist()
    for gone in ids[:300]:
        index.remove_vector(gone)
    index.add_vectors(dict(zip(ids[300:700], drawn(400, DIMENSION, seed=seed), strict=True)))


# What is found


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("below", [COUNT + 1_000, 1_000], ids=["all", "lists"])
def test_what_is_found_is_what_rows_in_memory_give_bit_for_bit(metric: Metric, below: int) -> None:
    both = pair(metric, exact_below=below)
    for index in both:
        index.add_vectors(HELD)
        index.train()
    assert {index.stats()["index"] for index in both} == {"exact" if below > COUNT else "lists"}
    check_equal(*both)
    for step in range(3):
        for index in both:
            change(index, 50 + step)
            # What the change made worse is measured again: else how many lists are looked into is a matter of time.
            index.train()
            if step == 1:
                # With dead rows in files and others dropped.
                index.save()
        check_equal(*both)
    assert both[1].stats()["exact_rows_in_memory"] < 300


@pytest.mark.parametrize(
    "metric", [pytest.param(metric, marks=() if metric == "l2" else pytest.mark.long) for metric in METRICS]
)
@pytest.mark.parametrize("shape", ["far away", "heavy tails", "one axis", "all the same", "tiny", "an offset"])
def test_rows_that_codes_render_badly_are_found_as_well(metric: Metric, shape: str) -> None:
    rng = np.random.default_rng(3)
    rows = drawn(COUNT, DIMENSION, seed=1)
    later = drawn(400, DIMENSION, seed=4)
    match shape:
        case "far away":
            later = later * 40 + 100
        case "heavy tails":
            rows, later = rng.standard_cauchy(rows.shape), rng.standard_cauchy(later.shape) * 5
        case "one axis":
            rows, later = rows * np.eye(1, DIMENSION), later * np.eye(1, DIMENSION, 5) + np.eye(1, DIMENSION)
        case "all the same":
            rows, later = np.tile(rows[:3], (1_000, 1)), np.tile(rows[:2], (200, 1))
        case "tiny":
            rows, later = rows * 1e-12, later * 1e-12
        case "an offset":
            rows, later = rows / 100 + 50, later / 100 + 50
    both = pair(metric, exact_below=10_000)
    for index in both:
        index.add_vectors(named(rows.astype(np.float32)))
        index.add_vectors(named(later.astype(np.float32), "later"))
    for query in [*rows[:6], *later[:6]]:
        for k in (1, 10):
            theirs, ours = (index.search(query.astype(np.float32), k) for index in both)
            assert [score for _, score in ours] == [score for _, score in theirs]
            # Of equals ours are the oldest, whichever a scan of all rows comes upon.
            clear = {i for i, score in theirs if score > theirs[-1][1]}
            assert clear <= {i for i, _ in ours}


@pytest.mark.parametrize("metric", METRICS)
def test_codes_in_lists_do_what_rows_in_lists_do_through_every_change(metric: Metric) -> None:
    rows = prepare(drawn(900, 12, seed=1), metric)
    training = Training(rows, 20, metric)
    training.round()
    plain = InvertedIndex(training.centroids(), metric)
    coded = CodedLists(training.centroids(), metric, ExactRows(12, None))
    bounds = Bounds(12)
    # Of these alone: others are strays.
    bounds.take(rows[:300] / 4)
    coded.learn(bounds)
    coded.serving = True
    rng = np.random.default_rng(2)
    for step in range(6):
        kept: Any = None
        for index in (plain, coded):
            index.add(rows[step * 150 : (step + 1) * 150])
            kept = np.sort(rng.choice(len(index), len(index) * 4 // 5, replace=False)) if kept is None else kept
            index.keep(kept)
        assert np.array_equal(plain.rows(0, len(plain)), coded.rows(0, len(coded)))
        some = np.sort(rng.choice(len(plain), len(plain) // 2, replace=False)).astype(np.int64)
        for query in rows[rng.integers(900, size=5)]:
            for allowed in (None, some):
                for k in (1, 10, 5_000):
                    ours, theirs = coded.search(query, k, allowed), plain.search(query, k, allowed)
                    assert np.allclose(ours[0], theirs[0], atol=1e-5)
                    assert allowed is not None or np.array_equal(ours[1], theirs[1])


def test_a_wrong_bound_is_found_out_by_these_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the error of the codes, searches miss rows: the comparison above is not blind."""
    monkeypatch.setattr(coding.Coding, "_limit_for", lambda *_: -np.inf)
    monkeypatch.setattr(coding.Coding, "_needed", lambda self, distances, first, query, k: min(k, len(distances)))
    both = pair("cosine", exact_below=10_000)
    for index in both:
        index.add_vectors(HELD)
    differing = [query for query in QUERIES if both[0].search(query, 10) != both[1].search(query, 10)]
    assert differing


def test_a_dead_row_near_the_query_makes_no_search_read_the_others(tmp_path: Path) -> None:
    index = MemoryVectorIndex(DIMENSION, path=tmp_path, vector_storage="8-bit")
    index.add_vectors(HELD)
    index.save()
    first = next(iter(HELD))
    index.add_vector(first, HELD[first] * 2)
    index.save()
    exact = exact_rows_of(index._view._spaces["memory"].index)
    assert exact is not None
    read: list[int] = []
    at = exact.at
    exact.at = lambda positions: (read.append(len(positions)), at(positions))[1]  # type: ignore[method-assign]
    assert index.search(HELD[first], 1) == [(first, pytest.approx(1.0))]
    assert sum(read) < 100
    index.close()


def test_few_rows_are_kept_as_they_are(tmp_path: Path) -> None:
    index = MemoryVectorIndex(DIMENSION, path=tmp_path, vector_storage="8-bit")
    index.add_vectors(named(drawn(500, DIMENSION, seed=1)))
    index.save()
    assert index.stats() == {"index": "exact", "training": False, "storage": "8-bit", "exact_rows_in_memory": 500}
    index.load()
    assert index.stats()["exact_rows_in_memory"] == 500
    assert index._view.search_at_hand(QUERIES[0], 3, "memory") == index.search(QUERIES[0], 3)
    index.close()


def test_rows_in_files_are_at_hand_where_the_disk_need_not_be_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = MemoryVectorIndex(DIMENSION, path=tmp_path, vector_storage="8-bit")
    index.add_vectors(HELD)
    index.save()
    assert index.stats()["exact_rows_in_memory"] == 0
    found = index.search(QUERIES[0], 3)
    cached = index._view.search_at_hand(QUERIES[0], 3, "memory")
    assert cached in ([found] if sys.platform == "linux" else [None, found])
    # So many would take too long.
    assert index._view.search_at_hand(QUERIES[0], 2_000, "memory") is None
    monkeypatch.setattr(LocalReader, "read_each_at_hand", lambda *_: None)
    assert index._view.search_at_hand(QUERIES[0], 3, "memory") is None
    # Whoever can wait does.
    assert index.search(QUERIES[0], 3) == found
    index.close()


def test_rows_added_beside_a_search_that_does_not_wait_are_there_once() -> None:
    index = MemoryVectorIndex(DIMENSION, backend=FaultyBackend(FaultyDisk()), vector_storage="8-bit")
    rows = drawn(4_100, DIMENSION, seed=8)
    held = named(rows)
    index.add_vectors(dict(list(held.items())[:2_046]))
    index._view.apply([])
    index.search(QUERIES[0])
    for number in range(2_046, 2_060):
        index.add_vector(f"v{number:06d}", rows[number])
        # Bounds would be learnt anew at 2,048, from rows that nobody may wait for.
        assert index._view.search_at_hand(QUERIES[0], 3, "memory") is None
    for number in range(2_046, 2_060):
        assert index.search(rows[number], 1) == [(f"v{number:06d}", pytest.approx(1.0))]
    assert len(index._view._spaces["memory"].index) == 2_060


def test_without_a_directory_there_is_no_place_for_exact_rows() -> None:
    with pytest.raises(InvalidValueError, match="8-bit"):
        MemoryVectorIndex(DIMENSION, vector_storage="8-bit")


# Files


def test_either_setting_writes_the_same_bytes_and_reads_what_the_other_wrote(tmp_path: Path) -> None:
    found: dict[str, dict[str, bytes]] = {}
    for storage in EITHER:
        index = MemoryVectorIndex(DIMENSION, path=tmp_path / storage, vector_storage=storage, exact_below=1_000)
        index.add_vectors(HELD)
        index.save()
        change(index, 7)
        index.save()
        change(index, 8)
        index.train()
        index.save()
        index.close()
        found[storage] = {path.name: path.read_bytes() for path in (tmp_path / storage / VECTORS).iterdir()}
    names = {path.rpartition("/")[2] for path in (FAISS_FILE, MAPPING, VECTORS_LOG)}
    assert names <= found["8-bit"].keys() == found["float32"].keys()
    assert {name: found["8-bit"][name] for name in names} == {name: found["float32"][name] for name in names}
    indexes = [
        MemoryVectorIndex(DIMENSION, path=tmp_path / written, vector_storage=read)
        for written, read in (("8-bit", "float32"), ("float32", "8-bit"))
    ]
    for index in indexes:
        index.load()
    check_equal(*indexes)


def test_a_flat_file_that_faiss_writes_in_another_way_is_taken_as_well(tmp_path: Path, codes_at_once: None) -> None:
    index = MemoryVectorIndex(DIMENSION, path=tmp_path, vector_storage="8-bit")
    index.add_vectors(named(drawn(50, DIMENSION, seed=1)))
    index.save()
    before = [index.search(query) for query in QUERIES]
    data = bytearray((tmp_path / FAISS_FILE).read_bytes())
    # A number that FAISS writes and does not look at.
    data[18] ^= 1
    (tmp_path / FAISS_FILE).unlink()
    (tmp_path / FAISS_FILE).write_bytes(data)
    resealed(
        tmp_path / MAPPING,
        lambda fields: fields["metadata"].update(faiss_bytes=len(data), faiss_sha256=hashlib.sha256(data).hexdigest()),
    )
    index.load()
    assert [index.search(query) for query in QUERIES] == before
    index.close()


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("count", [0, 1, 700])
def test_the_head_of_a_file_is_what_faiss_writes(metric: Metric, count: int) -> None:
    rows = prepare(drawn(max(1, count), 7, seed=1), metric)[:count]
    index, pieces = new_index(7, metric), list[bytes]()
    index.add(rows)
    index.serialise(pieces.append)
    assert flat_head(count, 7, metric) + rows.tobytes() == b"".join(pieces)


def test_a_file_that_was_cut_is_refused_and_changes_nothing(tmp_path: Path, codes_at_once: None) -> None:
    index = MemoryVectorIndex(DIMENSION, path=tmp_path, vector_storage="8-bit")
    index.add_vectors(named(drawn(50, DIMENSION, seed=1)))
    index.save()
    before = index.search(QUERIES[0])
    path = tmp_path / FAISS_FILE
    # The one that is open stays as it is.
    cut = path.read_bytes()[:-4]
    path.unlink()
    path.write_bytes(cut)
    with pytest.raises(DamagedViewError):
        index.load()
    assert index.search(QUERIES[0]) == before


def anonymous_bytes(program: str, *arguments: object) -> int:
    """What a process of its own prints; one arena, so that its allocator keeps no memory of threads that have ended."""
    command = [sys.executable, "-c", program, *map(str, arguments)]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120, env=environment)
    return int(done.stdout)


_LOADED = """
import ctypes, gc, sys
from synthians_memory import MemoryVectorIndex

def anonymous():
    gc.collect()
    # What was freed, and is kept by the C library for the next time, is not in use.
    ctypes.CDLL(None).malloc_trim(0)
    for line in open("/proc/self/status"):
        if line.startswith("RssAnon"):
            return int(line.split()[1]) * 1024

def loaded(path):
    index = MemoryVectorIndex(384, path=path, vector_storage=sys.argv[2], exact_below=int(sys.argv[3]))
    index.load()
    index.search([1.0] * 384)
    index.train()
    return index

# Whatever is loaded and made once is there before.
loaded(sys.argv[1] + "/small").close()
before = anonymous()
index = loaded(sys.argv[1] + "/large")
print(anonymous() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel and glibc are asked for the process's memory")
@pytest.mark.parametrize("below", [100_000, pytest.param(1_000, marks=pytest.mark.long)], ids=["all", "lists"])
def test_a_vector_takes_a_fraction_of_the_memory(tmp_path: Path, below: int) -> None:
    count = 24_000
    for name, rows in (("small", 2_000), ("large", count)):
        index = MemoryVectorIndex(384, path=tmp_path / name)
        index.add_vectors(named(drawn(rows, 384, seed=1)))
        index.save()
        index.close()
    used = {storage: anonymous_bytes(_LOADED, tmp_path, storage, below) / count for storage in EITHER}
    # 1,536 and 384 bytes are the numbers; ids and positions come to either, and what the allocator keeps.
    assert used["float32"] > 1_536, used
    assert used["8-bit"] < 1_000, used


# In a store


def entries(held: dict[str, Rows]) -> list[MemoryEntry]:
    return [MemoryEntry(memory_id=i, content=i, embedding=row) for i, row in held.items()]


async def check_store(store: MemoryPersistence, held: dict[str, Rows]) -> None:
    index, ids = NumpyIndex(DIMENSION, "cosine"), list(held)
    index.add(prepare(np.array(list(held.values())), "cosine"))
    for query in QUERIES:
        wanted, positions = index.search(prepare(query[None, :], "cosine")[0], 10)
        hits = await store.search(query)
        assert [hit.memory_id for hit in hits] == [ids[at] for at in positions]
        assert [hit.score for hit in hits] == pytest.approx(wanted.tolist(), abs=1e-6)


_KILLED = """
import asyncio, os, signal, sys
import numpy as np
from synthians_memory import MemoryAssembly, MemoryEntry, MemoryPersistence
from synthians_memory.engine import coded_index, exact_rows
coded_index._FEW, exact_rows._FEW = 8, 4

async def main():
    path, storage, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    rows = np.load(path + ".npy")
    async with MemoryPersistence(path, vector_storage=storage) as store:
        assert store.stats()["vector_search"]["storage"] == storage
        for number in range(first, last):
            await store.save_memory(MemoryEntry(memory_id=f"v{number:06d}", content="x", embedding=rows[number]))
            if number % 50 == 10:
                await store.delete_memory(f"v{number - 5:06d}")
            if number % 90 == 60:
                await store.checkpoint()
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@each_order
async def test_a_store_that_is_killed_goes_on_with_the_other_setting(
    tmp_path: Path, order: tuple[VectorStorage, ...], codes_at_once: None
) -> None:
    path, rows = tmp_path / "store", drawn(400, DIMENSION, seed=9)
    np.save(f"{path}.npy", rows)
    held: dict[str, Rows] = {}
    for turn, storage in enumerate(order):
        first, last = 100 * turn, 100 * (turn + 1)
        command = [sys.executable, "-c", _KILLED, str(path), storage, str(first), str(last)]
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False, timeout=120)
        assert done.returncode == -9, done.stderr.decode()
        held |= {f"v{number:06d}": rows[number] for number in range(first, last)}
        for number in range(first, last):
            if number % 50 == 10:
                held.pop(f"v{number - 5:06d}")
    async with MemoryPersistence(path, vector_storage=order[0]) as store:
        await check_store(store, held)
        assert await store.verify_consistency(level="full") == []
    async with MemoryPersistence(path, vector_storage=order[-1]) as store:
        await check_store(store, held)


async def test_assemblies_have_their_rows_in_the_same_file(tmp_path: Path, codes_at_once: None) -> None:
    rows = drawn(60, DIMENSION, seed=9)
    path = tmp_path / "store"
    for again in range(2):
        async with MemoryPersistence(path, vector_storage="8-bit") as store:
            for number in range(30 * (1 - again)):
                await store.save_memory(MemoryEntry(memory_id=f"m{number}", content="x", embedding=rows[number]))
                composite = rows[30 + number]
                await store.save_assembly(
                    MemoryAssembly(assembly_id=f"a{number}", name="x", composite_embedding=composite)
                )
            await store.checkpoint()
            vectors = store._opened().store.state.vectors
            for kind, first, letter in (("memory", 0, "m"), ("assembly", 30, "a")):
                for number in range(30):
                    assert vectors.search(rows[first + number], 1, kind) == [(f"{letter}{number}", pytest.approx(1.0))]
                exact = exact_rows_of(vectors._spaces[kind].index)
                assert exact is not None
                # None had to be made anew from its entity.
                assert (exact.held, exact._mended) == (0, {})


async def test_a_reader_makes_no_file_and_finds_the_same(tmp_path: Path, codes_at_once: None) -> None:
    held = named(drawn(300, DIMENSION, seed=9))
    path = tmp_path / "store"
    async with MemoryPersistence(path, vector_storage="8-bit") as store:
        await store.save_memories_batch(entries(held))
        await store.checkpoint()
        held["more"] = drawn(1, DIMENSION, seed=5)[0]
        await store.save_memory(entries(held)[-1])
        before = sorted((p.name, p.stat().st_mtime_ns) for p in path.rglob("*"))
        async with MemoryPersistence(path, read_only=True, vector_storage="8-bit") as reader:
            await check_store(reader, held)
            told = reader.stats()["vector_search"]
            assert (told["storage"], told["exact_rows_in_memory"]) == ("8-bit", 1)
            assert sorted((p.name, p.stat().st_mtime_ns) for p in path.rglob("*")) == before


@pytest.mark.parametrize("harm", ["a bit", "the end", "everything"])
async def test_exact_rows_that_rot_under_a_running_store_are_had_from_the_entities(
    tmp_path: Path, harm: str, codes_at_once: None
) -> None:
    held = named(drawn(300, DIMENSION, seed=9))
    path = tmp_path / "store"
    async with MemoryPersistence(path, vector_storage="8-bit") as store:
        await store.save_memories_batch(entries(held))
        await store.checkpoint()
        assert store.stats()["vector_search"]["exact_rows_in_memory"] == 0
        with (path / FAISS_FILE).open("r+b") as file:
            if harm == "a bit":
                for row in range(300):
                    file.seek(-4 * DIMENSION * row - 30, 2)
                    byte = file.read(1)
                    file.seek(-1, 1)
                    file.write(bytes([byte[0] ^ 16]))
            else:
                file.truncate(0 if harm == "everything" else 1_000)
        await check_store(store, held)
        assert {f.code for f in await store.verify_consistency(level="full")} == {"vectors_damaged"}
        # And what is written next is right again.
        held["more"] = drawn(1, DIMENSION, seed=5)[0]
        await store.save_memory(entries(held)[-1])
        await store.checkpoint()
        assert await store.verify_consistency(level="full") == []
        await check_store(store, held)
    async with MemoryPersistence(path, vector_storage="float32") as store:
        assert not store.stats().get("notes")
        await check_store(store, held)


async def test_where_an_entity_rots_as_well_the_search_says_so(tmp_path: Path, codes_at_once: None) -> None:
    held = named(drawn(300, DIMENSION, seed=9))
    path = tmp_path / "store"
    async with MemoryPersistence(path, vector_storage="8-bit", cache_bytes=0) as store:
        await store.save_memories_batch(entries(held))
        await store.checkpoint()
        (path / FAISS_FILE).write_bytes(b"")
        nearest = (await store.search(QUERIES[0], 1))[0].memory_id
    async with MemoryPersistence(path, vector_storage="8-bit", cache_bytes=0) as store:
        file = path / "memories" / f"{nearest}.json"
        file.write_bytes(file.read_bytes().replace(b"content", b"c0ntent", 1))
        (path / FAISS_FILE).write_bytes(b"")
        with pytest.raises(DamagedViewError, match="exact rows") as raised:
            await store.search(QUERIES[0], 1)
        assert raised.value.path == FAISS_FILE
        assert "repair" in str(raised.value)
        # What cannot be proved is not written either, and saves go on.
        await store.save_memory(entries(named(QUERIES[:1], "late"))[0])
        with pytest.raises(DiskError, match="exact rows") as refused:
            await store.checkpoint()
        assert "repair" in str(refused.value)
        assert (await store.search(QUERIES[0], 1))[0].memory_id == "late000000"
        held["late000000"] = QUERIES[0]
        await store.verify_and_repair_consistency()
        held.pop(nearest)
        await check_store(store, held)
        await store.checkpoint()
        assert await store.verify_consistency(level="full") == []


async def test_purged_vectors_are_in_no_file(tmp_path: Path, codes_at_once: None) -> None:
    held = named(drawn(300, DIMENSION, seed=9))
    path = tmp_path / "store"
    async with MemoryPersistence(path, vector_storage="8-bit") as store:
        await store.save_memories_batch(entries(held))
        await store.checkpoint()
        row = prepare(held["v000007"][None, :], "cosine").tobytes()
        assert row in (path / FAISS_FILE).read_bytes()
        await store.purge(["v000007"])
        held.pop("v000007")
        assert not any(row in file.read_bytes() for file in path.rglob("*") if file.is_file())
        await check_store(store, held)
        # Nor in one without a name.
        exact = exact_rows_of(store._opened().store.state.vectors._spaces["memory"].index)
        assert exact is not None
        assert (exact._scratch, exact.held) == (None, 0)


@pytest.mark.parametrize("storage", EITHER)
@pytest.mark.parametrize("turn", [2, 8, 11, 13, *(pytest.param(n, marks=pytest.mark.long) for n in (5, 10, 12))])
def test_rows_dropped_while_others_train_on_them_stay_whose_they_are(storage: VectorStorage, turn: int) -> None:
    """As a purge does it."""
    index = MemoryVectorIndex(DIMENSION, exact_below=1_000, backend=MemoryBackend(), vector_storage=storage)
    index.add_vectors(HELD)
    view: VectorView = index._view
    gone = list(HELD)[: COUNT // 2 : 3]

    class Dropping:
        def __init__(self) -> None:
            self._lock = view._lock
            self._turns = 0

        def __enter__(self) -> None:
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()
            self._turns += 1
            if self._turns == turn:
                for i in gone:
                    index.remove_vector(i)
                view.drop_dead()

    view.trainer._lock = Dropping()  # type: ignore[assignment]
    index.train()
    assert gone[0] not in index
    left = {i: row for i, row in HELD.items() if i not in gone}
    for i, row in list(left.items())[::40]:
        assert index.search(row, 1)[0] == (i, pytest.approx(1.0))
    assert len(view._spaces["memory"].index) == len(left)


# Faults and crashes


@contextmanager
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(coded_index, "_FEW", 2)
        patch.setattr(exact_rows, "_FEW", 1)
        yield


def coded(scenario: StoreScenario) -> StoreScenario:
    config: StoreConfig = scenario.config.with_overrides(vector_storage="8-bit")
    return StoreScenario(scenario.name, scenario.steps, scenario.before, scenario.closed, config, scenario.log_share)


@pytest.mark.parametrize(
    "scenario",
    [s for s in SCENARIOS if s.name in ("views are logged", "a transaction", "recovery")],
    ids=lambda s: s.name,
)
def test_a_crash_at_any_call_loses_nothing_acknowledged(
    scenario: StoreScenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_pieces(monkeypatch):
        assert StoreSweep(coded(scenario)).crashes(step=23, seeds=[3])


def test_a_full_disk_for_the_scratch_file_fails_no_save(codes_at_once: None) -> None:
    disk = FaultyDisk()
    backend = FaultyBackend(disk)
    index = MemoryVectorIndex(DIMENSION, backend=backend, vector_storage="8-bit")
    disk.plan(Fault(1, errno.ENOSPC, verbs=frozenset(("create", "write_at")), forever=True))
    index.add_vectors(HELD)
    assert disk.failed
    assert index.stats()["exact_rows_in_memory"] == COUNT
    plain = MemoryVectorIndex(DIMENSION)
    plain.add_vectors(HELD)
    check_equal(plain, index)
    disk.clear_plan()
    index.save()
    assert index.stats()["exact_rows_in_memory"] == 0
    check_equal(plain, index)


def test_exact_rows_stay_where_they_are_while_a_snapshot_cannot_be_opened(codes_at_once: None) -> None:
    disk = FaultyDisk()
    index = MemoryVectorIndex(DIMENSION, backend=FaultyBackend(disk), vector_storage="8-bit")
    index.add_vectors(HELD)
    index.search(QUERIES[0])
    plain = MemoryVectorIndex(DIMENSION)
    plain.add_vectors(HELD)
    rows: RowIndex = index._view._spaces["memory"].index
    assert isinstance(rows, CodedIndex)
    # The rows are read for the snapshot first, then it is opened.
    opened = index._view._opened_snapshot
    index._view._opened_snapshot = lambda: None  # type: ignore[method-assign]
    index.save()
    assert rows.exact._file is None
    check_equal(plain, index)
    index._view._opened_snapshot = opened  # type: ignore[method-assign]
    index._view.forget_files()
    index.save()
    assert rows.exact._file is not None
    check_equal(plain, index)


def test_the_view_of_another_model_holds_codes_too(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    backend.make_folder(VECTORS)
    index = MemoryVectorIndex(DIMENSION, backend=backend, vector_storage="8-bit")
    other = index._view.like(7)
    assert isinstance(other._space("memory").index, CodedIndex)
    assert other.source is index._view.source
    index.close()
