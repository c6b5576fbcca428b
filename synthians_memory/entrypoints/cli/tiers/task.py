"""The command tiers task: store a task of a goal, change it, or show those of a goal.

It does no task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.tiers.rows import RowIdOption, found, misused, work_on_rows
from synthians_memory.entrypoints.cli.values import json_or_text
from synthians_memory.tiers import Task, Tiers

__all__ = ["EXAMPLES", "task"]

EXAMPLES: Final = (
    '--store notes tiers task "Write to Ada" --goal letters --id ada --agent clerk',
    "--store notes tiers task --goal letters --id ada --status completed --duration-ms 1200",
    "--store notes tiers task --goal letters",
)


def task(
    context: typer.Context,
    description: Annotated[str | None, typer.Argument(metavar="TEXT", help="What is to be done.")] = None,
    *,
    goal_id: Annotated[str, typer.Option("--goal", metavar="ID", help="The goal that it belongs to.")],
    task_id: RowIdOption = None,
    agent: Annotated[str | None, typer.Option(metavar="NAME", help="Who does it.")] = None,
    status: Annotated[
        str | None, typer.Option(metavar="TEXT", help="completed, failed and cancelled end it; others are free.")
    ] = None,
    given: Annotated[str | None, typer.Option("--input", metavar="VALUE", help="JSON, or else text.")] = None,
    output: Annotated[str | None, typer.Option(metavar="VALUE", help="What came of it: JSON, or else text.")] = None,
    error: Annotated[str | None, typer.Option(metavar="TEXT", help="Why it failed.")] = None,
    duration_ms: Annotated[int | None, typer.Option(min=0, metavar="N", help="How long it took.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Store a task of a goal, change one, or show those of a goal.

    With TEXT it is stored, or replaces the one with that id; with --id alone the options that are given change it; without
    both the tasks of the goal are shown.
    """
    fields: dict[str, Any] = {
        "agent": agent,
        "status": status,
        "input": None if given is None else json_or_text(given),
        "output": None if output is None else json_or_text(output),
        "error": error,
        "duration_ms": duration_ms,
    }
    changes = {name: value for name, value in fields.items() if value is not None}
    if changes and description is None and task_id is None:
        raise misused("a change needs the task: its --id, or TEXT for a new one", "task")

    async def work(tiers: Tiers) -> Sequence[Task]:
        working = tiers.working
        if description is not None:
            return [await working.store_task(Task(id=task_id, goal_id=goal_id, description=description, **changes))]
        tasks = await working.get_tasks_for_goal(goal_id)
        if task_id is None:
            return tasks
        present = found(next((one for one in tasks if one.id == task_id), None), f"task {task_id!r} of {goal_id!r}")
        if not changes:
            return [present]
        return [await working.store_task(Task.from_dict({**present.to_dict(), **changes}))]

    return work_on_rows(context, as_json, "tasks", work, writing=description is not None or bool(changes))
