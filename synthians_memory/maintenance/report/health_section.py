"""The section of a report about health: the passes of the monitor, and what a quick check finds.

It checks nothing itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from synthians_memory.maintenance.report.charts import outcome_strip, times_row
from synthians_memory.maintenance.report.elements import (
    Element,
    card,
    counted,
    element,
    paragraph,
    size_text,
    table,
    time_text,
)
from synthians_memory.maintenance.report.facts import ReportFacts, shown_text
from synthians_memory.maintenance.report.logs import Pass
from synthians_memory.maintenance.report.wording import MOST_ROWS, MOST_SENTENCE, OUTCOMES, pass_in_words

__all__ = ["health_section"]

_MOST_COLUMNS: Final = 180


def health_section(facts: ReportFacts) -> Element:
    """The passes of the health monitor, and the findings of now."""
    return card("health", "Health", _health_in_words(facts.passes), *_passes(facts.passes), _findings_now(facts))


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
    seen = [name for name in OUTCOMES if any(one.outcome == name for one in passes)]
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
    ranks = {outcome: rank for rank, outcome in enumerate(OUTCOMES)}
    worst = max(passes, key=lambda one: ranks.get(one.outcome, 1))
    more = f"; the worst of {len(passes)} passes until {time_text(passes[-1].at)}" if len(passes) > 1 else ""
    return worst.outcome, pass_in_words(worst) + more


def _outcome_sign(outcome: str) -> Element:
    sign = element("svg", element("rect", class_=outcome, width=16, height=16), aria_hidden="true")
    sign.set("viewBox", "0 0 16 16")
    return element("li", sign, outcome, element("span", OUTCOMES[outcome], class_="count"))


def _findings_over_time(findings: Counter[str]) -> Element | None:
    if not findings:
        return None
    rows = [(shown_text(code, 60), f"{count:,}") for code, count in findings.most_common(MOST_ROWS)]
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
            shown_text("; ".join(one.done), MOST_SENTENCE),
        )
        for one in reversed(passes[-MOST_ROWS:])
    ]
    heads = ("time (UTC)", "outcome", "findings", "memories", "size", "took", "what was done")
    return table(f"The last {len(rows):,} passes as a table", heads, rows, numbers=(2, 3, 4, 5))


def _findings_now(facts: ReportFacts) -> Element:
    parts = [element("h3", "Found just now by a quick check")]
    if facts.findings:
        rows = [(f.severity, f.code, shown_text(f.message, MOST_SENTENCE)) for f in facts.findings[:MOST_ROWS]]
        more = f", the first {MOST_ROWS} of them" if len(facts.findings) > MOST_ROWS else ""
        parts.append(
            table(f"{counted(len(facts.findings), 'finding')}{more}", ("severity", "code", "what was found"), rows)
        )
        parts[-1].set("open", "open")
        parts.append(paragraph("`synthians-memory doctor` says what each means and which command mends it.", "note"))
    else:
        parts.append(
            paragraph("Nothing. A quick check compares names, sizes and times; `check` reads every byte.", "note")
        )
    return element("div", *parts)
