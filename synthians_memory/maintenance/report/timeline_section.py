"""The section of a report about what happened: saves, backups, health passes, repairs, restores, purges, failures.

It finds no trace itself; what has left none is not there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from synthians_memory.maintenance.report.charts import Mark, lane, times_row
from synthians_memory.maintenance.report.elements import Element, card, counted, element, table, time_text
from synthians_memory.maintenance.report.facts import ReportFacts, shown_text
from synthians_memory.maintenance.report.logs import Event, EventKind
from synthians_memory.maintenance.report.wording import MOST_ROWS, MOST_SENTENCE, OUTCOMES, pass_in_words
from synthians_memory.maintenance.snapshots import SnapshotInfo
from synthians_memory.times import from_micros, to_micros

__all__ = ["timeline_section"]

# Of each kind, the latest.
_MOST_MARKS: Final = 200
_LEAST_SPAN: Final = timedelta(hours=1)
_LANES: Final[tuple[tuple[EventKind, str, str], ...]] = (
    ("backup", "backups", "healthy"),
    ("health pass", "health passes", "plain"),
    ("repair", "repairs", "mended"),
    ("restore", "restores", "restored"),
    ("purge", "purges", "findings"),
    ("failure", "failures", "failed"),
)


def timeline_section(facts: ReportFacts) -> Element:
    """A lane for each kind of thing that happens to a store, and the latest of them as a table."""
    events = _all_events(facts)
    saves = [from_micros(micros) for micros in facts.updated[:1] + facts.updated[-1:]]
    moments = [*saves, *(event.at for event in events)]
    end = max([facts.made_at, *moments])
    start = min([*moments, end - _LEAST_SPAN])
    lanes = [element("span", "last saves"), _saves_lane(facts.updated, start, end), *_event_lanes(events, start, end)]
    figure = element("figure", *lanes, times_row(start, end), class_="lanes")
    lead = "What happened to the store, as far as it has left a trace: its logs, snapshots, quarantine and receipts."
    return card("timeline", "Timeline", lead, figure, _table_of_events(events[-MOST_ROWS:]))


def _event_lanes(events: Sequence[Event], start: datetime, end: datetime) -> Iterator[Element]:
    for kind, name, class_ in _LANES:
        found = [event for event in events if event.kind == kind]
        marks = [_mark(event, class_, start, end) for event in found[-_MOST_MARKS:]]
        yield element("span", name)
        yield lane(f"lane-{kind.replace(' ', '-')}", f"{len(found):,} {name}", _last_of(found), marks)


def _table_of_events(events: Sequence[Event]) -> Element | None:
    rows = [(time_text(event.at), event.kind, shown_text(event.what, MOST_SENTENCE)) for event in reversed(events)]
    return table(f"The last {len(rows):,} as a table", ("time (UTC)", "what", "details"), rows) if rows else None


def _all_events(facts: ReportFacts) -> list[Event]:
    backups = [Event(one.taken_at, "backup", _backup_in_words(one)) for one in facts.snapshots if one.taken_at]
    passes = [Event(one.at, "health pass", pass_in_words(one), one.outcome) for one in facts.passes]
    there = {one.name for one in facts.snapshots}
    # Those that no ring wants any more, and those in another directory.
    others = [one for one in facts.passes if one.snapshot and one.snapshot not in there]
    backups += [Event(one.at, "backup", f"a health pass took the snapshot {one.snapshot}") for one in others]
    return sorted([*facts.events, *backups, *passes], key=lambda event: event.at)


def _backup_in_words(one: SnapshotInfo) -> str:
    whole = "" if one.whole else ", not whole"
    return (
        f"{one.ring} snapshot of {counted(one.memories, 'memory', 'memories')} and {one.assemblies:,} assemblies{whole}"
    )


def _event_in_words(event: Event) -> str:
    return f"{time_text(event.at)}: {shown_text(event.what, MOST_SENTENCE)}"


def _last_of(events: Sequence[Event]) -> str:
    return f"The last one: {_event_in_words(events[-1])}" if events else "There is none."


def _mark(event: Event, class_: str, start: datetime, end: datetime) -> Mark:
    shown = event.outcome if event.outcome in OUTCOMES else class_
    return Mark(_place(event.at, start, end), shown, _event_in_words(event))


def _place(moment: datetime, start: datetime, end: datetime) -> float:
    return (moment - start) / (end - start)


def _saves_lane(updated: Sequence[int], start: datetime, end: datetime) -> Element:
    """When the present versions were saved: marks where there were any, in a hundred pieces of the time."""
    first, last = to_micros(start), to_micros(end)
    width = max(1, (last - first) // 100)
    marks = []
    for number in range(101):
        begins = first + number * width
        count = bisect_right(updated, begins + width - 1) - bisect_right(updated, begins - 1)
        if count:
            said = f"{time_text(from_micros(begins))}: last saves of {counted(count, 'memory', 'memories')}"
            marks.append(Mark(min(1.0, (number + 0.5) / 100), "plain", said))
    words = f"The last save was at {time_text(from_micros(updated[-1]))}." if updated else "Nothing was saved yet."
    return lane("lane-saves", "When memories were last saved", words, marks)
