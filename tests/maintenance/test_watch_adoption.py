"""Between judging a file and adopting it there is time: what changed meanwhile is looked at again, not overwritten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from watched_stores import NOON, memory, sealed_file, vector, watched, without_seal

from synthians_memory.codec import encode
from synthians_memory.config import StoreConfig
from synthians_memory.engine.commit import Batch, Operation
from synthians_memory.engine.records import Key
from synthians_memory.engine.store import Store
from synthians_memory.facade import MemoryPersistence
from synthians_memory.maintenance.outside_files import Candidate, OutsideFiles
from synthians_memory.maintenance.watch import Watcher
from synthians_memory.maintenance.watched_change import WatchedChange
from synthians_memory.models import MemoryEntry
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.clock import ManualClock

KEY: Key = ("memory", "a")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store.open(LocalBackend(tmp_path / "s", create=True), StoreConfig(), ManualClock())
    save(opened, memory("a"))
    return opened


@pytest.fixture
def path(tmp_path: Path, store: Store) -> Path:
    return tmp_path / "s" / "memories" / "a.json"


def save(store: Store, entry: MemoryEntry) -> None:
    commit(store, Operation(*KEY, encode(entry)))


def commit(store: Store, operation: Operation) -> None:
    batch = Batch([operation])
    store.commit([batch])
    assert batch.error is None


def content(store: Store) -> str | None:
    entry = store.load(KEY)
    assert entry is None or isinstance(entry, MemoryEntry)
    return None if entry is None else entry.content


def judged(files: OutsideFiles) -> Candidate:
    (candidate,) = files.examine([KEY])
    assert isinstance(candidate, Candidate)
    return candidate


def put_edited(path: Path, text: str) -> None:
    path.write_bytes(without_seal(sealed_file(memory("a", text))))


def edited_again(_: Store, path: Path) -> None:
    put_edited(path, "second edit")


def removed(_: Store, path: Path) -> None:
    path.unlink()


def saved(store: Store, _: Path) -> None:
    save(store, memory("a", "saved"))


def deleted(store: Store, _: Path) -> None:
    commit(store, Operation(*KEY, None))


@pytest.mark.parametrize(
    ("meanwhile", "wanted"),
    [(edited_again, "second edit"), (removed, None), (saved, "saved"), (deleted, None)],
    ids=["edited again", "removed", "saved", "deleted"],
)
def test_an_edit_that_something_overtakes(
    store: Store, path: Path, meanwhile: Callable[[Store, Path], None], wanted: str | None
) -> None:
    files = OutsideFiles(store, adopt_damaged=False)
    put_edited(path, "first edit")
    candidate = judged(files)
    meanwhile(store, path)
    assert files.record([candidate]) == [KEY]
    # Looked at again, the present state counts.
    files.record([one for one in files.examine([KEY]) if isinstance(one, Candidate)])
    assert content(store) == wanted
    assert [f for f in store.check("full") if f.severity != "note"] == []
    store.close()


@pytest.mark.parametrize("meanwhile", [edited_again, saved], ids=["came back", "saved"])
def test_a_removal_that_something_overtakes(store: Store, path: Path, meanwhile: Callable[[Store, Path], None]) -> None:
    files = OutsideFiles(store, adopt_damaged=False)
    path.unlink()
    candidate = judged(files)
    meanwhile(store, path)
    assert files.record([candidate]) == [KEY]
    assert store.state.index.hash(KEY) is not None
    assert path.exists()
    store.close()


def test_a_save_that_waits_for_its_file_wins_over_an_edit_that_was_judged_before(tmp_path: Path) -> None:
    config = StoreConfig(write_mode="behind")
    store = Store.open(LocalBackend(tmp_path / "s", create=True), config, ManualClock())
    save(store, memory("a"))
    store.flush()
    files = OutsideFiles(store, adopt_damaged=False)
    put_edited(tmp_path / "s" / "memories" / "a.json", "by hand")
    candidate = judged(files)
    save(store, memory("a", "saved"))
    assert files.record([candidate]) == [KEY]
    assert content(store) == "saved"
    store.flush()
    assert [note.code for note in store.state.notes] == ["conflict"]
    assert content(store) == "saved"
    store.close()


def test_a_version_that_the_program_wrote_itself_is_not_adopted_again(store: Store, path: Path) -> None:
    files = OutsideFiles(store, adopt_damaged=False)
    path.write_bytes(sealed_file(memory("a", "the same"), NOON))
    first, second = judged(files), judged(files)
    (told,) = files.record([first])
    assert isinstance(told, WatchedChange)
    assert files.record([second]) == [KEY]
    store.close()


def test_a_touched_file_need_not_be_read_again(store: Store, path: Path) -> None:
    files = OutsideFiles(store, adopt_damaged=False)
    assert files.look([KEY]) == {}
    path.write_bytes(path.read_bytes())
    assert list(files.look([KEY])) == [KEY]
    assert files.examine([KEY]) == [None]
    files.note_stats([KEY])
    assert files.look([KEY]) == {}
    put_edited(path, "another")
    files.note_stats([KEY])
    assert list(files.look([KEY])) == [KEY]
    store.close()


def test_a_file_that_something_stands_in_for_while_it_is_judged(store: Store, path: Path) -> None:
    files = OutsideFiles(store, adopt_damaged=False)
    put_edited(path, "first edit")
    candidate = judged(files)
    path.unlink()
    path.symlink_to("/etc/hostname")
    assert files.record([candidate]) == [KEY]
    assert path.is_symlink()
    path.unlink()
    store.release()


async def test_nothing_changes_unseen_before_the_first_sweep(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path / "s") as store:
        await store.save_memory(memory("a"))
        watcher = Watcher(store, notify=True)
        listening = await watcher._begin_to_listen()
        put_edited(tmp_path / "s" / "memories" / "a.json", "at once")
        await watcher._pending.wait(30)
        assert watcher._pending.first(9) == [KEY]
        listening.cancel()


async def test_a_sealed_version_with_the_same_embedding_is_kept_as_it_is(tmp_path: Path) -> None:
    async with watched(tmp_path / "s") as seen:
        data = sealed_file(memory("a", "another text", embedding=vector("text of a")))
        seen.path("a").write_bytes(data)
        assert (await seen.of("a")).embedding == "kept"
        assert seen.path("a").read_bytes() == data
