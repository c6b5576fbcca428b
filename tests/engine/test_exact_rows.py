"""Exact rows behind codes: what is read is what was appended, wherever it is by then, or nothing is."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from synthians_memory.engine import exact_rows
from synthians_memory.engine.exact import Matrix, Positions
from synthians_memory.engine.exact_rows import ExactRows, FiledRows, sums_of
from synthians_memory.errors import DamagedViewError
from synthians_memory.layout import VECTORS
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.faults import Fault, FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend

DIMENSION = 6


def drawn(count: int, seed: int) -> Matrix:
    return np.random.default_rng(seed).standard_normal((count, DIMENSION), dtype=np.float32)


def written(backend: Backend, path: str, rows: Matrix, head: bytes = b"head") -> FiledRows:
    """A file with these rows behind a head."""
    file = backend.create(path)
    file.write(head + rows.tobytes())
    file.close()
    reader = backend.open_read(path)
    assert reader is not None
    return FiledRows(reader, len(head), np.array(sums_of(rows.tobytes(), 4 * DIMENSION), dtype=np.uint32))


@pytest.fixture(params=["local", "memory"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    found: Backend = LocalBackend(tmp_path) if request.param == "local" else MemoryBackend()
    found.make_folder(VECTORS)
    return found


def overwritten(backend: Backend, path: str, offset: int, data: bytes) -> None:
    file = backend.open_existing(path)
    file.write_at(offset, data)
    file.close()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("scratch", [True, False], ids=["with a scratch file", "without one"])
def test_rows_are_what_they_were_through_every_change(
    backend: Backend, seed: int, scratch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact_rows, "_FEW", 5)
    monkeypatch.setattr(exact_rows, "_MOST_HELD", 12)
    rng = np.random.default_rng(seed)
    model = drawn(20, seed)
    rows = ExactRows(DIMENSION, backend if scratch else None, written(backend, "first", model))
    # Of the model's rows, which are somebody's: a file that takes the place of another holds no others.
    owned = np.ones(len(model), dtype=bool)
    based = len(model)
    for step in range(60):
        match rng.integers(4):
            case 0:
                more = drawn(int(rng.integers(9)), 1_000 * seed + step)
                rows.append(more)
                model, owned = np.concatenate([model, more]), np.append(owned, np.ones(len(more), dtype=bool))
            case 1:
                rows.settle()
                assert not scratch or rows.held < 5
            case 2:
                kept = np.flatnonzero(rng.random(len(model)) < 0.9).astype(np.int64)
                rows.keep(kept)
                model, owned, based = model[kept], owned[kept], int(np.searchsorted(kept, based))
            case 3:
                total = based = int(rng.integers(based, len(model) + 1))
                living = np.flatnonzero(owned[:total] & (rng.random(total) < 0.9)).astype(np.int64)
                filed = written(backend, f"file{step}", model[living], b"h" * int(rng.integers(7)))
                rows.rebase(living, total, filed.file, filed.start)
                owned[:total] = False
                owned[living] = True
        check(rows, model, owned, rng)
    rows.close()


def check(rows: ExactRows, model: Matrix, owned: np.ndarray, rng: np.random.Generator) -> None:  # type: ignore[type-arg]
    assert len(rows) == len(model)
    wanted = np.where(owned[:, None], model, rows.rows(0, len(model)))
    assert np.array_equal(rows.rows(0, len(model)), wanted)
    some: Positions = np.flatnonzero(owned)
    some = rng.permutation(some)[: int(rng.integers(len(some) + 1))]
    assert np.array_equal(rows.at(some), model[some])


def test_a_scratch_file_has_no_name_and_ends_with_its_rows(tmp_path: Path) -> None:
    backend = LocalBackend(tmp_path)
    backend.make_folder(VECTORS)
    rows = ExactRows(DIMENSION, backend)
    model = drawn(1_000, 1)
    rows.append(model)
    rows.settle()
    assert rows.held == 0
    assert list(tmp_path.rglob("*")) == [tmp_path / VECTORS]
    assert np.array_equal(rows.rows(0, 1_000), model)
    assert open_files_in(tmp_path) == 2
    filed = written(backend, "file", model)
    rows.rebase(np.arange(1_000), 1_000, filed.file, filed.start)
    assert open_files_in(tmp_path) == 1
    del rows
    assert open_files_in(tmp_path) == 0


def open_files_in(folder: Path) -> int:
    """Descriptors of this process on files there, with a name or without."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        found += target.startswith(f"{folder}/") and not Path(target).is_dir()
    return found


@pytest.mark.parametrize("harm", ["a bit", "the end", "all", "the name", "another row"])
def test_what_is_not_what_it_was_is_never_returned(backend: Backend, harm: str) -> None:
    model = drawn(50, 3)
    rows = ExactRows(DIMENSION, None, written(backend, "file", model))
    intact = 0
    if harm == "a bit":
        overwritten(backend, "file", 4 + 24 * 30 + 5, bytes([model.tobytes()[24 * 30 + 5] ^ 1]))
        intact = 30
    elif harm == "another row":
        overwritten(backend, "file", 4 + 24 * 30, model[31].tobytes())
        intact = 30
    elif harm == "the end" and isinstance(backend, LocalBackend):
        path = Path(backend.location) / "file"
        with path.open("r+b") as file:
            file.truncate(4 + 24 * 30 + 7)
        intact = 30
    elif harm == "all" and isinstance(backend, LocalBackend):
        (Path(backend.location) / "file").write_bytes(b"")
    elif harm == "the name":
        backend.unlink("file")
        written(backend, "file", drawn(50, 4)).file.close()
        intact = 50
    assert np.array_equal(rows.rows(0, intact), model[:intact])
    assert np.array_equal(rows.at(np.arange(0, intact, 2)), model[:intact:2])
    if harm in ("a bit", "another row", "the end") and intact == 30:
        for asked in (np.array([30]), np.array([3, 30, 7]), np.arange(50)):
            with pytest.raises(DamagedViewError):
                rows.at(asked)
        # From where it came, it is had again; only that one is asked for.
        asked_for: list[int] = []

        def again(position: int) -> Matrix:
            asked_for.append(position)
            return model[position]

        rows.again = again
        assert np.array_equal(rows.rows(0, 50), model)
        assert np.array_equal(rows.at(np.array([3, 30, 7])), model[[3, 30, 7]])
        assert asked_for == ([30] if harm != "the end" else list(range(30, 50)))


def test_what_cannot_be_written_stays_in_memory_and_is_tried_again() -> None:
    disk = FaultyDisk()
    backend = FaultyBackend(disk)
    backend.make_folder(VECTORS)
    rows, model = ExactRows(DIMENSION, backend), drawn(900, 5)
    for at, (verb, number) in enumerate((("create", errno.ENOSPC), ("unlink", errno.EIO), ("write_at", errno.ENOSPC))):
        disk.plan(Fault(1, number, verbs=frozenset((verb,))))
        rows.append(model[300 * at : 300 * (at + 1)])
        rows.settle()
        assert rows.held == 300 * (at + 1)
        assert disk.failed[-1][0] == verb
        disk.clear_plan()
        assert np.array_equal(rows.rows(0, len(rows)), model[: len(rows)])
        assert list(backend.scan(VECTORS)) == []
    rows.settle()
    assert rows.held == 0
    assert np.array_equal(rows.rows(0, 900), model)


def test_what_cannot_be_read_is_had_again_and_only_that() -> None:
    disk = FaultyDisk()
    backend = FaultyBackend(disk)
    model = drawn(40, 6)
    rows = ExactRows(DIMENSION, None, written(backend, "file", model))
    disk.plan(Fault(1, errno.EIO, verbs=frozenset(("read",))))
    # The run is read row by row then.
    assert np.array_equal(rows.rows(0, 40), model)
    disk.plan(Fault(1, errno.EIO, verbs=frozenset(("read",)), forever=True))
    with pytest.raises(DamagedViewError):
        rows.rows(0, 2)
    rows.again = lambda position: model[position]
    assert np.array_equal(rows.at(np.array([5, 2])), model[[5, 2]])
