"""The drawings of a report: bars and areas over time, strips of marks, meters, and the map.

It gathers nothing: what it draws is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Final, NamedTuple

from synthians_memory.maintenance.report.elements import Element, drawing, element, time_text
from synthians_memory.maintenance.report.memory_map import MapPoint
from synthians_memory.times import from_micros, to_micros

__all__ = [
    "Bar",
    "Bins",
    "Mark",
    "area_chart",
    "bar_chart",
    "bins_of",
    "lane",
    "map_drawing",
    "meter",
    "outcome_strip",
    "swatch",
    "times_row",
]

_MOST_BINS: Final = 120
_DAY: Final = 86_400_000_000
_HOUR: Final = _DAY // 24
_STEPS: Final = ((_HOUR, "hour"), (_DAY, "day"), (7 * _DAY, "week"))
_FIRST: Final = to_micros(datetime.min.replace(tzinfo=UTC))
_HEIGHT: Final = 100
# Of the columns of a strip, by outcome: what is worse stands out without its colour as well.
_LEVELS: Final = {"healthy": 35, "findings": 50, "mended": 65, "restored": 82, "failed": 100}
_LANE_WIDTH: Final = 1_000
_MAP_WIDTH: Final = 1_000
_MAP_HEIGHTS: Final = (420, 660)
_MARGIN: Final = 24
_FEW_POINTS: Final = 600


@dataclass(frozen=True, slots=True)
class Bins:
    """A stretch of time, cut into equal pieces.

    Attributes:
        start: of the first, microseconds since 1970.
        width: of each, microseconds.
        count: how many there are.
        unit: what one is called: "hour", "day", "week", or "30 days".
    """

    start: int
    width: int
    count: int
    unit: str

    def of(self, micros: int) -> int:
        """The number of the piece that a point in time lies in; the nearest one for those outside."""
        return min(max((micros - self.start) // self.width, 0), self.count - 1)

    def label(self, number: int) -> str:
        """When piece `number` begins."""
        moment = from_micros(self.start + number * self.width)
        return f"{moment:%Y-%m-%d %H:%M}" if self.width < _DAY else f"{moment:%Y-%m-%d}"


def bins_of(first: int, last: int) -> Bins:
    """Pieces from `first` to `last`, both included, of a length that people count in and that leaves not too many."""
    for width, unit in _STEPS:
        found = _bins(first, last, width, unit)
        # Hours are for a store of a day or two.
        if found.count <= (48 if unit == "hour" else _MOST_BINS):
            return found
    days = -(-(last - first + 1) // (_MOST_BINS - 1) // _DAY // 10) * 10
    return _bins(first, last, days * _DAY, f"{days} days")


def _bins(first: int, last: int, width: int, unit: str) -> Bins:
    # The first piece of all would begin before there are years.
    start = max(first // width * width, _FIRST)
    return Bins(start, width, (last - start) // width + 1, unit)


class Bar(NamedTuple):
    """One bar of a chart, and what is said of it."""

    value: float
    title: str


def bar_chart(name: str, title: str, description: str, bars: Sequence[Bar]) -> Element:
    """Bars side by side."""
    most = max((bar.value for bar in bars), default=0) or 1
    rects = []
    for number, bar in enumerate(bars):
        if bar.value:
            height = max(1.0, _HEIGHT * bar.value / most)
            rects.append(_titled_rect("bar", number * 10 + 1.0, _HEIGHT - height, 8.0, height, bar.title))
    return drawing(name, title, description, (max(10 * len(bars), 30), _HEIGHT), *rects, class_="chart")


def area_chart(name: str, title: str, description: str, values: Sequence[float]) -> Element:
    """A line over time, filled to its foot; each value holds from its piece of time on."""
    most = max(values, default=0) or 1
    points = [(10 * number, _HEIGHT - (_HEIGHT - 2) * value / most) for number, value in enumerate(values)]
    # The last value reaches to the edge.
    points.append((10 * len(values), points[-1][1] if points else _HEIGHT))
    edge = " L".join(f"{x} {y:.1f}" for x, y in points)
    foot = f" L{points[-1][0]} {_HEIGHT} L0 {_HEIGHT} Z"
    shapes = element("path", class_="area", d=f"M{edge}{foot}"), element("path", class_="edge", d=f"M{edge}")
    return drawing(name, title, description, (10 * max(len(values), 1), _HEIGHT), *shapes, class_="chart")


def outcome_strip(name: str, title: str, description: str, outcomes: Sequence[tuple[str, str]]) -> Element:
    """A column for each outcome (one of `_LEVELS`, with what is said of it); the worse, the taller."""
    rects = []
    for number, (outcome, said) in enumerate(outcomes):
        known = outcome if outcome in _LEVELS else "findings"
        height = float(_LEVELS[known])
        rects.append(_titled_rect(known, number * 10 + 0.5, _HEIGHT - height, 9.0, height, said))
    # A few passes must not look like walls.
    return drawing(name, title, description, (max(10 * len(outcomes), 600), _HEIGHT), *rects, class_="strip")


def _titled_rect(class_: str, x: float, y: float, width: float, height: float, title: str) -> Element:
    return element("rect", element("title", title), class_=class_, x=x, y=y, width=width, height=height)


class Mark(NamedTuple):
    """A point in time on a lane: its place, 0 to 1, its class, and what is said of it."""

    place: float
    class_: str
    title: str


def lane(name: str, title: str, description: str, marks: Sequence[Mark]) -> Element:
    """One line of time with marks on it."""
    lines = []
    for mark in marks:
        x = 6 + mark.place * (_LANE_WIDTH - 12)
        line = element("line", element("title", mark.title), class_=f"mark {mark.class_}", x1=x, x2=x, y1=30, y2=70)
        lines.append(line)
    return drawing(name, title, description, (_LANE_WIDTH, _HEIGHT), *lines, class_="lane")


def meter(name: str, title: str, share: float) -> Element:
    """How much of a whole something is."""
    whole = element("rect", class_="track", width=_LANE_WIDTH, height=_HEIGHT)
    part = element("rect", class_="bar", width=max(2.0, _LANE_WIDTH * share), height=_HEIGHT)
    return drawing(name, title, f"{share:.0%} of the largest", (_LANE_WIDTH, _HEIGHT), whole, part, class_="meter")


def times_row(start: datetime, end: datetime, show: Callable[[datetime], str] = time_text) -> Element:
    """The beginning, the middle and the end of a stretch of time."""
    middle = start + timedelta(seconds=(end - start).total_seconds() / 2)
    texts = [(show(start), None), (show(middle), "middle"), (show(end), None)]
    return element("div", *(element("span", text, class_=class_) for text, class_ in texts), class_="times")


# The map


def map_drawing(name: str, title: str, description: str, points: Sequence[MapPoint]) -> Element:
    """The points at their places, each with its title; one unit is as long upwards as sideways."""
    xs, ys = [point.x for point in points], [point.y for point in points]
    left, top = min(xs, default=0.0), max(ys, default=1.0)
    across, up = max(max(xs, default=0.0) - left, 1e-6), max(top - min(ys, default=0.0), 1e-6)
    inner = _MAP_HEIGHTS[1] - 2 * _MARGIN
    scale = min((_MAP_WIDTH - 2 * _MARGIN) / across, inner / up) if len(points) > 1 else 1.0
    height = max(_MAP_HEIGHTS[0], round(up * scale) + 2 * _MARGIN)
    x0, y0 = (_MAP_WIDTH - across * scale) / 2, (height - up * scale) / 2
    factor = 1.0 if len(points) <= _FEW_POINTS else 0.75
    # Small groups are drawn last, so that large ones and all others do not cover them.
    drawn = sorted(points, key=lambda point: (point.group < _FORMLESS, point.group))
    shapes = [
        _symbol(
            point.group,
            x0 + (point.x - left) * scale,
            y0 + (top - point.y) * scale,
            factor,
            element("title", point.title),
        )
        for point in drawn
    ]
    return drawing(name, title, description, (_MAP_WIDTH, height), *shapes, class_="map", stretched=False)


def swatch(group: int) -> Element:
    """The sign of a group, for the legend."""
    made = element("svg", _symbol(group, 8.0, 8.0, 1.0), aria_hidden="true")
    made.set("viewBox", "0 0 16 16")
    return made


def _symbol(group: int, x: float, y: float, factor: float, title: Element | None = None) -> Element:
    """Groups differ in form as well as in colour."""
    class_ = f"g{min(group, _FORMLESS)}"
    if group in _OUTLINES:
        return element("path", title, class_=class_, d=f"M{x:.1f} {y:.1f}{_form(group, factor)}")
    return element("circle", title, class_=class_, cx=x, cy=y, r=factor * (6.5 if group == 0 else 4.5))


@cache
def _form(group: int, factor: float) -> str:
    first, *steps = _OUTLINES[group]
    lines = "".join(f"l{dx * factor:g} {dy * factor:g}" for dx, dy in steps)
    return f"m{first[0] * factor:g} {first[1] * factor:g}{lines}z"


# Number of the group of all others.
_FORMLESS: Final = 7
# From the middle to the first corner, and on from corner to corner: square, triangle, diamond, plus, triangle downwards, bar.
_OUTLINES: Final[dict[int, tuple[tuple[float, float], ...]]] = {
    1: ((-5.5, -5.5), (11, 0), (0, 11), (-11, 0)),
    2: ((0, -7), (7, 12), (-14, 0)),
    3: ((0, -7.5), (7.5, 7.5), (-7.5, 7.5), (-7.5, -7.5)),
    4: ((-2.2, -7), (4.4, 0), (0, 4.8), (4.8, 0), (0, 4.4), (-4.8, 0), (0, 4.8), (-4.4, 0), (0, -4.8), (-4.8, 0), (0, -4.4), (4.8, 0)),
    5: ((0, 7), (7, -12), (-14, 0)),
    6: ((-8, -3.2), (16, 0), (0, 6.4), (-16, 0)),
}  # fmt: skip
