"""docs/format.md is enough to read a store, also one that a crash left: `format_reader`, written from it, agrees with the library."""

from __future__ import annotations

import ast
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from random import Random

import format_reader
import numpy as np
import pytest
from format_reader import ReadStore, read_store
from view_agreement import require_agreement

from synthians_memory.codec import line_of
from synthians_memory.engine.store import Store
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import FaultyDisk, PowerCut
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import POWER_CUTS, Policy
from synthians_memory.testing.store_history import StoreHistory
from synthians_memory.testing.store_scenarios import SCENARIOS, StoreScenario
from synthians_memory.testing.stored_files import all_files

V1 = Path(__file__).resolve().parent.parent / "storage_fixtures" / "v1"
POLICIES: tuple[Policy, ...] = ("killed", *POWER_CUTS)
# Calls of the disk that a scenario makes, more or less.
MOST_CALLS = 120
TRIES = 3


def test_it_knows_nothing_of_the_library() -> None:
    tree = ast.parse(Path(format_reader.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
    assert {found.split(".")[0] for found in names} <= {*sys.stdlib_module_names, "numpy"}


def test_it_sees_what_is_wrong(tmp_path: Path) -> None:
    """Each file of a store is read: with another byte in it the store is refused, or is another one."""
    source = V1 / "logged" / "store"
    whole = what_it_says(read_store(source))
    for path in sorted(p.relative_to(source) for p in source.rglob("*") if p.is_file() and p.name != "store.lock"):
        root = Path(shutil.copytree(source, tmp_path / path.name))
        data = bytearray((root / path).read_bytes())
        data[len(data) // 3 if path.suffix != ".wal" else 4096 + 60] ^= 0x01
        (root / path).write_bytes(data)
        with suppress(format_reader.FormatError):
            assert what_it_says(read_store(root)) != whole, f"{path} is not read"


def what_it_says(read: ReadStore) -> tuple[object, ...]:
    vectors = {key: (vector.vector_id, vector.row.tobytes()) for key, vector in read.vectors.items()}
    return read.export(), read.index, vectors, read.replayed, read.torn


def test_it_rounds_as_told() -> None:
    bits = np.random.default_rng(1).integers(0, 2**32, 10_000, dtype=np.uint32).view("<f4")
    finite = bits[np.isfinite(bits)]
    numbers = format_reader.numbers_of([float(repr(number)) for number in finite.astype(float).tolist()])
    assert numbers is not None
    assert numbers.tobytes() == finite.tobytes()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_it_reads_what_a_crash_leaves(scenario: StoreScenario, tmp_path: Path) -> None:
    rng = Random(scenario.name)
    for number in range(TRIES):
        disk = crashed(scenario, rng)
        root = tmp_path / str(number)
        for path, data in all_files(FaultyBackend(disk.copy())).items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(data)
        if (root / "store.json").exists() and list(root.glob("journal/0*.wal")):
            read = read_store(root)
            assert read.export() == exported(disk, scenario)
            require_agreement(read)


def crashed(scenario: StoreScenario, rng: Random) -> FaultyDisk:
    """What a disk holds after the power was cut somewhere in the scenario, or the process killed."""
    disk, history = FaultyDisk(), StoreHistory()
    with scenario.thresholds():
        scenario.prepare(FaultyBackend(disk), history)
        disk = disk.crash("killed")
        disk.plan_power_cut(rng.randrange(1, MOST_CALLS), seed=rng.randrange(1000))
        with suppress(PowerCut, SynthiansMemoryError):
            scenario.run(FaultyBackend(disk), history)
    return disk.crash(rng.choice(POLICIES), seed=rng.randrange(1000))


def exported(disk: FaultyDisk, scenario: StoreScenario) -> bytes:
    store = Store.open(FaultyBackend(disk.copy()), scenario.config, ManualClock(), read_only=True)
    keys = [(kind, i) for kind in store.state.index.rows for i in store.state.index.ids(kind)]
    entities = [store.load(key) for key in keys]
    store.close()
    return b"".join(line_of(entity) + b"\n" for entity in entities if entity is not None)
