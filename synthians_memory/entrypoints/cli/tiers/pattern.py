"""The command tiers pattern: store a pattern, find the best one, or note how it went.

It follows no pattern.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.tiers.rows import RowIdOption, misused, work_on_rows
from synthians_memory.tiers import Pattern, Tiers

__all__ = ["EXAMPLES", "pattern"]

EXAMPLES: Final = (
    '--store notes tiers pattern "a letter of thanks" --action "answer with a card" --id thanks',
    "--store notes tiers pattern --id thanks --success",
    '--store notes tiers pattern "letter" --min-success-rate 0.5',
)


def pattern(
    context: typer.Context,
    trigger: Annotated[str | None, typer.Argument(metavar="TEXT", help="What it is for, or a part of that.")] = None,
    *,
    action: Annotated[str | None, typer.Option(metavar="TEXT", help="What to do then; stores the pattern.")] = None,
    success_rate: Annotated[
        float | None, typer.Option(metavar="SHARE", help="How often it went well so far, 0 to 1.")
    ] = None,
    uses: Annotated[int | None, typer.Option(min=0, metavar="N", help="How often it was used so far.")] = None,
    created_from: Annotated[str | None, typer.Option(metavar="TEXT", help="Where it comes from.")] = None,
    pattern_id: RowIdOption = None,
    success: Annotated[
        bool | None, typer.Option("--success/--failure", help="How it went this time; needs --id.")
    ] = None,
    min_success_rate: Annotated[
        float, typer.Option(min=0.0, max=1.0, metavar="SHARE", help="Leave out those that went well less often.")
    ] = 0.0,
    as_json: JsonOption = False,
) -> int:
    """Store a pattern, find the best one, or note how it went.

    With --action it is stored, or replaces the one with that id; with --success or --failure the one with that id
    counts one use more; else the best one is shown whose trigger contains TEXT, letters large or small.
    """
    fields: dict[str, Any] = {"success_rate": success_rate, "uses": uses, "created_from": created_from}
    known = {name: value for name, value in fields.items() if value is not None}
    storing, noting = action is not None, success is not None
    if storing == noting and (storing or trigger is None):
        raise misused("write TEXT, TEXT with --action, or --id with --success or --failure", "pattern")
    if (storing and trigger is None) or (noting and pattern_id is None) or (known and not storing):
        raise misused(
            "--action needs TEXT, --success and --failure need --id, and other facts need --action", "pattern"
        )

    async def work(tiers: Tiers) -> Sequence[Pattern]:
        working = tiers.working
        if success is not None:
            return [await working.update_pattern_stats(pattern_id or "", success)]
        if action is not None:
            return [await working.store_pattern(Pattern(id=pattern_id, trigger=trigger or "", action=action, **known))]
        best = await working.find_pattern(trigger or "", min_success_rate)
        return [] if best is None else [best]

    return work_on_rows(context, as_json, "patterns", work, writing=storing or noting)
