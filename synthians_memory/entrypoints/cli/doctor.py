"""The command doctor: everything that is wrong with a store and around it, in plain words, with what mends it.

It mends nothing, and changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from synthians_memory.config import StoreConfig
from synthians_memory.engine.store import Store
from synthians_memory.entrypoints.cli.exits import ExitCode, answer_to
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import FEW, Output, cleaned, table
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.snapshots import FromOption
from synthians_memory.entrypoints.cli.stores import path_of_store
from synthians_memory.errors import DamagedError, UnsupportedFormatError
from synthians_memory.facade import PARTS, MemoryPersistence
from synthians_memory.json_values import JsonObject
from synthians_memory.layout import LEDGER, LEDGER_FACTS
from synthians_memory.ledger.fact_memories import forgotten_facts
from synthians_memory.ledger.facts import fact_memory_id
from synthians_memory.ledger.ledger import Ledger
from synthians_memory.maintenance.diagnosis import Diagnosis, Trouble
from synthians_memory.maintenance.doctor import diagnose
from synthians_memory.reports import Finding
from synthians_memory.storage.local import LocalBackend
from synthians_memory.tiers.memory_check import memory_findings
from synthians_memory.times import SystemClock

__all__ = ["EXAMPLES", "doctor"]

EXAMPLES: Final = ("--store notes doctor", "--store notes doctor --from /mnt/copies/notes --json")

_RESULTS: Final = {"ok": "green", "note": "", "trouble": "bold red", "skipped": "dim"}
_URGENCIES: Final = {"urgent": ("URGENT", "bold red"), "soon": ("SOON", "bold yellow"), "note": ("NOTE", "bold")}
_INDENT: Final = 8


def doctor(context: typer.Context, directory: FromOption = None, as_json: JsonOption = False) -> int:
    """Say what is wrong with the store, how bad it is, and which command mends it.

    Examines everything: memories, indexes, journal, state, ledger, backups, disk, permissions, configuration and more.
    Changes nothing, works beside a program that writes, and where the store cannot be opened. The exit code is 1 where something
    should be done, 5 where something is damaged; where the store cannot be opened, that of any command.
    """
    path = path_of_store(context)
    output = Output.wanted(as_json)
    with progress("examining", "steps") as move:
        diagnosis = diagnose(
            path,
            PARTS,
            snapshots=directory,
            further={
                "facts among the memories": lambda: _forgotten_facts(path),
                "rows among the memories": lambda: _rows_apart(path),
            },
            progress=lambda name, done, total: move(done, total=total or None),
        )
    if output.json:
        output.document(diagnosis.to_dict())
    else:
        _show(diagnosis, output)
    return _code_of(diagnosis)


def _code_of(diagnosis: Diagnosis) -> ExitCode:
    if diagnosis.error is not None:
        return answer_to(diagnosis.error).code
    if diagnosis.is_damaged:
        return ExitCode.DAMAGED
    return ExitCode.OK if diagnosis.is_well else ExitCode.FINDINGS


def _forgotten_facts(path: str) -> list[Finding]:
    """The promoted facts that are not among the memories; none where the table itself is damaged, which is told elsewhere."""
    backend = LocalBackend(path)
    try:
        facts = Ledger(backend, LEDGER).facts()
    except (DamagedError, UnsupportedFormatError):
        facts = []
    finally:
        backend.close()
    return asyncio.run(_compared(path, facts)) if facts else []


async def _compared(path: str, facts: list[JsonObject]) -> list[Finding]:
    async with MemoryPersistence(path, read_only=True, target_recall=1.0) as store:
        return [
            Finding(
                "fact_not_remembered",
                f"the fact {fact['id']!r} is not the memory {fact_memory_id(fact['id'])}",
                f"{LEDGER}/{LEDGER_FACTS}",
            )
            for fact in await forgotten_facts(store, facts)
        ]


def _rows_apart(path: str) -> list[Finding]:
    """Rows of the tiers and memories that do not agree."""
    config = StoreConfig(storage_path=path, target_recall=1.0)
    store = Store.open(LocalBackend(path), config, SystemClock(), read_only=True)
    try:
        return memory_findings(store, "full")
    finally:
        store.release()


def _show(diagnosis: Diagnosis, output: Output) -> None:
    rows = [(one.name, Text(one.result, _RESULTS[one.result]), cleaned(one.detail)) for one in diagnosis.examined]
    output.show(table(("examined", "result", "what was seen"), rows, wrapped=("what was seen",)), "")
    for one in diagnosis.troubles:
        output.show(*_told(one), "")
    output.show(_verdict(diagnosis))
    if diagnosis.commands:
        held = f", when the program that holds it ({diagnosis.holder}) is closed" if diagnosis.holder else ""
        output.show(cleaned(f"Run, in this order{held}:"), *(f"  {cleaned(c)}" for c in diagnosis.commands))


def _told(one: Trouble) -> list[RenderableType]:
    word, style = _URGENCIES[one.urgency]
    said = [one.meaning, *(finding.message for finding in one.findings[1:FEW])]
    parts: list[RenderableType] = [_indented([one.message, *said], Text(word, style))]
    # A command must be taken as it stands, so it is left to the terminal to wrap.
    parts += [f"{' ' * _INDENT}$ {cleaned(command)}" for command in one.commands]
    return [*parts, _indented([one.advice])] if one.advice else parts


def _indented(texts: Sequence[str], label: Text | str = "") -> Table:
    """Texts below each other, wrapped beside a margin that has `label` before the first."""
    found = Table.grid()
    found.add_column(width=_INDENT)
    found.add_column(overflow="fold")
    for number, text in enumerate(texts):
        found.add_row(label if number == 0 else "", Text(cleaned(text)))
    return found


def _verdict(diagnosis: Diagnosis) -> str:
    place, took = cleaned(diagnosis.location), f"({diagnosis.seconds:.1f} s)"
    counts = _counts(diagnosis.troubles)
    if diagnosis.error is not None:
        return f"{place} cannot be opened {took}: {counts}."
    if diagnosis.is_well:
        return f"{place} is well {took}{': ' + counts if counts else ''}."
    return f"{place} needs attention {took}: {counts}."


def _counts(troubles: Sequence[Trouble]) -> str:
    words = {"urgent": "urgent", "soon": "to be mended soon", "note": "worth knowing"}
    counts = [(sum(one.urgency == urgency for one in troubles), words[urgency]) for urgency in words]
    return ", ".join(f"{count} {word}" for count, word in counts if count)
