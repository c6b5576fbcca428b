"""Receipts: whether what a change does to the facts is led to by what it appends to the log.

It changes nothing, neither in the ledger nor in git.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synthians_memory.errors import DamagedError, GitFailedError, SynthiansMemoryError, UnsupportedFormatError
from synthians_memory.json_values import JsonObject
from synthians_memory.layout import LEDGER_FACTS, LEDGER_LOG
from synthians_memory.ledger.entries import Entry
from synthians_memory.ledger.examination import chain_findings
from synthians_memory.ledger.facts import FactTable, facts_in
from synthians_memory.ledger.git import GitTree
from synthians_memory.ledger.log import Log
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.storage.memory import MemoryBackend
from synthians_memory.times import SystemClock

__all__ = ["ReceiptReport", "check_receipts"]


@dataclass(frozen=True, slots=True)
class ReceiptReport:
    """What a check against a base found.

    Attributes:
        base: the commit compared with.
        problems: what is wrong, a sentence each; none where every change has its receipt.
        appended: run ids of the entries since then.
        changed: ids of the facts that are new or changed.
    """

    base: str
    problems: tuple[str, ...]
    appended: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Base:
    """The ledger at the base."""

    commit: str
    log: bytes
    facts: list[JsonObject]


def check_receipts(directory: str, revision: str) -> ReceiptReport:
    """Compare the ledger in `directory` with what it was at `revision` of the work tree that it lies in.

    Raises:
        GitFailedError: the base cannot be read.
        DiskError: the ledger cannot be read.
    """
    base = _read_base(directory, revision)
    backend: Backend = LocalBackend(directory) if os.path.isdir(directory) else MemoryBackend()
    try:
        log = Log(backend, "", SystemClock())
        problems = list(_rewritten(log, base.log))
        entries, broken = _chain(log)
        appended = [] if problems else _behind(log, entries, len(_whole_lines(base.log)))
        problems += broken
        try:
            facts = FactTable(backend, "").read()
        except (DamagedError, UnsupportedFormatError) as error:
            return ReceiptReport(base.commit, (*problems, error.message), (), ())
    finally:
        backend.close()
    changed = _changed(base.facts, facts)
    problems += [*_vanished(base.facts, facts), *_unreceipted(changed, appended)]
    runs = tuple(entry.run_id for entry in appended)
    return ReceiptReport(base.commit, tuple(problems), runs, tuple(fact["id"] for fact in changed))


def _read_base(directory: str, revision: str) -> _Base:
    tree = GitTree.holding(_present(directory))
    commit = tree.commit(revision)
    log = tree.content(commit, tree.path_inside(f"{directory}/{LEDGER_LOG}"))
    table = tree.content(commit, tree.path_inside(f"{directory}/{LEDGER_FACTS}"))
    try:
        facts = [] if table is None else facts_in(table, f"{LEDGER_FACTS} at {revision}")
    except SynthiansMemoryError as error:
        raise GitFailedError(f"the base cannot be read: {error.message}", hint="Give another revision.") from error
    return _Base(commit, log or b"", facts)


def _present(directory: str) -> str:
    """`directory`, or the nearest one above it that is there."""
    found = os.path.abspath(directory)
    while not os.path.isdir(found) and os.path.dirname(found) != found:
        found = os.path.dirname(found)
    return found


def _whole_lines(log: bytes) -> bytes:
    return log[: log.rfind(b"\n") + 1]


def _rewritten(log: Log, base: bytes) -> Iterator[str]:
    kept = _whole_lines(base)
    if b"".join(log.chunks(min(len(kept), log.size()))) != kept:
        yield f"{LEDGER_LOG} was rewritten: it does not begin with the entries of the base"


def _chain(log: Log) -> tuple[list[Entry], list[str]]:
    found = list(chain_findings(log))
    problems = [one.message for one in found if isinstance(one, Finding)]
    return [one for one in found if isinstance(one, Entry)], problems


def _behind(log: Log, entries: Sequence[Entry], end: int) -> list[Entry]:
    """Those of `entries` that stand behind the first `end` bytes."""
    before = sum(1 for _ in log.lines(end))
    return list(entries[before:])


def _changed(before: Sequence[JsonObject], now: Sequence[JsonObject]) -> list[JsonObject]:
    known = {fact["id"]: fact for fact in before}
    return [fact for fact in now if known.get(fact["id"]) != fact]


def _vanished(before: Sequence[JsonObject], now: Sequence[JsonObject]) -> Iterator[str]:
    present = {fact["id"] for fact in now}
    for fact in before:
        if fact["id"] not in present:
            yield f"the fact {fact['id']!r} has vanished"


def _derived(entry: Entry) -> list[str]:
    names = entry.fields.get("derived_facts")
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _unreceipted(changed: Sequence[JsonObject], appended: Sequence[Entry]) -> Iterator[str]:
    runs = {entry.run_id for entry in appended}
    derived = {name for entry in appended for name in _derived(entry)}
    for fact in changed:
        if fact.get("source_run") not in runs and fact["id"] not in derived:
            yield f"the fact {fact['id']!r} has no receipt: no entry since the base is its run {fact.get('source_run')} or derives it"
