"""The command purge: remove every trace of memories, or of assemblies, from the store's directory.

It is not delete, which takes what it deletes out of every answer, and leaves copies to the next checkpoints.
"""

from __future__ import annotations

import sys
from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.options import AssemblyOption, JsonOption, kind_of
from synthians_memory.entrypoints.cli.output import Output, cleaned, table, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.errors import UsageError
from synthians_memory.layout import Kind, validate_id
from synthians_memory.reports import PurgeReceipt

__all__ = ["EXAMPLES", "purge"]

EXAMPLES: Final = ("--store notes purge pep-0020-000", "--store notes purge --yes --backups pep-0020-000 pep-0020-001")


def purge(
    context: typer.Context,
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Write -- before one that begins with a dash.")],
    assembly: AssemblyOption = False,
    backups: Annotated[
        bool, typer.Option("--backups", help="Purge snapshots in the store's directory as well.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> int:
    """Remove every trace of memories, or assemblies.

    Files, journal, indexes and their copies, text index, quarantine. It cannot be undone. A receipt names each place and is kept in
    the store's logs folder. Where something is left that it does not touch, the exit code is 1; where an id was not stored, 3: its
    traces are removed all the same. What a file system or a disk keeps of freed blocks, and copies elsewhere, are out of its reach.
    """
    wanted = list(dict.fromkeys(ids))
    return run(_purge(Place.of(context), wanted, kind_of(assembly), backups, yes, Output.wanted(as_json)))


async def _purge(place: Place, ids: list[str], kind: Kind, backups: bool, yes: bool, output: Output) -> int:
    for entity_id in ids:
        validate_id(entity_id)
    place.require()
    if not yes and not _confirmed(ids, kind):
        tell("purge", "not confirmed; nothing was changed")
        return ExitCode.INTERRUPTED
    async with place.writing() as store:
        with progress("purging", "steps") as move:
            receipt = await store.purge(
                ids, kind=kind, backups=backups, progress=lambda done, total: move(done, total=total)
            )
    _tell(receipt, output)
    if receipt.not_stored:
        return ExitCode.NOT_FOUND
    return ExitCode.FINDINGS if receipt.left else ExitCode.OK


def _confirmed(ids: list[str], kind: Kind) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("a purge cannot be undone, and there is nobody to ask", hint="Add --yes.")
    what = cleaned(repr(ids[0])) if len(ids) == 1 else f"{len(ids):,} of them"
    return typer.confirm(f"Remove every trace of the {kind} {what}? This cannot be undone.", err=True)


def _tell(receipt: PurgeReceipt, output: Output) -> None:
    if output.json:
        output.document(receipt.to_dict())
    else:
        rows = [(cleaned(p.path), p.action, f"{p.bytes:,}", p.what) for p in receipt.removed]
        output.show(table(("path", "action", "bytes", "what"), rows, cut="what", wrapped=("path",)))
        output.show("", f"purged {len(receipt.ids):,}; the receipt is {receipt.path}")
    for left in receipt.left:
        tell("left", f"{left.path}: {left.why}")
    for entity_id in receipt.not_stored:
        tell("error", f"there is no {receipt.kind} {entity_id!r}; what else was found of it is removed")
    if receipt.not_stored:
        tell("hint", "`list` shows the ids; --assembly purges assemblies.")
