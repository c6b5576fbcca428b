"""What the disk leaves after a power cut: legal states only, and each of them."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from legal_states import FOLDERS, History, Step, tree

from synthians_memory.errors import DiskError
from synthians_memory.testing.faults import Fault, FaultyDisk, PowerCut
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.inodes import SECTOR
from synthians_memory.testing.power_cut import POWER_CUTS, Policy, next_life
from synthians_memory.testing.volume import Volume

SEEDS = range(600)


def put(backend: FaultyBackend, path: str, data: bytes, *, sync: bool = True) -> None:
    """Create a file; its name is not synced."""
    file = backend.create(path)
    file.write(data)
    if sync:
        file.sync()
    file.close()


def files(disk: FaultyDisk, folder: str = "") -> dict[str, bytes]:
    """Path -> content of every file."""
    backend = FaultyBackend(disk)
    found: dict[str, bytes] = {}
    for name, stat in backend.scan(folder):
        path = f"{folder}/{name}" if folder else name
        content = backend.read(path) if stat.kind == "file" else None
        found.update(files(disk, path) if content is None else {path: content})
    return found


def folders(disk: FaultyDisk, folder: str = "") -> set[str]:
    """Paths of all folders."""
    names = [name for name, stat in FaultyBackend(disk).scan(folder) if stat.kind == "folder"]
    paths = {f"{folder}/{name}" if folder else name for name in names}
    return paths.union(*(folders(disk, path) for path in paths))


def left(disk: FaultyDisk, policy: Policy) -> dict[str, bytes]:
    """Path -> content after a crash of a copy; the disk lives on."""
    return files(disk.copy().crash(policy))


def sampled(disk: FaultyDisk) -> list[dict[str, bytes]]:
    """Path -> content after a crash of a copy: what SEEDS lead to, each state once, in the order of the seeds."""
    copy = disk.copy()
    states: dict[str, dict[str, bytes]] = {}
    for seed in SEEDS:
        state = files(copy.crash("sampled", seed=seed))
        states.setdefault(repr(sorted(state.items())), state)
    return list(states.values())


@pytest.fixture
def disk() -> FaultyDisk:
    """A disk with durable folders d and e and a durable file "old"."""
    disk = FaultyDisk()
    backend = FaultyBackend(disk)
    backend.make_folder("d")
    backend.make_folder("e")
    put(backend, "old", b"old")
    backend.sync_folder("")
    return disk.copy()


@pytest.fixture
def backend(disk: FaultyDisk) -> FaultyBackend:
    return FaultyBackend(disk)


def test_synced_file_with_synced_name_survives_every_cut(disk: FaultyDisk, backend: FaultyBackend) -> None:
    put(backend, "a", b"data")
    backend.sync_folder("")
    assert sampled(disk) == [{"old": b"old", "a": b"data"}]
    assert left(disk, "lose_all") == left(disk, "keep_all") == {"old": b"old", "a": b"data"}


def test_unsynced_file_is_lost(disk: FaultyDisk, backend: FaultyBackend) -> None:
    put(backend, "a", b"data", sync=False)
    assert left(disk, "lose_all") == {"old": b"old"}
    assert left(disk, "keep_all") == {"old": b"old", "a": b"data"}


def test_content_or_names_alone_are_lost(disk: FaultyDisk, backend: FaultyBackend) -> None:
    backend.open_existing("old").write(b"1")
    put(backend, "a", b"data", sync=False)
    assert left(disk, "lose_content") == {"old": b"old", "a": b""}
    assert left(disk, "lose_names") == {"old": b"old1"}


def test_killed_process_loses_nothing_but_leaves_it_unsynced(disk: FaultyDisk, backend: FaultyBackend) -> None:
    put(backend, "a", b"data", sync=False)
    next_life = disk.crash("killed")
    assert files(next_life)["a"] == b"data"
    assert files(next_life.crash("lose_all")) == {"old": b"old"}


def test_synced_content_without_its_name_is_lost(disk: FaultyDisk, backend: FaultyBackend) -> None:
    put(backend, "a", b"data")
    assert left(disk, "lose_all") == {"old": b"old"}
    assert {state.get("a") for state in sampled(disk)} == {None, b"data"}


def test_synced_name_without_its_content_is_empty_zeros_or_torn(disk: FaultyDisk, backend: FaultyBackend) -> None:
    put(backend, "a", b"abcd", sync=False)
    backend.sync_folder("")
    assert left(disk, "lose_all")["a"] == b""
    contents = {state["a"] for state in sampled(disk)}
    assert contents == {b"", b"a", b"ab", b"abc", b"abcd", b"\0\0\0\0", b"a\0\0\0", b"ab\0\0", b"abc\0"}


def test_writes_of_whole_sectors_may_be_missing_in_the_middle(disk: FaultyDisk, backend: FaultyBackend) -> None:
    put(backend, "a", b"1" * 3 * SECTOR, sync=False)
    backend.sync_folder("")
    assert b"1" * SECTOR + b"\0" * SECTOR + b"1" * SECTOR in {state["a"] for state in sampled(disk)}


def test_overwritten_bytes_are_old_new_or_torn(disk: FaultyDisk, backend: FaultyBackend) -> None:
    backend.open_existing("old").write_at(0, b"new")
    assert {state["old"] for state in sampled(disk)} == {b"old", b"new", b"nld", b"ned"}


def test_unsynced_append_keeps_what_was_synced(disk: FaultyDisk, backend: FaultyBackend) -> None:
    file = backend.open_existing("old")
    file.write(b"12")
    file.write(b"34")
    contents = {state["old"] for state in sampled(disk)}
    assert all(content.startswith(b"old") for content in contents)
    assert contents >= {b"old", b"old12", b"old1234", b"old\0\x0034"}


def test_write_beyond_the_end_leaves_zeros_between(disk: FaultyDisk, backend: FaultyBackend) -> None:
    file = backend.open_existing("old")
    file.write_at(5, b"x")
    assert backend.read("old") == b"old\0\0x"
    file.write(b"+")
    assert backend.read("old") == b"old+\0x"
    file.sync()
    assert left(disk, "lose_all")["old"] == b"old+\0x"


def test_content_is_durable_only_from_the_sync_on(disk: FaultyDisk, backend: FaultyBackend) -> None:
    file = backend.open_existing("old")
    file.write(b"1")
    file.sync()
    file.write(b"2")
    assert backend.read("old") == b"old12"
    assert left(disk, "lose_all")["old"] == b"old1"


def test_sync_on_another_handle_covers_the_inode(disk: FaultyDisk, backend: FaultyBackend) -> None:
    backend.open_existing("old").write(b"1")
    backend.open_existing("old").sync()
    assert left(disk, "lose_all")["old"] == b"old1"


# Names


def test_unsynced_rename_reverts_to_the_old_file(disk: FaultyDisk, backend: FaultyBackend) -> None:
    put(backend, "a", b"new")
    backend.sync_folder("")
    backend.replace("a", "old")
    assert left(disk, "lose_all") == {"old": b"old", "a": b"new"}
    assert left(disk, "keep_all") == {"old": b"new"}


def test_rename_is_one_step(disk: FaultyDisk, backend: FaultyBackend) -> None:
    put(backend, "a", b"new")
    backend.sync_folder("")
    backend.replace("a", "old")
    states = sampled(disk)
    assert {"old": b"old", "a": b"new"} in states
    assert {"old": b"new"} in states
    assert all(state in ({"old": b"old", "a": b"new"}, {"old": b"new"}) for state in states)


def test_name_that_was_moved_away_never_takes_its_file_along(disk: FaultyDisk, backend: FaultyBackend) -> None:
    backend.replace("old", "kept")
    put(backend, "old", b"new")
    states = sampled(disk)
    assert all(b"old" in state.values() for state in states)
    assert {"kept": b"old", "old": b"new"} in states


def test_unsynced_unlink_may_be_undone(disk: FaultyDisk, backend: FaultyBackend) -> None:
    assert backend.unlink("old")
    states = sampled(disk)
    assert {} in states
    assert {"old": b"old"} in states
    backend.sync_folder("")
    assert sampled(disk) == [{}]


def test_changes_of_different_names_land_in_any_order(disk: FaultyDisk, backend: FaultyBackend) -> None:
    put(backend, "a", b"")
    put(backend, "b", b"")
    assert {frozenset(state) - {"old"} for state in sampled(disk)} == {
        frozenset(),
        frozenset("a"),
        frozenset("b"),
        frozenset("ab"),
    }


def test_new_folder_needs_the_sync_of_its_parent(disk: FaultyDisk, backend: FaultyBackend) -> None:
    backend.make_folder("new")
    put(backend, "new/a", b"data")
    backend.sync_folder("new")
    assert left(disk, "lose_all") == {"old": b"old"}
    backend.sync_folder("")
    assert left(disk, "lose_all") == {"old": b"old", "new/a": b"data"}


def test_rename_between_folders_needs_both(disk: FaultyDisk, backend: FaultyBackend) -> None:
    backend.replace("old", "d/moved")
    states = sampled(disk)
    assert {"old": b"old"} in states
    assert {"d/moved": b"old"} in states
    assert {"old": b"old", "d/moved": b"old"} in states
    assert {} not in states
    backend.sync_folder("d")
    assert {"old": b"old", "d/moved": b"old"} in sampled(disk)
    backend.sync_folder("")
    assert sampled(disk) == [{"d/moved": b"old"}]


def test_rename_between_folders_synced_in_the_wrong_order_loses_the_file(
    disk: FaultyDisk, backend: FaultyBackend
) -> None:
    backend.replace("old", "d/moved")
    backend.sync_folder("")
    assert left(disk, "lose_all") == {}


def test_folder_is_not_removed_before_what_was_moved_out_of_it(disk: FaultyDisk, backend: FaultyBackend) -> None:
    put(backend, "d/a", b"data")
    backend.sync_folder("d")
    backend.replace("d/a", "e/a")
    backend.remove_folder("d")
    assert all(b"data" in state.values() for state in sampled(disk))


def test_moved_folder_is_found_once(disk: FaultyDisk, backend: FaultyBackend) -> None:
    put(backend, "d/a", b"data")
    backend.sync_folder("d")
    backend.replace("d", "e/d")
    trees = [folders(disk.crash("sampled", seed=seed)) for seed in SEEDS]
    assert {frozenset(found) for found in trees} == {frozenset(("d", "e")), frozenset(("e", "e/d"))}
    assert all(list(state.values()).count(b"data") == 1 for state in sampled(disk))


def test_two_names_of_one_file_are_left_alone_by_a_rename(disk: FaultyDisk, backend: FaultyBackend) -> None:
    backend.replace("old", "d/moved")
    backend.sync_folder("d")
    next_life = disk.crash("lose_all")
    FaultyBackend(next_life).replace("old", "d/moved")
    assert files(next_life) == {"old": b"old", "d/moved": b"old"}


def test_sync_of_the_filesystem_covers_all_but_open_files(disk: FaultyDisk, backend: FaultyBackend) -> None:
    put(backend, "closed", b"data", sync=False)
    backend.create("open").write(b"data")
    assert backend.sync_filesystem()
    assert left(disk, "lose_all") == {"old": b"old", "closed": b"data", "open": b""}


def test_sync_of_the_filesystem_that_is_not_offered_does_nothing() -> None:
    disk = FaultyDisk(syncs_filesystem=False)
    put(backend := FaultyBackend(disk), "a", b"data", sync=False)
    assert not backend.sync_filesystem()
    assert left(disk, "lose_all") == {}


# Syncs that fail


@pytest.fixture
def failing_sync(disk: FaultyDisk) -> Callable[[str], None]:
    return lambda verb: disk.plan(Fault(1, errno.EIO, verbs=frozenset((verb,))))


def test_second_sync_does_not_save_what_the_failed_one_lost(
    disk: FaultyDisk, backend: FaultyBackend, failing_sync: Callable[[str], None]
) -> None:
    file = backend.open_existing("old")
    file.write(b"1")
    failing_sync("sync")
    with pytest.raises(DiskError):
        file.sync()
    assert backend.read("old") == b"old1"
    file.sync()
    assert disk.retried_syncs == ["old"]
    assert left(disk, "lose_all")["old"] == b"old"
    assert {state["old"] for state in sampled(disk)} == {b"old", b"old1", b"old\0"}


def test_written_again_what_a_failed_sync_lost_is_saved_by_the_next(
    disk: FaultyDisk, backend: FaultyBackend, failing_sync: Callable[[str], None]
) -> None:
    file = backend.open_existing("old")
    file.write_at(3, b"1234")
    failing_sync("sync")
    with pytest.raises(DiskError):
        file.sync()
    file.write_at(4, b"XY")
    file.sync()
    assert disk.retried_syncs == ["old"]
    assert left(disk, "lose_all")["old"] == b"old\0XY"
    file.write_at(3, b"1XY4")
    file.sync()
    assert disk.retried_syncs == ["old"]
    assert sampled(disk) == [{"old": b"old1XY4"}]


def test_failed_sync_of_a_folder_loses_its_names(
    disk: FaultyDisk, backend: FaultyBackend, failing_sync: Callable[[str], None]
) -> None:
    put(backend, "a", b"data")
    failing_sync("sync_folder")
    with pytest.raises(DiskError):
        backend.sync_folder("")
    backend.sync_folder("")
    assert disk.retried_syncs == [""]
    assert left(disk, "lose_all") == {"old": b"old"}
    backend.replace("a", "b")
    backend.sync_folder("")
    assert disk.retried_syncs == [""]
    assert sampled(disk) == [{"old": b"old", "b": b"data"}]


def test_failed_sync_of_the_filesystem_loses_everything(
    disk: FaultyDisk, backend: FaultyBackend, failing_sync: Callable[[str], None]
) -> None:
    put(backend, "a", b"data", sync=False)
    failing_sync("sync_filesystem")
    with pytest.raises(DiskError):
        backend.sync_filesystem()
    assert backend.sync_filesystem()
    assert left(disk, "lose_all") == {"old": b"old"}


# Lives and copies


def test_copies_change_by_themselves(disk: FaultyDisk, backend: FaultyBackend) -> None:
    twin = disk.copy()
    backend.open_existing("old").write(b"1")
    FaultyBackend(twin).open_existing("old").write(b"2")
    FaultyBackend(twin).unlink("old")
    put(backend, "a", b"")
    assert files(disk) == {"old": b"old1", "a": b""}
    assert files(twin) == {}
    assert files(twin.crash("lose_all")) == {"old": b"old"}


def test_what_was_changed_before_a_copy_is_shared_until_it_changes_again(
    disk: FaultyDisk, backend: FaultyBackend
) -> None:
    file = backend.open_existing("old")
    file.write(b"1")
    twin = disk.copy()
    file.write(b"2")
    file.sync()
    put(backend, "a", b"")
    assert files(twin) == {"old": b"old1"}
    assert files(twin.crash("lose_all")) == {"old": b"old"}


def test_next_life_leaves_the_volume_as_it_is_and_is_left_by_it() -> None:
    volume = Volume()
    inode = volume.create("a")
    volume.write(inode, 0, b"1")
    volume.sync(inode)
    volume.sync(volume.find_folder(""))
    after = next_life(volume, "lose_all", 0)
    volume.write(inode, 1, b"2")
    volume.create("b")
    assert after.read(inode, 0, None) == b"1"
    assert [name for name, _ in after.entries(after.find_folder(""))] == ["a"]
    assert volume.read(inode, 0, None) == b"12"


def test_states_of_one_cut_do_not_touch_each_other(disk: FaultyDisk, backend: FaultyBackend) -> None:
    put(backend, "a", b"data", sync=False)
    first = disk.crash("keep_all")
    put(FaultyBackend(first), "b", b"")
    FaultyBackend(first).open_existing("old").write(b"1")
    assert left(disk, "keep_all") == {"old": b"old", "a": b"data"}


def test_same_history_and_seed_give_the_same_state(disk: FaultyDisk, backend: FaultyBackend) -> None:
    twin = disk.copy()
    for life in (backend, FaultyBackend(twin)):
        put(life, "a", bytes(range(100)) * 20, sync=False)
        life.replace("old", "d/moved")
        life.open_existing("d/moved").write(b"more")
    assert sampled(disk) == sampled(twin)
    assert len(sampled(disk)) > 50


def test_file_times_move_with_each_change_or_stand_still_as_told() -> None:
    times = {}
    for tick_ns in (0, 10):
        backend = FaultyBackend(FaultyDisk(Volume(tick_ns=tick_ns)))
        file = backend.create("a")
        before = file.stat().mtime_ns
        file.write(b"1")
        times[tick_ns] = file.stat().mtime_ns - before
    assert times[0] == 0 < times[10]


def test_unsynced_time_may_be_lost_without_the_content(disk: FaultyDisk, backend: FaultyBackend) -> None:
    backend.open_existing("old").write_at(0, b"n")
    found = {(files(life)["old"], stat_of(life, "old")) for life in (disk.crash(seed=seed) for seed in SEEDS)}
    assert len(found) == 4


def stat_of(disk: FaultyDisk, path: str) -> int:
    stat = FaultyBackend(disk).stat(path)
    assert stat is not None
    return stat.mtime_ns


def test_handles_and_locks_die_with_the_power(disk: FaultyDisk, backend: FaultyBackend) -> None:
    file = backend.create("a")
    lock = backend.lock("", exclusive=True)
    assert lock is not None
    assert backend.lock("", exclusive=False) is None
    next_life = FaultyBackend(disk.crash("keep_all"))
    for use in (lambda: file.write(b"x"), file.sync, file.stat, lambda: backend.read("old"), backend.sync_filesystem):
        with pytest.raises(PowerCut):
            use()
    file.close()
    lock.release()
    backend.close()
    assert next_life.lock("", exclusive=True) is not None


# All states, against an enumeration

PATHS = st.sampled_from(["a", "b", "d/a", "d/b"])
STEPS = st.one_of(
    st.builds(Step, st.sampled_from(["create", "unlink", "sync", "fail_sync"]), PATHS),
    st.builds(Step, st.just("replace"), PATHS, PATHS),
    st.builds(Step, st.sampled_from(["sync_folder", "fail_sync_folder"]), st.sampled_from(FOLDERS)),
    st.builds(
        Step,
        st.just("write_at"),
        PATHS,
        offset=st.integers(0, 4),
        data=st.binary(min_size=1, max_size=3),
    ),
)


def perform(backend: FaultyBackend, step: Step) -> None:
    """The step, on the disk."""
    verb = step.verb.removeprefix("fail_")
    if verb != step.verb:
        backend.disk.plan(Fault(1, errno.EIO, verbs=frozenset((verb,))))
    try:
        if verb == "replace":
            backend.replace(step.path, step.target)
        elif verb in ("write_at", "sync"):
            file = backend.open_existing(step.path)
            file.write_at(step.offset, step.data) if verb == "write_at" else file.sync()
        else:
            getattr(backend, verb)(step.path)
    except DiskError:
        assert verb != step.verb
    else:
        assert verb == step.verb


def run(steps: list[Step]) -> tuple[FaultyDisk, History]:
    """The disk and the enumeration after those of the steps that are possible."""
    disk, history = FaultyDisk(), History()
    FaultyBackend(disk).make_folder("d")
    FaultyBackend(disk).sync_folder("")
    for step in steps:
        if history.admits(step):
            history.record(step)
            perform(FaultyBackend(disk), step)
    return disk, history


@settings(max_examples=300)
@given(st.lists(STEPS, max_size=9))
def test_every_state_is_legal(steps: list[Step]) -> None:
    disk, history = run(steps)
    name_states = list(history.name_states())
    lives = [*map(disk.crash, POWER_CUTS), *(disk.crash(seed=seed) for seed in range(8))]
    for state in map(files, lives):
        assert any(
            state.keys() == names.keys() and all(history.content_is_legal(names[path], state[path]) for path in state)
            for names in name_states
        ), (state, name_states)


@given(st.lists(STEPS, max_size=9))
def test_losing_all_leaves_what_is_durable_and_keeping_all_what_was_seen(steps: list[Step]) -> None:
    disk, history = run(steps)
    seen = files(disk)
    assert left(disk, "keep_all") == seen
    assert seen.keys() == history.names().keys()
    assert left(disk, "lose_all").keys() == tree([half for half in history.halves if half.durable]).keys()


@pytest.mark.parametrize(
    "steps",
    [
        [Step("create", "a"), Step("sync_folder"), Step("replace", "a", "d/a"), Step("create", "a")],
        [Step("create", "a"), Step("replace", "a", "b"), Step("create", "a"), Step("unlink", "b")],
        [Step("create", "a"), Step("create", "d/a"), Step("sync_folder"), Step("replace", "d/a", "a")],
        [Step("create", "a"), Step("fail_sync_folder"), Step("create", "b"), Step("sync_folder")],
    ],
)
def test_every_legal_state_of_the_names_is_drawn(steps: list[Step]) -> None:
    # Each file holds its own number, durable, so that names can be told apart by content.
    disk, history = FaultyDisk(), History()
    FaultyBackend(disk).make_folder("d")
    FaultyBackend(disk).sync_folder("")
    for step in steps:
        assert history.admits(step)
        history.record(step)
        perform(FaultyBackend(disk), step)
        if step.verb == "create":
            file = FaultyBackend(disk).open_existing(step.path)
            file.write(bytes([len(history.pieces) - 1]))
            file.sync()
    drawn = {frozenset((path, content[0]) for path, content in state.items()) for state in sampled(disk)}
    assert drawn == {frozenset(names.items()) for names in history.name_states()}
