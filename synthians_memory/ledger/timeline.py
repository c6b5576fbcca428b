"""The timeline: the latest entries of the log, one after the other, also as a drawing.

It does not tell whether entries are what was written; the examination does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from synthians_memory.json_values import JsonObject
from synthians_memory.ledger.entries import Entry

__all__ = ["drawn_timeline", "latest_entries", "summary_of"]

_WIDTH: Final = 900
_ROW: Final = 44
_MARGIN: Final = 24
_LINE_X: Final = 190
_SHOWN: Final = 90
_COLOURS: Final = {True: "#2e7d32", False: "#c62828", None: "#607d8b"}


def latest_entries(entries: Iterable[Entry], task: str | None, limit: int) -> list[JsonObject]:
    """The last `limit` of `entries`, oldest first; those of `task` where that is not None."""
    wanted = (entry.fields for entry in entries if task is None or entry.fields.get("task") == task)
    return list(deque(wanted, maxlen=limit))


def summary_of(entry: JsonObject) -> str:
    """What an entry says in a line: the summary of its outputs, else its first tool call, else nothing."""
    outputs, calls = entry.get("outputs"), entry.get("tool_calls")
    summary = outputs.get("summary") if isinstance(outputs, dict) else None
    if isinstance(summary, str):
        return summary
    return str(calls[0]) if isinstance(calls, list) and calls else ""


def drawn_timeline(entries: Sequence[JsonObject]) -> bytes:
    """The entries as an SVG drawing, top down; without a line break; equal entries give equal bytes."""
    height = 2 * _MARGIN + _ROW * max(1, len(entries))
    root = ET.Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {_WIDTH} {height}",
            "width": str(_WIDTH),
            "height": str(height),
            "font-family": "sans-serif",
            "font-size": "13",
        },
    )
    ET.SubElement(root, "title").text = f"{len(entries)} runs"
    ends = {"y1": str(_MARGIN), "y2": str(height - _MARGIN)}
    ET.SubElement(root, "line", {"x1": str(_LINE_X), "x2": str(_LINE_X), **ends, "stroke": "#b0bec5"})
    for number, entry in enumerate(entries):
        _draw(root, entry, _MARGIN + _ROW * number + _ROW // 2)
    drawn: bytes = ET.tostring(root, encoding="utf-8")
    return drawn


def _draw(root: ET.Element, entry: JsonObject, y: int) -> None:
    status = entry.get("exit_status")
    colour = _COLOURS[None if status is None else status == 0]
    ET.SubElement(root, "circle", {"cx": str(_LINE_X), "cy": str(y), "r": "6", "fill": colour})
    right = {"x": str(_LINE_X + 18)}
    _text(root, str(entry.get("ts", "")), {"x": str(_LINE_X - 18), "y": str(y + 5), "text-anchor": "end"})
    _text(root, " · ".join(filter(None, [str(entry.get("task") or ""), summary_of(entry)])), {**right, "y": str(y - 2)})
    below = str(entry.get("run_id", "")) + ("" if status is None else f", exit status {status}")
    _text(root, below, {**right, "y": str(y + 14), "font-size": "11", "fill": "#607d8b"})


def _text(root: ET.Element, text: str, attributes: dict[str, str]) -> None:
    # XML has no form for control characters.
    shown = "".join(character if character.isprintable() else " " for character in text)
    ET.SubElement(root, "text", attributes).text = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
