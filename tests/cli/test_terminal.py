"""On a terminal: tables and progress for people; JSON once the output goes elsewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

from command_lines import MEMORIES, SAMPLE, Called, Program, write_lines

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def plain(shown: str) -> str:
    return ESCAPES.sub("", shown)


def test_an_import_shows_progress_and_a_summary(program: Program) -> None:
    outcome = program.on_terminal("--store", "s", "import", SAMPLE, "--embed", "--chunk", 100)
    assert outcome.code == 0
    shown = plain(outcome.out)
    assert re.search(r"importing .* 478 records +[\d,]+/s +0:00:0\d +left +\S+", shown)
    assert re.search(r"imported 478, skipped 0, problems 0 in [\d.]+ s", shown)
    assert "{" not in shown


def test_progress_is_for_people_even_where_the_output_is_piped(program: Program, store: Path) -> None:
    outcome = program.on_terminal("--store", store, "check", out_piped=True)
    assert json.loads(outcome.out)["clean"] is True
    assert re.search(r"checking .* files", plain(outcome.err))


def test_problems_are_a_table_of_the_first_twenty(call: Called, tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "lines.jsonl", [{"id": f"a{n}"} for n in range(25)])
    outcome = call.on_terminal("import", lines)
    assert outcome.code == 1
    shown = plain(outcome.out)
    assert len(re.findall(r"^\d+ +invalid +the field 'content' is missing", shown, re.MULTILINE)) == 20
    assert "... and 5 more; --json lists" in shown


def test_hits_have_rank_score_source_and_first_words(call: Called, store: Path) -> None:
    outcome = call.on_terminal("search", "when are annotations evaluated", "-k", 2)
    shown = plain(outcome.out)
    assert re.search(r"^1 +0\.\d{3} +pep-0563-\d{3} +Postponed Evaluation of Annotations · \S+", shown, re.MULTILINE)
    assert re.search(r"^2 +0\.\d{3} +pep-", shown, re.MULTILINE)
    assert max(map(len, shown.splitlines())) <= 100
    assert shown.count("…") == 2


def test_lists_and_facts_are_tables(call: Called, store: Path) -> None:
    listed = plain(call.on_terminal("list", "--limit", 2).out)
    assert re.search(r"^id +updated +content", listed, re.MULTILINE)
    assert re.search(r"^pep-0020-000 +\d{4}-\d\d-\d\d +Long time Pythoneer", listed, re.MULTILINE)
    assert f"2 of {MEMORIES}; --limit N shows more" in listed
    got = plain(call.on_terminal("get", "pep-0020-001").out)
    assert re.search(r"^embedding +256 numbers, length 1 *$", got, re.MULTILINE)
    assert "Beautiful is better than ugly." in got


def test_json_is_given_to_people_who_ask_for_it(call: Called, store: Path) -> None:
    outcome = call.on_terminal("stats", "--json")
    assert json.loads(outcome.out)["memories"] == MEMORIES


def test_findings_are_a_table(call: Called, store: Path) -> None:
    (store / "memories" / "pep-0020-001.json").write_text("{}")
    checked = call.on_terminal("check")
    assert checked.code == 1
    assert re.search(r"damage +file_undecodable +memories/pep-0020-001\.json", plain(checked.out))
    assert "1 of severity damage" in plain(checked.out)
    repaired = call.on_terminal("repair")
    assert repaired.code == 7
    assert "done: move memories/pep-0020-001.json to quarantine" in plain(repaired.out)


def test_content_cannot_steer_the_terminal(call: Called, tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "lines.jsonl", [{"id": "a", "content": "x\x1b[2Jy \x07 [bold]z[/bold] :smile:"}])
    call("import", lines)
    for command in (("get", "a"), ("list",)):
        shown = call.on_terminal(*command).out
        assert "\x1b[2J" not in shown
        assert "\x07" not in shown
        assert "[bold]z[/bold] :smile:" in shown
