"""One entity file at a time is damaged or changed outside: what check says, load refuses, open mends, and repair mends."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from damaged_stores import (
    NOON,
    codes,
    contents,
    copy_of,
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
    sealed,
    sealed_version_file,
    vector,
    without_hash,
)

from synthians_memory.engine.repair import Planner
from synthians_memory.engine.store import Store
from synthians_memory.errors import ChangedOutsideError, DamagedFileError, NotRegularFileError
from synthians_memory.models import MemoryEntry

ONE = memory_id(1)
Inflict = Callable[[Path], None]


@dataclass(frozen=True)
class Damage:
    """One thing that happens to the file of m001 in a store of m000 to m004.

    Attributes:
        name: of the test.
        inflict: does it, given the file's path.
        code: what check calls it.
        refusal: what load raises before it is mended.
        mended: its content after a repair; None where the memory is gone.
        mended_at_open: whether open does all that repair does.
    """

    name: str
    inflict: Inflict
    code: str
    refusal: type[Exception]
    mended: str | None = None
    mended_at_open: bool = False


def edit(path: Path, **changes: object) -> None:
    """Change the file as a person does who takes the hash line away."""
    fields = {**fields_of(path), **changes}
    del fields["content_hash"]
    rewrite(path, json.dumps(fields).encode())


def reformat(path: Path, *, keep_hash: bool) -> None:
    """What `jq .` or `jq 'del(.content_hash)'` leaves."""
    fields = fields_of(path)
    if not keep_hash:
        del fields["content_hash"]
    rewrite(path, json.dumps(fields, indent=2).encode() + b"\n")


def put_in(old: bytes, new: bytes) -> Inflict:
    def inflict(path: Path) -> None:
        data = path.read_bytes()
        assert old in data
        rewrite(path, data.replace(old, new))

    return inflict


def write(data: bytes) -> Inflict:
    return lambda path: rewrite(path, data)


def flip_and_touch(offset: int) -> Inflict:
    def inflict(path: Path) -> None:
        flip(path, offset)
        os.utime(path, ns=(1, 1))

    return inflict


def resealed(**changes: object) -> Inflict:
    return lambda path: rewrite(path, sealed({**fields_of(path), **changes}))


def a_file_of_another_id(path: Path) -> None:
    rewrite(path, (path.parent / f"{memory_id(2)}.json").read_bytes())


def truncated(path: Path) -> None:
    rewrite(path, path.read_bytes()[:200])


def replaced(make: Callable[[Path], None]) -> Inflict:
    def inflict(path: Path) -> None:
        path.unlink()
        make(path)

    return inflict


def full_folder(path: Path) -> None:
    path.mkdir()
    (path / "inside").write_bytes(b"kept")


def link_outside(path: Path) -> None:
    target = path.parents[2] / "outside.json"
    target.write_bytes(sealed_version_file(memory(1, "outside"), NOON))
    path.symlink_to(target)


HASHED = b'"content_hash": "sha256:'
DEEP = b"[" * 100_000 + b"]" * 100_000

OUTSIDE = [
    Damage(
        "a newer version", lambda p: rewrite(p, sealed_version_file(memory(1, "newer"), NOON * 2)),
        "file_replaced", ChangedOutsideError, "newer", True,
    ),
    Damage(
        "an older version", lambda p: rewrite(p, sealed_version_file(memory(1, "older"), NOON // 2)),
        "file_replaced", ChangedOutsideError, "older", True,
    ),
    Damage(
        "edited, without hash line", lambda p: edit(p, content="by hand"),
        "file_edited", ChangedOutsideError, "by hand", True,
    ),
    Damage("the hash line taken away", lambda p: rewrite(p, without_hash(p.read_bytes())),
        "file_edited", ChangedOutsideError, "memory 1", True,
    ),
    Damage(
        "reformatted, without hash line", lambda p: reformat(p, keep_hash=False),
        "file_edited", ChangedOutsideError, "memory 1", True,
    ),
]  # fmt: skip
DAMAGED = [
    Damage(name, inflict, "file_damaged", DamagedFileError)
    for name, inflict in (
        ("a flipped byte", flip_and_touch(41)),
        ("edited below a hash line", put_in(b"memory 1", b"memory one")),
        ("reformatted with its hash", lambda p: reformat(p, keep_hash=True)),
        ("another hash", put_in(HASHED, HASHED + b"0")),
        ("a flipped byte in the hash line", flip_and_touch(-10)),
        ("a hash in capitals", lambda p: rewrite(p, p.read_bytes()[:-67] + p.read_bytes()[-67:].upper())),
        ("sealed without times", resealed(updated_at=None)),
    )
]
UNDECODABLE = [
    Damage(name, inflict, "file_undecodable", DamagedFileError)
    for name, inflict in (
        ("garbage", write(bytes(range(256)) * 4)),
        ("empty", write(b"")),
        ("zeros", write(bytes(541))),
        ("truncated", truncated),
        ("another id", a_file_of_another_id),
        ("a list", write(b"[]\n")),
        ("a number", write(b"1")),
        ("NaN", put_in(b'"quickrecal_score": 0.5', b'"quickrecal_score": NaN')),
        ("a score beyond 1", resealed(quickrecal_score=2)),
        ("a key twice", put_in(b'"access_count": 0', b'"access_count": 0, "access_count": 1')),
        ("nested too deeply", put_in(b'{"n":1}', b'{"n":' + DEEP + b"}")),
        ("nested deeper than allowed", put_in(b'{"n":1}', b'{"n":' + b"[" * 300 + b"]" * 300 + b"}")),
        ("an integer beyond 64 bits", put_in(b'{"n":1}', b'{"n":1' + b"0" * 30 + b"}")),
        ("an integer of 5000 digits", put_in(b'{"n":1}', b'{"n":1' + b"0" * 5000 + b"}")),
        ("not UTF-8", put_in(b"memory 1", b"memory \xff")),
        ("a lone surrogate", put_in(b'["t"]', b'["\\ud800"]')),
        ("no content", lambda p: rewrite(p, sealed({k: v for k, v in fields_of(p).items() if k != "content"}))),
    )
]
# Entities all right, but not for this store.
UNFIT = [
    Damage(name, inflict, "file_undecodable", ChangedOutsideError)
    for name, inflict in (
        ("a sealed vector of another dimension", resealed(embedding=[1.0, 2.0])),
        ("an edited vector of another dimension", lambda p: edit(p, embedding=[1.0, 2.0])),
        ("a zero vector", lambda p: edit(p, embedding=[0.0] * 8)),
    )
]
NO_FILES = [
    Damage(name, replaced(make), "not_a_file", NotRegularFileError, mended_at_open=True)
    for name, make in (
        ("an empty folder", lambda p: p.mkdir()),
        ("a folder with a file", full_folder),
        ("a FIFO", os.mkfifo),
        ("a link to another memory", lambda p: p.symlink_to(f"{memory_id(2)}.json")),
        ("a link out of the store", link_outside),
        ("a link to nothing", lambda p: p.symlink_to("nowhere")),
        ("a link to itself", lambda p: p.symlink_to(p.name)),
    )
]
MISSING = [Damage("missing", lambda p: p.unlink(), "file_missing", DamagedFileError, mended_at_open=True)]
ALL = [*OUTSIDE, *DAMAGED, *UNDECODABLE, *UNFIT, *NO_FILES, *MISSING]


def name_of(value: object) -> str | None:
    return value.name.replace(" ", "-") if isinstance(value, Damage) else None


@pytest.fixture(params=ALL, ids=name_of)
def damage(request: pytest.FixtureRequest) -> Damage:
    found: Damage = request.param
    return found


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("sound") / "store")


@pytest.fixture
def root(tmp_path: Path, damage: Damage, sound: Path) -> Path:
    """A store with that damage, made while it was closed."""
    root = copy_of(sound, tmp_path)
    damage.inflict(memory_file(root, 1))
    return root


def in_the_way(root: Path) -> tuple[int, bytes] | None:
    """Kind and bytes of what stands in the place of m001; a link's bytes are where it leads."""
    path = memory_file(root, 1)
    if not os.path.lexists(path):
        return None
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return stat.S_IFLNK, os.readlink(os.fsencode(path))
    if stat.S_ISREG(status.st_mode):
        return stat.S_IFREG, path.read_bytes()
    return stat.S_IFMT(status.st_mode), b"".join(file.read_bytes() for file in path.iterdir()) if path.is_dir() else b""


def kinds_in_quarantine(root: Path) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    for name, (mode, _, _, content) in listing(root / "quarantine").items():
        if name.endswith(f"/{ONE}.json"):
            inside = b"".join(c for n, c in contents(root / "quarantine").items() if n.startswith(f"{name}/"))
            found.append((stat.S_IFMT(mode), content + inside))
    return found


def files_of(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """All but folders, whose times tell of the lock file that comes and goes."""
    return {name: entry for name, entry in listing(root).items() if not stat.S_ISDIR(entry[0])}


def require_others_intact(store: Store) -> None:
    for number in (0, 2, 3, 4):
        loaded = store.load(key_of(number))
        assert isinstance(loaded, MemoryEntry)
        assert loaded.content == f"memory {number}"


def require_mended(store: Store, damage: Damage) -> None:
    loaded = store.load(key_of(1))
    found = [hit.memory_id for hit in store.search(vector(1), 5, "memory", None)]
    if damage.mended is None:
        assert loaded is None
        assert ONE not in found
        assert store.state.index.row(key_of(1)) is None
    else:
        assert isinstance(loaded, MemoryEntry)
        assert loaded.content == damage.mended
        assert found[0] == ONE
    require_others_intact(store)


def test_check_names_it_and_writes_nothing(root: Path, damage: Damage) -> None:
    store = open_store(root, auto_repair=False)
    wanted = [(damage.code, ONE)]
    assert looked_at(store, root, "quick") == wanted
    assert looked_at(store, root, "full") == wanted
    assert looked_at(store, root, "off") == []
    store.close()


def test_load_refuses_it(root: Path, damage: Damage) -> None:
    with opened(root, auto_repair=False) as store:
        for _ in range(2):
            with pytest.raises(damage.refusal) as caught:
                store.load(key_of(1))
            assert memory_file(root, 1).name in str(caught.value)
        require_others_intact(store)


def test_load_refuses_it_also_read_only(root: Path, damage: Damage) -> None:
    before = listing(root)
    store = open_store(root, read_only=True)
    with pytest.raises(damage.refusal):
        store.load(key_of(1))
    assert looked_at(store, root, "full") == [(damage.code, ONE)]
    store.close()
    assert listing(root) == before


def test_open_without_auto_repair_changes_nothing(root: Path, damage: Damage) -> None:
    before = files_of(root)
    with opened(root, auto_repair=False) as store:
        assert codes(store.opening_report.findings) == [(damage.code, ONE)]
        assert store.opening_report.findings == store.opening_report.remaining
        assert not store.opening_report.clean
    assert files_of(root) == before


def test_open_mends_what_needs_nobody(root: Path, damage: Damage) -> None:
    was = in_the_way(root)
    with opened(root) as store:
        report = store.opening_report
        assert codes(report.findings) == [(damage.code, ONE)]
        if damage.mended_at_open:
            assert report.clean
            require_mended(store, damage)
            assert only_notes(store.check("full"))
        else:
            assert codes(report.remaining) == [(damage.code, ONE)]
            assert report.actions == ()
            assert in_the_way(root) == was
            with pytest.raises(damage.refusal):
                store.load(key_of(1))
    require_nothing_lost(root, damage, was)


def test_dry_run_changes_nothing(root: Path, damage: Damage) -> None:
    store = open_store(root, auto_repair=False)
    before = listing(root)
    report = Planner(store.state).dry_run(store.check("full"))
    assert report.dry_run
    assert len(report.actions) >= 1
    assert report.findings == report.remaining
    assert not report.clean
    assert report.quarantined == ()
    assert listing(root) == before
    store.close()


def test_repair_mends_it_and_throws_nothing_away(root: Path, damage: Damage) -> None:
    was = in_the_way(root)
    with opened(root, auto_repair=False) as store:
        report = store.repair()
        assert codes(report.findings) == [(damage.code, ONE)]
        assert report.clean
        assert only_notes(store.check("full"))
        require_mended(store, damage)
        for path in report.quarantined:
            assert os.path.lexists(root / path)
    require_nothing_lost(root, damage, was)
    before = files_of(root)
    with opened(root, startup_check="full") as store:
        assert only_notes(store.opening_report.findings)
        assert not store.state.notes
        require_mended(store, damage)
    assert files_of(root) == before


def require_nothing_lost(root: Path, damage: Damage, was: tuple[int, bytes] | None) -> None:
    """What was in the way stands in quarantine, or was adopted, or is where it was."""
    if was is None or in_the_way(root) == was:
        return
    if damage.code == "file_edited":
        edited, adopted = json.loads(was[1]), fields_of(memory_file(root, 1))
        assert {name: adopted[name] for name in edited} == {**edited, "updated_at": adopted["updated_at"]}
        return
    assert was in kinds_in_quarantine(root)


def test_what_can_be_salvaged_lies_beside(tmp_path: Path) -> None:
    root = make_store(tmp_path / "store")
    path = memory_file(root, 1)
    wanted = fields_of(path)
    path.write_bytes(path.read_bytes().replace(b'"tags": ["t"]', b'"tags": ["t'))
    with opened(root, auto_repair=False) as store:
        report = store.repair()
    (salvaged,) = [root / name for name in report.quarantined if name.endswith("salvaged.json")]
    del wanted["tags"], wanted["content_hash"]
    assert fields_of(salvaged) == wanted
    assert (salvaged.parent / path.name).exists()
    reason = fields_of(salvaged.parent / "reason.json")
    assert reason["path"] == f"memories/{path.name}"
    assert "file" in reason["reason"]


@pytest.mark.parametrize("name", ["salvaged", "reason"])
def test_a_memory_called_like_what_lies_beside_is_not_overwritten(tmp_path: Path, name: str) -> None:
    root = tmp_path / "store"
    with opened(root) as store:
        entry = MemoryEntry(memory_id=name, content="x" * 100)
        save(store, entry)
    path = root / "memories" / f"{name}.json"
    path.write_bytes(path.read_bytes().replace(b'"tags": []', b'"tags": ['))
    was = path.read_bytes()
    with opened(root, auto_repair=False) as store:
        report = store.repair()
        assert report.clean
    assert was in quarantined(root)
    assert any(b'"content": "xxx' in data and b"tags" not in data for data in quarantined(root))
    assert any(b'"reason":' in data for data in quarantined(root))
