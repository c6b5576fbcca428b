"""Receipts: a change of the facts has to be led to by entries that were appended since the base."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from git_trees import commit, make_tree
from ledgers import fact, opened

from synthians_memory.errors import GitFailedError
from synthians_memory.ledger.ledger import Ledger
from synthians_memory.ledger.receipts import check_receipts
from synthians_memory.storage.local import LocalBackend


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "tree") / "memory" / "ledger"


@pytest.fixture
def base(folder: Path, ledger: Ledger) -> str:
    """A commit with two entries and one fact."""
    run_id = ledger.write_log({"task": "base"})
    ledger.write_log({"task": "base too"})
    ledger.promote_fact(fact(run_id, id="old"))
    return commit(folder.parent.parent)


def problems(folder: Path, revision: str) -> tuple[str, ...]:
    return check_receipts(str(folder), revision).problems


def test_nothing_changed_needs_no_receipt(base: str, folder: Path) -> None:
    report = check_receipts(str(folder), "HEAD")
    assert (report.base, report.problems, report.appended, report.changed) == (base, (), (), ())


def test_an_entry_since_then_is_a_receipt_as_source_or_by_deriving(base: str, ledger: Ledger, folder: Path) -> None:
    old_run = ledger.timeline()[0]["run_id"]
    source = ledger.write_log({"task": "new"})
    derived = ledger.write_log({"task": "deriving", "derived_facts": ["derived", "old"]})
    ledger.promote_fact(fact(source, id="sourced"))
    ledger.promote_fact(fact(old_run, id="derived"))
    ledger.promote_fact(fact(old_run, id="old", statement="changed"))
    report = check_receipts(str(folder), base)
    assert report.problems == ()
    assert report.appended == (source, derived)
    assert report.changed == ("old", "sourced", "derived")


@pytest.mark.parametrize(
    "changes", [{"id": "new"}, {"id": "old", "statement": "changed"}, {"id": "old", "confidence": 1}]
)
def test_a_change_without_a_receipt_is_told(changes: dict[str, Any], base: str, ledger: Ledger, folder: Path) -> None:
    old_run = ledger.timeline()[0]["run_id"]
    ledger.write_log({"task": "says nothing of it", "derived_facts": ["other"]})
    ledger.promote_fact(fact(old_run, **changes))
    (problem,) = problems(folder, base)
    assert f"{changes['id']!r} has no receipt" in problem


def forge(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    lines = (folder / "log.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "log.jsonl").write_bytes(b"".join(change(lines)))


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:1],
        lambda lines: [],
        lambda lines: lines[1:],
        lambda lines: [lines[0].replace(b"base", b"edit"), *lines[1:]],
        lambda lines: [*lines, b"torn"],
        lambda lines: [*lines, lines[0]],
    ],
    ids=["cut", "empty", "beginning", "edited", "torn", "repeated"],
)
def test_a_log_that_was_rewritten_is_told(change: Any, base: str, folder: Path) -> None:
    forge(folder, change)
    assert problems(folder, base)


def test_a_log_made_anew_with_a_sound_chain_is_told(base: str, ledger: Ledger, folder: Path) -> None:
    (folder / "log.jsonl").unlink()
    source = ledger.write_log({"task": "another history"})
    ledger.promote_fact(fact(source, id="old"))
    assert ledger.check() == []
    assert any("rewritten" in problem for problem in problems(folder, base))


def test_a_fact_that_vanished_is_told(base: str, folder: Path) -> None:
    table = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    (folder / "state.json").write_text(json.dumps({**table, "facts": []}), encoding="utf-8")
    assert problems(folder, base) == ("the fact 'old' has vanished",)
    (folder / "state.json").unlink()
    assert problems(folder, base) == ("the fact 'old' has vanished",)


def test_a_ledger_that_vanished_is_told(base: str, folder: Path) -> None:
    shutil.rmtree(folder.parent)
    assert any("rewritten" in problem for problem in problems(folder, base))


def test_damaged_facts_are_told(base: str, folder: Path) -> None:
    (folder / "state.json").write_bytes(b"{")
    assert len(problems(folder, base)) == 1


def test_a_base_without_a_ledger_wants_receipts_for_everything(folder: Path) -> None:
    base = commit(folder.parent.parent)
    with opened(LocalBackend(folder, create=True)) as ledger:
        ledger.promote_fact(fact(ledger.write_log({}), id="new"))
    report = check_receipts(str(folder), base)
    assert (report.problems, report.changed, len(report.appended)) == ((), ("new",), 1)


@pytest.mark.parametrize("revision", ["nowhere", "0" * 40, "", "--help", "HEAD:memory", "HEAD^{tree}", "-1"])
def test_a_base_that_cannot_be_read_is_an_error(revision: str, base: str, folder: Path) -> None:
    with pytest.raises(GitFailedError):
        check_receipts(str(folder), revision)


def test_facts_of_the_base_that_cannot_be_read_are_an_error(base: str, folder: Path) -> None:
    (folder / "state.json").write_bytes(b"{")
    damaged = commit(folder.parent.parent)
    with pytest.raises(GitFailedError, match="base cannot be read"):
        check_receipts(str(folder), damaged)


def test_outside_of_git_it_is_an_error(tmp_path: Path) -> None:
    with opened(LocalBackend(tmp_path / "elsewhere", create=True)) as ledger:
        ledger.write_log({})
    with pytest.raises(GitFailedError):
        check_receipts(str(tmp_path / "elsewhere"), "HEAD")
