"""The page of a report: its sections in order, each with a drawing and the same in words and numbers.

It gathers nothing and writes no file. There is no program in the page: it needs none, and its policy admits none.
"""

from __future__ import annotations

import base64
import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from synthians_memory.maintenance.report.charts import (
    Bar,
    Bins,
    Mark,
    area_chart,
    bar_chart,
    bins_of,
    lane,
    map_drawing,
    meter,
    outcome_strip,
    swatch,
    times_row,
)
from synthians_memory.maintenance.report.elements import Element, counted, element, size_text, table, time_text, to_html
from synthians_memory.maintenance.report.facts import ReportFacts, SizeOf, shown_text
from synthians_memory.maintenance.report.logs import Event, EventKind, Pass
from synthians_memory.maintenance.report.memory_map import Group, MapPoint
from synthians_memory.maintenance.report.style import STYLE
from synthians_memory.maintenance.snapshots import SnapshotInfo
from synthians_memory.times import from_micros, to_micros

__all__ = ["page_of"]

_ROWS: Final = 50
_MOST_COLUMNS: Final = 180
_MOST_SENTENCE: Final = 160
# Of each kind on the timeline, the latest.
_MOST_MARKS: Final = 200
# The worst last.
_OUTCOMES: Final = {
    "healthy": "nothing was wrong",
    "findings": "something was only reported",
    "mended": "mended from what the store had",
    "restored": "brought back from a backup",
    "failed": "damage was left",
}
_GOOD: Final = {"healthy": "good", "failed": "bad", "restored": "warn", "mended": "warn"}
_LANES: Final[tuple[tuple[EventKind, str, str], ...]] = (
    ("backup", "backups", "healthy"),
    ("health pass", "health passes", "plain"),
    ("repair", "repairs", "mended"),
    ("restore", "restores", "restored"),
    ("purge", "purges", "findings"),
    ("failure", "failures", "failed"),
)
_LEAST_SPAN: Final = timedelta(hours=1)


def page_of(facts: ReportFacts) -> bytes:
    """The page, in UTF-8; equal facts give equal bytes."""
    sections = (_health(facts), _growth(facts), _sizes(facts), _timeline(facts), _map(facts), _about(facts))
    body = element("body", element("div", _header(facts), element("main", *sections), class_="page"))
    return to_html(element("html", _head(facts), body, lang="en"))


def _head(facts: ReportFacts) -> Element:
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    # Nothing is loaded or run, from wherever: styles are those of the page alone.
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"Memory store {shown_text(facts.location, 100)}"),
        _style(),
    )


def _style() -> Element:
    made = element("style")
    # As it is: its hash stands in the policy.
    made.text = STYLE
    return made


def _header(facts: ReportFacts) -> Element:
    place = element("p", element("span", facts.location, class_="place"))
    when = element("p", f"As it stood on {time_text(facts.made_at)} UTC, read without changing anything.")
    return element("header", element("h1", "Memory store"), place, when, _tiles(facts))


def _tiles(facts: ReportFacts) -> Element:
    expired = f"{facts.expired:,} of them expired" if facts.expired else "none expired"
    total = sum(one.size for one in facts.sizes)
    whole = [one for one in facts.snapshots if one.whole and one.taken_at is not None]
    wrong = [finding for finding in facts.findings if finding.severity != "note"]
    files = sum(one.files for one in facts.sizes)
    last = facts.passes[-1] if facts.passes else None
    tiles = (
        _tile("memories", f"{facts.memories:,}", expired),
        _tile("assemblies", f"{facts.assemblies:,}", f"{counted(facts.vectors, 'vector')} of memories"),
        _tile("on disk", size_text(total), counted(files, "file")),
        _tile("newest backup", *_backup_tile(whole, facts.made_at)),
        _tile("last health pass", *_pass_tile(last)),
        _tile("quick check now", f"{len(wrong):,}", "to be mended", "bad" if wrong else "good"),
    )
    return element("ul", *tiles, class_="tiles")


def _tile(name: str, value: str, more: str, class_: str = "") -> Element:
    return element(
        "li",
        element("span", name, class_="name"),
        element("span", value, class_="value"),
        element("span", more, class_="more"),
        class_=f"tile {class_}".strip(),
    )


def _backup_tile(whole: Sequence[SnapshotInfo], now: datetime) -> tuple[str, str, str]:
    if not whole or whole[-1].taken_at is None:
        return "none", "in the store itself", "warn"
    taken = whole[-1].taken_at
    return _ago(now - taken), f"{time_text(taken)}; {len(whole):,} in all", ""


def _pass_tile(last: Pass | None) -> tuple[str, str, str]:
    if last is None:
        return "none", "on record", ""
    return last.outcome[:20], time_text(last.at), _GOOD.get(last.outcome, "")


def _ago(span: timedelta) -> str:
    hours = max(0, int(span.total_seconds() // 3600))
    if hours < 48:
        return f"{hours} h ago" if hours else "< 1 h ago"
    return f"{hours // 24:,} days ago"


def _card(name: str, title: str, lead: str, *parts: Element | None) -> Element:
    heading = element("h2", title, id=name)
    return element("section", heading, _paragraph(lead, "lead"), *parts, class_="card", aria_labelledby=name)


def _paragraph(text: str, class_: str) -> Element:
    """A paragraph in which what stands between backticks is a command."""
    parts = [part if number % 2 == 0 else element("code", part) for number, part in enumerate(text.split("`"))]
    return element("p", *parts, class_=class_)


# Health


def _health(facts: ReportFacts) -> Element:
    return _card("health", "Health", _health_in_words(facts.passes), *_passes(facts.passes), _findings_now(facts))


def _health_in_words(passes: Sequence[Pass]) -> str:
    if not passes:
        return "No pass of the health monitor is on record yet; `health` from cron, or a monitor in the program, makes them."
    counts = Counter(one.outcome for one in passes)
    parts = ", ".join(f"{count:,} {shown_text(outcome, 20)}" for outcome, count in counts.most_common(6))
    return (
        f"{counted(len(passes), 'pass', 'passes')} of the health monitor since {time_text(passes[0].at)} UTC: {parts}."
    )


def _passes(passes: Sequence[Pass]) -> tuple[Element | None, ...]:
    if not passes:
        return ()
    said = [_column(found) for found in _bundled(passes)]
    strip = outcome_strip("passes", "Health passes", _health_in_words(passes), said)
    figure = element("figure", strip, times_row(passes[0].at, passes[-1].at) if len(passes) > 1 else None)
    seen = [name for name in _OUTCOMES if any(one.outcome == name for one in passes)]
    legend = element("ul", *(_outcome_sign(name) for name in seen), class_="legend")
    findings = Counter[str]()
    for one in passes:
        findings.update(dict(one.findings))
    return figure, legend, _findings_over_time(findings), _table_of_passes(passes)


def _bundled(passes: Sequence[Pass]) -> list[Sequence[Pass]]:
    """The passes, several together where there are too many for a narrow screen."""
    each = -(-len(passes) // _MOST_COLUMNS)
    return [passes[start : start + each] for start in range(0, len(passes), each)]


def _column(passes: Sequence[Pass]) -> tuple[str, str]:
    """The worst outcome among `passes`, and what is said of it."""
    ranks = {outcome: rank for rank, outcome in enumerate(_OUTCOMES)}
    worst = max(passes, key=lambda one: ranks.get(one.outcome, 1))
    more = f"; the worst of {len(passes)} passes until {time_text(passes[-1].at)}" if len(passes) > 1 else ""
    return worst.outcome, _pass_in_words(worst) + more


def _outcome_sign(outcome: str) -> Element:
    sign = element("svg", element("rect", class_=outcome, width=16, height=16), aria_hidden="true")
    sign.set("viewBox", "0 0 16 16")
    return element("li", sign, outcome, element("span", _OUTCOMES[outcome], class_="count"))


def _pass_in_words(one: Pass) -> str:
    findings = ", ".join(f"{count} {code}" for code, count in one.findings)
    parts = [f"{time_text(one.at)}: {one.outcome}", findings, *one.done[:3]]
    return shown_text("; ".join(filter(None, parts)), _MOST_SENTENCE)


def _findings_over_time(findings: Counter[str]) -> Element | None:
    if not findings:
        return None
    rows = [(shown_text(code, 60), f"{count:,}") for code, count in findings.most_common(_ROWS)]
    return table("What the passes found, by code", ("finding", "how often"), rows, numbers=(1,))


def _table_of_passes(passes: Sequence[Pass]) -> Element:
    rows = [
        (
            time_text(one.at),
            shown_text(one.outcome, 20),
            f"{sum(count for _, count in one.findings):,}",
            "" if one.memories is None else f"{one.memories:,}",
            "" if one.size is None else size_text(one.size),
            "" if one.seconds is None else f"{one.seconds:.1f} s",
            shown_text("; ".join(one.done), _MOST_SENTENCE),
        )
        for one in reversed(passes[-_ROWS:])
    ]
    heads = ("time (UTC)", "outcome", "findings", "memories", "size", "took", "what was done")
    return table(f"The last {len(rows):,} passes as a table", heads, rows, numbers=(2, 3, 4, 5))


def _findings_now(facts: ReportFacts) -> Element:
    parts = [element("h3", "Found just now by a quick check")]
    if facts.findings:
        rows = [(f.severity, f.code, shown_text(f.message, _MOST_SENTENCE)) for f in facts.findings[:_ROWS]]
        more = f", the first {_ROWS} of them" if len(facts.findings) > _ROWS else ""
        parts.append(
            table(f"{counted(len(facts.findings), 'finding')}{more}", ("severity", "code", "what was found"), rows)
        )
        parts[-1].set("open", "open")
        parts.append(_paragraph("`synthians-memory doctor` says what each means and which command mends it.", "note"))
    else:
        parts.append(
            _paragraph("Nothing. A quick check compares names, sizes and times; `check` reads every byte.", "note")
        )
    return element("div", *parts)


# Growth


def _growth(facts: ReportFacts) -> Element:
    if not facts.created:
        return _card("growth", "Growth", "There are no memories yet.")
    bins = bins_of(facts.created[0][0], max(facts.created[-1][0], to_micros(facts.made_at)))
    new, sizes = [0] * bins.count, [0] * bins.count
    for micros, size in facts.created:
        new[bins.of(micros)] += 1
        sizes[bins.of(micros)] += size
    first, last = from_micros(facts.created[0][0]), from_micros(facts.created[-1][0])
    lead = (
        f"{counted(len(facts.created), 'memory', 'memories')} of {size_text(sum(sizes))}, made from {first:%Y-%m-%d} to {last:%Y-%m-%d}, by the time "
        "that each says it was made. What was deleted is not counted."
    )
    total, of_bytes = _running(new), _running(sizes)
    words = f"New memories per {bins.unit}; at most {max(new):,}."
    bars = bar_chart("new", f"New memories per {bins.unit}", words, _bars(bins, new))
    memories = area_chart("total", "Memories in all", f"It grows to {total[-1]:,}.", total)
    filled = area_chart("bytes", "Bytes of their files", f"It grows to {size_text(of_bytes[-1])}.", of_bytes)
    return _card(
        "growth",
        "Growth",
        lead,
        element("h3", f"New memories per {bins.unit}"),
        _plot(bars, f"{max(new):,}", bins),
        element(
            "div",
            element("div", element("h3", "Memories in all"), _plot(memories, f"{total[-1]:,}", bins)),
            element("div", element("h3", "Bytes of their files"), _plot(filled, size_text(of_bytes[-1]), bins)),
            class_="pair",
        ),
        _table_of_growth(bins, new, total, of_bytes),
    )


def _running(values: Sequence[int]) -> list[int]:
    total, found = 0, []
    for value in values:
        total += value
        found.append(total)
    return found


def _bars(bins: Bins, counts: Sequence[int]) -> list[Bar]:
    return [Bar(count, f"{bins.label(number)}: {count:,}") for number, count in enumerate(counts)]


def _plot(chart: Element, most: str, bins: Bins) -> Element:
    scale = element("div", element("span", most), element("span", "0"), class_="scale", aria_hidden="true")
    end = bins.start + (bins.count - 1) * bins.width
    times = times_row(from_micros(bins.start), from_micros(end), time_text if bins.unit == "hour" else _day)
    return element("figure", scale, chart, times, class_="plot")


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _table_of_growth(bins: Bins, new: Sequence[int], total: Sequence[int], of_bytes: Sequence[int]) -> Element:
    numbers = [number for number, count in enumerate(new) if count][-_ROWS:]
    rows = [(bins.label(n), f"{new[n]:,}", f"{total[n]:,}", size_text(of_bytes[n])) for n in reversed(numbers)]
    heads = (f"{bins.unit} from", "new memories", "memories in all", "bytes in all")
    return table("The same as a table", heads, rows, numbers=(1, 2, 3))


# Sizes


def _sizes(facts: ReportFacts) -> Element:
    total = sum(one.size for one in facts.sizes)
    lead = f"{size_text(total)} in {counted(sum(one.files for one in facts.sizes), 'file')}."
    if not facts.sizes:
        return _card("sizes", "Sizes", "There are no files yet.")
    largest = facts.sizes[0].size or 1
    cells = [cell for number, one in enumerate(facts.sizes) for cell in _size_row(number, one, largest)]
    rows = [(one.name, size_text(one.size), f"{one.files:,}") for one in facts.sizes]
    listed = table("The same as a table", ("part", "size", "files"), rows, numbers=(1, 2))
    return _card("sizes", "Sizes", lead, element("div", *cells, class_="sizes"), listed)


def _size_row(number: int, one: SizeOf, largest: int) -> tuple[Element, Element, Element]:
    files = element("span", f" · {counted(one.files, 'file')}", class_="files")
    return (
        element("span", one.name),
        meter(f"size-{number}", f"{one.name}: {size_text(one.size)}", one.size / largest),
        element("span", size_text(one.size), files, class_="amount"),
    )


# Timeline


def _timeline(facts: ReportFacts) -> Element:
    events = _all_events(facts)
    moments = [event.at for event in events] + [
        from_micros(micros) for micros in facts.updated[:1] + facts.updated[-1:]
    ]
    end = max([facts.made_at, *moments])
    start = min([*moments, end - _LEAST_SPAN])
    saves = _saves_lane(facts.updated, start, end)
    lanes = [element("span", "last saves"), saves]
    for kind, name, class_ in _LANES:
        found = [event for event in events if event.kind == kind]
        marks = [_mark(event, class_, start, end) for event in found[-_MOST_MARKS:]]
        words = f"{len(found):,} {name}"
        lanes += [element("span", name), lane(f"lane-{kind.replace(' ', '-')}", words, _last_of(found), marks)]
    figure = element("figure", *lanes, times_row(start, end), class_="lanes")
    rows = [
        (time_text(event.at), event.kind, shown_text(event.what, _MOST_SENTENCE)) for event in reversed(events[-_ROWS:])
    ]
    listed = table(f"The last {len(rows):,} as a table", ("time (UTC)", "what", "details"), rows) if rows else None
    lead = "What happened to the store, as far as it has left a trace: its logs, snapshots, quarantine and receipts."
    return _card("timeline", "Timeline", lead, figure, listed)


def _all_events(facts: ReportFacts) -> list[Event]:
    backups = [Event(one.taken_at, "backup", _backup_in_words(one)) for one in facts.snapshots if one.taken_at]
    passes = [Event(one.at, "health pass", _pass_in_words(one), one.outcome) for one in facts.passes]
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
    return f"{time_text(event.at)}: {shown_text(event.what, _MOST_SENTENCE)}"


def _last_of(events: Sequence[Event]) -> str:
    return f"The last one: {_event_in_words(events[-1])}" if events else "There is none."


def _mark(event: Event, class_: str, start: datetime, end: datetime) -> Mark:
    shown = event.outcome if event.outcome in _OUTCOMES else class_
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


# The map


def _map(facts: ReportFacts) -> Element:
    found = facts.map
    if not found.points:
        lead = (
            "No memory has an embedding, so that there is nothing to place."
            if not found.embedded
            else "No memory could be read."
        )
        return _card("map", "Map of the memories", lead)
    shown = (
        f"{len(found.points):,} of {found.embedded:,}"
        if len(found.points) < found.embedded
        else f"{len(found.points):,}"
    )
    lead = (
        f"{shown} memories with an embedding, placed by the two directions in which their embeddings differ most "
        f"(principal components, {found.explained:.0%} of the variance). What lies together is alike; what lies apart may still be."
    )
    drawn = map_drawing("memories", "Map of the memories", f"{lead} {_groups_in_words(found.groups)}", found.points)
    legend = element("ul", *(_group_sign(n, one) for n, one in enumerate(found.groups) if one.count), class_="legend")
    coloured = (
        f"Colour and form by {found.grouped_by}." if found.grouped_by else "None of them says to what it belongs."
    )
    rows = [(one.name, f"{one.count:,}") for one in found.groups if one.count]
    groups = table("The groups as a table", (found.grouped_by or "group", "memories"), rows, numbers=(1,))
    titles = [
        (found.groups[point.group].name, point.title) for point in sorted(found.points, key=_group_then_title)[:_ROWS]
    ]
    listed = table(f"The first {len(titles):,} memories as a table", (found.grouped_by or "group", "memory"), titles)
    return _card(
        "map",
        "Map of the memories",
        lead,
        element("figure", drawn, legend),
        element("p", coloured, class_="note"),
        groups,
        listed,
    )


def _group_then_title(point: MapPoint) -> tuple[int, str]:
    return point.group, point.title


def _groups_in_words(groups: Sequence[Group]) -> str:
    return "Groups: " + ", ".join(f"{one.name} ({one.count:,})" for one in groups if one.count) + "."


def _group_sign(number: int, one: Group) -> Element:
    # A name may be written from right to left; the count beside it is not.
    name = element("bdi", one.name)
    return element("li", swatch(number), name, element("span", f"{one.count:,}", class_="count"))


def _about(facts: ReportFacts) -> Element:
    pairs = [part for name, value in facts.about for part in (element("dt", name), element("dd", value))]
    missing = [element("p", f"Could not be read: {shown_text(problem, _MOST_SENTENCE)}") for problem in facts.problems]
    lead = "Made by `synthians-memory report`. All of it is in this one file, which loads nothing and runs nothing."
    return _card("about", "About", lead, element("dl", *pairs), *missing)
