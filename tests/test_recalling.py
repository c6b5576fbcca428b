"""The benchmark of recall's speed runs, and makes the same memories in every run.

How fast recall is, is not judged here.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from benchmarks import recalling

PARAGRAPHS = [f"paragraph {number} speaks of kettles, tea and other things" for number in range(6)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    def write(name: str, lines: list[dict[str, str]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"peps_{name}.jsonl.gz").write_bytes(gzip.compress(text.encode()))

    write("memories", [{"content": text} for text in PARAGRAPHS])
    write("queries", [{"query": "kettles"}, {"query": "paragraph 3"}])
    return tmp_path


@pytest.mark.parametrize("count", [0, 4, 6, 20])
def test_there_are_as_many_texts_as_asked_for_and_always_the_same(data: Path, count: int) -> None:
    made = list(recalling.texts(data, count))
    assert made == list(recalling.texts(data, count))
    assert len(made) == count
    assert made[:6] == PARAGRAPHS[:count]


def test_every_way_is_measured_and_judged(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recalling, "NEW", 10)
    recalling.main([str(tmp_path), "--data", str(data), "--size", "40"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["queries"].keys() == recalling.WAYS.keys()
    assert all(0 < figures["p50_ms"] <= figures["p99_ms"] for figures in shown["queries"].values())
    assert shown["caught_up_10_seconds"] > 0
    assert len(shown["goals"]) == 3


def test_a_goal_that_is_missed_is_said_to_be() -> None:
    ways = {"text": {"p50_ms": 21.0}, "hybrid": {"p50_ms": 20.0}}
    assert list(recalling.judged(ways, 1.01)["goals"].values()) == [False, True, False]
