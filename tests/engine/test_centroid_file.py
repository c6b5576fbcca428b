"""What was trained is kept and believed only where it is whole, of this store, and as good as it was."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from clustered import Rows, drawn, named, recall

from synthians_memory import MemoryEntry, MemoryPersistence, MemoryVectorIndex
from synthians_memory.engine.exact import NumpyIndex, prepare
from synthians_memory.engine.faiss_index import HAS_FAISS
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.layout import CENTROIDS, VECTORS
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.faults import Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import Policy
from synthians_memory.testing.sweep import for_each_crash, for_each_fault

pytestmark = pytest.mark.skipif(not HAS_FAISS, reason="without FAISS nothing is trained")

COUNT, DIMENSION, BELOW = 1_200, 16, 1_000
FEW, BELOW_FEW = 400, 300
HELD = named(drawn(COUNT, DIMENSION, seed=1))
QUERIES = drawn(40, DIMENSION, seed=99)


def index_on(backend: Backend, **settings: float) -> MemoryVectorIndex:
    return MemoryVectorIndex(DIMENSION, backend=backend, exact_below=BELOW, **settings)  # type: ignore[arg-type]


def saved_on(backend: Backend, held: dict[str, Rows]) -> MemoryVectorIndex:
    index = index_on(backend)
    index.add_vectors(held)
    index.train()
    index.save()
    return index


def loaded_from(backend: Backend) -> MemoryVectorIndex:
    index = index_on(backend)
    index.load()
    return index


def overwrite(backend: Backend, data: bytes) -> None:
    backend.unlink(CENTROIDS)
    file = backend.create(CENTROIDS)
    file.write(data)
    file.close()


def sealed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def centroids_of(index: MemoryVectorIndex) -> Rows:
    trained = index._view.trainer.trained("memory")
    assert trained is not None
    return trained.centroids


@pytest.fixture
def backend() -> Iterator[Backend]:
    made = MemoryBackend()
    saved_on(made, HELD)
    yield made
    made.close()


def check_served(index: MemoryVectorIndex, held: dict[str, Rows] = HELD) -> None:
    index.train()
    assert "failure" not in index.stats()
    assert index.stats()["index"] == "lists"
    assert recall(held, QUERIES, "cosine", index.search) >= 0.98


def test_an_open_does_not_train_again(backend: Backend) -> None:
    data = backend.read(CENTROIDS)
    assert data is not None
    index = loaded_from(backend)
    assert index.stats()["index"] == "exact"
    index.add_vectors(named(drawn(300, DIMENSION, seed=2), "more"))
    index.train()
    assert index.stats()["trained_on"] == COUNT
    rows = data.partition(b"\n")[2][:-32]
    assert np.array_equal(centroids_of(index), np.frombuffer(rows, dtype="<f4").reshape(-1, DIMENSION))
    index.save()
    assert backend.read(CENTROIDS) == data


def test_the_bytes_are_those_of_the_format(backend: Backend) -> None:
    data = backend.read(CENTROIDS)
    assert data is not None
    header, _, rest = data.partition(b"\n")
    told = trained_alone().stats()
    assert header == (
        b'{"file":"centroids","version":1,"store_id":"index","dimension":%d,"metric":"cosine",'
        b'"kinds":{"memory":{"lists":%d,"rows":%d,"probes":%d}}}'
    ) % (DIMENSION, told["lists"], COUNT, told["probes"])
    assert len(rest) == 4 * told["lists"] * DIMENSION + 32
    assert rest[-32:] == hashlib.sha256(data[:-32]).digest()


def test_twice_as_many_vectors_later_it_is_trained_anew(backend: Backend) -> None:
    index = loaded_from(backend)
    index.add_vectors(named(drawn(COUNT, DIMENSION, seed=2), "more"))
    index.train()
    assert index.stats()["trained_on"] == 2 * COUNT
    before = backend.read(CENTROIDS)
    index.save()
    assert backend.read(CENTROIDS) != before


def test_flipped_bits_and_cuts_are_seen_and_trained_over(backend: Backend) -> None:
    data = backend.read(CENTROIDS)
    assert data is not None
    rng = Random(3)
    for offset in [*rng.sample(range(len(data)), 10), *range(0, 60, 12), len(data) - 1]:
        rotten = bytearray(data)
        rotten[offset] ^= 1 << rng.randrange(8)
        overwrite(backend, bytes(rotten))
        index = loaded_from(backend)
        check_served(index)
        index.save()
        assert backend.read(CENTROIDS) == data
    for length in (0, 1, 31, 32, 33, len(data) // 2, len(data) - 1):
        overwrite(backend, data[:length])
        check_served(loaded_from(backend))


def test_a_missing_file_and_a_folder_in_its_place_are_no_obstacle(backend: Backend) -> None:
    backend.unlink(CENTROIDS)
    check_served(loaded_from(backend))
    backend.make_folder(CENTROIDS)
    check_served(loaded_from(backend))


@pytest.mark.parametrize(
    "change",
    [
        (b'"dimension":16', b'"dimension":15'),
        (b'"store_id":"index"', b'"store_id":"other"'),
        (b'"metric":"cosine"', b'"metric":"l2"'),
        (b'"version":1', b'"version":2'),
        (b'"file":"centroids"', b'"file":"something"'),
    ],
)
def test_what_is_of_another_store_metric_dimension_or_version_is_not_believed(
    backend: Backend, change: tuple[bytes, bytes]
) -> None:
    data = backend.read(CENTROIDS)
    assert data is not None
    assert change[0] in data
    own = centroids_of(trained_alone())
    lists = np.frombuffer(data.partition(b"\n")[2][:-32], dtype="<f4").reshape(-1, DIMENSION)
    header = data.partition(b"\n")[0].replace(*change)
    overwrite(backend, sealed(header + b"\n" + (lists * 0.5).tobytes()))
    index = loaded_from(backend)
    check_served(index)
    assert np.array_equal(centroids_of(index), own)


def trained_alone() -> MemoryVectorIndex:
    index = index_on(MemoryBackend())
    index.add_vectors(HELD)
    index.train()
    return index


def test_centroids_of_other_vectors_do_not_lower_recall(backend: Backend) -> None:
    other = MemoryBackend()
    shifted = named(drawn(COUNT, DIMENSION, seed=5) * 3 + 20)
    saved_on(other, shifted)
    foreign = other.read(CENTROIDS)
    assert foreign is not None
    overwrite(backend, foreign)
    check_served(loaded_from(backend))


def test_it_is_written_once(backend: Backend) -> None:
    index = loaded_from(backend)
    check_served(index)
    backend.unlink(CENTROIDS)
    index.save()
    # Nothing was trained since the file was read, so there is nothing to write.
    assert backend.read(CENTROIDS) is None


def test_nothing_is_written_below_the_threshold() -> None:
    backend = MemoryBackend()
    index = MemoryVectorIndex(DIMENSION, backend=backend)
    index.add_vectors(HELD)
    index.search(QUERIES[0])
    index.train()
    index.save()
    assert {name for name, _ in backend.scan(VECTORS)} == {"memory_vectors.faiss", "mapping.json", "vectors.log"}


# The disk fails, or the power

SOME = dict(list(HELD.items())[:FEW])
MORE = {"more": QUERIES[0]}


def _opened(backend: Backend) -> MemoryVectorIndex:
    index = MemoryVectorIndex(DIMENSION, backend=backend, exact_below=BELOW_FEW)
    index.load()
    return index


def _save_trained(backend: Backend) -> None:
    index = _opened(backend)
    index.add_vectors(MORE)
    index.train()
    index.save()


def _check_left(backend: Backend) -> None:
    """Whatever is left of the file: all that was saved is found, lists serve again, and a save goes through."""
    index = _opened(backend)
    held = SOME | MORE if "more" in index else SOME
    index.train()
    assert index.stats()["index"] == "lists"
    assert recall(held, QUERIES[:5], "cosine", index.search) >= 0.9
    index.save()
    assert {i for i, _ in _opened(backend).search(QUERIES[0], FEW + 2)} == held.keys()


@pytest.fixture(scope="module")
def untrained_disk() -> FaultyDisk:
    disk = FaultyDisk()
    index = MemoryVectorIndex(DIMENSION, backend=FaultyBackend(disk))
    index.add_vectors(SOME)
    index.save()
    return disk


def test_a_power_cut_at_any_call_of_a_save_loses_nothing(untrained_disk: FaultyDisk) -> None:
    def verify(backend: FaultyBackend, _number: int, _policy: Policy, _seed: int) -> None:
        _check_left(backend)

    policies: list[Policy] = ["killed", "lose_all"]
    assert for_each_crash(_save_trained, verify, disk=untrained_disk, seeds=(0,), policies=policies) > 20


def test_a_failing_call_of_a_save_loses_nothing(untrained_disk: FaultyDisk) -> None:
    def verify(backend: FaultyBackend, _fault: Fault, _error: SynthiansMemoryError | None, _policy: Policy) -> None:
        _check_left(backend)

    failures = {"errnos": (errno.ENOSPC,), "forever": (False,)}
    assert for_each_fault(_save_trained, verify, disk=untrained_disk, policies=["killed"], **failures) > 20


def test_a_save_that_could_not_write_it_leaves_that_to_the_next() -> None:
    disk = FaultyDisk()
    backend = FaultyBackend(disk)
    index = index_on(backend)
    index.add_vectors(HELD)
    index.save()
    index.train()
    disk.plan(Fault(1, errno.ENOSPC, verbs=frozenset(["write"])))
    with pytest.raises(SynthiansMemoryError):
        index.save()
    assert backend.read(CENTROIDS) is None
    index.save()
    assert backend.read(CENTROIDS) is not None


# In a store


async def test_a_store_serves_by_lists_keeps_them_and_goes_on_after_a_checkpoint(tmp_path: Path) -> None:
    entries = [
        MemoryEntry(memory_id=i, content=i, embedding=row, metadata={"half": number % 2})
        for number, (i, row) in enumerate(HELD.items())
    ]
    settings = {"exact_below": BELOW, "embedding_dimension": DIMENSION}
    async with MemoryPersistence(tmp_path / "store", **settings) as store:
        assert store.stats()["vector_search"] == {"index": "exact", "training": False, "storage": "float32"}
        await store.save_memories_batch(entries)
        await store.search(QUERIES[0])
        store._opened().store.state.vectors.trainer.wait()
        assert store.stats()["vector_search"]["index"] == "lists"
        assert store.stats()["vector_search"]["recall_at_10"] >= 0.98
        assert store.stats()["composite_search"]["index"] == "exact"
        gone = list(HELD)[:250]
        await store.delete_memories_batch(gone)
        # The dead rows are dropped from the lists now.
        await store.checkpoint()
        left = {i: row for i, row in HELD.items() if i not in gone}
        await check_store(store, left)
        held_back = await store.save_memory(entries[0])
        left[held_back.memory_id] = HELD[held_back.memory_id]
        await check_store(store, left)
    assert (tmp_path / "store" / CENTROIDS).exists()
    async with MemoryPersistence(tmp_path / "store", **{**settings, "exact_below": 800}) as store:
        assert await store.verify_consistency(level="full") == []
        await check_store(store, left)
        store._opened().store.state.vectors.trainer.wait()
        assert store.stats()["vector_search"]["trained_on"] == COUNT
        await check_store(store, left)
    async with MemoryPersistence(tmp_path / "store", read_only=True, exact_below=800) as store:
        for _ in range(2):
            await check_store(store, left)
            store._opened().store.state.vectors.trainer.wait()
            assert store.stats()["vector_search"]["trained_on"] == COUNT
            await check_store(store, left)
            await store.refresh()


async def check_store(store: MemoryPersistence, left: dict[str, Rows]) -> None:
    index = NumpyIndex(DIMENSION, "cosine")
    index.add(prepare(np.array(list(left.values())), "cosine"))
    ids = list(left)
    wanted = [{ids[at] for at in index.search(query, 10)[1]} for query in prepare(QUERIES, "cosine")]
    single = [await store.search(query) for query in QUERIES]
    many = await store.search_batch(QUERIES)
    for hits in (single, many):
        found = [{hit.memory_id for hit in one} for one in hits]
        assert np.mean([len(one & right) / 10 for one, right in zip(found, wanted, strict=True)]) >= 0.98
    half = [await store.search(query, where={"half": 1}) for query in QUERIES]
    together = await store.search_batch(list(QUERIES), where={"half": 1})
    assert [[hit.memory_id for hit in one] for one in half] == [[hit.memory_id for hit in one] for one in together]
    odd = {i for i in left if int(i[1:]) % 2}
    assert all(len(one) == 10 and {hit.memory_id for hit in one} <= odd for one in half)


async def test_what_was_trained_while_nothing_was_saved_is_kept_at_the_close(tmp_path: Path) -> None:
    settings = {"embedding_dimension": DIMENSION}
    async with MemoryPersistence(tmp_path / "store", **settings) as store:
        entries = [MemoryEntry(memory_id=i, content=i, embedding=row) for i, row in HELD.items()]
        await store.save_memories_batch(entries)
    assert not (tmp_path / "store" / CENTROIDS).exists()
    async with MemoryPersistence(tmp_path / "store", exact_below=BELOW) as store:
        await store.search(QUERIES[0])
        store._opened().store.state.vectors.trainer.wait()
    assert (tmp_path / "store" / CENTROIDS).exists()
