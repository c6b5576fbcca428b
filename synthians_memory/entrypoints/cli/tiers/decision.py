"""The command tiers decision: log a decision, or find similar ones.

It decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.tiers.rows import LimitOption, RowIdOption, misused, work_on_rows
from synthians_memory.entrypoints.cli.values import json_or_text
from synthians_memory.tiers import Decision, Tiers

__all__ = ["EXAMPLES", "Level", "decision"]

EXAMPLES: Final = (
    '--store notes tiers decision "which letter first" --chosen "the oldest" --option "the oldest" --option "the shortest"',
    '--store notes tiers decision "in which order are letters answered"',
)


class Level(StrEnum):
    """How much thought it took."""

    REACTIVE = "reactive"
    OPERATIONAL = "operational"
    TACTICAL = "tactical"
    STRATEGIC = "strategic"


def decision(
    context: typer.Context,
    about: Annotated[str, typer.Argument(metavar="TEXT", help="What was, or is, to be decided.")],
    *,
    chosen: Annotated[str | None, typer.Option(metavar="TEXT", help="What was chosen; logs the decision.")] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="VALUE", help="What could be chosen: JSON, or else text. May be repeated."),
    ] = None,
    reasoning: Annotated[str | None, typer.Option(metavar="TEXT", help="Why.")] = None,
    level: Annotated[Level | None, typer.Option(help="How much thought it took; operational without it.")] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="The model that was asked.")] = None,
    outcome: Annotated[str | None, typer.Option(metavar="TEXT", help="What came of it.")] = None,
    decision_id: RowIdOption = None,
    limit: LimitOption = 5,
    as_json: JsonOption = False,
) -> int:
    """Log a decision, or find similar ones.

    With --chosen it is logged, or replaces the one with that id; without it the decisions are shown that were about
    something similar, archived ones too, the most similar first.
    """
    fields: dict[str, Any] = {
        "id": decision_id,
        "options": [json_or_text(one) for one in option] if option else None,
        "reasoning": reasoning,
        "intelligence_level": None if level is None else level.value,
        "model_used": model,
        "outcome": outcome,
    }
    known = {name: value for name, value in fields.items() if value is not None}
    if chosen is None and known:
        raise misused("a decision is logged with --chosen only", "decision")

    async def work(tiers: Tiers) -> Sequence[Decision]:
        if chosen is None:
            return await tiers.working.find_similar_decisions(about, limit)
        return [await tiers.working.log_decision(Decision(context=about, chosen=chosen, **known))]

    return work_on_rows(context, as_json, "decisions", work, writing=chosen is not None)
