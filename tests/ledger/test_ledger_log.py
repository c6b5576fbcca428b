"""The log: the form of its entries, what is refused, what shows an edit, and how it is appended to."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ledgers import NOON, chain_holds, lines_of, opened

from synthians_memory.errors import DamagedError, InvalidIdError, InvalidTypeError, InvalidValueError
from synthians_memory.ledger.entries import MAX_ENTRY_BYTES, inspect_line, new_run_id
from synthians_memory.ledger.examination import chain_findings
from synthians_memory.ledger.ledger import Ledger
from synthians_memory.ledger.log import Log
from synthians_memory.reports import Finding
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.testing.clock import ManualClock

SEED_FIELDS = {
    "ts": "2025-09-26T17:21:50Z",
    "run_id": "20250926T172150Z-abc123",
    "parent_run_id": None,
    "layer": "L5",
    "systemic_scale": 4,
    "task": "2025-09-25-memory-layer:S1",
    "inputs": {"plan": "2025-09-25-memory-layer.plan.json"},
    "tool_calls": ["python3", "make tasks"],
    "outputs": {"summary": "Wrote the schema."},
    "exit_status": 0,
    "output_sha256": "0" * 64,
    "derived_facts": ["memory-schema-defined"],
    "next_actions": ["implement-api"],
    "receipts": ["docs/schema.md"],
    "Größe": "ünïcode \U0001f600",
    "nested": {"b": [1, 2.5, None, True], "a": {}},
}


def three_entries(ledger: Ledger, folder: Path) -> bytes:
    for number in range(3):
        ledger.write_log({"task": f"t{number}", "é": "ü", "x": 1.5})
    return (folder / "log.jsonl").read_bytes()


# Entries


def test_what_is_given_is_kept_and_linked(ledger: Ledger, folder: Path) -> None:
    assert ledger.write_log(SEED_FIELDS) == SEED_FIELDS["run_id"]
    second = ledger.write_log({"task": "next"})
    first, last = lines_of(folder / "log.jsonl")
    assert {name: value for name, value in first.items() if not name.startswith("hash_")} == SEED_FIELDS
    assert (first["hash_prev"], last["hash_prev"]) == (None, first["hash_self"])
    assert last == {**ledger.entry(second), "ts": "2026-11-20T12:00:00.000000Z"}
    assert chain_holds((folder / "log.jsonl").read_bytes())


def test_a_line_is_the_compact_form(ledger: Ledger, folder: Path) -> None:
    ledger.write_log(SEED_FIELDS)
    data = (folder / "log.jsonl").read_bytes()
    assert data.isascii()
    assert data == json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert rb"\ud83d\ude00" in data


def test_hashes_given_by_a_caller_are_ignored(ledger: Ledger, folder: Path) -> None:
    given = {"hash_prev": "1" * 64, "hash_self": "2" * 64, "capsule_sha256": {"../x": "3"}}
    ledger.write_log({**given, "task": "t"})
    (entry,) = lines_of(folder / "log.jsonl")
    assert entry.keys() == {"task", "ts", "run_id", "hash_prev", "hash_self"}
    assert given["hash_self"] == "2" * 64
    assert chain_holds((folder / "log.jsonl").read_bytes())


def test_the_event_stays_as_it_was(ledger: Ledger) -> None:
    event: dict[str, Any] = {"task": "t", "inputs": {"a": [1]}}
    ledger.write_log(event)
    assert event == {"task": "t", "inputs": {"a": [1]}}


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ({"x": math.nan}, InvalidValueError),
        ({"x": [{"y": -math.inf}]}, InvalidValueError),
        ({"x": "\ud800"}, InvalidValueError),
        ({"\udfff": 1}, InvalidValueError),
        ({1: "x"}, InvalidTypeError),
        ({"x": {None: 1}}, InvalidTypeError),
        ({"x": 2**64}, InvalidValueError),
        ({"x": -(10**5000)}, InvalidValueError),
        ({"x": b"bytes"}, InvalidTypeError),
        ({"x": {1, 2}}, InvalidTypeError),
        ([], InvalidTypeError),
        (None, InvalidTypeError),
        ({"ts": "yesterday"}, InvalidValueError),
        ({"ts": 7}, InvalidTypeError),
        ({"task": 7}, InvalidTypeError),
        ({"derived_facts": "one"}, InvalidTypeError),
        ({"derived_facts": [1]}, InvalidTypeError),
        ({"x": "y" * MAX_ENTRY_BYTES}, InvalidValueError),
    ],
    ids=lambda value: getattr(value, "__name__", "event"),
)
def test_what_cannot_be_recorded_is_refused_before_anything_is_written(
    event: Any, kind: type[Exception], ledger: Ledger, folder: Path
) -> None:
    ledger.write_log({"task": "before"})
    before = (folder / "log.jsonl").read_bytes()
    with pytest.raises(kind):
        ledger.write_log(event)
    assert (folder / "log.jsonl").read_bytes() == before


def test_a_nesting_without_end_is_refused(ledger: Ledger, folder: Path) -> None:
    deep: dict[str, Any] = {}
    for _ in range(10_000):
        deep = {"x": deep}
    with pytest.raises(InvalidValueError):
        ledger.write_log(deep)
    assert not (folder / "log.jsonl").exists()


# Ids


@pytest.mark.parametrize(
    "run_id",
    [
        "../../etc/passwd",
        "..",
        "",
        "20261120T120000Z-0a1b2c/../x",
        "20261120T120000Z-0a1b2c\n",
        "20261120T120000Z-0A1B2C",
        "20261120T120000Z-0a1b2",
        "20261120T120000-0a1b2c",
        "２0261120T120000Z-0a1b2c",
        "/20261120T120000Z-0a1b2c",
    ],
)
@pytest.mark.parametrize("name", ["run_id", "parent_run_id"])
def test_an_id_that_could_leave_the_folder_is_refused(name: str, run_id: str, ledger: Ledger, folder: Path) -> None:
    with pytest.raises(InvalidIdError):
        ledger.write_log({name: run_id})
    with pytest.raises(InvalidIdError):
        ledger.write_run({name: run_id}, outputs={"stdout": b""})
    assert [path.name for path in folder.iterdir()] == []


def test_ids_are_time_and_six_digits() -> None:
    assert new_run_id(NOON, lambda: "abcdef00-0000-4000-8000-000000000000", "") == "20261120T120000Z-55e6f7"


def test_ids_of_one_second_never_meet_whatever_is_drawn() -> None:
    drawn = ["ffffff", "000000", "000080", "7fffff", "000000"] * 200
    last, seen = "", []
    for digits in drawn:
        last = new_run_id(NOON, lambda digits=digits: f"{digits}00-0000-4000-8000-000000000000", last)  # type: ignore[misc]
        seen.append(last)
    assert seen == sorted(set(seen))


def test_the_run_that_was_recorded_last_is_not_recorded_twice(ledger: Ledger, folder: Path) -> None:
    run_id = ledger.write_log({"task": "once"})
    with pytest.raises(InvalidValueError, match="just now"):
        ledger.write_log({"run_id": run_id})
    assert len(lines_of(folder / "log.jsonl")) == 1


# Edits


def changed(data: bytes) -> Iterator[bytes]:
    """Every replacement (by several bytes), deletion and insertion of one byte, at every place."""
    for at in range(len(data)):
        was = data[at]
        for byte in {was ^ 1, was ^ 0x20, was ^ 0x80, 0, 0x20, 0x0A, 0x22, 0x30} - {was}:
            yield data[:at] + bytes([byte]) + data[at + 1 :]
        yield data[:at] + data[at + 1 :]
    for at in range(len(data) + 1):
        for byte in b'\x00 \n\r0"}a,':
            yield data[:at] + bytes([byte]) + data[at:]


def test_every_edit_of_a_byte_is_found() -> None:
    with opened(MemoryBackend(), "ledger") as ledger:
        for number in range(3):
            ledger.write_log({"task": f"t{number}", "é": "ü"})
        data = b"".join(ledger.chunks())
        assert ledger.check() == []
    unseen, tried = [], 0
    for edited in changed(data):
        if edited == data:
            continue  # a doubled byte put in beside its like
        tried += 1
        backend = MemoryBackend()
        file = backend.create("log.jsonl")
        file.write(edited)
        with opened(backend) as other:
            found = other.check()
        if not any(one.severity != "note" for one in found):
            unseen.append(edited)
    assert tried > 10_000
    assert unseen == []


@pytest.mark.long
def test_every_other_value_of_every_byte_is_found() -> None:
    with opened(MemoryBackend()) as ledger:
        for number in range(3):
            ledger.write_log({"task": f"t{number}", "é": "ü"})
        data = b"".join(ledger.chunks())
    for at in range(len(data)):
        backend = MemoryBackend()
        file = backend.create("log.jsonl")
        file.write(data)
        for byte in range(256):
            file.write_at(at, bytes([byte]))
            found = any(isinstance(one, Finding) for one in chain_findings(Log(backend, "", ManualClock())))
            assert found == (byte != data[at]), (at, byte)


@pytest.mark.parametrize(
    "edit",
    [
        lambda lines: [lines[0], lines[2]],
        lambda lines: [lines[1], lines[2]],
        lambda lines: [lines[0], lines[2], lines[1]],
        lambda lines: [lines[0], lines[1], lines[1], lines[2]],
        lambda lines: [lines[0], b"", lines[1], lines[2]],
        lambda lines: [lines[0], lines[1].replace(b'{"', b'{ "', 1), lines[2]],
        lambda lines: [lines[0], b'{"task":"x",' + lines[1][1:], lines[2]],
        lambda lines: [lines[0], lines[1] + b"\r", lines[2]],
        lambda lines: [b"\xef\xbb\xbf" + lines[0], lines[1], lines[2]],
        lambda lines: [json.dumps(dict(reversed(json.loads(line).items()))).encode() for line in lines],
    ],
    ids=["cut out", "beginning gone", "order", "twice", "blank", "space", "key twice", "newline", "mark", "key order"],
)
def test_every_other_edit_is_found_and_its_line_named(edit: Any, ledger: Ledger, folder: Path) -> None:
    lines = three_entries(ledger, folder).splitlines()
    (folder / "log.jsonl").write_bytes(b"".join(line + b"\n" for line in edit(lines)))
    found = ledger.check()
    assert {one.code for one in found} & {"ledger_damaged", "ledger_chain_broken"}
    assert all("line " in one.message for one in found)


def test_a_forged_entry_breaks_the_chain_behind_it(ledger: Ledger, folder: Path) -> None:
    """Its own hash can be computed by anybody; the next entry names the one that was there."""
    lines = three_entries(ledger, folder).splitlines()
    with opened(MemoryBackend()) as forger:
        for number in range(2):
            forger.write_log({**json.loads(lines[number]), "outputs": "forged"})
        forged = b"".join(forger.chunks())
    (folder / "log.jsonl").write_bytes(forged + lines[2] + b"\n")
    (found,) = ledger.check()
    assert (found.code, "line 3" in found.message) == ("ledger_chain_broken", True)


def test_a_cut_tail_is_seen_by_a_head_that_was_kept(ledger: Ledger, folder: Path) -> None:
    data = three_entries(ledger, folder)
    head = ledger.head()
    assert (head.length, head.run_id) == (len(data), json.loads(data.splitlines()[2])["run_id"])
    assert ledger.reaches(head)
    (folder / "log.jsonl").write_bytes(b"".join(data.splitlines(keepends=True)[:2]))
    assert ledger.check() == []
    assert not ledger.reaches(head)
    ledger.write_log({"task": "another third"})
    assert not ledger.reaches(head)


# Appending


@pytest.mark.parametrize(
    "torn", [b"{", b'{"hash_prev":null', b"\0\0\0", b'{"a":1}', b'{"a":\0\0\0\0}\n', b"\xff" * 200_000]
)
def test_a_torn_line_is_set_aside_and_never_glued_to_the_next(torn: bytes, ledger: Ledger, folder: Path) -> None:
    whole = three_entries(ledger, folder)
    with open(folder / "log.jsonl", "ab") as file:
        file.write(torn)
    assert [one.code for one in ledger.check()] == [one.code for one in ledger.check("quick")] == ["ledger_torn"]
    assert ledger.head().length == len(whole)
    run_id = ledger.write_log({"task": "behind it"})
    data = (folder / "log.jsonl").read_bytes()
    assert data.startswith(whole)
    assert chain_holds(data)
    assert json.loads(data[len(whole) :])["run_id"] == run_id
    (kept,) = ledger.set_aside
    assert (folder / kept).read_bytes() == torn
    (note,) = ledger.check()
    assert (note.code, note.path) == ("ledger_set_aside", kept)


def test_an_entry_that_lacks_only_its_line_break_stays_one(ledger: Ledger, folder: Path) -> None:
    data = three_entries(ledger, folder)
    (folder / "log.jsonl").write_bytes(data[:-1])
    (found,) = ledger.check()
    assert (found.code, "lacks its line break" in found.message) == ("ledger_torn", True)
    ledger.write_log({"task": "behind it"})
    assert (folder / "log.jsonl").read_bytes().startswith(data)
    assert ledger.set_aside == ()
    assert ledger.check() == []


def test_torn_lines_are_kept_apart(ledger: Ledger, folder: Path) -> None:
    for torn in (b"one", b"two"):
        ledger.write_log({})
        with open(folder / "log.jsonl", "ab") as file:
            file.write(torn)
    ledger.write_log({})
    assert [(folder / kept).read_bytes() for kept in ledger.set_aside] == [b"one", b"two"]


def test_nothing_is_appended_to_an_entry_that_was_changed(ledger: Ledger, folder: Path) -> None:
    data = three_entries(ledger, folder).replace(b'"t2"', b'"t9"')
    (folder / "log.jsonl").write_bytes(data)
    with pytest.raises(DamagedError, match="not what was written"):
        ledger.write_log({})
    assert (folder / "log.jsonl").read_bytes() == data


class Counting(MemoryBackend):
    """Counts calls, and bytes that are read."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.bytes_read = 0

    def read(self, path: str, offset: int = 0, length: int | None = None) -> bytes | None:
        data = super().read(path, offset, length)
        self.calls["read"] += 1
        self.bytes_read += len(data or b"")
        return data

    def stat(self, path: str) -> Any:
        self.calls["stat"] += 1
        return super().stat(path)

    def scan(self, folder: str) -> Any:
        self.calls["scan"] += 1
        return super().scan(folder)


def test_the_cost_of_appending_does_not_grow_with_the_log() -> None:
    backend, costs = Counting(), []
    with opened(backend) as ledger:
        for count in (1000, 3000):
            for number in range(count):
                ledger.write_log({"task": str(number % 7)})
            backend.calls.clear()
            backend.bytes_read = 0
            ledger.write_log({"task": "measured"})
            costs.append((dict(backend.calls), backend.bytes_read))
    assert costs[0] == costs[1]
    assert costs[1][1] <= 64 * 1024


def test_lines_longer_than_what_is_read_at_once_are_appended_behind(ledger: Ledger, folder: Path) -> None:
    for length in (10, 70_000, 65_536, 300_000, 1):
        ledger.write_log({"task": "x" * length})
    assert chain_holds((folder / "log.jsonl").read_bytes())
    assert ledger.check() == []


def test_many_processes_make_one_chain(tmp_path: Path) -> None:
    """1,000 entries by 8 processes at once."""
    program = str(Path(__file__).with_name("appending.py"))
    folder = tmp_path / "ledger"
    started = [
        subprocess.Popen([sys.executable, program, str(folder), f"p{n}", "125"], stdout=subprocess.PIPE, text=True)
        for n in range(8)
    ]
    acknowledged = [process.communicate(timeout=100)[0].split() for process in started]
    assert [process.returncode for process in started] == [0] * 8
    entries = lines_of(folder / "log.jsonl")
    assert chain_holds((folder / "log.jsonl").read_bytes())
    assert len({entry["run_id"] for entry in entries}) == len(entries) == 1000
    assert {entry["run_id"] for entry in entries} == {run_id for runs in acknowledged for run_id in runs}
    for number in range(8):
        own = [entry["inputs"]["number"] for entry in entries if entry["task"] == f"p{number}"]
        assert own == list(range(125))
    assert [path.name for path in folder.iterdir()] == ["log.jsonl"]


def test_threads_take_turns_too(ledger: Ledger, folder: Path) -> None:
    threads = [threading.Thread(target=lambda: [ledger.write_log({}) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines_of(folder / "log.jsonl")) == 40
    assert chain_holds((folder / "log.jsonl").read_bytes())


def test_it_is_written_beside_a_program_that_has_the_store_open(tmp_path: Path) -> None:
    holding = LocalBackend(tmp_path, create=True)
    held = holding.lock("", exclusive=True)
    assert held is not None
    with opened(LocalBackend(tmp_path / "ledger", create=True)) as ledger:
        assert ledger.write_log({"task": "beside it"})
    holding.close()


def test_two_ledgers_of_one_folder_share_the_lock(tmp_path: Path) -> None:
    """One bound to the folder, one to the store that the folder is in."""
    with opened(LocalBackend(tmp_path / "store", create=True), "ledger") as inside:
        first = inside.write_log({})
        folder = LocalBackend(tmp_path / "store" / "ledger")
        held = folder.lock("", exclusive=True)
        assert held is not None
        waiting = Ledger(LocalBackend(tmp_path / "store"), "ledger", wait=0.04, sleep=lambda _: None)
        with pytest.raises(Exception, match="another program"):
            waiting.write_log({})
        waiting.close()
        folder.close()
        with opened(LocalBackend(tmp_path / "store" / "ledger")) as outside:
            outside.write_log({})
        assert [entry["hash_prev"] for entry in inside.entries()][1] == inside.entry(first)["hash_self"]


def test_modes_are_private(ledger: Ledger, folder: Path) -> None:
    ledger.write_log({})
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert oct((folder / "log.jsonl").stat().st_mode & 0o777) == "0o600"


@pytest.mark.parametrize(
    "line", [b"", b"null", b"[]", b"{}", b'{"hash_self":1}', b"[" * 100_000, b'{"hash_self":"","x":1e400}']
)
def test_what_is_no_entry_is_told_without_an_error(line: bytes) -> None:
    entry, reason = inspect_line(line)
    assert entry is None
    assert reason


def test_a_clock_that_goes_back_does_no_harm(folder: Path) -> None:
    clock = ManualClock(NOON)
    with opened(LocalBackend(folder, create=True), clock=clock) as ledger:
        ledger.write_log({})
        clock.advance(-3600)
        ledger.write_log({})
        assert ledger.check() == []
