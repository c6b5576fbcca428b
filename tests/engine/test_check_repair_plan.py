"""A repair is a saved plan: interrupted anywhere it is gone on with, and whatever happens nothing is thrown away."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
from damaged_stores import (
    NOON,
    TickingClock,
    codes,
    contents,
    copy_of,
    key_of,
    listing,
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
    sealed,
    sealed_version_file,
    vector,
    without_hash,
)

from synthians_memory.codec import seal
from synthians_memory.engine.repair import Planner, Step
from synthians_memory.engine.store import Store
from synthians_memory.errors import DiskError, SynthiansMemoryError
from synthians_memory.reports import FINDING_CODES, Finding, RepairReport
from synthians_memory.storage.backend import WritableFile
from synthians_memory.storage.local import LocalBackend

PLAN = "quarantine/repair_plan.json"


class TiredBackend(LocalBackend):
    """Fails at one of the calls that change a name, and from then on, as a disk that turned read-only."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.left: int | None = None

    def _spend(self, path: str) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise DiskError(f"cannot change {path}", path=path)

    def create(self, path: str) -> WritableFile:
        self._spend(path)
        return super().create(path)

    def replace(self, source: str, target: str) -> None:
        self._spend(target)
        super().replace(source, target)

    def unlink(self, path: str) -> bool:
        self._spend(path)
        return super().unlink(path)

    def make_folder(self, path: str) -> bool:
        self._spend(path)
        return super().make_folder(path)


def damage(root: Path) -> dict[int, bytes]:
    """Something of each kind; returns the bytes that may nowhere be lost."""
    rewrite(memory_file(root, 1), sealed_version_file(memory(1, "newer"), NOON * 2))
    rewrite(memory_file(root, 2), without_hash(memory_file(root, 2).read_bytes().replace(b"memory 2", b"by hand")))
    rewrite(memory_file(root, 3), memory_file(root, 3).read_bytes().replace(b"memory 3", b"damaged"))
    rewrite(memory_file(root, 4), b'{\n  "content": "a rest",\n')
    memory_file(root, 5).unlink()
    memory_file(root, 6).unlink()
    memory_file(root, 6).mkdir()
    (memory_file(root, 6) / "inside").write_bytes(b"inside")
    memory_file(root, 7).write_bytes(sealed_version_file(memory(7), NOON))
    return {
        1: memory_file(root, 1).read_bytes(),
        3: memory_file(root, 3).read_bytes(),
        4: memory_file(root, 4).read_bytes(),
        6: b"inside",
        7: memory_file(root, 7).read_bytes(),
    }


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("sound") / "store", memories=7)


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    return copy_of(sound, tmp_path)


WANTED = [
    ("file_damaged", memory_id(3)),
    ("file_edited", memory_id(2)),
    ("file_missing", memory_id(5)),
    ("file_not_indexed", memory_id(7)),
    ("file_replaced", memory_id(1)),
    ("file_undecodable", memory_id(4)),
    ("not_a_file", memory_id(6)),
]


def require_repaired(store: Store) -> None:
    served = {n: store.load(key_of(n)) for n in range(8)}
    assert {n: m.__dict__["content"] for n, m in served.items() if m is not None} == {
        0: "memory 0",
        1: "newer",
        2: "by hand",
        7: "memory 7",
    }
    assert [h.memory_id for h in store.search(vector(7), 1, "memory", None)] == [memory_id(7)]
    assert store.state.vectors.count("memory") == 4
    assert only_notes(store.check("full"))


def everywhere(root: Path) -> set[bytes]:
    return set(contents(root).values())


def test_all_at_once(root: Path) -> None:
    kept = damage(root)
    with opened(root, auto_repair=False) as store:
        report = store.repair()
        assert codes(report.findings) == WANTED
        assert report.clean
        assert len(report.actions) == 10
        require_repaired(store)
    assert not (root / PLAN).exists()
    assert set(kept.values()) <= everywhere(root)
    assert {kept[3], kept[4], kept[6]} <= set(quarantined(root))
    with opened(root, startup_check="full") as store:
        assert only_notes(store.opening_report.findings)
        require_repaired(store)


def test_open_leaves_what_a_person_has_to_decide(root: Path) -> None:
    kept = damage(root)
    with opened(root) as store:
        assert codes(store.opening_report.findings) == WANTED
        assert codes(store.opening_report.remaining) == [WANTED[0], WANTED[5]]
        assert memory_file(root, 3).read_bytes() == kept[3]
        assert memory_file(root, 4).read_bytes() == kept[4]
        assert store.repair().clean
        require_repaired(store)
    assert set(kept.values()) <= everywhere(root)


def interrupted(root: Path, calls: int) -> bool:
    """Repair on a disk that fails at change number `calls`; whether it came so far."""
    backend = TiredBackend(root)
    store = open_store(root, backend=backend, auto_repair=False)
    backend.left = calls
    try:
        store.repair()
    except SynthiansMemoryError:
        return True
    finally:
        backend.left = None
        store.release()
    return False


@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.long)])
def test_interrupted_anywhere_it_is_gone_on_with(sound: Path, tmp_path: Path, step: int) -> None:
    planned = runs = 0
    while True:
        root = copy_of(sound, tmp_path / str(runs))
        kept = damage(root)
        if not interrupted(root, runs * step):
            break
        runs += 1
        planned += (root / PLAN).exists()
        assert set(kept.values()) <= everywhere(root)
        with opened(root, clock=TickingClock(NOON + 10**9)) as store:
            assert not store.opening_report.remaining or store.repair().clean
            require_repaired(store)
        assert not (root / PLAN).exists()
        assert set(kept.values()) <= everywhere(root)
        assert {kept[3], kept[4], kept[6]} <= set(quarantined(root))
    assert runs * step > 60
    assert planned > runs // 2


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 80, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("few_descriptors")
def test_a_repair_of_many_files_needs_few_descriptors(tmp_path: Path) -> None:
    root = make_store(tmp_path / "store", memories=120)
    for number in range(120):
        rewrite(memory_file(root, number), b"damaged")
    with opened(root, auto_repair=False) as store:
        report = store.repair()
        assert report.clean
        assert len(report.quarantined) == 120
    assert quarantined(root).count(b"damaged") == 120


def saved_plan(root: Path, *steps: Step) -> None:
    fields = [{"action": s.action, "path": s.path, "kind": s.kind, "entity_id": s.entity_id} for s in steps]
    (root / PLAN).write_bytes(seal([b'  "steps": ' + json.dumps(fields).encode()]))


def test_a_saved_plan_is_taken_at_open_and_removed(root: Path) -> None:
    kept = damage(root)
    saved_plan(root, Step("set_aside", f"memories/{memory_id(4)}.json", *key_of(4)))
    with opened(root, startup_check="off") as store:
        assert kept[4] in quarantined(root)
        assert not (root / PLAN).exists()
        assert store.load(key_of(0)) is not None


def test_a_saved_plan_waits_where_open_may_not_repair(root: Path) -> None:
    damage(root)
    saved_plan(root, Step("set_aside", f"memories/{memory_id(4)}.json", *key_of(4)))
    before = contents(root)
    with opened(root, auto_repair=False):
        pass
    assert contents(root) == before


def test_a_plan_does_no_harm_to_what_is_sound_by_now(root: Path) -> None:
    actions = ("set_aside", "forget", "adopt", "restore", "index_vector")
    saved_plan(root, *(Step(a, f"memories/{memory_id(1)}.json", *key_of(1)) for a in actions))  # type: ignore[arg-type]
    before = contents(root / "memories")
    with opened(root) as store:
        assert store.load(key_of(1)) is not None
        assert only_notes(store.check("full"))
    assert contents(root / "memories") == before
    assert quarantined(root) == []


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"garbage" * 100,
        sealed({}),
        sealed({"steps": 1}),
        sealed({"steps": [1]}),
        sealed({"steps": [{"action": "format", "path": "/"}]}),
    ],
)
def test_a_damaged_plan_is_dropped_and_made_anew(root: Path, data: bytes) -> None:
    damage(root)
    (root / PLAN).write_bytes(data)
    with opened(root) as store:
        assert codes(store.opening_report.findings) == WANTED
    assert not (root / PLAN).exists()


def test_a_plan_that_is_no_file_is_moved_aside(root: Path) -> None:
    damage(root)
    with opened(root, auto_repair=False) as store:
        (root / PLAN).mkdir()
        assert store.repair().clean
    assert not (root / PLAN).exists()


def test_a_second_repair_has_nothing_to_do(root: Path) -> None:
    damage(root)
    with opened(root, auto_repair=False) as store:
        store.repair()
        before = {k: v for k, v in listing(root).items() if k.startswith(("memories", "assemblies", "quarantine"))}
        report = store.repair()
        assert report.actions == report.quarantined == ()
        assert only_notes(report.findings)
        after = {k: v for k, v in listing(root).items() if k.startswith(("memories", "assemblies", "quarantine"))}
        assert after == before


def test_a_store_may_be_used_while_files_of_it_are_damaged(root: Path) -> None:
    damage(root)
    with opened(root, auto_repair=False) as store:
        save(store, *(memory(n, f"saved {n}") for n in range(8)))
        assert [store.load(key_of(n)).__dict__["content"] for n in range(8)] == [f"saved {n}" for n in range(8)]
        assert only_notes(store.check("full"))
    found = quarantined(root)
    assert any(b"newer" in data for data in found)
    assert any(b"by hand" in data for data in found)
    assert b"inside" in found


# Reports


def test_every_code_has_a_severity_a_meaning_and_an_action() -> None:
    for code, (severity, meaning, action) in FINDING_CODES.items():
        finding = Finding(code, "x")
        assert (finding.severity, finding.action) == (severity, action)
        assert severity in ("damage", "inconsistency", "note")
        assert meaning
        assert finding.to_dict()["severity"] == severity


def test_a_report_is_json(root: Path) -> None:
    damage(root)
    with opened(root, auto_repair=False) as store:
        dry = Planner(store.state).dry_run(store.check("full"))
        done = store.repair()
    assert dry.actions == done.actions
    for report in (dry, done):
        found = json.loads(json.dumps(report.to_dict()))
        assert found["clean"] == report.clean
        assert found["dry_run"] == report.dry_run
        assert [f["code"] for f in found["findings"]] == [f.code for f in report.findings]
        assert found["quarantined"] == list(report.quarantined)
    assert RepairReport().clean


def test_a_check_in_pieces_counts_every_file(root: Path) -> None:
    seen: list[tuple[int, int]] = []
    with opened(root) as store:
        store.check("full", lambda done, total: seen.append((done, total)))
        assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
        assert seen[-1][0] <= seen[-1][1]
        assert len(seen) >= 8
