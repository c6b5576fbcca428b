"""The command tiers migrate: move what is old from the working to the long-term tier.

It deletes nothing: what is moved can be found as before.
"""

from __future__ import annotations

from typing import Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, facts
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.entrypoints.cli.tiers.rows import opened

__all__ = ["EXAMPLES", "migrate"]

EXAMPLES: Final = ("--store notes tiers migrate",)


def migrate(context: typer.Context, as_json: JsonOption = False) -> int:
    """Move what is old from the working to the long-term tier.

    Goals that ended more than 30 days ago, with their tasks and tool calls, and decisions, events and metrics of that age.
    """
    return run(_migrate(Place.of(context), Output.wanted(as_json)))


async def _migrate(place: Place, output: Output) -> int:
    async with opened(place, writing=True) as tiers:
        report = (await tiers.migrate()).to_dict()
    if output.json:
        output.document(report)
    else:
        output.show(facts(report.items()))
    return ExitCode.OK
