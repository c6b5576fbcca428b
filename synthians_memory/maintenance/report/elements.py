"""Elements of a page, built as a tree that the standard library writes out: no text can become markup.

It is not a template, and knows nothing of a report.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final
from xml.etree import ElementTree as ET

__all__ = [
    "Child",
    "Element",
    "card",
    "counted",
    "drawing",
    "element",
    "paragraph",
    "size_text",
    "table",
    "time_text",
    "to_html",
]

Element = ET.Element
Child = Element | str | None

_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB")


def element(tag: str, *children: Child, **attributes: str | int | float | None) -> Element:
    """An element; attributes that are None are left out, "class_" is "class", and "aria_label" is "aria-label"."""
    named = {_attribute(name): _number(value) for name, value in attributes.items() if value is not None}
    made = Element(tag, named)
    last: Element | None = None
    for child in children:
        if isinstance(child, str):
            if last is None:
                made.text = (made.text or "") + _clean(child)
            else:
                last.tail = (last.tail or "") + _clean(child)
        elif child is not None:
            made.append(child)
            last = child
    return made


def _attribute(name: str) -> str:
    return name.rstrip("_").replace("_", "-") if name.startswith(("aria_", "class", "http_", "for")) else name


def _number(value: str | int | float) -> str:
    if isinstance(value, str):
        return _clean(value)
    return str(value) if isinstance(value, int) else f"{value:.1f}".removesuffix(".0")


def _clean(text: str) -> str:
    """Without what no page may hold: control characters, and halves of characters."""
    return "".join(c if c >= " " and not "\x7f" <= c <= "\x9f" and not "\ud800" <= c <= "\udfff" else " " for c in text)


def to_html(root: Element) -> bytes:
    """The page, in UTF-8, as browsers read it; equal trees give equal bytes."""
    text: str = ET.tostring(root, encoding="unicode", method="html")
    return b"<!DOCTYPE html>\n" + text.encode()


def drawing(
    name: str, title: str, description: str, box: tuple[int, int], *children: Child, class_: str, stretched: bool = True
) -> Element:
    """An SVG drawing that screen readers name and describe.

    Args:
        name: an id of its own on the page.
        title: what it shows.
        description: in words what is to be seen.
        box: width and height of its own units.
        children: what is drawn.
        class_: how large it is.
        stretched: whether it is stretched to the room there is, so that its units differ in width and height.
    """
    words = (
        element("title", title, id=f"{name}-title"),
        element("desc", description, id=f"{name}-desc"),
    )
    made = element("svg", *words, *children, class_=class_, role="img", aria_labelledby=f"{name}-title {name}-desc")
    made.set("id", name)
    made.set("viewBox", f"0 0 {box[0]} {box[1]}")
    if stretched:
        made.set("preserveAspectRatio", "none")
    return made


def table(summary: str, heads: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()) -> Element:
    """A table behind a line that opens it; `numbers` are the columns to be set flush right."""
    classes = ["number" if column in numbers else None for column in range(len(heads))]
    head = element("tr", *(element("th", text, scope="col", class_=c) for text, c in zip(heads, classes, strict=True)))
    body = [
        element("tr", *(element("td", text, class_=c, dir="auto") for text, c in zip(row, classes, strict=True)))
        for row in rows
    ]
    whole = element("table", element("thead", head), element("tbody", *body))
    return element("details", element("summary", summary), element("div", whole, class_="wide"))


def card(name: str, title: str, lead: str, *parts: Element | None) -> Element:
    """One section of the page; `name` is its id, and what stands between backticks in `lead` is a command."""
    heading = element("h2", title, id=name)
    return element("section", heading, paragraph(lead, "lead"), *parts, class_="card", aria_labelledby=name)


def paragraph(text: str, class_: str) -> Element:
    """A paragraph in which what stands between backticks is a command."""
    parts = [part if number % 2 == 0 else element("code", part) for number, part in enumerate(text.split("`"))]
    return element("p", *parts, class_=class_)


def counted(count: int, one: str, many: str = "") -> str:
    """A number of things for people; `many` is what several are called, where that is not `one` and an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def size_text(count: int) -> str:
    """A number of bytes for people."""
    size, unit = float(count), 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size, unit = size / 1024, unit + 1
    return f"{count:,} bytes" if unit == 0 else f"{size:,.1f} {_UNITS[unit]}"


def time_text(moment: object) -> str:
    """A point in UTC for people, to the minute; to the day where it is a date."""
    return f"{moment:%Y-%m-%d %H:%M}"
