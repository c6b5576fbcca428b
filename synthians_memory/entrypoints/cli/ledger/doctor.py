"""The command ledger doctor: look for anything that is wrong with the ledger.

It changes nothing unless it is told to mend, and then only what can be mended without losing anything.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.findings import findings_table, summary
from synthians_memory.entrypoints.cli.ledger.places import (
    DirOption,
    directory_of,
    embedder_of,
    reading_ledger,
    store_of,
)
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.errors import DamagedError, UnsupportedFormatError
from synthians_memory.json_values import JsonObject
from synthians_memory.layout import LEDGER_FACTS
from synthians_memory.ledger.fact_memories import forgotten_facts, remember_facts
from synthians_memory.ledger.facts import fact_memory_id
from synthians_memory.ledger.ledger import Ledger
from synthians_memory.reports import Finding

__all__ = ["EXAMPLES", "doctor"]

EXAMPLES: Final = ("--store notes ledger doctor", "--store notes ledger doctor --mend")


def doctor(
    context: typer.Context,
    mend: Annotated[bool, typer.Option("--mend", help="Save the facts that are not among the memories.")] = False,
    directory: DirOption = None,
    as_json: JsonOption = False,
) -> int:
    """Look for anything that is wrong with the ledger.

    The chain, the capsules, the facts, torn lines; in a store also facts that are not among its memories. The exit code is 1 where
    something is wrong, 7 where it was mended. It cannot see that the tail of the log was cut; docs/ledger.md tells why.
    """
    output, place = Output.wanted(as_json), store_of(context, directory)
    with reading_ledger(directory_of(context, directory)) as ledger:
        findings, facts = ledger.check(), _facts(ledger)
    saved: list[str] = []
    if place is not None and facts:
        code = run(_compare(place, facts, findings, saved, mend=mend))
        if code != ExitCode.OK:
            return code
    wrong = any(finding.severity != "note" for finding in findings)
    if output.json:
        output.document({"clean": not wrong, "findings": [one.to_dict() for one in findings], "remembered": saved})
    else:
        if findings:
            output.show(findings_table(findings), "")
        output.show(summary(findings), *([f"{len(saved)} facts were saved as memories"] if saved else []))
    if wrong:
        return ExitCode.FINDINGS
    return ExitCode.MENDED if saved else ExitCode.OK


def _facts(ledger: Ledger) -> list[JsonObject]:
    try:
        return ledger.facts()
    except (DamagedError, UnsupportedFormatError):
        return []  # it is among the findings


async def _compare(
    place: Place, facts: list[JsonObject], findings: list[Finding], saved: list[str], *, mend: bool
) -> int:
    if mend:
        embedder = await embedder_of(place)
        async with place.writing(embedder=embedder) as store:
            saved += [entry.memory_id for entry in await remember_facts(store, facts, embedder)]
        return ExitCode.OK
    async with place.reading() as store:
        for fact in await forgotten_facts(store, facts):
            what = f"the fact {fact['id']!r} of the run {fact.get('source_run')} is not the memory {fact_memory_id(fact['id'])}"
            findings.append(Finding("fact_not_remembered", what, LEDGER_FACTS))
    return ExitCode.OK
