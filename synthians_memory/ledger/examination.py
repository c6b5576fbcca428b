"""Examining a ledger: whether its chain, capsules, facts and tables are what they should be.

It mends nothing, and cannot see a tail that was cut: that takes a head that was kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from synthians_memory.config import CheckLevel
from synthians_memory.errors import DamagedError, StoreLockedError, UnsupportedFormatError
from synthians_memory.json_values import JsonObject
from synthians_memory.layout import LEDGER_FACTS, LEDGER_LOG, is_cut_log, is_scratch, is_set_aside, path_in
from synthians_memory.ledger.artifacts import ArtifactTable
from synthians_memory.ledger.capsules import capsule_names, capsule_problems, run_folder
from synthians_memory.ledger.entries import CAPSULE_HASHES, Entry, inspect_line, run_id_in
from synthians_memory.ledger.facts import FactTable, expiry_of, is_current
from synthians_memory.ledger.log import Line, Log
from synthians_memory.reports import Finding
from synthians_memory.storage.backend import Backend, EntryStat
from synthians_memory.storage.lock import lock_folder
from synthians_memory.times import Clock, format_time, from_micros

__all__ = ["chain_findings", "examine"]

_LOCK_SECONDS: Final = 2.0


def examine(backend: Backend, folder: str, level: CheckLevel, clock: Clock) -> list[Finding]:
    """What is wrong with the ledger in `folder`; nothing where there is none. Raises DiskError.

    Args:
        backend: where.
        folder: the ledger's.
        level: "quick" reads the names, the last line and the tables; "full" every byte; "off" nothing.
        clock: tells which facts have expired.
    """
    if level == "off":
        return []
    log = Log(backend, folder, clock)
    rest = _at_rest(backend, folder, log)
    if level == "quick":
        return [*_tail_findings(log, rest.end), *rest.problems, *_kept_findings(backend, folder, None)]
    entries: dict[str, Entry] = {}
    cuts: set[str] = set()
    findings = []
    for found in chain_findings(log, rest.end):
        if isinstance(found, Finding):
            findings.append(found)
        else:
            entries[found.run_id] = found
            cuts.add(_cut_named(found))
    findings += _capsule_findings(backend, folder, entries, rest.capsules)
    findings += [*rest.problems, *_fact_findings(rest.facts, path_in(folder, LEDGER_FACTS), entries, clock)]
    return [*findings, *_kept_findings(backend, folder, cuts)]


@dataclass(frozen=True, slots=True)
class _AtRest:
    """What belongs together, taken while nobody was writing.

    Attributes:
        end: length of the log.
        capsules: what lies in `runs`.
        facts: the rows of the table; none where it is damaged.
        problems: what is wrong with the tables.
    """

    end: int
    capsules: dict[str, EntryStat]
    facts: list[JsonObject]
    problems: list[Finding]


def _at_rest(backend: Backend, folder: str, log: Log) -> _AtRest:
    if folder and backend.stat(folder) is None:
        return _AtRest(0, {}, [], [])
    held = None
    with suppress(StoreLockedError):  # then an entry that is just being written may look torn
        held = lock_folder(backend, folder, wait=_LOCK_SECONDS)
    try:
        facts, problems = _tables(backend, folder)
        return _AtRest(log.size(), dict(capsule_names(backend, folder)), facts, problems)
    finally:
        if held is not None:
            held.release()


def chain_findings(log: Log, end: int | None = None) -> Iterator[Entry | Finding]:
    """Every entry in order, and every defect where it is met. Raises DiskError.

    Args:
        log: what is read.
        end: up to which byte; default: the end that it has now.
    """
    # The hash that the next entry has to name; () where the line before does not tell.
    expected: str | tuple[()] | None = None
    seen: set[str] = set()
    for line in log.lines(end):
        if not line.whole or (b"\0" in line.data and line.offset >= log.tail_end(end)):
            yield _torn(log, line)
            return
        entry, reason = inspect_line(line.data)
        if entry is None:
            yield _damaged(log, line, reason)
            expected = ()
            continue
        if expected not in ((), entry.hash_prev):
            yield _broken(log, line, entry)
        if entry.run_id in seen:
            yield Finding("ledger_duplicate", f"{_place(log, line)} names the run {entry.run_id} once more", log.path)
        seen.add(entry.run_id)
        expected = entry.hash_self
        yield entry


def _place(log: Log, line: Line) -> str:
    return f"line {line.number} of {log.path}"


def _torn(log: Log, line: Line) -> Finding:
    run = run_id_in(line.data)
    what = f", of the run {run}," if run else ""
    entry, _ = inspect_line(line.data)
    size = f"{len(line.data)} bytes"
    state = "lacks its line break" if entry else f"is torn: {size} of an entry that was never written to its end"
    return Finding("ledger_torn", f"{_place(log, line)}{what} {state}", log.path)


def _damaged(log: Log, line: Line, reason: str) -> Finding:
    run = run_id_in(line.data)
    what = f", of the run {run}," if run else ""
    return Finding("ledger_damaged", f"{_place(log, line)}{what} is not what was written: {reason}", log.path)


def _broken(log: Log, line: Line, entry: Entry) -> Finding:
    before = "the one before it" if line.number > 1 else "nothing, as the first one should"
    return Finding(
        "ledger_chain_broken",
        f"{_place(log, line)}, of the run {entry.run_id}, does not follow {before}: its hash_prev is {entry.hash_prev}",
        log.path,
    )


def _tail_findings(log: Log, size: int) -> Iterator[Finding]:
    try:
        tail = log.tail(size)
    except DamagedError as error:
        yield Finding("ledger_damaged", error.message, log.path)
        return
    if size > tail.end:
        yield Finding("ledger_torn", f"the last {size - tail.end} bytes of {log.path} are torn", log.path)


# Capsules


def _capsule_findings(
    backend: Backend, folder: str, entries: dict[str, Entry], present: dict[str, EntryStat]
) -> Iterator[Finding]:
    for run_id, entry in entries.items():
        if not isinstance(entry.fields.get(CAPSULE_HASHES), dict):
            continue
        path = run_folder(folder, run_id)
        if run_id not in present:
            yield Finding("capsule_missing", f"the capsule of the run {run_id} is missing", path)
        elif present[run_id].kind != "folder":
            yield Finding("capsule_changed", f"the capsule of the run {run_id} is no folder", path)
        elif problems := capsule_problems(backend, folder, entry, contents=True):
            yield Finding(
                "capsule_changed", f"the capsule of the run {run_id} was changed: {', '.join(problems)}", path
            )
    for name in present:
        path = run_folder(folder, name)
        if is_scratch(name):
            yield Finding("scratch", f"a run is under way, or was killed: {path}", path)
        elif name not in entries or CAPSULE_HASHES not in entries[name].fields:
            yield Finding("capsule_orphan", f"the capsule {path} belongs to no entry of the log", path)


# Tables


def _tables(backend: Backend, folder: str) -> tuple[list[JsonObject], list[Finding]]:
    """The facts, and what is wrong with the tables."""
    facts: list[JsonObject] = []
    problems: list[Finding] = []
    table, artifacts = FactTable(backend, folder), ArtifactTable(backend, folder)
    try:
        facts = table.read()
    except (DamagedError, UnsupportedFormatError) as error:
        problems.append(Finding("ledger_table_damaged", error.message, table.path))
    try:
        artifacts.read()
    except (DamagedError, UnsupportedFormatError) as error:
        problems.append(Finding("ledger_table_damaged", error.message, artifacts.path))
    return facts, problems


def _fact_findings(facts: list[JsonObject], path: str, entries: dict[str, Entry], clock: Clock) -> Iterator[Finding]:
    now = from_micros(clock.micros())
    for fact in facts:
        expiry = expiry_of(fact)
        if expiry is not None and not is_current(fact, now):
            yield _fact_finding("fact_stale", fact, f"has expired at {format_time(expiry)}", path)
        if fact.get("source_run") not in entries:
            yield _fact_finding("fact_unsupported", fact, "names a run that is not in the log", path)


def _fact_finding(code: str, fact: JsonObject, what: str, path: str) -> Finding:
    run = fact.get("source_run")
    return Finding(code, f"the fact {fact.get('id')!r} of the run {run} {what}", path)


# What was put beside the log


def _cut_named(entry: Entry) -> str:
    cut: Any = entry.fields.get("cut")
    return str(cut.get("kept_as")) if isinstance(cut, dict) else ""


def _kept_findings(backend: Backend, folder: str, cuts: set[str] | None) -> Iterator[Finding]:
    for name, _ in sorted(backend.scan(folder)):
        path = path_in(folder, name)
        if is_set_aside(name, LEDGER_LOG):
            yield Finding("ledger_set_aside", f"a torn line, never acknowledged, was set aside as {path}", path)
        elif is_cut_log(name) and cuts is not None and name not in cuts:
            yield Finding("ledger_cut_unrecorded", f"no entry tells of the log that was cut off as {path}", path)
        elif is_scratch(name):
            yield Finding("scratch", f"{path} was left behind", path)
