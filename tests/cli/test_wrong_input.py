"""Wrong input of every kind: what happened, what to do, the exit code, and never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_lines import SAMPLE, Called, Outcome, Program, write_lines

from synthians_memory import errors
from synthians_memory.entrypoints.cli.exits import ExitCode, answer_to
from synthians_memory.errors import SynthiansMemoryError

READING = [
    ("get", "x"),
    ("list",),
    ("export",),
    ("recall", "x"),
    ("search", "x"),
    ("stats",),
    ("check",),
    ("repair", "--dry-run"),
]
WRITING = [("delete", "x"), ("repair",), ("adopt", "x"), ("checkpoint",)]


@pytest.mark.parametrize("command", READING + WRITING, ids=" ".join)
def test_no_store(command: tuple[str, ...], call: Called, tmp_path: Path) -> None:
    call(*command).failed(3, "holds no store", "init")
    assert not list(tmp_path.iterdir())
    call.store.mkdir()
    call(*command).failed(3, "holds no store")
    assert not list(call.store.iterdir())


@pytest.mark.parametrize(
    "command", [*READING, *WRITING, ("init",), ("import", str(SAMPLE)), ("remember", "x")], ids=" ".join
)
def test_a_folder_of_something_else(command: tuple[str, ...], call: Called) -> None:
    call.store.mkdir()
    (call.store / "thesis.tex").write_text("important")
    call(*command).failed(3, "no store")
    assert [path.name for path in call.store.iterdir()] == ["thesis.tex"]


def test_a_file_for_a_store(call: Called) -> None:
    call.store.write_text("x")
    call("stats").failed(3, "is no directory", "--store")
    call("init").failed(3, "is no directory", "--store")


def test_no_file_to_import(call: Called) -> None:
    call("import", "nowhere.jsonl").failed(3, "no file nowhere.jsonl", "existing file")
    assert not call.store.exists()


def test_a_folder_to_import(call: Called, tmp_path: Path) -> None:
    call("import", tmp_path).failed(6, "Is a directory")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "line:"),
        (b"[]", "not a JSON object"),
        (b'{"id": "a"}', "'content' is missing"),
        (b'{"id": "", "content": "x"}', "is empty"),
        (b'{"id": "a", "content": "\xff"}', "not UTF-8"),
        (b'{"id": "a", "content": "x", "embedding": [NaN]}', "NaN"),
        (b'{"id": "a", "content": "x", "embedding": [1, 2]}', "2 numbers"),
        (b'{"kind": "thought", "content": "x"}', "thought"),
    ],
)
def test_a_bad_line_is_reported_and_the_rest_is_stored(line: bytes, reason: str, call: Called) -> None:
    good = b'{"id": "first", "content": "x", "embedding": [1, 2, 3]}'
    outcome = call("import", "-", given=b"\n".join([good, line, b"", b'{"id": "last", "content": "x"}']))
    assert outcome.code == 1
    assert (outcome.json["imported"], outcome.json["problem_count"], outcome.json["stopped"]) == (2, 1, None)
    (problem,) = outcome.json["problems"]
    assert (problem["line"], problem["code"]) == (2, "invalid")
    assert reason in problem["reason"]
    assert [found["id"] for found in call("list").lines] == ["first", "last"]


def test_an_import_that_stops_says_where(call: Called) -> None:
    lines = b'{"id": "a", "content": "x"}\n{"id": "b", "content": "x"}\nnonsense\n{"id": "c", "content": "x"}\n'
    outcome = call("import", "-", "--on-error", "stop", "--chunk", 2, given=lines)
    outcome.failed(1, "line 3 cannot be stored", "repeat the import")
    assert outcome.json["imported"] == 2
    assert "line 3" in outcome.json["stopped"]


def test_a_conflict_is_reported_or_overwritten(call: Called, tmp_path: Path) -> None:
    call("import", write_lines(tmp_path / "old.jsonl", [{"id": "a", "content": "old"}]))
    new = write_lines(tmp_path / "new.jsonl", [{"id": "a", "content": "new"}])
    conflict = call("import", new)
    assert (conflict.code, conflict.json["problems"][0]["code"]) == (1, "conflict")
    assert call("get", "a").json["content"] == "old"
    replaced = call("import", new, "--overwrite")
    assert (replaced.code, replaced.json["imported"], replaced.json["overwritten"]) == (0, 1, 1)
    assert call("get", "a").json["content"] == "new"


def test_a_damaged_archive(call: Called, tmp_path: Path) -> None:
    archive = tmp_path / "cut.jsonl.gz"
    archive.write_bytes(b"\x1f\x8bnonsense")
    outcome = call("import", archive)
    outcome.failed(5, "is damaged", "intact copy")
    assert "is damaged" in outcome.json["stopped"]


def test_ids(call: Called, store: Path) -> None:
    call("get", "nowhere").failed(3, "no memory 'nowhere'", "`list` shows")
    call("get", "pep-0020").failed(3, "no memory 'pep-0020'", "--assembly")
    call("get", "a\nb").failed(2, "control characters")
    call("get", "").failed(2, "is empty")
    call("delete", "x" * 300).failed(2, "over 200")
    call("adopt", "nowhere").failed(3, "does not exist")


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ((), "Missing command", "--help"),
        (("frobnicate",), "No such command 'frobnicate'", "--help"),
        (("import",), "Missing argument 'FILE'", "import --help"),
        (("delete",), "Missing argument 'ID...'", "delete --help"),
        (("stats", "--frob"), "No such option: --frob", "stats --help"),
        (("stats", "--store", "x"), "No such option: --store", "before the command"),
        (("import", "-", "--chunk", "0"), "--chunk", "import --help"),
        (("import", "-", "--on-error", "weep"), "weep", "import --help"),
        (("search", "x", "-k", "0"), "-k", "search --help"),
        (("search", "x", "-k", "many"), "-k", "search --help"),
        (("check", "--level", "deep"), "deep", "check --help"),
        (("init", "--metric", "manhattan"), "manhattan", "init --help"),
        (("init", "--dimension", "-1"), "--dimension", "init --help"),
        (("init", "--embedder", "bert"), "no embedder is called 'bert'", "Known are"),
    ],
    ids=str,
)
def test_usage(arguments: tuple[str, ...], message: str, hint: str, call: Called) -> None:
    call(*arguments).failed(2, message, hint)
    assert not call.store.exists()


def test_what_to_search_for(call: Called, store: Path, tmp_path: Path) -> None:
    vector = tmp_path / "vector.json"
    call("search").failed(2, "TEXT and --vector", "Give what to search for")
    call("search", "x", "--vector", vector).failed(2, "TEXT and --vector")
    call("search", "--vector", vector).failed(3, f"no file {vector}")
    for text, message in (
        ("{}", "no JSON list"),
        ("[1,", "vector.json"),
        ('["a"]', "must hold numbers"),
        ("[]", "not empty"),
    ):
        vector.write_text(text)
        call("search", "--vector", vector).failed(2, message)
    vector.write_text("[1, 2, 3]")
    call("search", "--vector", vector).failed(2, "3 numbers, the store's vectors have 256", "embedder")
    call("search", "").failed(2, "the text is empty", "some words")


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        (["pep"], "no KEY=VALUE"),
        (["=1"], "no KEY=VALUE"),
        (["a=1", "a=2"], "'a' twice"),
        (["$nor=1"], "unknown operator"),
        (["$or=1"], "$or must be a list of mappings"),
        (['a={"$like": 1}'], "where.a has the unknown operator '$like'"),
    ],
)
def test_conditions(conditions: list[str], message: str, call: Called, store: Path) -> None:
    call("search", "x", *[part for text in conditions for part in ("--where", text)]).failed(2, message)


@pytest.mark.parametrize(
    ("name", "text", "message", "hint"),
    [
        ("DURABILITY", "sometimes", "DURABILITY is 'sometimes'", "'interval'"),
        ("FLUSH_THRESHOLD", "few", "FLUSH_THRESHOLD is 'few': flush_threshold must be an integer", "Correct"),
        ("FLUSH_THRESHOLD", "0", "flush_threshold must lie in 1..", "unset it"),
        ("FLUSH_INTERVAL", "nan", "flush_interval must lie in", "unset it"),
        ("AUTO_REPAIR", "perhaps", "must be true or false", "unset it"),
        ("EMBEDDING_DIMENSION", "1e3", "EMBEDDING_DIMENSION is '1e3'", "Correct"),
        ("DURABLITY", "commit", "SYNTHIANS_MEMORY_DURABLITY is no setting", "SYNTHIANS_MEMORY_DURABILITY"),
        ("STORAGE_PATH", "x", "STORAGE_PATH is no setting", "SYNTHIANS_MEMORY_STORE"),
    ],
)
def test_settings(name: str, text: str, message: str, hint: str, call: Called) -> None:
    call("init", **{f"SYNTHIANS_MEMORY_{name}": text}).failed(2, message, hint)
    assert not call.store.exists()


def test_settings_that_hold(call: Called, program: Program) -> None:
    given = {
        "DURABILITY": "interval",
        "AUTO_REPAIR": "off",
        "FLUSH_INTERVAL": "0.5",
        "METRIC": "",
        "SERVICE_HOST": "::1",
    }
    environment = {f"SYNTHIANS_MEMORY_{name}": text for name, text in given.items()}
    assert call("init", **environment).code == 0
    assert call("stats", **environment).json["durability"] == "interval"
    program.environment |= {"SYNTHIANS_MEMORY_STORE": str(call.store)}
    assert program("stats").json["location"] == str(call.store)


def test_a_missing_extra_says_how_to_install_it(program: Program) -> None:
    without = (
        "import sys; sys.modules['wordllama'] = None; from synthians_memory.entrypoints.cli.app import main; main()"
    )
    outcome = program("--store", "s", "import", SAMPLE, "--embed", command=[sys.executable, "-c", without])
    outcome.failed(2, "wordllama cannot be imported", 'pip install "synthians-memory[embed]"')
    assert not (program.folder / "s").exists()


def test_another_embedder_than_the_stores(call: Called, tmp_path: Path) -> None:
    call("import", write_lines(tmp_path / "lines.jsonl", [{"id": "a", "content": "x", "embedding": [1, 2, 3]}]))
    call("import", SAMPLE, "--embed").failed(2, "vectors of 3 numbers", "another store")


def test_a_chunk_that_is_too_large(call: Called) -> None:
    outcome = call("import", SAMPLE, SYNTHIANS_MEMORY_MAX_BATCH_BYTES="100000")
    outcome.failed(2, "over 100000", "--chunk")
    assert call("import", SAMPLE, "--chunk", 50, SYNTHIANS_MEMORY_MAX_BATCH_BYTES="100000").code == 0


HOLD = """
import asyncio, sys
from synthians_memory import MemoryPersistence
async def hold():
    async with MemoryPersistence(sys.argv[1]):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(hold())
"""


def test_a_store_that_another_process_holds(call: Called, store: Path, program: Program) -> None:
    holder = program.start(store, command=[sys.executable, "-c", HOLD])
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    for command in (("delete", "x"), ("repair",), ("import", str(SAMPLE))):
        call(*command).failed(4, f"held by pid {holder.pid}", "Wait for that program")
    assert call("get", "pep-0020-001").code == 0
    for command in (("list",), ("export",), ("search", "zen"), ("stats",), ("check",), ("repair", "--dry-run")):
        assert call(*command).code == 0, command


WRITE = """
import asyncio, random, sys
from synthians_memory import MemoryEntry, MemoryPersistence
async def write():
    chance = random.Random(7)
    async with MemoryPersistence(sys.argv[1], checkpoint_interval=0.05, segment_bytes=1 << 16) as store:
        for n in range(1 << 30):
            vector = [chance.random() for _ in range(8)]
            await store.save_memory(MemoryEntry(memory_id=f"m-{chance.randrange(200)}", content=str(n), embedding=vector))
            if n == 300:
                print("under way", flush=True)
            await asyncio.sleep(0.001)
asyncio.run(write())
"""


def test_a_writer_at_work_is_no_finding(call: Called, program: Program) -> None:
    writer = program.start(call.store, command=[sys.executable, "-c", WRITE])
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"under way\n"
    for command in [("check",), ("repair", "--dry-run"), ("check", "--level", "quick")] * 3:
        outcome = call(*command)
        assert outcome.code == 0, outcome
    exported = call("export")
    assert (exported.code, exported.err) == (0, "")
    assert len({line["memory_id"] for line in exported.lines}) > 100
    assert writer.poll() is None


NOBODY = 65534
# Root may write anywhere. Whoever it becomes may not be able to read Python itself, so everything is loaded before.
RUN_ALL = """
import json, os, sys
from typer.testing import CliRunner
from synthians_memory.entrypoints.cli.app import app
store = ["--store", sys.argv[1]]
CliRunner().invoke(app, [*store, "check"])
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
found = [CliRunner().invoke(app, [*store, *line], input=b'{"content": "x"}') for line in json.load(sys.stdin)]
json.dump([(one.exit_code, one.stdout, one.stderr) for one in found], sys.stdout)
"""


@pytest.fixture
def read_only_store(sample_store: Path) -> Iterator[Path]:
    """A copy of the sample in which nobody may write; it belongs to somebody who is bound by that."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        shutil.copytree(sample_store, store)
        paths = [Path(folder), store, *store.rglob("*")]
        for path in paths:
            if os.geteuid() == 0:
                os.chown(path, NOBODY, NOBODY)
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)
        yield store
        for path in paths:
            path.chmod(0o700)


def test_a_store_that_may_not_be_written(read_only_store: Path, program: Program) -> None:
    reading = [["check"], ["get", "pep-0020-000"], ["export"], ["repair", "--dry-run"]]
    changing = [["delete", "pep-0020-000"], ["import", "-"]]
    elsewhere = ["export", str(read_only_store / "x.jsonl")]
    asked = json.dumps([*reading, *changing, elsewhere]).encode()
    answers = program(read_only_store, command=[sys.executable, "-c", RUN_ALL], given=asked)
    outcomes = [Outcome(*one) for one in answers.json]
    assert [outcome.code for outcome in outcomes[: len(reading)]] == [0] * len(reading)
    for outcome in outcomes[len(reading) : -1]:
        outcome.failed(6, "cannot", "writable for this user")
    outcomes[-1].failed(6, "cannot write", "permissions")


def test_a_full_standard_output(program: Program, store: Path) -> None:
    with open("/dev/full", "wb") as full:
        for command in ("stats", "export"):
            outcome = program("--store", store, command, stdout=full)
            outcome.failed(6, "No space left on device")


def test_a_reader_that_goes_away(program: Program, store: Path) -> None:
    for command in ("export", "stats"):
        process = program.start("--store", store, command)
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


def test_every_error_has_an_exit_code() -> None:
    kinds = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, SynthiansMemoryError)
    ]
    assert len(kinds) > 25
    for kind in kinds:
        error = kind.__new__(kind)
        error.hint = kind.hint_default
        assert answer_to(error).code in set(ExitCode) - {ExitCode.OK, ExitCode.MENDED}
