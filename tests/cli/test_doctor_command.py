"""The command doctor: what it prints, its exit codes, and that the commands it names mend what it found."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer
from command_lines import FIXTURES, Called
from test_terminal import plain

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.entrypoints.cli.app import app
from synthians_memory.ledger.opening import open_ledger
from synthians_memory.maintenance.remedies import FINDING_REMEDIES, TROUBLE_REMEDIES, Remedy, rendered
from synthians_memory.reports import FINDING_CODES, Finding

BROKEN = FIXTURES / "broken"
DEFECTS = sorted(folder.name for folder in BROKEN.iterdir() if folder.name not in ("newer-format", "unknown-feature"))
ROOT: Any = typer.main.get_command(app)
REMEDIES = {**FINDING_REMEDIES, **TROUBLE_REMEDIES}
OWN = re.compile(r"`(\{store\} .+?)`")


def broken(defect: str, call: Called) -> None:
    shutil.copytree(BROKEN / defect / "store", call.store, symlinks=True)
    call.store.chmod(0o700)


def require_command(line: str) -> None:
    """That the program takes such a line: the command is there, and its options and arguments are."""
    program, option, _, *words = shlex.split(line)
    assert (program, option) == ("synthians-memory", "--store")
    command = ROOT
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("x", words)


@pytest.mark.parametrize("code", REMEDIES)
def test_the_commands_are_there(code: str) -> None:
    remedy: Remedy = REMEDIES[code]
    first = Finding("file_damaged", "x", "memories/x.json", "assembly", "-x y")
    written = [*(c for c in remedy.commands if c.startswith("{store}")), *OWN.findall(remedy.advice)]
    assert written or "{store}" not in remedy.advice
    for template in written:
        require_command(rendered(template, "/a store", first))
        require_command(rendered(template, "/a store"))


def _kinds() -> list[object]:
    """Every broken store; those that give the same codes as one before are for the longer run."""
    seen: set[str] = set()
    found: list[object] = []
    for name in DEFECTS:
        lines = json.loads((BROKEN / name / "expected.json").read_text(encoding="utf-8"))["check"]
        codes = " ".join(line.split()[0] for line in lines)
        found.append(pytest.param(name, marks=[pytest.mark.long] if codes in seen else []))
        seen.add(codes)
    return found


@pytest.mark.parametrize("defect", _kinds())
def test_the_commands_mend_what_was_found(defect: str, call: Called) -> None:
    broken(defect, call)
    before = call("doctor")
    found = before.json
    severities = {FINDING_CODES[one["code"]][0] for one in found["troubles"] if one["code"] in FINDING_CODES}
    expected = 5 if "damage" in severities else 1  # there is no backup
    assert before.code == expected
    for line in found["commands"]:
        program, option, path, *words = shlex.split(line)
        assert (program, option, path) == ("synthians-memory", "--store", str(call.store))
        call(*words)
    after = call("doctor")
    assert (after.code, after.json["well"]) == (0, True), after.json["troubles"]


def test_what_it_prints_for_programs(call: Called) -> None:
    broken("file-damaged", call)
    found = call("doctor").json
    assert {one["name"]: one["result"] for one in found["examined"]}["memories"] == "trouble"
    damage = found["troubles"][0]
    assert (damage["code"], damage["urgency"]) == ("file_damaged", "urgent")
    assert damage["commands"] == [f"synthians-memory --store {call.store} repair"]
    assert "adopt -- two" in damage["advice"]
    assert damage["findings"][0]["path"] == "memories/two.json"
    assert found["commands"][-1].endswith(" backup")


def test_what_it_prints_for_people(call: Called) -> None:
    broken("file-damaged", call)
    outcome = call.on_terminal("doctor")
    shown = plain(outcome.out)
    assert outcome.code == 5
    assert re.search(r"^URGENT +memories/two.json: ", shown, re.MULTILINE)
    assert "are not those that were written" in shown
    assert f"$ synthians-memory --store {call.store} repair" in " ".join(shown.split())
    assert "needs attention" in shown
    assert "Run, in this order:" in shown


async def test_who_holds_the_store(store: Path, call: Called) -> None:
    async with MemoryPersistence(store) as opened:
        await opened.save_memory(MemoryEntry(content="x"))
        # The program has an event loop of its own.
        outcome = await asyncio.to_thread(call, "doctor")
    assert outcome.json["holder"].startswith("pid ")


def test_a_store_that_is_well(store: Path, call: Called) -> None:
    assert call("doctor").code == 1
    assert call("backup").code == 0
    outcome = call("doctor")
    assert (outcome.code, outcome.json["commands"]) == (0, [])
    assert "is well" in plain(call.on_terminal("doctor").out)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["in the store", "elsewhere"])
def test_what_a_snapshot_has_is_brought_back_and_not_given_up(
    store: Path, call: Called, tmp_path: Path, elsewhere: bool
) -> None:
    at = [tmp_path / "snaps"] if elsewhere else []
    assert call("backup", *at).code == 0
    before = call("export", "-").out
    first, second = sorted((store / "memories").iterdir())[:2]
    first.unlink()
    second.write_bytes(second.read_bytes()[:-9])
    found = call("doctor", *(["--from", at[0]] if elsewhere else []))
    assert found.code == 5
    assert not any(" repair" in command for command in found.json["commands"])
    (command,) = [command for command in found.json["commands"] if " health" in command]
    assert call(*shlex.split(command)[3:]).code == 8
    assert call("export", "-").out == before


def test_snapshots_elsewhere(store: Path, call: Called, tmp_path: Path) -> None:
    assert call("backup", tmp_path / "copies").code == 0
    assert call("doctor", "--from", tmp_path / "copies").code == 0


@pytest.mark.parametrize(("defect", "code"), [("newer-format", 2), ("unknown-feature", 2)])
def test_a_store_that_cannot_be_opened(defect: str, code: int, call: Called) -> None:
    broken(defect, call)
    outcome = call("doctor")
    assert (outcome.code, outcome.json["opened"]) == (code, False)
    assert "cannot be opened" in plain(call.on_terminal("doctor").out)


def test_no_store(call: Called) -> None:
    outcome = call("doctor")
    assert outcome.code == 3
    assert outcome.json["troubles"][0]["code"] == "no_store"
    assert not call.store.exists()


def test_a_wrong_setting_does_not_stop_it(store: Path, call: Called) -> None:
    outcome = call("doctor", SYNTHIANS_MEMORY_METRIC="far")
    assert outcome.code == 1
    assert "configuration_wrong" in {one["code"] for one in outcome.json["troubles"]}


def test_a_fact_that_is_not_among_the_memories(store: Path, call: Called) -> None:
    with_ledger = open_ledger(store / "ledger")
    run_id = with_ledger.write_log({"task": "t"})
    with_ledger.promote_fact({"id": "f", "statement": "so it is", "confidence": 0.9, "source_run": run_id})
    with_ledger.close()
    found = call("doctor").json
    assert "fact_not_remembered" in {one["code"] for one in found["troubles"]}
    assert f"synthians-memory --store {store} ledger doctor --mend" in found["commands"]
    assert call("ledger", "doctor", "--mend").code == 7
    assert "fact_not_remembered" not in json.dumps(call("doctor").json)


def test_a_damaged_file_of_the_state_comes_back_from_a_snapshot(store: Path, call: Called) -> None:
    assert call("state", "write", "--phase", "building").code == 0
    assert call("backup").code == 0
    assert call("remember", "what came since").code == 0
    (store / "state" / "system_state.json").write_text("{")
    before = call("doctor")
    assert before.code == 5
    for line in before.json["commands"]:
        program, *words = shlex.split(line)
        if program == "synthians-memory":
            call(*words[2:])
        else:
            subprocess.run([program, *words], check=True)
    assert call("doctor").code == 0
    assert json.loads((store / "state" / "system_state.json").read_text())["phase"] == "building"
    assert "what came since" in call("recall", "what came since").out
