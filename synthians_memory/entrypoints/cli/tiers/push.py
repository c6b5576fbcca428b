"""The command tiers push: write an event to the events of the working tier.

It is not the ring of a program, which ends with it: an event from the command line is durable, critical or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.tiers.rows import RowIdOption, work_on_rows
from synthians_memory.entrypoints.cli.values import pairs
from synthians_memory.tiers import Event, Tiers

__all__ = ["EXAMPLES", "push"]

EXAMPLES: Final = ("--store notes tiers push --category mail --source clerk --data letters=12",)


def push(
    context: typer.Context,
    *,
    category: Annotated[str, typer.Option(metavar="TEXT", help="What kind of event it is.")],
    source: Annotated[str, typer.Option(metavar="TEXT", help="Where it comes from.")],
    data: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="What is known of it; VALUE is JSON, or else text. May be repeated."),
    ] = None,
    critical: Annotated[bool, typer.Option("--critical", help="It is critical.")] = False,
    event_id: RowIdOption = None,
    as_json: JsonOption = False,
) -> int:
    """Write an event to the events of the working tier.

    An event with an id that is there already changes nothing.
    """
    event = Event(id=event_id, category=category, source=source, data=pairs(data or (), "--data"), critical=critical)

    async def work(tiers: Tiers) -> Sequence[Event]:
        return [await tiers.working.store_event(event)]

    return work_on_rows(context, as_json, "events", work, writing=True)
