"""docs/examples/orchestrator.py does what it says: killed at any time it goes on where it was, and learns what works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from synthians_memory import MemoryPersistence
from synthians_memory.tiers import Tiers

EXAMPLE = Path(__file__).resolve().parent.parent.parent / "docs" / "examples" / "orchestrator.py"
GOALS = {
    f"keep {place}": ["dig the bed", "sow the seeds", f"water the {place}"]
    for place in ("the garden", "the balcony", "the yard")
}
TASKS = 9

Told = dict[str, Any]


@contextmanager
def started(store: Path, plan: Path, pause: float = 0.0) -> Iterator[subprocess.Popen[str]]:
    """The example as a process of its own; nothing of it is left behind."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", str(EXAMPLE), str(store), str(plan), f"--pause={pause}"],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HOME": str(store.parent)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def written_plan(folder: Path) -> Path:
    path = folder / "plan.json"
    path.write_text(json.dumps(GOALS), encoding="utf-8")
    return path


def killed_at(store: Path, plan: Path, event: str, count: int) -> list[Told]:
    """What it said before it was killed, soon after it had said `event` for the `count`th time."""
    told: list[Told] = []
    with started(store, plan, pause=0.3) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told.append(json.loads(line))
            if len(of(told, event)) == count:
                process.kill()
    assert process.returncode < 0
    return told


def of(told: list[Told], event: str) -> list[Told]:
    return [one for one in told if one["event"] == event]


async def test_killed_again_and_again_it_goes_on_where_it_was(tmp_path: Path) -> None:
    store, plan = tmp_path / "store", written_plan(tmp_path)
    first = killed_at(store, plan, "finished", 2)
    second = killed_at(store, plan, "decided", 3)
    with started(store, plan) as process:
        last = [json.loads(line) for line in process.stdout or ()]
    assert process.returncode == 0
    finished = [one["task"] for one in (*of(first, "finished"), *of(second, "finished"), *of(last, "finished"))]
    # Each exactly once, and in order; but for one that was killed between its end and its word for it.
    assert finished == sorted(set(finished))
    assert TASKS - 2 <= len(finished) <= TASKS
    # It was killed in the middle of a task, and began with that.
    interrupted = of(second, "decided")[-1]["task"]
    assert of(last, "resumed")[0]["task"] == interrupted
    assert len(of(second, "resumed")) <= 1
    assert [goal for one in (first, second, last) for goal in of(one, "reached")][-1]["goal"] == "goal-2"
    await everything_is_recorded(store)


def test_it_learns_what_works_and_gets_context(tmp_path: Path) -> None:
    store, plan = tmp_path / "store", written_plan(tmp_path)
    with started(store, plan) as process:
        told = [json.loads(line) for line in process.stdout or ()]
    assert process.returncode == 0
    decided = of(told, "decided")
    assert [one["cached"] for one in decided[:3]] == [False, False, False]
    assert [one["cached"] for one in decided[3:]] == [True, True, False] * 2
    assert {one["tool"] for one in decided if "-task-0" in one["task"]} == {decided[0]["tool"]}
    assert all(0 < one["tokens"] <= 400 for one in decided)
    assert decided[-1]["tokens"] > decided[0]["tokens"]
    assert of(told, "done")[0]["similar"][0].endswith("task-2")
    with started(store, plan) as process:
        again = [json.loads(line) for line in process.stdout or ()]
    assert [one["event"] for one in again] == ["started", "done"]


async def everything_is_recorded(path: Path) -> None:
    async with MemoryPersistence(path) as store, Tiers(store) as tiers:
        working = tiers.working
        assert await working.get_active_goals() == []
        tasks = [task for number in range(3) for task in await working.get_tasks_for_goal(f"goal-{number}")]
        assert [task.status for task in tasks] == ["completed"] * TASKS
        for task in tasks:
            (call,) = await working.get_tool_calls_for_task(task.id)
            assert task.output == {"tool": call.tool_name}
        decisions = await working.find_similar_decisions("the bed, the seeds, the water", 100)
        assert {decision.id for decision in decisions} == {f"decision-{task.id}" for task in tasks}
        assert {decision.outcome for decision in decisions} == {"it worked"}
        pattern = await working.find_pattern("dig the bed")
        assert pattern is not None
        assert (pattern.success_rate, pattern.uses >= 3) == (1.0, True)
        said = [event.data["finished"] for event in await working.get_events(100, category="task")]
        assert set(said) == {task.id for task in tasks}
        findings = await store.verify_consistency("full")
        assert not [finding for finding in findings if finding.severity != "note"]
