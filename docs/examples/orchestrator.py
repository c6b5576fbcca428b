"""A small orchestrator: it works through goals step by step, with three tiers of memory, and learns what works.

    python docs/examples/orchestrator.py STORE PLAN.json

PLAN.json maps each goal to its tasks: {"set up the garden": ["dig the bed", "water the bed"]}. It prints one JSON object a
line. What "finished" says has survived: start it again with the same arguments, also after `kill -9`, and it goes on with
the task that it was at. Goals, tasks, decisions and what it learned are rows of the working tier; before each step it
loads the pattern that it has cached, and the context that a model would be asked with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from pathlib import Path
from typing import TypeVar

from synthians_memory import MemoryPersistence
from synthians_memory.embedding import open_embedder
from synthians_memory.tiers import AssembledContext, Decision, Event, Goal, Pattern, Task, Tiers, ToolCall

R = TypeVar("R", Task, Decision)

AGENT = "orchestrator"
TOOLS = ("look it up", "try it out", "ask somebody")
BUDGET = 400


def tell(event: str, **facts: object) -> None:
    """Print one line."""
    print(json.dumps({"event": event, **facts}), flush=True)


def propose(task: Task, context: AssembledContext) -> str:
    """Stands in for a model, which would read the context: one of the tools, for reasons of its own."""
    read = "\n\n".join(chunk.content for chunk in context.chunks)
    return TOOLS[len(task.description) % len(TOOLS)] if read else TOOLS[0]


class Orchestrator:
    """Works through what is pending; everything that it knows is in its memory."""

    def __init__(self, tiers: Tiers, pause: float) -> None:
        self._tiers = tiers
        self._pause = pause

    async def accept(self, plan: dict[str, list[str]]) -> None:
        """Store the goals that are new, each with its tasks; those that are there stay as they are."""
        working, longterm = self._tiers.working, self._tiers.longterm
        for number, (description, steps) in enumerate(plan.items()):
            goal_id = f"goal-{number}"
            known = {task.id for task in await working.get_tasks_for_goal(goal_id)}
            if await working.get_goal(goal_id) is None and await longterm.archive.get_goal(goal_id) is None:
                await working.store_goal(Goal(id=goal_id, description=description))
            for step, text in enumerate(steps):
                task_id = f"{goal_id}-task-{step}"
                if task_id not in known and await longterm.archive.get_goal(goal_id) is None:
                    await working.store_task(Task(id=task_id, goal_id=goal_id, description=text, agent=AGENT))

    async def work(self) -> None:
        """Reach every goal that is active, the most urgent first."""
        working = self._tiers.working
        for goal in await working.get_active_goals():
            for task in await working.get_tasks_for_goal(goal.id):
                if task.status != "completed":
                    await self._step(goal, task)
            await working.update_goal(goal.id, "completed", result={"tasks": "all"})
            tell("reached", goal=goal.id)

    async def _step(self, goal: Goal, task: Task) -> None:
        """One task from the context to the outcome; killed anywhere in it, the whole step is done again."""
        operational, working = self._tiers.operational, self._tiers.working
        tell("resumed" if task.status == "running" else "began", task=task.id)
        await working.store_task(changed(task, status="running", started_at=int(time.time())))
        operational.start_task(task.id, task.description, agent=AGENT)
        cached = await working.find_pattern(task.description, min_success_rate=0.6)
        context = await self._tiers.assemble_context(f"{goal.description}: {task.description}", BUDGET)
        tool = cached.action if cached is not None else propose(task, context)
        tell("decided", task=task.id, tool=tool, cached=cached is not None, tokens=context.total_tokens)
        decision = Decision(
            id=f"decision-{task.id}",
            context=task.description,
            options=list(TOOLS),
            chosen=tool,
            reasoning="it worked before" if cached is not None else "the model proposed it",
            intelligence_level="reactive" if cached is not None else "tactical",
        )
        decision = await working.log_decision(decision)
        await asyncio.sleep(self._pause)  # here the tool would do its work
        await self._record(task, decision)

    async def _record(self, task: Task, decision: Decision) -> None:
        """Note what came of it; the status of the task comes last, since it says that all this is done."""
        working = self._tiers.working
        call = ToolCall(id=f"call-{task.id}", task_id=task.id, tool_name=decision.chosen, agent=AGENT, success=True)
        await working.store_tool_call(call)
        await working.log_decision(changed(decision, outcome="it worked"))
        learned = await working.find_pattern(task.description)
        if learned is None:
            pattern = Pattern(id=f"pattern-{task.id}", trigger=task.description, action=decision.chosen)
            learned = await working.store_pattern(pattern)
        await working.update_pattern_stats(learned.id, success=True)
        await self._tiers.push_event(
            Event(id=f"finished-{task.id}", category="task", source=AGENT, data={"finished": task.id}, critical=True)
        )
        await working.store_task(changed(task, status="completed", output={"tool": decision.chosen}))
        self._tiers.operational.finish_task(task.id)
        tell("finished", task=task.id)


def changed(record: R, **fields: object) -> R:
    """The record with other fields."""
    return type(record).from_dict({**record.to_dict(), **fields})


async def run(path: str, plan: dict[str, list[str]], pause: float) -> None:
    """Open the store and its tiers, take in the plan, and work."""
    embedder = open_embedder()
    embedder.embed(["ready"])  # reads the weights now, and not while the loop is running
    async with MemoryPersistence(path, embedder=embedder) as store, Tiers(store) as tiers:
        orchestrator = Orchestrator(tiers, pause)
        tell("started", active=[goal.id for goal in await tiers.working.get_active_goals()])
        await orchestrator.accept(plan)
        await orchestrator.work()
        similar = await tiers.working.find_similar_decisions("water the plants")
        tell("done", similar=[decision.id for decision in similar])


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", help="directory of the store; made where it is missing")
    parser.add_argument("plan", type=Path, help="JSON: goal -> list of tasks")
    parser.add_argument("--pause", type=float, default=0.0, help="seconds that a tool takes")
    arguments = parser.parse_args()
    plan = json.loads(arguments.plan.read_text(encoding="utf-8"))
    asyncio.run(run(arguments.store, plan, arguments.pause))


if __name__ == "__main__":
    main()
