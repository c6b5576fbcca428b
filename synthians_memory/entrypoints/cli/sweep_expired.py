"""The command sweep-expired: delete the memories that have expired.

It does not remove every trace of them; purge does.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.stores import Place

__all__ = ["EXAMPLES", "sweep_expired"]

EXAMPLES: Final = ("--store notes sweep-expired --dry-run", "--store notes sweep-expired")


def sweep_expired(
    context: typer.Context,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Delete nothing, only count; works beside a writer.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Delete the memories that have expired.

    No command shows them any more, but for `export --expired`; this frees their space. The members of assemblies are left as they
    are.
    """
    return run(_sweep(Place.of(context), dry_run, Output.wanted(as_json)))


async def _sweep(place: Place, dry_run: bool, output: Output) -> int:
    opened = place.reading() if dry_run else place.writing()
    async with opened as store:
        with progress("deleting", "memories") as move:
            count = await store.sweep_expired(dry_run=dry_run, progress=lambda done, total: move(done, total=total))
    if output.json:
        output.document({"expired": count, "deleted": 0 if dry_run else count})
    else:
        output.show(f"{'would delete' if dry_run else 'deleted'} {count:,} expired memories")
    return ExitCode.OK
