"""The command ledger check: whether changed facts have their receipts in what was appended to the log.

It does not look at capsules and memories; `ledger doctor` does.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.ledger.places import DirOption, directory_of
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned
from synthians_memory.ledger.receipts import check_receipts

__all__ = ["EXAMPLES", "check"]

EXAMPLES: Final = (
    "--store notes ledger check --base HEAD",
    "BASE_SHA=origin/main synthians-memory --store notes ledger check",
)


def check(
    context: typer.Context,
    base: Annotated[str, typer.Option(metavar="REV", envvar="BASE_SHA", help="The revision to compare with.")],
    directory: DirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Compare the ledger with that of a revision in git.

    0: every new or changed fact has its receipt, an entry appended since then that is its source_run or names it among its
    derived_facts. 1: one has none, or has vanished, or the log was rewritten. 2: the base cannot be read.
    """
    output = Output.wanted(as_json)
    report = check_receipts(directory_of(context, directory), base)
    if output.json:
        output.document(
            {
                "base": report.base,
                "clean": not report.problems,
                "problems": list(report.problems),
                "appended": list(report.appended),
                "changed": list(report.changed),
            }
        )
    else:
        output.show(*map(cleaned, report.problems))
        output.show(f"{len(report.changed)} facts changed, {len(report.appended)} entries appended since {report.base}")
    return ExitCode.FINDINGS if report.problems else ExitCode.OK
