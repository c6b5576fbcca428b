"""The command watch: what it prints, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from command_lines import MEMORIES, Called, Program, edit

EDITED = "pep-0020-001"


def path_of(store: Path, entity_id: str = EDITED) -> Path:
    return store / "memories" / f"{entity_id}.json"


def change(path: Path, **changes: Any) -> None:
    """Edit a file as a person does who takes the hash line away."""
    fields = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    del fields["content_hash"]
    path.write_text(json.dumps(fields), encoding="utf-8")


def embedding_of(call: Called) -> list[float]:
    found: list[float] = call("get", EDITED).lines[0]["embedding"]
    return found


def test_once_adopts_embeds_and_ends(store: Path, call: Called) -> None:
    before = embedding_of(call)
    change(path_of(store), content="Green tea is made of leaves.")
    outcome = call("watch", "--once")
    assert outcome.code == 0
    (line,) = outcome.lines
    assert (line["outcome"], line["code"], line["entity_id"]) == ("adopted", "file_edited", EDITED)
    assert line["embedding"] == "made"
    assert embedding_of(call) != before
    assert call("search", "green tea", "-k", 1).json["hits"][0]["id"] == EDITED
    assert call("recall", "leaves", "-k", 1, "--mode", "text").json["hits"][0]["id"] == EDITED
    assert call("check").json["findings"] == []
    assert call("watch", "--once").out == ""


def test_nothing_is_changed_where_nothing_did(store: Path, call: Called) -> None:
    outcome = call("watch", "--once")
    assert (outcome.code, outcome.out, outcome.err) == (0, "", "")


@pytest.mark.parametrize("adopt", [False, True])
def test_a_wrong_hash_line(store: Path, call: Called, adopt: bool) -> None:
    edit(path_of(store), "Beautiful", "Colourful")
    outcome = call("watch", "--once", *(["--adopt"] if adopt else []))
    assert outcome.code == (0 if adopt else 5)
    assert outcome.lines[0]["outcome"] == ("adopted" if adopt else "left")
    assert outcome.lines[0]["code"] == "file_damaged"
    assert call("get", EDITED).code == (0 if adopt else 5)


def test_removals_in_masses_are_asked_about(store: Path, call: Called) -> None:
    for path in (store / "memories").glob("pep-0563-*.json"):
        path.unlink()
    outcome = call("watch", "--once")
    assert (outcome.code, outcome.lines[0]["code"]) == (5, "repair_refused")
    outcome = call("watch", "--once", "--most-removed", MEMORIES)
    assert outcome.code == 0
    assert {line["code"] for line in outcome.lines} == {"file_missing"}
    assert call("check").json["findings"][0]["code"] == "member_missing"


def test_for_people(store: Path, call: Called) -> None:
    change(path_of(store), content="Green tea is made of leaves.")
    shown = call.on_terminal("watch", "--once")
    assert shown.code == 0
    words = " ".join(shown.out.split())
    assert f"adopted: memories/{EDITED}.json was edited by hand; embedded anew" in words


def test_an_embedder_that_is_missing_marks(store: Path, call: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    change(path_of(store), content="Green tea is made of leaves.")
    monkeypatch.setitem(sys.modules, "wordllama", None)
    outcome = call("watch", "--once")
    assert outcome.code == 0
    assert outcome.lines[0]["embedding"] == "stale"
    assert "hint: Embeddings of texts that were edited are marked as stale" in outcome.err
    found = call("search", "--where", '{"embedding_stale": {"$exists": true}}', "--vector", vector_file(store, call))
    assert [hit["id"] for hit in found.json["hits"]] == [EDITED]
    assert [finding["code"] for finding in call("check").json["findings"]] == ["embedding_stale"]
    assert call("check").code == 0
    call("watch", "--once", "--embedder", "default").failed(2, "wordllama")


def vector_file(store: Path, call: Called) -> Path:
    path = store.parent / "vector.json"
    path.write_text(json.dumps(embedding_of(call)), encoding="utf-8")
    return path


def test_no_store(call: Called, tmp_path: Path) -> None:
    call.on(tmp_path / "none")("watch", "--once").failed(3, "holds no store")


def test_wrong_options(store: Path, call: Called) -> None:
    call("watch", "--interval", "0").failed(2, "0.1")
    call("watch", "--most-removed", "-1").failed(2, "--most-removed")


# A process of its own


class Running:
    """A watch in a process, whose lines are read as they come."""

    def __init__(self, program: Program, *args: object) -> None:
        self.process: subprocess.Popen[bytes] = program.start("--store", "store", "watch", *args)
        assert self.process.stderr is not None
        self.begun = self.process.stderr.readline().decode()

    def line(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def end(self, number: int) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out.decode(), err.decode()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_runs_until_it_is_ended(store: Path, call: Called, program: Program, number: int) -> None:
    running = Running(program)
    assert running.begun == "watching: store; Ctrl-C ends it.\n"
    change(path_of(store), content="Green tea is made of leaves.")
    assert running.line()["embedding"] == "made"
    path_of(store, "pep-0020-000").unlink()
    assert running.line()["code"] == "file_missing"
    assert call("delete", "pep-0020-002").code == 4
    assert running.end(number) == (0, "", "")
    assert call("get", "pep-0020-000").code == 3
    assert [f["code"] for f in call("check").json["findings"]] == ["member_missing"]


def test_a_reader_that_goes_away_ends_it(store: Path, program: Program) -> None:
    running = Running(program)
    assert running.process.stdout is not None
    running.process.stdout.close()
    running.process.stdout = None
    change(path_of(store), content="Green tea is made of leaves.")
    assert running.process.wait(60) == 141


def test_killed(store: Path, call: Called, program: Program) -> None:
    running = Running(program)
    change(path_of(store), content="Green tea is made of leaves.")
    running.line()
    assert running.end(signal.SIGKILL)[0] == -signal.SIGKILL
    assert call("get", EDITED).lines[0]["content"] == "Green tea is made of leaves."
    assert call("watch", "--once").code == 0
    assert call("check").json["findings"] == []
