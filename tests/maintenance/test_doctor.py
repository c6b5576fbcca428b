"""The doctor: what it finds, in which state of a store, with which remedy; and that it changes nothing at all."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from report_pages import parsed

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.engine.superblock import RESTORING, load_superblock, store_superblock
from synthians_memory.errors import (
    NotAStoreError,
    OutdatedFormatError,
    PermissionDeniedError,
    StoreMovedError,
    UnsupportedFormatError,
)
from synthians_memory.facade import PARTS
from synthians_memory.maintenance import diagnosis as diagnoses
from synthians_memory.maintenance import surroundings
from synthians_memory.maintenance.diagnosis import Diagnosis, Examined, Trouble, trouble, troubles_of
from synthians_memory.maintenance.doctor import diagnose
from synthians_memory.maintenance.examinations import unopened
from synthians_memory.maintenance.fallback import Fallback
from synthians_memory.maintenance.move import move_store
from synthians_memory.maintenance.remedies import FINDING_REMEDIES, TROUBLE_REMEDIES, rendered
from synthians_memory.maintenance.report.writing import report_page
from synthians_memory.maintenance.surroundings import judge_room, missing_extras
from synthians_memory.reports import FINDING_CODES, Finding
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.permissions import survey_permissions
from synthians_memory.storage.room import DiskRoom
from synthians_memory.testing.clock import ManualClock
from synthians_memory.times import SystemClock

FIXTURES = Path(__file__).resolve().parent.parent.parent / "storage_fixtures"
BROKEN = FIXTURES / "broken"
DEFECTS = sorted(folder.name for folder in BROKEN.iterdir())
UNOPENED = {"newer-format": "format_newer", "unknown-feature": "format_newer"}
HOUR = 3_600_000_000
GIB = 1 << 30
SOURCES = Path(diagnoses.__file__).parent


@pytest.fixture
def examined(tmp_path: Path) -> Callable[..., Diagnosis]:
    """Diagnoses with no configuration but what a test gives, and sees to it that nothing was changed."""

    def examine(path: Path, **settings: Any) -> Diagnosis:
        environment = {"HOME": str(tmp_path / "home"), **settings.pop("environment", {})}
        before = everything(path)
        found = diagnose(path, PARTS, environment=environment, **settings)
        assert everything(path) == before
        return found

    return examine


def everything(root: Path) -> dict[str, tuple[object, ...]]:
    """What of each file, folder and link could be changed: mode, owner, time, content."""
    seen: dict[str, tuple[object, ...]] = {}
    for path in [root, *sorted(root.rglob("*"))] if root.exists() else []:
        status = path.lstat()
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        seen[str(path)] = (status.st_mode, status.st_uid, status.st_mtime_ns, status.st_ino, content)
    return seen


def codes(found: Diagnosis, *, notes: bool = False) -> set[str]:
    return {one.code for one in found.troubles if notes or one.urgency != "note"}


def of(found: Diagnosis, code: str) -> Trouble:
    return next(one for one in found.troubles if one.code == code)


def detail(found: Diagnosis, name: str) -> str:
    return next(one.detail for one in found.examined if one.name == name)


def broken(defect: str, tmp_path: Path) -> Path:
    path = Path(shutil.copytree(BROKEN / defect / "store", tmp_path / "store", symlinks=True))
    path.chmod(0o700)
    return path


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    """A store with three memories and a backup."""
    path = tmp_path / "a store"
    async with MemoryPersistence(path) as opened:
        await opened.save_memories_batch(
            [MemoryEntry(memory_id=f"m{n}", content=f"number {n}", embedding=[n, 1.0]) for n in range(3)]
        )
        await opened.backup()
    return path


# The table of remedies


def test_every_code_has_its_remedy() -> None:
    assert set(FINDING_REMEDIES) == set(FINDING_CODES)


@pytest.mark.parametrize("code", [*FINDING_REMEDIES, *TROUBLE_REMEDIES])
def test_a_remedy_says_what_to_do_in_plain_words(code: str) -> None:
    remedy = FINDING_REMEDIES.get(code) or TROUBLE_REMEDIES[code]
    assert remedy.meaning.endswith(".")
    assert not remedy.advice or remedy.advice.endswith((".", "`"))
    # Only what is worth a note may be without anything to do.
    assert remedy.urgency == "note" or remedy.commands or remedy.advice
    for template in (*remedy.commands, remedy.advice):
        assert "{" not in rendered(template, "/a store", name="embed", file="issues/one.md")


def test_findings_are_as_urgent_as_they_are_severe() -> None:
    urgencies = {"damage": "urgent", "inconsistency": "soon", "note": "note"}
    for code, (severity, *_) in FINDING_CODES.items():
        assert FINDING_REMEDIES[code].urgency == urgencies[severity]


def test_what_the_doctor_says_and_what_has_a_remedy_are_the_same() -> None:
    text = "".join((SOURCES / f"{name}.py").read_text() for name in ("doctor", "examinations", "surroundings"))
    assert set(re.findall(r'"([a-z]+(?:_[a-z_]+)?)"', text)) & set(TROUBLE_REMEDIES) == set(TROUBLE_REMEDIES)
    assert set(re.findall(r'trouble\(\s*"(\w+)"', text)) <= set(TROUBLE_REMEDIES)


def test_the_page_lists_what_may_be_found() -> None:
    page = (FIXTURES.parent / "docs" / "doctor.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.+) \|$", page, re.MULTILINE)
    assert rows == [(code, remedy.urgency, remedy.meaning) for code, remedy in TROUBLE_REMEDIES.items()]


def test_an_id_is_written_as_a_shell_takes_it() -> None:
    memory = Finding("file_damaged", "x", "memories/it.json", "memory", "it's; rm -rf")
    assembly = Finding("file_damaged", "x", "assemblies/-a.json", "assembly", "-a")
    assert (
        rendered("{store} adopt{assembly} -- {id}", "/a b", memory)
        == """synthians-memory --store '/a b' adopt -- 'it'"'"'s; rm -rf'"""
    )
    assert rendered("{store} restore{assembly} --memory={id}", "/a", assembly).endswith(
        "restore --assembly --memory=-a"
    )


def test_the_most_urgent_comes_first_and_backups_are_taken_last() -> None:
    examined = (
        Examined.of("memories", "", troubles_of([Finding("index_damaged", "x"), Finding("file_damaged", "y")], "/a")),
        Examined.of("backups", "", [trouble("snapshot_damaged", "z", "/a")]),
        Examined.of("software", "", [trouble("python_untested", "v", "/a"), trouble("disk_full", "w", "/a")]),
    )
    found = Diagnosis("/a", examined)
    assert [one.code for one in found.troubles] == [
        "file_damaged", "snapshot_damaged", "disk_full", "index_damaged", "python_untested",
    ]  # fmt: skip
    assert found.commands == (
        "synthians-memory --store /a repair",
        "synthians-memory --store /a backups --verify",
        "synthians-memory --store /a sweep-expired",
        "synthians-memory --store /a backup --full",
    )


def test_findings_of_one_code_are_one_trouble() -> None:
    findings = [Finding("file_damaged", f"{n}") for n in range(3)] + [
        Finding("scratch", "s"),
        Finding("file_damaged", "3"),
    ]
    damaged, scratch = troubles_of(findings, "/a")
    assert (damaged.message, len(damaged.findings)) == ("0; and 3 more like it", 4)
    assert (scratch.message, scratch.urgency) == ("s", "note")


# Stores that are well, and stores that are not


async def test_a_store_that_is_well(store: Path, examined: Callable[..., Diagnosis]) -> None:
    found = examined(store)
    assert found.is_well
    assert not found.is_damaged
    assert codes(found) == set()
    assert found.commands == ()
    assert found.error is None
    assert [one.name for one in found.examined] == [
        "configuration", "permissions", "disk", "lock", "interrupted work", "memories", *(part.name for part in PARTS),
        "backups", "parked memories", "alerts", "health passes", "software",
    ]  # fmt: skip
    assert detail(found, "memories").startswith("3 memories, 0 assemblies")


@pytest.mark.parametrize("defect", DEFECTS)
def test_broken_stores(defect: str, tmp_path: Path, examined: Callable[..., Diagnosis]) -> None:
    path = broken(defect, tmp_path)
    found = examined(path)
    if defect in UNOPENED:
        assert UNOPENED[defect] in codes(found)
        assert isinstance(found.error, UnsupportedFormatError)
        return
    expected = json.loads((BROKEN / defect / "expected.json").read_text())["check"]
    findings = [finding for one in found.troubles for finding in one.findings]
    assert sorted({f"{finding.code} {finding.path}" for finding in findings}) == expected
    assert found.is_damaged == any(FINDING_CODES[line.split()[0]][0] == "damage" for line in expected)
    for one in found.troubles:
        assert str(path) in " ".join(one.commands) or not one.commands or one.code == "extra_missing"


@pytest.mark.parametrize(
    "defect",
    [pytest.param(name, marks=[pytest.mark.long] if number % 6 else []) for number, name in enumerate(DEFECTS)],
)
async def test_nothing_is_changed_while_a_program_has_a_broken_store_open(
    defect: str, tmp_path: Path, examined: Callable[..., Diagnosis]
) -> None:
    if defect in UNOPENED:
        pytest.skip("no program opens it")
    path = broken(defect, tmp_path)
    async with MemoryPersistence(path, auto_repair=False) as opened:
        found = await asyncio.to_thread(examined, path)
        assert found.holder.startswith(f"pid {os.getpid()}")
        assert opened.stats()["memories"] >= 0


async def test_beside_a_program_that_saves(store: Path, tmp_path: Path) -> None:
    async with MemoryPersistence(store) as opened:
        stop = asyncio.Event()

        async def save() -> None:
            number = 0
            while not stop.is_set():
                await opened.save_memory(
                    MemoryEntry(memory_id=f"m{number % 50}", content=f"{number}", embedding=[1, number])
                )
                number += 1

        saving = asyncio.create_task(save())
        for _ in range(3):
            found = await asyncio.to_thread(diagnose, store, PARTS, environment={"HOME": str(tmp_path)})
            assert not codes(found), found.troubles
            assert "held by" in detail(found, "lock")
        stop.set()
        await saving


# Places where there is no store, or none of this version


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "foreign"])
def test_no_store(kind: str, tmp_path: Path, examined: Callable[..., Diagnosis]) -> None:
    path = tmp_path / "place"
    if kind == "file":
        path.write_text("x")
    elif kind != "missing":
        path.mkdir(0o700)
    if kind == "foreign":
        (path / "thesis.tex").write_text("important")
        os.chmod(path, 0o755)  # noqa: S103 - and nobody's business here
    found = examined(path)
    assert isinstance(found.error, NotAStoreError)
    assert codes(found) == {"no_store"}
    assert path.exists() == (kind != "missing")


async def test_a_store_that_was_moved(store: Path, tmp_path: Path, examined: Callable[..., Diagnosis]) -> None:
    move_store(store, tmp_path / "new")
    found = examined(store)
    assert isinstance(found.error, StoreMovedError)
    assert str(tmp_path / "new") in of(found, "store_moved").advice


async def test_a_lost_store_with_snapshots(store: Path, examined: Callable[..., Diagnosis]) -> None:
    for name in ("store.json", "memory_index.json", "memory_index.log"):
        (store / name).unlink(missing_ok=True)
    shutil.rmtree(store / "journal")
    found = examined(store)
    assert found.error is not None
    assert codes(found) == {"store_lost"}
    assert f"synthians-memory --store '{store}' restore" in found.commands


def describe_as(store: Path, **changes: Any) -> None:
    """Give a store's superblock other facts."""
    backend = LocalBackend(store)
    block = load_superblock(backend)
    assert block is not None
    store_superblock(backend, replace(block, **changes))
    backend.close()


async def test_an_older_format(store: Path, examined: Callable[..., Diagnosis]) -> None:
    describe_as(store, format_version=0)
    found = examined(store)
    assert isinstance(found.error, OutdatedFormatError)
    assert codes(found) == {"format_older"}
    assert found.commands == (f"synthians-memory --store '{store}' migrate",)


async def test_settings_that_contradict_the_store(store: Path, examined: Callable[..., Diagnosis]) -> None:
    found = examined(store, environment={"SYNTHIANS_MEMORY_EMBEDDING_DIMENSION": "5"})
    assert codes(found) == {"settings_refused"}
    assert detail(found, "memories").startswith("3 memories")


async def test_a_wrong_configuration(store: Path, examined: Callable[..., Diagnosis]) -> None:
    found = examined(store, environment={"SYNTHIANS_MEMORY_FLUSH_INTERVAL": "never"})
    assert codes(found) == {"configuration_wrong"}
    assert "FLUSH_INTERVAL" in of(found, "configuration_wrong").message
    assert detail(found, "memories").startswith("3 memories")


# Disk and permissions


def room(**changes: Any) -> DiskRoom:
    fields: dict[str, Any] = {
        "kind": "ext4", "network": False, "options": frozenset({"rw"}), "free_bytes": 100 * GIB, "total_bytes": 200 * GIB,
        "free_files": 1_000_000,
    }  # fmt: skip
    return DiskRoom(**{**fields, **changes})


@pytest.mark.parametrize(
    ("seen", "wanted"),
    [
        (room(), []),
        (room(free_files=None), []),
        (room(free_bytes=10_000_000), ["disk_full"]),
        (room(free_bytes=200_000_000), ["disk_filling"]),
        (room(free_files=900), ["inodes_few"]),
        (room(options=frozenset({"ro"})), ["disk_read_only"]),
        (room(kind="tmpfs"), ["disk_weak"]),
        (room(kind="nfs4", network=True), ["disk_weak"]),
        (room(options=frozenset({"rw", "barrier=0"})), ["disk_weak"]),
    ],
    ids=lambda value: " ".join(value) or "well" if isinstance(value, list) else "",
)
def test_disks(seen: DiskRoom, wanted: list[str]) -> None:
    assert [one.code for one in judge_room(seen, "/store").troubles] == wanted


def test_indexes_need_room_to_be_written_anew() -> None:
    assert [one.code for one in judge_room(room(free_bytes=GIB), "/store", 2 * GIB).troubles] == ["disk_filling"]


async def test_files_that_are_open_to_others(store: Path, examined: Callable[..., Diagnosis]) -> None:
    (store / "memories" / "m1.json").chmod(0o644)
    assert codes(examined(store)) == set()
    os.chmod(store, 0o755)  # noqa: S103
    found = examined(store)
    assert codes(found) == {"open_to_others"}
    assert "memories/m1.json" in of(found, "open_to_others").message
    assert found.commands == (f"chmod -R go-rwx '{store}'",)


async def test_files_that_cannot_be_written(store: Path, examined: Callable[..., Diagnosis]) -> None:
    (store / "memories" / "m1.json").chmod(0o400)
    found = examined(store)
    assert codes(found) == {"permissions_missing"}
    assert found.commands == (f"chmod -R u+rwX '{store}'",)


async def test_files_of_somebody_else(store: Path, examined: Callable[..., Diagnosis]) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a file away needs root")
    os.chown(store / "memories" / "m1.json", 12345, 12345)
    assert codes(examined(store)) == {"owned_by_others"}


async def test_a_store_of_somebody_else(store: Path, examined: Callable[..., Diagnosis]) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a store away needs root")
    for path in everything(store):
        os.chown(path, 54321, 54321)
    found = examined(store)
    assert codes(found) == set()
    assert of(found, "other_user").commands == (f"sudo -u '#54321' synthians-memory --store '{store}' doctor",)


def test_a_store_that_only_its_owner_may_read() -> None:
    error = PermissionDeniedError("cannot open /a: Permission denied")
    assert [one.code for one in unopened(error, "/a", owner="ada").troubles] == ["owner_needed"]
    assert [one.code for one in unopened(error, "/a").troubles] == ["permissions_missing"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    outside.mkdir()
    (outside / "open").write_text("x")
    inside.mkdir(0o700)
    (inside / "link").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    seen = survey_permissions(inside)
    assert (seen.entries, seen.open, seen.refused) == (3, 0, 0)


ODD = [
    *(
        (name, "pipe")
        for name in ("logs/fallback.jsonl", "logs/health.log", "config.yaml", "store.lock", "memories/m1.json")
    ),
    *((name, "link") for name in ("issues", "backups/snapshots", "state", "memories/m1.json", "logs/health.log")),
    *((name, "folder") for name in ("logs/fallback.jsonl", "memories/m1.json")),
]


@pytest.mark.parametrize(("name", "kind"), ODD)
async def test_odd_things_in_the_place_of_files(
    name: str, kind: str, store: Path, examined: Callable[..., Diagnosis]
) -> None:
    path = store / name
    path.parent.mkdir(0o700, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path, 0o600)
    elif kind == "link":
        path.symlink_to("/etc")
    else:
        path.mkdir(0o700)
    found = examined(store)
    assert detail(found, "memories").startswith("3 memories")
    assert "etc" not in " ".join(one.message for one in found.troubles)
    parsed(report_page(store, environment={"HOME": str(store.parent)}) if name != "config.yaml" else b"<p></p>")


# Backups


async def test_no_backup(tmp_path: Path, examined: Callable[..., Diagnosis]) -> None:
    path = tmp_path / "store"
    async with MemoryPersistence(path) as opened:
        await opened.flush()
    assert codes(examined(path)) == set()  # there is nothing to lose
    async with MemoryPersistence(path) as opened:
        await opened.save_memory(MemoryEntry(content="x"))
    assert codes(examined(path)) == {"backup_missing"}
    async with MemoryPersistence(path) as opened:
        await opened.backup(tmp_path / "elsewhere")
    assert codes(examined(path, snapshots=tmp_path / "elsewhere")) == set()


async def test_an_old_backup(store: Path, examined: Callable[..., Diagnosis]) -> None:
    later = ManualClock(SystemClock().micros() + 72 * HOUR)
    assert codes(examined(store, clock=later)) == set()  # nothing was changed since
    async with MemoryPersistence(store) as opened:
        await opened.delete_memory("m1")
    assert codes(examined(store)) == set()
    assert codes(examined(store, clock=later)) == {"backup_old"}


async def test_a_damaged_backup(store: Path, examined: Callable[..., Diagnosis]) -> None:
    stored = next((store / "backups" / "snapshots" / "entities").rglob("*.json"))
    stored.write_bytes(stored.read_bytes()[:-3] + b"xxx")
    found = examined(store)
    assert codes(found) == {"snapshot_damaged", "backup_missing"}
    assert found.is_damaged


# What is kept for people


async def test_parked_memories(store: Path, examined: Callable[..., Diagnosis]) -> None:
    parked = Fallback(lambda: LocalBackend(store))
    parked.reserve(4096)
    assert codes(examined(store)) == set()
    parked.park(MemoryEntry(content="parked"))
    found = examined(store)
    assert codes(found) == {"memories_parked"}
    assert found.commands == (f"synthians-memory --store '{store}' replay",)
    with (store / "logs" / "fallback.jsonl").open("r+b") as file:
        file.write(b"{torn")
    assert "parked_unreadable" in codes(examined(store))


async def test_open_alerts(store: Path, examined: Callable[..., Diagnosis]) -> None:
    issues = store / "issues"
    issues.mkdir(0o700)
    name = "20261120_120000_000000_0123456789abcdef.md"
    (issues / name).write_text("---\ntitle: synthians-memory: the disk failed\n---\n")
    found = examined(store)
    assert codes(found) == {"alerts_open"}
    assert "the disk failed" in of(found, "alerts_open").message
    assert of(found, "alerts_open").commands == (f"cat '{store}'/issues/{name}",)


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ('{"at": "2026-11-20T12:00:00.000000Z", "outcome": "healthy"}\n', set()),
        ('{"at": "2026-11-20T12:00:00.000000Z", "outcome": "failed"}\n', {"pass_failed"}),
        ('{"at": "2026-11-20T07:00:00.000000Z", "outcome": "healthy"}\n', {"pass_overdue"}),
        ('{"outcome": "failed"}\n{"at": "2026-11-20T12:00:00.000000Z", "outcome": "mended"}\n{"at": "2026', set()),
        ("not json\n[]\n", set()),
        ('{"at": 5}\n', set()),
    ],
    ids=["well", "failed", "overdue", "torn", "nothing", "odd"],
)
async def test_health_passes(lines: str, wanted: set[str], store: Path, examined: Callable[..., Diagnosis]) -> None:
    (store / "logs").mkdir(0o700, exist_ok=True)
    (store / "logs" / "health.log").write_text(lines)
    at_one = 1_795_179_600_000_000
    assert codes(examined(store, clock=ManualClock(at_one))) == wanted


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("quarantine/repair_plan.json", "repair_unfinished"),
        ("logs/purge_plan.json", "purge_unfinished"),
        ("backups/restore/unfinished", "restore_left"),
        ("backups/restore/plan.json", "restore_unfinished"),
    ],
)
async def test_interrupted_work(path: str, wanted: str, store: Path, examined: Callable[..., Diagnosis]) -> None:
    (store / path).parent.mkdir(0o700, exist_ok=True)
    (store / path).write_text("{}")
    assert wanted in codes(examined(store))
    async with MemoryPersistence(store, read_only=True):
        assert wanted in codes(await asyncio.to_thread(examined, store))
    lock = LocalBackend(store)
    held = lock.lock("", exclusive=True)
    assert held is not None
    assert wanted not in codes(examined(store))  # the holder may be at it
    lock.close()


async def test_a_restore_that_was_cut_off(store: Path, examined: Callable[..., Diagnosis]) -> None:
    (store / "backups" / "restore").mkdir(0o700)
    (store / "backups" / "restore" / "plan.json").write_text("{}")
    describe_as(store, mandatory_features=(RESTORING,))
    found = examined(store)
    assert codes(found) == {"restore_unfinished"}
    assert found.commands == (f"synthians-memory --store '{store}' restore",)


# Libraries


def test_libraries_that_are_missing() -> None:
    lines = [
        "numpy>=1.26", 'wordllama<0.5,>=0.4; (python_version < "3.14") and extra == "embed"',
        'not-there>=2; extra == "ops"', "nor-this; extra == 'ops'", 'not-there; extra == "bench"',
    ]  # fmt: skip
    assert missing_extras(lines) == {"ops": ["not-there", "nor-this"]}


async def test_the_embedder_of_the_store_is_missing(
    tmp_path: Path, examined: Callable[..., Diagnosis], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = surroundings.examine_software(str(tmp_path), "wordllama:l2_supercat_256")
    assert not [one for one in found.troubles if one.code == "embedder_missing"]
    monkeypatch.setattr(
        surroundings, "version", lambda name: (_ for _ in ()).throw(surroundings.PackageNotFoundError(name))
    )
    found = surroundings.examine_software(str(tmp_path), "wordllama:l2_supercat_256")
    assert "embedder_missing" in {one.code for one in found.troubles}
