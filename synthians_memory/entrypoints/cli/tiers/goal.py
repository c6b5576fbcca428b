"""The command tiers goal: store a goal, change its status, or show those that are active.

It works on no goal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.options import JsonOption, MetadataOption
from synthians_memory.entrypoints.cli.tiers.rows import RowIdOption, found, misused, work_on_rows
from synthians_memory.entrypoints.cli.values import json_or_text, pairs
from synthians_memory.tiers import Goal, Tiers

__all__ = ["EXAMPLES", "goal"]

EXAMPLES: Final = (
    '--store notes tiers goal "Answer all letters" --id letters --priority 1',
    "--store notes tiers goal --id letters --status completed --result '{\"answered\": 12}'",
    "--store notes tiers goal",
)


def goal(
    context: typer.Context,
    description: Annotated[str | None, typer.Argument(metavar="TEXT", help="What is to be reached.")] = None,
    *,
    goal_id: RowIdOption = None,
    status: Annotated[
        str | None, typer.Option(metavar="TEXT", help="completed, failed and cancelled end it; others are free.")
    ] = None,
    priority: Annotated[int, typer.Option(metavar="N", help="Lower is more urgent.")] = 2,
    result: Annotated[str | None, typer.Option(metavar="VALUE", help="What came of it: JSON, or else text.")] = None,
    metadata: MetadataOption = None,
    as_json: JsonOption = False,
) -> int:
    """Store a goal, change the status of one, or show those that are active.

    With TEXT it is stored, or replaces the one with that id; with --id and --status that one is changed; with --id alone
    it is shown; without all of them the active ones are, the most urgent first.
    """
    value = None if result is None else json_or_text(result)
    if description is None and goal_id is None and status is not None:
        raise misused("--status needs the goal: its --id, or TEXT for a new one", "goal")
    fields: dict[str, Any] = {"priority": priority, "metadata": pairs(metadata or (), "--metadata"), "result": value}

    async def work(tiers: Tiers) -> Sequence[Goal]:
        working = tiers.working
        if description is not None:
            return [
                await working.store_goal(
                    Goal(id=goal_id, description=description, status="pending" if status is None else status, **fields)
                )
            ]
        if goal_id is None:
            return await working.get_active_goals()
        if status is None:
            return [found(await working.get_goal(goal_id), f"goal {goal_id!r}")]
        return [await working.update_goal(goal_id, status, value)]

    return work_on_rows(context, as_json, "goals", work, writing=description is not None or status is not None)
