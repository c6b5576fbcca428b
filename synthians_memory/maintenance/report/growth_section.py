"""The sections of a report about growth and sizes: memories and bytes over time, and the parts of the store now.

It knows nothing of what was deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from synthians_memory.maintenance.report.charts import Bar, Bins, area_chart, bar_chart, bins_of, meter, times_row
from synthians_memory.maintenance.report.elements import Element, card, counted, element, size_text, table, time_text
from synthians_memory.maintenance.report.facts import ReportFacts, SizeOf
from synthians_memory.maintenance.report.wording import MOST_ROWS
from synthians_memory.times import from_micros, to_micros

__all__ = ["growth_section", "sizes_section"]


def growth_section(facts: ReportFacts) -> Element:
    """New memories, and memories and bytes in all, over the time that the memories say they were made."""
    if not facts.created:
        return card("growth", "Growth", "There are no memories yet.")
    bins = bins_of(facts.created[0][0], max(facts.created[-1][0], to_micros(facts.made_at)))
    new, sizes = [0] * bins.count, [0] * bins.count
    for micros, size in facts.created:
        new[bins.of(micros)] += 1
        sizes[bins.of(micros)] += size
    return card(
        "growth",
        "Growth",
        _in_words(facts, sum(sizes)),
        *_new_memories(bins, new),
        _in_all(bins, _running(new), _running(sizes)),
        _table_of_growth(bins, new, _running(new), _running(sizes)),
    )


def _in_words(facts: ReportFacts, size: int) -> str:
    first, last = from_micros(facts.created[0][0]), from_micros(facts.created[-1][0])
    memories = counted(len(facts.created), "memory", "memories")
    return (
        f"{memories} of {size_text(size)}, made from {first:%Y-%m-%d} to {last:%Y-%m-%d}, by the time that each says it was "
        "made. What was deleted is not counted."
    )


def _new_memories(bins: Bins, new: Sequence[int]) -> tuple[Element, Element]:
    title = f"New memories per {bins.unit}"
    bars = [Bar(count, f"{bins.label(number)}: {count:,}") for number, count in enumerate(new)]
    chart = bar_chart("new", title, f"At most {max(new):,}.", bars)
    return element("h3", title), _plot(chart, f"{max(new):,}", bins)


def _in_all(bins: Bins, total: Sequence[int], of_bytes: Sequence[int]) -> Element:
    """Two charts, beside each other where there is room."""
    most = f"{total[-1]:,}", size_text(of_bytes[-1])
    memories = area_chart("total", "Memories in all", f"It grows to {most[0]}.", total)
    size = area_chart("bytes", "Bytes of their files", f"It grows to {most[1]}.", of_bytes)
    return element(
        "div",
        element("div", element("h3", "Memories in all"), _plot(memories, most[0], bins)),
        element("div", element("h3", "Bytes of their files"), _plot(size, most[1], bins)),
        class_="pair",
    )


def _running(values: Sequence[int]) -> list[int]:
    total, found = 0, []
    for value in values:
        total += value
        found.append(total)
    return found


def _plot(chart: Element, most: str, bins: Bins) -> Element:
    scale = element("div", element("span", most), element("span", "0"), class_="scale", aria_hidden="true")
    end = bins.start + (bins.count - 1) * bins.width
    times = times_row(from_micros(bins.start), from_micros(end), time_text if bins.unit == "hour" else _day)
    return element("figure", scale, chart, times, class_="plot")


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def _table_of_growth(bins: Bins, new: Sequence[int], total: Sequence[int], of_bytes: Sequence[int]) -> Element:
    numbers = [number for number, count in enumerate(new) if count][-MOST_ROWS:]
    rows = [(bins.label(n), f"{new[n]:,}", f"{total[n]:,}", size_text(of_bytes[n])) for n in reversed(numbers)]
    heads = (f"{bins.unit} from", "new memories", "memories in all", "bytes in all")
    return table("The same as a table", heads, rows, numbers=(1, 2, 3))


# Sizes


def sizes_section(facts: ReportFacts) -> Element:
    """How large each part of the store is, the largest first."""
    total = sum(one.size for one in facts.sizes)
    lead = f"{size_text(total)} in {counted(sum(one.files for one in facts.sizes), 'file')}."
    if not facts.sizes:
        return card("sizes", "Sizes", "There are no files yet.")
    largest = facts.sizes[0].size or 1
    cells = [cell for number, one in enumerate(facts.sizes) for cell in _size_row(number, one, largest)]
    rows = [(one.name, size_text(one.size), f"{one.files:,}") for one in facts.sizes]
    listed = table("The same as a table", ("part", "size", "files"), rows, numbers=(1, 2))
    return card("sizes", "Sizes", lead, element("div", *cells, class_="sizes"), listed)


def _size_row(number: int, one: SizeOf, largest: int) -> tuple[Element, Element, Element]:
    files = element("span", f" · {counted(one.files, 'file')}", class_="files")
    return (
        element("span", one.name),
        meter(f"size-{number}", f"{one.name}: {size_text(one.size)}", one.size / largest),
        element("span", size_text(one.size), files, class_="amount"),
    )
