"""Exchanges are captured where whole words of the rules stand in them, weighed and tagged; explicit values win."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from synthians_memory import MemoryEntry, MemoryPersistence
from synthians_memory.errors import DiskError, InvalidTypeError, InvalidValueError, NotStoredError
from synthians_memory.layout import AUTOMEMORY_LOG, LOGS
from synthians_memory.maintenance.capture import Capture
from synthians_memory.maintenance.event_log import EventLog
from synthians_memory.maintenance.significance import CaptureRules, Rule, rules_from
from synthians_memory.storage.local import LocalBackend
from synthians_memory.testing.clock import ManualClock

RULES = CaptureRules()


@pytest.mark.parametrize(
    ("text", "importance", "rule"),
    [
        ("I refactored the parser", 0.6, "code"),
        ("```\nprint(1)\n```", 0.6, "code"),
        ("The build is green", 0.7, "build"),
        ("All TESTS pass", 0.7, "test"),
        ("the README explains it", 0.7, "docs"),
        ("benchmark: 3 x faster", 0.7, "benchmark"),
        ("We decided against it", 0.85, "decision"),
        ("we'll  use\nSQLite", 0.85, "decision"),
        ("see rfc-12", 0.85, "rfc"),
        ("found the root cause", 0.85, "bug"),
        ("v1.2.3 is out", 0.85, "release"),
        ("Approved.", 0.95, "approval"),
        ("LGTM!", 0.95, "approval"),
    ],
)
def test_what_is_significant_is_weighed(text: str, importance: float, rule: str) -> None:
    found = RULES.judge(text)
    assert found.importance == importance
    assert rule in found.rules


@pytest.mark.parametrize(
    "text",
    [
        "How are you today? - Fine, thanks, and you?",
        "Good morning! Nice weather.",
        "I was debugging my life over a latte",
        "The rebuilding of the contest's prototests",
        "a cliché about releasers and disapproved",
        "classy functional decisional",
        "bug_report2",
        "",
    ],
)
def test_small_talk_and_parts_of_words_are_not(text: str) -> None:
    assert RULES.judge(text).rules == ()


def test_the_highest_importance_counts() -> None:
    found = RULES.judge("The build fails, a bug in the merge. Approved nevertheless.")
    assert found.rules == ("approval", "bug", "build", "code")
    assert found.importance == 0.95


def test_tags_come_from_the_table_in_its_order() -> None:
    found = RULES.judge("A faster pull request: cargo crates, RFC 7, a regression and a feature")
    assert found.tags == ("rfc", "rust", "github", "bug", "feature", "performance")
    assert RULES.judge("Ada approved it").tags == ()


def test_rules_are_configured() -> None:
    document = {
        "rules": [{"name": "tea", "words": ["tea", "green tea"], "importance": 0.4, "patterns": ["(?i)darjeeling"]}],
        "tags": {"ada": ["Ada"], "rust": []},
    }
    rules = rules_from(document)
    assert rules.judge("Darjeeling, Ada?").importance == 0.4
    assert rules.judge("Darjeeling, ada?").tags == ("ada",)
    assert rules.judge("we decided on rust").rules == ()
    assert "rust" not in rules.judge("rust, a bug").tags
    assert rules_from({}).judge("approved").importance == 0.95


@pytest.mark.parametrize(
    "document",
    [
        {"rule": []},
        {"rules": [{"name": "x"}]},
        {"rules": ["x"]},
        {"rules": [{"name": "x", "words": "tea", "importance": 0.5}]},
        {"rules": [{"name": "x", "words": [" "], "importance": 0.5}]},
        {"rules": [{"name": "x", "words": ["a"], "importance": 2}]},
        {"rules": [{"name": "x", "words": ["a"], "importance": True}]},
        {"rules": [{"name": "x", "words": ["a"], "importance": 0.5, "patterns": ["("]}]},
        {"tags": {"x": [1]}},
    ],
)
def test_wrong_rules_are_refused_by_name(document: dict[str, Any]) -> None:
    with pytest.raises((InvalidValueError, InvalidTypeError)):
        rules_from(document)


# With a store


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / AUTOMEMORY_LOG).read_text().splitlines()]


async def test_an_exchange_is_stored_weighed_and_tagged(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        capture = Capture(store)
        memory_id = await capture.capture("May we release it?", "Approved, the rust bug is gone.", metadata={"n": 1})
        assert memory_id is not None
        entry = await store.load_memory(memory_id)
        assert entry is not None
        assert entry.content == "May we release it?\n\nApproved, the rust bug is gone."
        assert (entry.tags, entry.quickrecal_score, entry.metadata) == (("rust", "bug"), 0.95, {"n": 1})
        assert await capture.capture("How are you?", "Fine.") is None
        assert len(await store.list_memories()) == 1
    stored, skipped = lines_of(tmp_path)
    assert (stored["outcome"], stored["id"], stored["importance"]) == ("stored", memory_id, 0.95)
    assert (skipped["outcome"], skipped["id"]) == ("skipped", None)
    assert "release" not in {word for line in lines_of(tmp_path) for word in str(line).split()}


async def test_explicit_values_win(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        capture = Capture(store)
        memory_id = await capture.capture("A rust bug", "approved", tags=["mine"], importance=0.1)
        entry = await store.load_memory(memory_id or "")
        assert entry is not None
        assert (entry.tags, entry.quickrecal_score) == (("mine",), 0.1)
        assert await capture.capture("How are you?", "Fine.", importance=0.2) is not None
        assert await capture.capture("How are you?", "Fine.", tags=["mine"]) is None


async def test_what_is_too_long_is_refused_and_never_cut(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        with pytest.raises(InvalidValueError, match="over 100,000"):
            await Capture(store).capture("approved", "x" * 100_000)
        with pytest.raises(InvalidTypeError):
            await Capture(store).capture("approved", None)  # type: ignore[arg-type]
        assert await store.list_memories() == []


async def test_what_cannot_be_stored_is_parked_and_logged(tmp_path: Path) -> None:
    class Refusing(MemoryPersistence):
        async def _remember(self, entry: MemoryEntry, *expected: Any) -> MemoryEntry:
            raise DiskError("no", errno=5)

    async with Refusing(tmp_path) as store:
        with pytest.raises(NotStoredError):
            await Capture(store).capture("release?", "approved")
    assert [line["outcome"] for line in lines_of(tmp_path)] == ["parked"]


async def test_a_log_that_cannot_be_written_loses_no_memory(tmp_path: Path) -> None:
    async with MemoryPersistence(tmp_path) as store:
        (tmp_path / LOGS).write_bytes(b"in the way")
        capture = Capture(store)
        assert await capture.capture("release?", "approved") is not None
        assert capture.log_error is not None
        assert len(await store.list_memories()) == 1


def test_a_log_is_rotated_and_a_torn_line_ended(tmp_path: Path) -> None:
    log = EventLog(lambda: LocalBackend(tmp_path), AUTOMEMORY_LOG, ManualClock(), most_bytes=200)
    for number in range(30):
        log.append(number=number)
    names = sorted(path.name for path in (tmp_path / LOGS).iterdir())
    assert names == ["automemory.log", *(f"automemory.log.{number}" for number in (1, 2, 3))]
    kept = [
        json.loads(line)["number"]
        for name in reversed(names)
        for line in (tmp_path / LOGS / name).read_text().splitlines()
    ]
    assert kept == list(range(kept[0], 30))
    with (tmp_path / AUTOMEMORY_LOG).open("ab") as file:
        file.write(b'{"at": "ha')
    log.append(number=30)
    assert json.loads((tmp_path / AUTOMEMORY_LOG).read_text().splitlines()[-1])["number"] == 30


def test_a_rule_is_a_value() -> None:
    assert Rule("a", ("b",), 1) == Rule("a", ("b",), 1)
