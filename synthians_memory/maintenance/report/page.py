"""The page of a report: its sections in order, each with a drawing and the same in words and numbers.

It gathers nothing and writes no file. There is no program in the page: it needs none, and its policy admits none.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from synthians_memory.maintenance.report.elements import Element, card, counted, element, size_text, time_text, to_html
from synthians_memory.maintenance.report.facts import ReportFacts, shown_text
from synthians_memory.maintenance.report.growth_section import growth_section, sizes_section
from synthians_memory.maintenance.report.health_section import health_section
from synthians_memory.maintenance.report.logs import Pass
from synthians_memory.maintenance.report.map_section import map_section
from synthians_memory.maintenance.report.style import STYLE
from synthians_memory.maintenance.report.timeline_section import timeline_section
from synthians_memory.maintenance.report.wording import MOST_SENTENCE
from synthians_memory.maintenance.snapshots import SnapshotInfo

__all__ = ["page_of"]

_GOOD: Final = {"healthy": "good", "failed": "bad", "restored": "warn", "mended": "warn"}


def page_of(facts: ReportFacts) -> bytes:
    """The page, in UTF-8; equal facts give equal bytes."""
    sections = (
        health_section(facts),
        growth_section(facts),
        sizes_section(facts),
        timeline_section(facts),
        map_section(facts),
        _about(facts),
    )
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


def _about(facts: ReportFacts) -> Element:
    pairs = [part for name, value in facts.about for part in (element("dt", name), element("dd", value))]
    missing = [element("p", f"Could not be read: {shown_text(problem, MOST_SENTENCE)}") for problem in facts.problems]
    lead = "Made by `synthians-memory report`. All of it is in this one file, which loads nothing and runs nothing."
    return card("about", "About", lead, element("dl", *pairs), *missing)
