"""Artifacts: only what git tracks, each hash once in a task."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest
from git_trees import commit, git, make_tree
from ledgers import opened

from synthians_memory.errors import DamagedError, EntityNotFoundError, GitFailedError, InvalidValueError
from synthians_memory.ledger.ledger import Ledger
from synthians_memory.storage.local import LocalBackend

HOSTILE = ["a b.md", "-dash.md", "*.md", ":(top)x.md", "ünïcode.md", 'quo"te.md', "tab\tx.md"]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    top = make_tree(tmp_path / "tree")
    (top / "docs").mkdir()
    (top / "docs" / "a.md").write_bytes(b"a")
    (top / ".gitignore").write_text("ignored.md\n", encoding="utf-8")
    commit(top)
    (top / "ignored.md").write_bytes(b"ignored")
    (top / "untracked.md").write_bytes(b"untracked")
    monkeypatch.chdir(top)
    return top


def rows(folder: Path) -> dict[str, list[dict[str, str]]]:
    document = json.loads((folder / "artifacts.json").read_text(encoding="utf-8"))
    assert document.keys() == {"version", "artifacts"}
    assert document["version"] == 0
    return document["artifacts"]  # type: ignore[no-any-return]


def test_a_tracked_file_is_noted_with_the_hash_it_has(ledger: Ledger, folder: Path, tree: Path) -> None:
    run_id = ledger.write_log({})
    (tree / "docs" / "a.md").write_bytes(b"changed since the commit")
    expected = {
        "path": "docs/a.md",
        "sha256": hashlib.sha256(b"changed since the commit").hexdigest(),
        "run_id": run_id,
    }
    assert ledger.index_artifacts("t", ["docs/a.md"], run_id) == [expected]
    assert rows(folder) == {"t": [expected]} == ledger.artifacts()


def test_each_hash_stands_once_in_a_task(ledger: Ledger, folder: Path, tree: Path) -> None:
    first = ledger.write_log({})
    (tree / "b.md").write_bytes(b"a")
    git(tree, "add", "b.md")
    assert [row["path"] for row in ledger.index_artifacts("t", ["docs/a.md", "b.md"], first)] == ["docs/a.md"]
    second = ledger.write_log({})
    assert ledger.index_artifacts("t", ["docs/a.md"], second) == []
    assert len(ledger.index_artifacts("other", ["b.md"], second)) == 1
    (tree / "docs" / "a.md").write_bytes(b"new")
    assert len(ledger.index_artifacts("t", ["docs/a.md"], second)) == 1
    assert [row["run_id"] for row in rows(folder)["t"]] == [first, second]


def test_what_git_does_not_track_is_refused(ledger: Ledger, folder: Path, tree: Path, tmp_path: Path) -> None:
    run_id = ledger.write_log({})
    (tmp_path / "outside.md").write_bytes(b"outside")
    (tree / "link.md").symlink_to(tmp_path / "outside.md")
    (tree / "linked").symlink_to(tmp_path)
    git(tree, "add", "link.md")
    (tree / "gone.md").write_bytes(b"gone")
    git(tree, "add", "gone.md")
    (tree / "gone.md").unlink()
    refused = ["ignored.md", "untracked.md", "missing.md", "../outside.md", str(tmp_path / "outside.md"), "gone.md"]
    for path in [*refused, "link.md", "linked/outside.md", "docs", ".", "", ".git/config", "docs/../../outside.md"]:
        with pytest.raises(InvalidValueError):
            ledger.index_artifacts("t", ["docs/a.md", path], run_id)
    assert not (folder / "artifacts.json").exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_mean_something_to_git_are_names(name: str, ledger: Ledger, tree: Path) -> None:
    run_id = ledger.write_log({})
    for path in (name, f"docs/{name}"):
        with pytest.raises(InvalidValueError):
            ledger.index_artifacts("t", [path], run_id)
        (tree / path).write_bytes(path.encode())
        git(tree, "add", "-A")
        assert [row["path"] for row in ledger.index_artifacts("t", [path], run_id)] == [path]


def test_paths_are_those_of_the_tree_wherever_one_stands(
    ledger: Ledger, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = ledger.write_log({})
    monkeypatch.chdir(tree / "docs")
    assert [row["path"] for row in ledger.index_artifacts("t", ["a.md"], run_id)] == ["docs/a.md"]
    monkeypatch.chdir(tree.parent)
    absolute = os.path.join(tree, "docs", "a.md")
    assert len(ledger.index_artifacts("u", [absolute], run_id, directory=str(tree))) == 1


def test_variables_of_git_do_not_lead_elsewhere(
    ledger: Ledger, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_tree(tmp_path / "other")
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    run_id = ledger.write_log({})
    assert len(ledger.index_artifacts("t", ["docs/a.md"], run_id)) == 1


def test_a_repository_starts_no_program_of_its_own(ledger: Ledger, tree: Path, tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n", encoding="utf-8")
    hook.chmod(0o755)
    git(tree, "config", "core.fsmonitor", str(hook))
    ledger.index_artifacts("t", ["docs/a.md"], ledger.write_log({}))
    assert not (tmp_path / "started").exists()


def test_without_git_it_says_so(ledger: Ledger, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = ledger.write_log({})
    monkeypatch.setenv("PATH", str(tree))
    with pytest.raises(GitFailedError, match="no program git"):
        ledger.index_artifacts("t", ["docs/a.md"], run_id)


def test_outside_of_any_tree_it_says_so(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GitFailedError, match="not a git repository"):
        ledger.index_artifacts("t", ["x"], ledger.write_log({}))


def test_run_and_task_have_to_be_there(ledger: Ledger, folder: Path, tree: Path) -> None:
    with pytest.raises(EntityNotFoundError):
        ledger.index_artifacts("t", ["docs/a.md"], "20200101T000000Z-000000")
    with pytest.raises(InvalidValueError):
        ledger.index_artifacts(" ", ["docs/a.md"], ledger.write_log({}))
    assert not (folder / "artifacts.json").exists()


@pytest.mark.parametrize(
    "damage", [b"", b'{"version": 0, "artifacts": []}', b'{"version": 0, "artifacts": {"t": [1]}}']
)
def test_a_damaged_table_is_left_alone(damage: bytes, ledger: Ledger, folder: Path, tree: Path) -> None:
    run_id = ledger.write_log({})
    (folder / "artifacts.json").write_bytes(damage)
    with pytest.raises(DamagedError):
        ledger.index_artifacts("t", ["docs/a.md"], run_id)
    assert (folder / "artifacts.json").read_bytes() == damage


def test_long_files_are_hashed_whole(ledger: Ledger, tree: Path) -> None:
    data = bytes(range(256)) * 9000
    (tree / "long.bin").write_bytes(data)
    git(tree, "add", "long.bin")
    (row,) = ledger.index_artifacts("t", ["long.bin"], ledger.write_log({}))
    assert row["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_crash_loses_no_artifact_that_was_acknowledged(tree: Path, tmp_path: Path) -> None:
    with opened(LocalBackend(tmp_path / "one", create=True)) as ledger:
        ledger.index_artifacts("t", ["docs/a.md"], ledger.write_log({}))
    with opened(LocalBackend(tmp_path / "one")) as again:
        assert len(again.artifacts()["t"]) == 1
