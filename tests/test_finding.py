"""The benchmark of finding runs on titles and on conversations, counts rightly, and refuses what it cannot read.

What it finds on real data is not judged here.
"""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.finding import SWEPT, WAYS, Found, conversation_task, main, title_task

TALK: list[dict[str, Any]] = [
    {"conversation": "a", "turn": "a1", "speaker": "Ada", "text": "Where did you spend the holidays this summer?"},
    {"conversation": "a", "turn": "a2", "speaker": "Ben", "text": "In Lisbon, with my sister."},
    {"conversation": "b", "turn": 3, "time": "2024-05-01T10:00:00Z", "text": "Her holidays were all about sailing."},
    {"conversation": "b", "turn": 4, "time": "2024-05-01T10:01:00Z", "text": "The kettle is broken again."},
    {"question": "Where were the summer holidays spent?", "evidence": ["a1", "a2"], "conversation": "a"},
    {"question": "broken kettle", "evidence": [4]},
]


def written(path: Path, lines: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two documents, one of which has a paragraph with its own title."""
    texts = {
        "tea-0": "How to steep: brewing\n  TEA takes some minutes.",
        "tea-1": "Boiling water goes over the leaves of the tea.",
        "bed-0": "A pillow for everybody; see also brewing tea.",
    }
    memories = [
        {"id": name, "content": text, "created_at": "2020-01-01T00:00:00Z", "assembly_id": name[:3], "metadata": {}}
        for name, text in texts.items()
    ]
    assemblies = [
        {"assembly_id": "tea", "name": "Brewing tea", "members": ["tea-0", "tea-1"]},
        {"assembly_id": "bed", "name": "Sleep", "members": ["bed-0"]},
    ]
    queries = [{"query": "Brewing Tea", "assembly_id": "tea"}, {"query": "Sleep", "assembly_id": "bed"}]
    for name, lines in (("memories", memories), ("assemblies", assemblies), ("queries", queries)):
        written(tmp_path / f"peps_{name}.jsonl.gz", lines)
    return tmp_path


def test_titles_and_conversations_are_measured_in_every_way(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    talk = written(data / "talk.jsonl", TALK)
    main(["--data", str(data), "--conversations", str(talk), "--sweep"])
    shown = capsys.readouterr()
    titles, conversations = json.loads(shown.out)["tasks"]
    assert (titles["task"], titles["titles"], titles["left out with their title"]) == ("titles", 2, 1)
    assert (conversations["task"], conversations["turns"], conversations["questions"]) == ("talk.jsonl", 4, 2)
    for document in (titles, conversations):
        assert list(document["ways"]) == list(WAYS)
        assert all(way["hit_rate_at_10"] >= way["hit_rate_at_1"] for way in document["ways"].values())
        assert len(document["sweep"]) == math.prod(map(len, SWEPT.values()))
    # Of two turns the question shares words with one; the other is found by it.
    assert conversations["ways"]["text"]["evidence_at_10"] == 0.75
    assert conversations["ways"]["text with neighbours"]["evidence_at_10"] == 1.0
    assert "| text with neighbours | " in shown.err
    assert "| text | 100.0% |" in shown.err


def test_no_title_is_stored(data: Path) -> None:
    task = title_task(data)
    assert [entity.get("id") or entity["name"] for entity in task.entities] == ["tea-1", "bed-0", "tea", "bed"]
    assert [entity.get("members") for entity in task.entities[2:]] == [["tea-1"], ["bed-0"]]
    assert [(question.text, set(question.answers)) for question in task.questions] == [
        ("Brewing Tea", {"tea-1"}),
        ("Sleep", {"bed-0"}),
    ]
    assert not any("metadata" in entity for entity in task.entities)


def test_turns_follow_in_the_order_of_the_file(tmp_path: Path) -> None:
    task = conversation_task(written(tmp_path / "talk.jsonl.gz", TALK))
    first, second = task.entities[:2]
    assert first["content"] == "Ada: Where did you spend the holidays this summer?"
    assert first["created_at"] < second["created_at"]
    assert task.entities[2]["created_at"] == "2024-05-01T10:00:00+00:00"
    assert [question.where for question in task.questions] == [{"conversation_id": "a"}, None]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"turn": "x", "text": "no conversation"}, "line 7 is neither a turn nor a question"),
        ({"conversation": "a", "turn": "a1", "text": "again"}, "the turn 'a1' is there twice"),
        ({"conversation": "a", "turn": "x", "text": "late", "time": "noon"}, "line 7 is neither"),
        ({"question": "who?", "evidence": ["a9"]}, "line 7: its evidence names no turn of the file: ['a9']"),
        ({"question": "who?"}, "its evidence names no turn"),
    ],
)
def test_a_line_of_another_form_is_named(line: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as refused:
        conversation_task(written(tmp_path / "talk.jsonl", [*TALK, line]))
    assert message in str(refused.value)


def test_shares_are_means_over_the_questions() -> None:
    assert Found.of([(True, True, 1.0), (False, True, 0.5), (False, False, 0.0), (False, False, 0.5)]) == Found(
        0.25, 0.5, 0.5
    )
    assert Found.of([]) == Found(0, 0, 0)


def test_something_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "--data or --conversations is needed" in capsys.readouterr().err
