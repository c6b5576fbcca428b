"""The section of a report with the map of the memories, its legend, and the same as tables.

It places nothing: `memory_map` does.
"""

from __future__ import annotations

from collections.abc import Sequence

from synthians_memory.maintenance.report.charts import map_drawing, swatch
from synthians_memory.maintenance.report.elements import Element, card, element, table
from synthians_memory.maintenance.report.facts import ReportFacts
from synthians_memory.maintenance.report.memory_map import Group, MapPoint, MemoryMap
from synthians_memory.maintenance.report.wording import MOST_ROWS

__all__ = ["map_section"]


def map_section(facts: ReportFacts) -> Element:
    """The map, or why there is none."""
    found, title = facts.map, "Map of the memories"
    if not found.points:
        why = "could be read" if found.embedded else "has an embedding, so that there is nothing to place"
        return card("map", title, f"No memory {why}.")
    lead = _in_words(found)
    drawn = map_drawing("memories", title, f"{lead} {_groups_in_words(found.groups)}", found.points)
    legend = element("ul", *(_group_sign(n, one) for n, one in enumerate(found.groups) if one.count), class_="legend")
    by = found.grouped_by
    coloured = f"Colour and form by {by}." if by else "None of them says to what it belongs."
    note = element("p", coloured, class_="note")
    return card("map", title, lead, element("figure", drawn, legend), note, *_tables(found))


def _in_words(found: MemoryMap) -> str:
    shown = f"{len(found.points):,}"
    if len(found.points) < found.embedded:
        shown += f" of {found.embedded:,}"
    return (
        f"{shown} memories with an embedding, placed by the two directions in which their embeddings differ most "
        f"(principal components, {found.explained:.0%} of the variance). What lies together is alike; what lies apart may still be."
    )


def _tables(found: MemoryMap) -> tuple[Element, Element]:
    name = found.grouped_by or "group"
    counts = [(one.name, f"{one.count:,}") for one in found.groups if one.count]
    first = sorted(found.points, key=_group_then_title)[:MOST_ROWS]
    titles = [(found.groups[point.group].name, point.title) for point in first]
    return (
        table("The groups as a table", (name, "memories"), counts, numbers=(1,)),
        table(f"The first {len(titles):,} memories as a table", (name, "memory"), titles),
    )


def _group_then_title(point: MapPoint) -> tuple[int, str]:
    return point.group, point.title


def _groups_in_words(groups: Sequence[Group]) -> str:
    return "Groups: " + ", ".join(f"{one.name} ({one.count:,})" for one in groups if one.count) + "."


def _group_sign(number: int, one: Group) -> Element:
    # A name may be written from right to left; the count beside it is not.
    name = element("bdi", one.name)
    return element("li", swatch(number), name, element("span", f"{one.count:,}", class_="count"))
