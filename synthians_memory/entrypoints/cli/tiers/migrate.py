"""The command tiers migrate: move what is old from the working to the long-term tier.

It deletes nothing: what is moved can be found as before.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, facts
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.entrypoints.cli.tiers.rows import opened
from synthians_memory.tiers import Ages
from synthians_memory.tiers.migration import DAY

__all__ = ["EXAMPLES", "migrate"]

EXAMPLES: Final = ("--store notes tiers migrate", "--store notes tiers migrate --days 7")
_DAYS: Final = 30


def migrate(
    context: typer.Context,
    days: Annotated[int, typer.Option(min=0, max=36_500, metavar="N", help="How old it has to be.")] = _DAYS,
    as_json: JsonOption = False,
) -> int:
    """Move what is old from the working to the long-term tier.

    Goals that ended that long ago, with their tasks and tool calls, and decisions, events and metrics of that age.
    """
    return run(_migrate(Place.of(context), Output.wanted(as_json), days * DAY))


async def _migrate(place: Place, output: Output, age: int) -> int:
    ages = Ages(goals=age, decisions=age, events=age, metrics=age)
    async with opened(place, writing=True, ages=ages) as tiers:
        with progress("moving", "rows") as move:
            report = (await tiers.migrate(progress=lambda so_far: move(so_far.total))).to_dict()
    if output.json:
        output.document(report)
    else:
        output.show(facts(report.items()))
    return ExitCode.OK
