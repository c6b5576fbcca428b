"""The command tiers recent: the latest events of the working tier.

What only the ring of a running program has is not among them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.tiers.rows import LimitOption, work_on_rows
from synthians_memory.tiers import Event, Tiers

__all__ = ["EXAMPLES", "recent"]

EXAMPLES: Final = ("--store notes tiers recent", "--store notes tiers recent --category mail --limit 5")


def recent(
    context: typer.Context,
    *,
    category: Annotated[str | None, typer.Option(metavar="TEXT", help="Only those of this kind.")] = None,
    source: Annotated[str | None, typer.Option(metavar="TEXT", help="Only those that come from there.")] = None,
    limit: LimitOption = 100,
    as_json: JsonOption = False,
) -> int:
    """Show the latest events, newest first.

    Those of the working tier: critical ones, those that left the ring of a program, and those of `tiers push`.
    """

    async def work(tiers: Tiers) -> Sequence[Event]:
        return await tiers.working.get_events(limit, category, source)

    return work_on_rows(context, as_json, "events", work, writing=False)
