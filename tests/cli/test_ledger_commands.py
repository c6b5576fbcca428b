"""The commands of `ledger`: what they print, how they end, and a day with them as processes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_lines import MODULE, Called, Outcome, Program

from synthians_memory import MemoryPersistence
from synthians_memory.ledger import Ledger, open_ledger

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "ledger.md").read_text(encoding="utf-8")
RUN_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")
FACT = ("--statement", "The sky is blue", "--confidence", "0.9", "--source-run", "latest")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """That of the store in which `call` works."""
    found = open_ledger(tmp_path / "store" / "ledger")
    yield found
    found.close()


def made(call: Called) -> None:
    assert call("init").code == 0


# The page


def test_a_day_with_the_ledger_each_step_a_process(tmp_path: Path, program: Program) -> None:
    (script,) = blocks("sh")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for line in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "base"]):
        subprocess.run(["git", *line], cwd=tmp_path, check=True)
    (tmp_path / "notes.txt").write_text("b\na\n", encoding="utf-8")
    outcomes = {}
    for line in script.splitlines():
        command, *arguments = shlex.split(line)
        outcome = program(*arguments, command=MODULE if command == "synthians-memory" else [command])
        assert outcome.code == 0, (line, outcome)
        outcomes[" ".join(arguments[:2])] = outcome
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "a\nb\n"
    assert [hit["kind"] for hit in outcomes["ledger recall"].json["hits"]] == ["fact", "log"]
    assert len(outcomes["ledger timeline"].json["entries"]) == 2
    assert (tmp_path / "timeline.svg").read_bytes().startswith(b"<svg")
    assert outcomes["ledger doctor"].json == {"clean": True, "findings": [], "remembered": []}
    checked = outcomes["ledger check"].json
    assert (checked["clean"], checked["changed"], len(checked["appended"])) == (True, ["notes-are-sorted"], 2)
    assert outcomes["ledger artifacts"].json["added"][0]["path"] == "notes.txt"


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# log


def test_an_entry_is_made_of_json_and_options(call: Called, ledger: Ledger) -> None:
    event = {"task": "given", "outputs": {"files": 3}, "größe": 1.5}
    first = call("ledger", "log", "--summary", "done", "--task", "t", "--fact", "a", "--fact", "b", json.dumps(event))
    second = call("ledger", "log", "--parent", "latest", "-", given=b'{"layer": "L4"}').json["run_id"]
    entry = ledger.entry(first.json["run_id"])
    assert (entry["task"], entry["outputs"], entry["größe"]) == ("t", {"files": 3, "summary": "done"}, 1.5)
    assert entry["derived_facts"] == ["a", "b"]
    assert ledger.entry(second)["parent_run_id"] == first.json["run_id"]
    assert ledger.entry(second)["layer"] == "L4"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('{"a": NaN}', "NaN"),
        ('{"a": 1, "a": 2}', "twice"),
        ("[]", "must be an object"),
        ("{", "JSON"),
        ('{"run_id": "../x"}', "no id of a run"),
        ('{"a": "\\ud800"}', "lone surrogate"),
        ('{"a": 99999999999999999999}', "64 bits"),
    ],
)
def test_what_is_no_entry_is_refused(given: str, message: str, call: Called) -> None:
    call("ledger", "log", given).failed(2, message)
    assert not (call.store / "ledger" / "log.jsonl").exists()


def test_a_torn_line_is_told(call: Called, ledger: Ledger) -> None:
    call("ledger", "log")
    with open(call.store / "ledger" / "log.jsonl", "ab") as file:
        file.write(b'{"hash_prev":"0123","run_id":"20261120T120000Z-0a1b2c"')
    (found,) = call("ledger", "doctor").json["findings"]
    assert found["code"] == "ledger_torn"
    assert "line 2" in found["message"]
    assert "20261120T120000Z-0a1b2c" in found["message"]
    assert call("ledger", "doctor").code == 1
    assert "recovered: a torn line" in call("ledger", "log").err
    assert call("ledger", "doctor").code == 0
    assert len(list(ledger.entries())) == 2


def test_a_damaged_last_entry_stops_writing_with_a_hint(call: Called) -> None:
    call("ledger", "log", "--task", "t")
    log = call.store / "ledger" / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"t"', b'"u"'))
    call("ledger", "log").failed(5, "not what was written", "put the line back")
    call("ledger", "run", "true").failed(125, "not what was written")


# run


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--", "sh", "-c", "exit 0"], 0),
        (["sh", "-c", "exit 42"], 42),
        (["sh", "-c", "kill -KILL $$"], 137),
        (["there-is-no-such-command"], 127),
        ([os.sep], 126),
    ],
    ids=["0", "42", "killed", "none", "not executable"],
)
def test_the_exit_code_is_that_of_the_command(arguments: list[str], code: int, call: Called, ledger: Ledger) -> None:
    outcome = call("ledger", "run", "--task", "t", *arguments)
    assert outcome.code == code
    (run_id,) = RUN_ID.findall(outcome.err)
    entry = ledger.entry(run_id)
    assert (entry["exit_status"], entry["task"]) == (code, "t")
    assert ledger.check() == []


def test_output_is_passed_on_and_options_of_the_command_are_its_own(program: Program) -> None:
    outcome = program(
        "ledger", "run", "--dir", "l", sys.executable, "-c", "import sys; print(sys.argv[1:])", "--json", "--dir", "x"
    )
    assert outcome.out == "['--json', '--dir', 'x']\n"
    assert outcome.code == 0


def test_input_is_that_of_the_program(program: Program) -> None:
    process = program.start("ledger", "run", "--dir", "l", "--", "wc", "-c")
    out, _ = process.communicate(b"four", timeout=60)
    assert (out.strip(), process.returncode) == (b"4", 0)


@pytest.mark.parametrize("arguments", [[], ["--"], ["--nope"], ["--dir"], ["--input", "missing", "true"]])
def test_its_own_failures_are_told_from_the_command(arguments: list[str], call: Called) -> None:
    call("ledger", "run", *arguments).failed(125, "")


def test_a_ledger_that_cannot_be_made_is_its_own_failure(call: Called, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    call("ledger", "run", "--dir", tmp_path / "file" / "ledger", "touch", tmp_path / "ran").failed(125, "")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_command_is_recorded(number: signal.Signals, program: Program, tmp_path: Path) -> None:
    process = program.start("ledger", "run", "--dir", "l", "--", "sh", "-c", "echo begun; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    (run_id,) = RUN_ID.findall(err.decode())
    ledger = open_ledger(tmp_path / "l")
    assert ledger.entry(run_id)["exit_status"] == 128 + number
    assert (tmp_path / "l" / "runs" / run_id / "outputs" / "stdout").read_bytes() == b"begun\n"
    assert ledger.check() == []
    ledger.close()


def test_a_second_interruption_does_not_keep_it_from_being_recorded(program: Program, tmp_path: Path) -> None:
    process = program.start("ledger", "run", "--dir", "l", "--", "sh", "-c", "echo begun; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    ledger = open_ledger(tmp_path / "l")
    assert len(list(ledger.entries())) == 1
    ledger.close()


def test_a_command_that_ends_by_itself_when_interrupted_has_its_own_code(program: Program, tmp_path: Path) -> None:
    script = "trap 'echo bye; exit 5' TERM; echo begun; while :; do sleep 0.05; done"
    process = program.start("ledger", "run", "--dir", "l", "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    assert (process.returncode, out) == (5, b"bye\n")


def test_a_reader_that_goes_away_does_not_keep_it_from_being_recorded(program: Program, tmp_path: Path) -> None:
    process = program.start("ledger", "run", "--dir", "l", "--", "seq", "1", "100000")
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    process.stdout = None
    process.communicate(timeout=60)
    ledger = open_ledger(tmp_path / "l")
    (entry,) = ledger.entries()
    (kept,) = (tmp_path / "l" / "runs").glob("*/outputs/stdout")
    assert kept.read_bytes() == b"".join(b"%d\n" % n for n in range(1, 100001))
    assert entry["exit_status"] == 0
    ledger.close()


def test_files_and_variables_are_kept_on_request(call: Called, tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"in")
    call("ledger", "run", "--env", "MINE", "--input", tmp_path / "in", "--output", tmp_path / "out", "cp", tmp_path / "in",
         tmp_path / "out", MINE="kept", OTHER="not")  # fmt: skip
    (capsule,) = (call.store / "ledger" / "runs").iterdir()
    assert (capsule / "outputs" / "out").read_bytes() == b"in"
    kept = json.loads((capsule / "context.json").read_bytes())["environment"]
    assert (kept["MINE"], "OTHER" in kept) == ("kept", False)


# promote and doctor


def test_a_promoted_fact_is_a_memory_of_the_store(call: Called) -> None:
    made(call)
    call("ledger", "log")
    outcome = call("ledger", "promote", "--id", "sky", *FACT)
    assert (outcome.code, outcome.json["memory_id"]) == (0, "fact-sky")
    assert call("get", "fact-sky").json["tags"] == ["fact"]
    assert call("recall", "blue", "--mode", "text").json["hits"][0]["id"] == "fact-sky"
    again = call("ledger", "promote", "--id", "sky", *FACT)
    assert (again.code, again.json["memory_id"]) == (0, "fact-sky")
    assert len(call("list").lines) == 1
    assert call("ledger", "doctor").json["clean"]


def test_elsewhere_it_is_no_memory(call: Called, tmp_path: Path) -> None:
    made(call)
    elsewhere = ("--dir", tmp_path / "elsewhere")
    call("ledger", "log", *elsewhere)
    assert call("ledger", "promote", *elsewhere, "--id", "sky", *FACT).json["memory_id"] is None
    assert call("list").lines == []
    assert call("ledger", "doctor", *elsewhere).json["clean"]


def test_where_the_store_is_open_the_memory_follows_later(call: Called) -> None:
    async def promoted_beside() -> Outcome:
        async with MemoryPersistence(call.store):
            return await asyncio.to_thread(call, "ledger", "promote", "--id", "sky", *FACT)

    made(call)
    call("ledger", "log")
    outcome = asyncio.run(promoted_beside())
    assert (outcome.code, outcome.json["memory_id"]) == (0, None)
    assert "pending: the fact is promoted" in outcome.err
    assert "ledger doctor --mend" in outcome.err
    doctor = call("ledger", "doctor")
    assert (doctor.code, [found["code"] for found in doctor.json["findings"]]) == (1, ["fact_not_remembered"])
    mended = call("ledger", "doctor", "--mend")
    assert (mended.code, mended.json["remembered"], mended.json["clean"]) == (7, ["fact-sky"], True)
    assert call("ledger", "doctor", "--mend").code == 0
    assert call("get", "fact-sky").json["content"] == "The sky is blue"


def test_a_fact_that_is_refused_is_told(call: Called) -> None:
    call("ledger", "log")
    call("ledger", "promote", "--id", "sky", "--statement", "x", "--source-run", "latest").failed(2, "missing")
    low = ("ledger", "promote", "--id", "sky", "--statement", "x", "--confidence", "0.3", "--source-run", "latest")
    call(*low).failed(2, "below the threshold", "reviewed")
    call("ledger", "promote", "--id", "sky", *FACT[:-1], "20200101T000000Z-000000").failed(3, "not in the log")
    assert not (call.store / "ledger" / "state.json").exists()
    assert call(*low, "--reviewed-by", "ada").code == 0


def test_a_memory_of_the_facts_name_is_left_alone(call: Called) -> None:
    made(call)
    call("import", "-", given=b'{"id": "fact-sky", "content": "mine"}')
    call("ledger", "log")
    assert call("ledger", "promote", "--id", "sky", *FACT).code != 0
    assert call("get", "fact-sky").json["content"] == "mine"


def test_a_store_is_made_beside_a_ledger_that_was_there_first(call: Called) -> None:
    call("ledger", "log")
    made(call)
    assert call("check").json["clean"]
    assert len(call("ledger", "timeline").json["entries"]) == 1


def test_doctor_names_line_and_run(call: Called, ledger: Ledger) -> None:
    runs = [ledger.write_run({"task": str(number)}, outputs={"stdout": b"x"}) for number in range(3)]
    log = call.store / "ledger" / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"task":"1"', b'"task":"9"'))
    shutil.rmtree(call.store / "ledger" / "runs" / runs[2])
    outcome = call("ledger", "doctor")
    assert outcome.code == 1
    told = {found["code"]: found["message"] for found in outcome.json["findings"]}
    assert "line 2" in told["ledger_damaged"]
    assert runs[1] in told["ledger_damaged"]
    assert runs[2] in told["capsule_missing"]
    assert "line 2" in call.on_terminal("ledger", "doctor").out


@pytest.mark.parametrize("command", [["doctor"], ["timeline"], ["recall", "x"], ["artifacts"]])
def test_an_empty_ledger_is_fine_and_nothing_is_made(command: list[str], call: Called) -> None:
    outcome = call("ledger", *command)
    assert outcome.code == 0
    assert "There is no ledger" in outcome.err
    assert not call.store.exists()


# Looking back


def test_people_get_tables(call: Called, ledger: Ledger, tmp_path: Path) -> None:
    first = ledger.write_run({"task": "t", "outputs": {"summary": "a \x1b[31mred one"}}, outputs={"stdout": b"a\n"})
    second = ledger.write_run({"task": "t", "exit_status": 1}, outputs={"stdout": b"b\n"})
    shown = call.on_terminal("ledger", "timeline", "--svg", tmp_path / "t.svg").out
    assert first in shown
    assert "\x1b[31m" not in shown
    assert (tmp_path / "t.svg").read_bytes().startswith(b"<svg")
    assert "-a" in call.on_terminal("ledger", "diff", "--run", second, "--against", first).out
    assert "the same as" in call.on_terminal("ledger", "diff", "--run", "latest").out
    assert "red one" in call.on_terminal("ledger", "recall", "RED").out
    assert "recorded as" in call.on_terminal("ledger", "log").out
    assert "promoted sky" in call.on_terminal("ledger", "promote", "--id", "sky", *FACT).out
    assert "sha256" in call.on_terminal("ledger", "artifacts").out


def test_a_run_that_is_not_there_is_not_found(call: Called, ledger: Ledger) -> None:
    ledger.write_log({})
    call("ledger", "diff", "--run", "20200101T000000Z-000000").failed(3, "not in the log", "ledger timeline")


# check


@pytest.fixture
def tree(call: Called, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    call("ledger", "log", "--dir", "l")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    subprocess.run(["git", *identity, "commit", "-q", "-m", "base"], cwd=tmp_path, check=True)
    return tmp_path


def test_check_ends_as_told(call: Called, tree: Path) -> None:
    check = ("ledger", "check", "--dir", "l")
    assert call(*check, "--base", "HEAD").code == 0
    assert call(*check, BASE_SHA="HEAD").code == 0
    call("ledger", "promote", "--dir", "l", "--id", "sky", *FACT)
    refused = call(*check, "--base", "HEAD")
    assert (refused.code, refused.json["clean"]) == (1, False)
    assert "no receipt" in call.on_terminal(*check, "--base", "HEAD").out
    call("ledger", "log", "--dir", "l", "--fact", "sky")
    assert call(*check, "--base", "HEAD").code == 0
    (tree / "l" / "log.jsonl").write_bytes(b"")
    assert call(*check, "--base", "HEAD").code == 1
    call(*check, "--base", "nowhere").failed(2, "git rev-parse", "revision")
    call(*check, BASE_SHA="0" * 40).failed(2, "git rev-parse")
    call(*check).failed(2, "--base")


def test_artifacts_are_noted_and_refused(call: Called, tree: Path) -> None:
    noted = call("ledger", "artifacts", "--dir", "l", "--task", "t", "l/log.jsonl")
    assert (noted.code, noted.json["added"][0]["path"]) == (0, "l/log.jsonl")
    (tree / "untracked").write_bytes(b"")
    call("ledger", "artifacts", "--dir", "l", "--task", "t", "untracked").failed(2, "not tracked", "git add")
    call("ledger", "artifacts", "--dir", "l", "l/log.jsonl").failed(2, "no task", "--task")
    assert call("ledger", "artifacts", "--dir", "l", "--task", "other").json["artifacts"] == {}


def test_a_ledger_is_waited_for(call: Called, program: Program, tmp_path: Path) -> None:
    script = (
        "import time; from synthians_memory.storage.local import LocalBackend\n"
        "held = LocalBackend('l', create=True).lock('', exclusive=True); print('held', flush=True); time.sleep(0.5)"
    )
    holding = program.start("-c", script, command=[sys.executable])
    assert holding.stdout is not None
    assert holding.stdout.readline() == b"held\n"
    assert call("ledger", "log", "--dir", tmp_path / "l").code == 0
