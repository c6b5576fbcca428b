"""A Hypothesis machine: working memory and its archive against a dict of what was stored last, through reopenings and kills."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from working_samples import IN_MEMORY, copied, working_memory

from synthians_memory.errors import EntityNotFoundError, UsageError
from synthians_memory.testing.clock import ManualClock
from synthians_memory.tiers.archive import Archive
from synthians_memory.tiers.migration import Ages, finish
from synthians_memory.tiers.records import FINAL_STATUSES, Decision, Event, Goal, Pattern, Record, Task, ToolCall
from synthians_memory.tiers.working import WorkingMemory

AGE = 100
NAMES = st.sampled_from(["a", "b", "c", "d"])
WORDS = st.sampled_from(["Disk full", "disk", "network", "50% of_x", "DISK FULL today"])
STATUSES = st.sampled_from(["pending", "running", *FINAL_STATUSES])


class WorkingMachine(RuleBasedStateMachine):
    """The model: what is in working memory, in the order of its first storing, and what is in the archive."""

    def __init__(self) -> None:
        super().__init__()
        self.place = Path(tempfile.mkdtemp(dir=IN_MEMORY))
        self.loop = asyncio.new_event_loop()
        self.clock = ManualClock()
        self.number = 0
        self.working: dict[str, dict[str, Any]] = {
            kind: {} for kind in ("goal", "task", "toolcall", "decision", "pattern", "event")
        }
        self.archived: dict[str, dict[str, Any]] = {kind: {} for kind in self.working}

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        self.context = working_memory(self.place / str(self.number), self.clock)
        self.memory: WorkingMemory = self.run(self.context.__aenter__())

    def end(self) -> None:
        self.run(self.context.__aexit__(None, None, None))

    def teardown(self) -> None:
        self.end()
        self.loop.close()
        shutil.rmtree(self.place)

    # Steps

    def _stored(self, kind: str, store: Any, record: Record, *parents: tuple[str, str]) -> None:
        """Store a record and its model, unless it is archived or belongs to nothing."""
        missing = [parent for parent_kind, parent in parents if parent not in self.working[parent_kind]]
        if missing:
            with pytest.raises(EntityNotFoundError):
                self.run(store(record))
        elif record.key in self.archived[kind]:
            with pytest.raises(UsageError):
                self.run(store(record))
        else:
            before = self.working[kind].get(record.key)
            wanted = self._as_stored(record, before)
            assert self.run(store(record)) == wanted
            self.working[kind][record.key] = wanted

    def _as_stored(self, record: Any, before: Any) -> Any:
        for name in ("created_at", "timestamp"):
            if name in record.COLUMNS and getattr(record, name) is None:
                record = replace(record, **{name: getattr(before, name) if before else self.memory.now()})
        if "status" in record.COLUMNS and record.status in FINAL_STATUSES and record.completed_at is None:
            ended = before.completed_at if before and before.status in FINAL_STATUSES else None
            record = replace(record, completed_at=self.memory.now() if ended is None else ended)
        return record

    @rule(name=NAMES, text=WORDS, status=STATUSES, priority=st.integers(0, 3))
    def store_goal(self, name: str, text: str, status: str, priority: int) -> None:
        goal = Goal(id=name, description=text, status=status, priority=priority)
        self._stored("goal", self.memory.store_goal, goal)

    @rule(name=NAMES, status=STATUSES, result=st.none() | st.dictionaries(NAMES, st.integers(), max_size=2))
    def update_goal(self, name: str, status: str, result: Any) -> None:
        before = self.working["goal"].get(name)
        if before is None:
            with pytest.raises(EntityNotFoundError):
                self.run(self.memory.update_goal(name, status, result))
            return
        ended = before.completed_at if status in FINAL_STATUSES else None
        changed = replace(before, status=status, completed_at=ended, result=before.result if result is None else result)
        wanted = self._as_stored(changed, before)
        assert self.run(self.memory.update_goal(name, status, result)) == wanted
        self.working["goal"][name] = wanted

    @rule(name=NAMES, goal=NAMES, text=WORDS, status=STATUSES)
    def store_task(self, name: str, goal: str, text: str, status: str) -> None:
        known = self.working["task"].get(name)
        task = Task(id=name, goal_id=known.goal_id if known else goal, description=text, status=status)
        self._stored("task", self.memory.store_task, task, ("goal", task.goal_id))

    @rule(name=NAMES, task=NAMES, success=st.booleans())
    def store_tool_call(self, name: str, task: str, success: bool) -> None:
        known = self.working["toolcall"].get(name)
        call = ToolCall(id=name, task_id=known.task_id if known else task, tool_name="tool", success=success)
        self._stored("toolcall", self.memory.store_tool_call, call, ("task", call.task_id))

    @rule(name=NAMES, text=WORDS, outcome=st.none() | WORDS)
    def log_decision(self, name: str, text: str, outcome: str | None) -> None:
        decision = Decision(id=name, context=text, chosen="x", outcome=outcome)
        self._stored("decision", self.memory.log_decision, decision)

    @rule(name=NAMES, text=WORDS, rate=st.floats(0, 1), uses=st.integers(0, 9))
    def store_pattern(self, name: str, text: str, rate: float, uses: int) -> None:
        pattern = Pattern(id=name, trigger=text, action="act", success_rate=rate, uses=uses)
        self._stored("pattern", self.memory.store_pattern, pattern)

    @rule(name=NAMES, success=st.booleans())
    def update_pattern_stats(self, name: str, success: bool) -> None:
        before = self.working["pattern"].get(name)
        if before is None:
            with pytest.raises(EntityNotFoundError):
                self.run(self.memory.update_pattern_stats(name, success))
            return
        after = self.run(self.memory.update_pattern_stats(name, success))
        mean = (before.success_rate * before.uses + success) / (before.uses + 1)
        assert after.success_rate == pytest.approx(mean)
        assert after == replace(
            before, success_rate=after.success_rate, uses=before.uses + 1, last_used=self.memory.now()
        )
        self.working["pattern"][name] = after

    @rule(names=st.lists(NAMES, max_size=3))
    def store_events(self, names: list[str]) -> None:
        events = [Event(id=name, category="c", source="s", data={"n": n}) for n, name in enumerate(names)]
        self.run(self.memory.store_events(events))
        for event in events:
            if event.key not in self.archived["event"]:
                self.working["event"].setdefault(event.key, replace(event, timestamp=self.memory.now()))

    @rule(seconds=st.integers(0, AGE))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def migrate(self) -> None:
        until = self.memory.now() - AGE
        self.run(self.memory.migrate_old_entries(ages=Ages(goals=AGE, decisions=AGE, events=AGE, metrics=AGE)))
        goals = {
            goal.key
            for goal in self.working["goal"].values()
            if goal.status in FINAL_STATUSES and goal.completed_at <= until
        }
        self._archive("goal", goals)
        tasks = {task.key for task in self.working["task"].values() if task.goal_id in goals}
        self._archive("task", tasks)
        self._archive("toolcall", {c.key for c in self.working["toolcall"].values() if c.task_id in tasks})
        for kind in ("decision", "event"):
            self._archive(kind, {r.key for r in self.working[kind].values() if r.timestamp <= until})

    def _archive(self, kind: str, keys: set[str]) -> None:
        self.archived[kind] |= {key: self.working[kind].pop(key) for key in keys}

    @rule()
    def reopen(self) -> None:
        self.end()
        self.begin()

    @rule()
    def kill(self) -> None:
        """Go on with what a killed process leaves."""
        copied(self.place / str(self.number), self.place / str(self.number + 1))
        self.end()
        self.number += 1
        self.begin()
        assert self.run(finish(self.memory)).total == 0

    # What must hold

    @invariant()
    def reads_agree(self) -> None:
        goals = self.working["goal"].values()
        active = [goal for goal in goals if goal.status not in FINAL_STATUSES]
        # Sorting is stable: goals of one second are in the order of their first storing.
        active.sort(key=lambda goal: (goal.priority, goal.created_at))
        assert self.run(self.memory.get_active_goals()) == active
        for goal in goals:
            tasks = [task for task in self.working["task"].values() if task.goal_id == goal.key]
            assert self.run(self.memory.get_tasks_for_goal(goal.key)) == tasks
        for task in self.working["task"].values():
            calls = [call for call in self.working["toolcall"].values() if call.task_id == task.key]
            assert self.run(self.memory.get_tool_calls_for_task(task.key)) == calls
        events = sorted(enumerate(self.working["event"].values()), key=lambda e: (e[1].timestamp, e[0]), reverse=True)
        assert self.run(self.memory.get_events()) == [event for _, event in events]

    @invariant()
    def patterns_agree(self) -> None:
        for text, least in (("disk", 0.0), ("DISK full", 0.5), ("%", 0.0), ("x", 0.9), ("nothing", 0.0)):
            fit = [
                pattern
                for pattern in self.working["pattern"].values()
                if text.casefold() in pattern.trigger.casefold() and pattern.success_rate >= least
            ]
            best = min(fit, key=lambda p: (-p.success_rate, -p.uses, p.key), default=None)
            assert self.run(self.memory.find_pattern(text, least)) == best

    @precondition(lambda self: any(self.archived.values()))
    @invariant()
    def archive_agrees(self) -> None:
        assert self.memory.archive is not None
        archive = Archive(self.memory.archive)
        for key, goal in self.archived["goal"].items():
            assert self.run(archive.get_goal(key)) == goal
            tasks = [task for task in self.archived["task"].values() if task.goal_id == key]
            assert sorted(self.run(archive.get_tasks_for_goal(key)), key=lambda t: t.key) == sorted(
                tasks, key=lambda t: t.key
            )
        for key, decision in self.archived["decision"].items():
            assert self.run(archive.get_decision(key)) == decision

    @invariant()
    def words_agree(self) -> None:
        about = [
            (kind, record.key)
            for kind in ("goal", "task", "decision", "pattern")
            for record in self.working[kind].values()
            if "disk" in _text(record).lower()
        ]
        found = [(hit.kind, hit.id) for hit in self.run(self.memory.find_relevant("disk", 99))]
        assert sorted(found) == sorted(about)


def _text(record: Any) -> str:
    if isinstance(record, Pattern):
        return f"{record.trigger} {record.action}"
    return record.context if isinstance(record, Decision) else record.description


TestWorkingMachine = WorkingMachine.TestCase
TestWorkingMachine.settings = settings(
    max_examples=12, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


@pytest.mark.long
@pytest.mark.timeout(1800)
class TestWorkingMachineLong(WorkingMachine.TestCase):
    """The same, longer."""

    settings = settings(
        max_examples=400, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
    )
