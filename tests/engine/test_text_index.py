"""The text index: it follows the store late, survives anything that happens to its files, and never tells lies."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damaged_stores import contents, flip, memory, opened, save

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.engine import text_view
from synthians_memory.engine.deadline import Deadline
from synthians_memory.engine.filter_sql import compile_filter
from synthians_memory.engine.filters import parse_where
from synthians_memory.engine.store import Store
from synthians_memory.engine.text_index import TextIndex
from synthians_memory.errors import SearchTimeoutError
from synthians_memory.layout import MEMORIES, TEXT, TEXT_FILE, TEXT_JOURNAL, TEXT_SEAL
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.times import SystemClock

WORDS = ["apple", "banana", "cherry", "walking", "élan", "naïve", "Straße"]


def entry(number: int, **fields: Any) -> MemoryEntry:
    content = f"{WORDS[number % len(WORDS)]} number{number}"
    fields = {"metadata": {"n": number, "half": number % 2}, "embedding": [1.0, float(number)], **fields}
    return MemoryEntry(**{"memory_id": f"m{number:03}", "content": content, **fields})


def never() -> Deadline:
    return Deadline(None, SystemClock().monotonic)


def by_word(store: Store, word: str) -> set[str]:
    return {i for _, i, _ in store.ask_text(never(), lambda index: index.words("memory", f'"{word}"', 1000))}


def by_filter(store: Store, where: dict[str, Any]) -> set[str]:
    condition = compile_filter(parse_where(where))
    return set(store.ask_text(never(), lambda index: index.select("memory", condition)))


def require_right(store: Store) -> None:
    """What the index answers is what the store holds."""
    entities = [store.load(("memory", i)) for i in store.state.index.ids("memory")]
    held = [e for e in entities if isinstance(e, MemoryEntry)]
    for word in ("apple", "banana", "walk"):
        assert by_word(store, word) == {e.memory_id for e in held if word in e.content}
    assert by_filter(store, {"half": 1}) == {e.memory_id for e in held if e.metadata.get("half") == 1}
    assert by_filter(store, {}) == {e.memory_id for e in held}


def make(root: Path, count: int = 40) -> Path:
    """A closed store whose text index is sealed."""
    with opened(root) as store:
        save(store, *(entry(n) for n in range(count)))
        require_right(store)
        store.close()
    return root


def is_read(store: Store) -> list[str]:
    """The ids of the memories whose files are read from now on."""
    read: list[str] = []
    backend = store.state.backend
    plain = backend.read

    def noting(path: str, *rest: Any) -> bytes | None:
        if path.startswith(MEMORIES):
            read.append(Path(path).stem)
        return plain(path, *rest)

    backend.read = noting  # type: ignore[method-assign]
    store.state.cache.clear()
    return read


# Following


def test_a_save_does_nothing_but_note(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        save(store, *(entry(n) for n in range(3)))
        assert not (tmp_path / TEXT).exists()
        require_right(store)
        before = (tmp_path / TEXT_FILE).read_bytes()
        save(store, entry(1, content="apple once more"), entry(7))
        store.commit([])
        assert (tmp_path / TEXT_FILE).read_bytes() == before
        require_right(store)
        assert by_word(store, "more") == {"m001"}


def test_updates_and_deletes_are_followed(tmp_path: Path) -> None:
    generator = random.Random(7)
    with opened(tmp_path) as store:
        for _ in range(30):
            save(store, *(entry(generator.randrange(20), content=generator.choice(WORDS)) for _ in range(3)))
            if generator.random() < 0.5:
                require_right(store)
        require_right(store)


def test_more_changes_than_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_view, "_MOST_NOTED", 5)
    with opened(tmp_path) as store:
        for numbers in (range(10), range(5, 12), range(2)):
            require_right(store)
            save(store, *(entry(n, content=f"banana {n} {numbers}") for n in numbers))
        require_right(store)


def test_more_changes_than_are_remembered_while_it_catches_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_view, "_MOST_NOTED", 5)
    monkeypatch.setattr(text_view, "_BATCH", 2)
    with opened(tmp_path) as store:
        save(store, *(entry(n) for n in range(5)))
        require_right(store)
        save(store, *(entry(n, content="apple") for n in range(4)))
        take_in = store.state.text._take_in

        def saving(*arguments: Any) -> None:
            monkeypatch.undo()
            take_in(*arguments)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(text_view, "_MOST_NOTED", 5)
                save(store, *(entry(n, content="banana") for n in range(10, 20)))

        monkeypatch.setattr(store.state.text, "_take_in", saving)
        assert by_word(store, "banana") == {f"m{n:03}" for n in range(10, 20)}
        require_right(store)


def test_stemming_accents_case_and_prefixes(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        save(store, *(entry(n) for n in range(7)))
        for word, number in (("WALKED", 3), ("walks", 3), ("elan", 4), ("NAIVE", 5), ("straße", 6), ("Apples", 0)):
            assert by_word(store, word) == {f"m{number:03}"}
        found = store.ask_text(never(), lambda index: index.words("memory", '"ban"*', 10))
        assert [i for _, i, _ in found] == ["m001"]


def test_after_a_clean_stop_nothing_is_read(tmp_path: Path) -> None:
    make(tmp_path)
    with opened(tmp_path) as store:
        read = is_read(store)
        assert by_word(store, "apple")
        assert read == []


def test_after_a_clean_stop_what_changed_unasked_is_read(tmp_path: Path) -> None:
    make(tmp_path)
    with opened(tmp_path) as store:
        save(store, entry(3, content="apple now"))
        store.close()
    with opened(tmp_path) as store:
        read = is_read(store)
        assert "m003" in by_word(store, "apple")
        assert read == ["m003"]
        require_right(store)


def test_after_a_kill_only_what_differs_is_read(tmp_path: Path) -> None:
    make(tmp_path)
    with opened(tmp_path) as store:
        save(store, entry(50))
        require_right(store)
        save(store, entry(51), entry(2, content="apple now"))
        store.release()
    with opened(tmp_path) as store:
        read = is_read(store)
        assert "m002" in by_word(store, "apple")
        assert sorted(read) == ["m002", "m051"]
        require_right(store)


HALF_A_BATCH = """
import os, signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 5")
connection.execute("BEGIN IMMEDIATE")
connection.execute("DELETE FROM attribute")
connection.execute("DELETE FROM words_memory")
connection.execute("CREATE TABLE filler AS WITH RECURSIVE n(i) AS"
    " (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 2000) SELECT i, randomblob(500) FROM n")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_kill_in_the_middle_of_a_batch_leaves_none_of_it(tmp_path: Path) -> None:
    make(tmp_path)
    killed = subprocess.run([sys.executable, "-c", HALF_A_BATCH, str(tmp_path / TEXT_FILE)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / TEXT_JOURNAL).stat().st_size
    with opened_reader(tmp_path) as reader:
        require_right(reader)
    with opened(tmp_path) as store:
        require_right(store)
        assert store.check("full") == []


def test_modes_of_the_files(tmp_path: Path) -> None:
    make(tmp_path)
    assert stat.S_IMODE((tmp_path / TEXT).stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / TEXT).iterdir()} == {0o600}


def test_another_conversation_key_builds_it_again(tmp_path: Path) -> None:
    make(tmp_path)
    with opened(tmp_path, conversation_key="half") as store:
        read = is_read(store)
        require_right(store)
        assert len(read) >= 40


def test_a_store_in_memory_has_it_in_memory() -> None:
    store = Store.open(MemoryBackend(), opened_config(), SystemClock())
    save(store, *(entry(n) for n in range(5)))
    require_right(store)
    store.close()


def opened_config() -> Any:
    return MemoryPersistence("nowhere").config


# Beside a writer


def test_a_reader_writes_nothing_and_sees_what_it_should(tmp_path: Path) -> None:
    make(tmp_path)
    before = contents(tmp_path)
    with opened_reader(tmp_path) as reader:
        read = is_read(reader)
        assert by_word(reader, "apple")
        assert read == []
        require_right(reader)
    assert contents(tmp_path) == before


def test_a_reader_goes_on_from_the_file_of_a_live_writer(tmp_path: Path) -> None:
    make(tmp_path)
    with opened(tmp_path) as store:
        save(store, entry(60))
        require_right(store)
        save(store, entry(61), entry(62))
        before = contents(tmp_path / TEXT)
        with opened_reader(tmp_path) as reader:
            read = is_read(reader)
            assert by_word(reader, "number61") == {"m061"}
            assert set(read) <= {"m061", "m062"}
            save(store, entry(0, content="banana now"))
            assert "m000" not in by_word(reader, "banana")
            reader.refresh()
            assert "m000" in by_word(reader, "banana")
            require_right(reader)
        assert contents(tmp_path / TEXT) == before
        require_right(store)


def opened_reader(root: Path) -> Any:
    return _Reader(root)


class _Reader:
    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> Store:
        from_disk = MemoryPersistence(self._root, read_only=True, startup_check="off")
        self._store = from_disk._open()
        return self._store

    def __exit__(self, *_: object) -> None:
        self._store.release()


# Whatever happens to its files

DAMAGES: list[tuple[str, Callable[[Path], object]]] = [
    ("missing", lambda path: path.unlink()),
    ("empty", lambda path: path.write_bytes(b"")),
    ("truncated", lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])),
    ("one byte short", lambda path: path.write_bytes(path.read_bytes()[:-1])),
    ("garbage", lambda path: path.write_bytes(random.Random(1).randbytes(20_000))),
    ("zeros", lambda path: path.write_bytes(bytes(path.stat().st_size))),
    ("doubled", lambda path: path.write_bytes(path.read_bytes() * 2)),
    ("header and garbage", lambda path: path.write_bytes(path.read_bytes()[:100] + random.Random(2).randbytes(40_000))),
]


@pytest.mark.parametrize("closed", [True, False], ids=["sealed", "unsealed"])
@pytest.mark.parametrize("name", [TEXT_FILE, TEXT_SEAL, TEXT_JOURNAL])
@pytest.mark.parametrize(("what", "damage"), DAMAGES, ids=[what for what, _ in DAMAGES])
def test_a_damaged_file_is_built_again(
    tmp_path: Path, name: str, what: str, damage: Callable[[Path], object], closed: bool
) -> None:
    make(tmp_path, 10)
    if not closed:
        (tmp_path / TEXT_SEAL).write_bytes(
            (tmp_path / TEXT_SEAL).read_bytes().replace(b'"counter":"0', b'"counter":"9')
        )
    damage(tmp_path / name)
    before = contents(tmp_path)
    with opened_reader(tmp_path) as reader:
        require_right(reader)
        assert [f.code for f in reader.check("full") if f.severity != "note"] in ([], ["text_damaged"])
    assert contents(tmp_path) == before
    with opened(tmp_path) as store:
        require_right(store)
        assert [f for f in store.check("full") if f.severity != "note"] == []
        store.close()


def _link(path: Path) -> None:
    path.unlink()
    (path.parent.parent.parent / "elsewhere").write_bytes(b"somebody's")
    path.symlink_to(path.parent.parent.parent / "elsewhere")


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "kept").write_bytes(b"somebody's")


@pytest.mark.parametrize("name", [TEXT_FILE, TEXT_SEAL, TEXT_JOURNAL])
@pytest.mark.parametrize("obstacle", [_link, _fifo, _folder])
def test_what_is_no_file_is_set_aside_and_neither_followed_nor_opened(
    tmp_path: Path, name: str, obstacle: Callable[[Path], None]
) -> None:
    root = make(tmp_path / "store", 10)
    obstacle(root / name)
    with opened_reader(root) as reader:
        require_right(reader)
    with opened(root) as store:
        require_right(store)
        store.close()
    assert not (tmp_path / "elsewhere").exists() or (tmp_path / "elsewhere").read_bytes() == b"somebody's"
    assert (root / TEXT_FILE).is_file()


@pytest.mark.parametrize("when", ["before opening", "while open"])
def test_a_link_in_place_of_the_folder_is_not_followed(tmp_path: Path, when: str) -> None:
    root = make(tmp_path / "store", 5)
    elsewhere = tmp_path / "elsewhere"
    if when == "before opening":
        (root / TEXT).rename(elsewhere)
        (root / TEXT).symlink_to(elsewhere)
        before = contents(elsewhere)
    with opened(root) as store:
        if when == "while open":
            (root / TEXT).rename(elsewhere)
            (root / TEXT).symlink_to(elsewhere)
            before = contents(elsewhere)
        save(store, entry(9))
        require_right(store)
        store.close()
    assert contents(elsewhere) == before


def test_flipped_bits_of_a_sealed_file_are_always_seen(tmp_path: Path) -> None:
    make(tmp_path, 12)
    good = (tmp_path / TEXT_FILE).read_bytes()
    generator = random.Random(3)
    for _ in range(15):
        (tmp_path / TEXT_FILE).write_bytes(good)
        flip(tmp_path / TEXT_FILE, generator.randrange(len(good)))
        with opened_reader(tmp_path) as reader:
            require_right(reader)


def test_flipped_bits_after_a_kill_raise_nothing_foreign_and_give_no_wrong_entity(tmp_path: Path) -> None:
    make(tmp_path, 12)
    good = (tmp_path / TEXT_FILE).read_bytes()
    (tmp_path / TEXT_SEAL).unlink()
    generator = random.Random(4)
    for _ in range(40):
        data = bytearray(good)
        for _ in range(3):
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        (tmp_path / TEXT_FILE).write_bytes(data)
        with opened_reader(tmp_path) as reader:
            by_word(reader, "apple")
            hits = reader.search(memory_vector(), 100, "memory", parse_where({"half": 1}))
            assert {hit.memory_id for hit in hits} <= set(reader.state.index.ids("memory"))
            reader.check("full")


def memory_vector() -> Any:
    entity = entry(1)
    return entity.embedding


@pytest.mark.parametrize("table", ["attribute", "words_memory_content", "words_memory_data", "entity"])
def test_damage_while_it_is_open_is_found_by_the_check_and_mended(tmp_path: Path, table: str) -> None:
    make(tmp_path, 10)
    with opened(tmp_path) as store:
        require_right(store)
        other = sqlite3.connect(tmp_path / TEXT_FILE)
        if table == "words_memory_content":
            other.execute("UPDATE words_memory_content SET c0 = 'other words' WHERE id = 3")
        elif table == "words_memory_data":
            other.execute("UPDATE words_memory_data SET block = zeroblob(length(block)) WHERE id > 10")
        elif table == "entity":
            other.execute("UPDATE entity SET hash = x'00' WHERE row = 3")
        else:
            other.execute("DROP TABLE attribute")
        other.commit()
        other.close()
        found = [f.code for f in store.check("full") if f.severity != "note"]
        assert found == (["text_damaged"] if table != "attribute" else found)
        report = store.repair()
        assert report.clean
        require_right(store)


def test_a_full_check_of_a_store_that_has_none_finds_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        save(store, memory(1))
        assert store.check("full") == []
        assert not (tmp_path / TEXT).exists()


def test_it_is_thrown_away_without_harm(tmp_path: Path) -> None:
    make(tmp_path)
    for path in (tmp_path / TEXT).iterdir():
        path.unlink()
    (tmp_path / TEXT).rmdir()
    with opened(tmp_path) as store:
        assert store.check("full") == []
        require_right(store)


def test_removed_while_open(tmp_path: Path) -> None:
    make(tmp_path)
    with opened(tmp_path) as store:
        require_right(store)
        for path in (tmp_path / TEXT).iterdir():
            path.unlink()
        (tmp_path / TEXT).rmdir()
        save(store, entry(70))
        require_right(store)
        store.close()
    with opened(tmp_path) as store:
        require_right(store)


def test_where_its_folder_cannot_be_made_it_lives_in_memory(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        save(store, *(entry(n) for n in range(5)))
        (tmp_path / TEXT).write_bytes(b"in the way")
        require_right(store)
        store.close()
    assert (tmp_path / TEXT).read_bytes() == b"in the way"


# Time


def test_what_was_brought_up_to_date_in_time_stays_so(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        save(store, *(entry(n) for n in range(2500)))
        read = is_read(store)
        late = Deadline(0.5, _Steps(lambda: len(read) > 2100))
        with pytest.raises(SearchTimeoutError):
            store.ask_text(late, lambda index: index.words("memory", '"apple"', 10))
        assert 2100 < len(read) <= 2500
        read.clear()
        store.state.cache.clear()
        assert by_word(store, "number2499") == {"m2499"}
        assert 0 < len(read) <= 500


def _asked(index: TextIndex, sql: str) -> Any:
    with index._guarded():
        return index._rows(sql)


class _Steps:
    """A clock that has run out when something has happened."""

    def __init__(self, happened: Callable[[], bool]) -> None:
        self._happened = happened

    def __call__(self) -> float:
        return 1.0 if self._happened() else 0.0


def test_a_long_question_is_interrupted(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        save(store, *(entry(n) for n in range(3)))
        sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
        with pytest.raises(SearchTimeoutError):
            store.ask_text(Deadline(0.2, SystemClock().monotonic), lambda index: _asked(index, sql))
        require_right(store)
