"""The report of a run: JSON, Markdown tables, and a plot of cost against store size.

It measures and judges nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from benchmarks.figures import Figure, Figures, ratio
from benchmarks.goals import Judged, judge
from benchmarks.stage import Stage

try:
    from matplotlib.figure import Figure as Plot
except ModuleNotFoundError:
    Plot = None

GROWING = ("save while growing", "load while growing", "search while growing", "disk while growing")


def write_all(stage: Stage, facts: dict[str, Any]) -> list[Path]:
    """Write the report into the run's folder; returns its files."""
    folder = stage.options.folder
    json_path, table_path, plot_path = folder / "report.json", folder / "report.md", folder / "growth.png"
    json_path.write_bytes(orjson.dumps(document(stage, facts), option=orjson.OPT_INDENT_2))
    table_path.write_text(markdown(stage, facts))
    return [json_path, table_path, *([plot_path] if plot(stage.figures, plot_path) else [])]


def document(stage: Stage, facts: dict[str, Any]) -> dict[str, Any]:
    """The whole run as one JSON value."""
    return {
        **facts,
        "contenders": stage.facts,
        "figures": [figure.to_dict() for figure in stage.figures.found.values()],
        "goals": [judged.to_dict() for judged in judge(stage.figures)],
        "usage": stage.usage,
        "failures": stage.failures,
    }


def markdown(stage: Stage, facts: dict[str, Any]) -> str:
    """The whole run as tables."""
    parts = [_facts(facts), _contenders(stage.facts), _goals(judge(stage.figures)), _overview(stage.figures)]
    parts += [_metric(stage.figures, metric) for metric in stage.figures.metrics()]
    parts += [_usage(stage.usage), _failures(stage.failures)]
    return "\n".join(part for part in parts if part)


def plot(figures: Figures, path: Path) -> bool:
    """Draw cost against size, where there is something to draw and matplotlib to draw it."""
    metrics = [metric for metric in GROWING if any(figures.of(metric))]
    if Plot is None or not metrics:
        return False
    picture = Plot(figsize=(5 * len(metrics), 4.5), layout="constrained")
    for axes, metric in zip(picture.subplots(1, len(metrics), squeeze=False)[0], metrics, strict=True):
        shown = list(figures.of(metric))
        for name in dict.fromkeys(figure.contender for figure in shown):
            mine = sorted((figure.size, figure.median) for figure in shown if figure.contender == name)
            axes.plot(*zip(*mine, strict=True), marker="o", label=name)
        axes.set(title=f"{metric}, p50", xlabel="memories", ylabel=shown[0].unit, yscale="log")
        axes.set_xscale("symlog", linthresh=1000)
        axes.grid(visible=True, alpha=0.3)
    axes.legend()
    picture.savefig(path, dpi=110)
    return True


def _facts(facts: dict[str, Any]) -> str:
    return _table("Run", ["fact", "value"], [[name, _text(value)] for name, value in facts.items()])


def _contenders(facts: dict[str, dict[str, Any]]) -> str:
    rows = [
        [name, fact["durability"], _text(fact["versions"]), fact["python"], fact["note"]]
        for name, fact in facts.items()
    ]
    return _table("Contenders", ["contender", "acknowledged means", "versions", "Python", "note"], rows)


def _goals(judged: Sequence[Judged]) -> str:
    rows = [
        [one.what, str(one.size), f"{one.sense} {one.limit:.4g}", f"{one.value:.3g}", _verdict(one)] for one in judged
    ]
    return _table("Goals", ["what", "memories", "goal", "measured", ""], rows)


def _verdict(judged: Judged) -> str:
    verdict = "met" if judged.met else "**not met**"
    return verdict if judged.sizes_fit else f"{verdict} (stated for another size)"


def _overview(figures: Figures) -> str:
    names = list(dict.fromkeys(figure.contender for figure in figures.found.values()))
    rows = []
    for metric in figures.metrics():
        for size in sorted({figure.size for figure in figures.of(metric)}):
            row = [figures.get(metric, name, size) for name in names]
            unit = next(figure.unit for figure in row if figure)
            rows.append([metric, unit, str(size), *("" if one is None else _number(one.median) for one in row)])
    return _table("Medians", ["what", "unit", "memories", *names], rows)


def _metric(figures: Figures, metric: str) -> str:
    shown = list(figures.of(metric))
    columns = ["contender", "memories", "p50", "p99", "max", "calls", "x floor", "x ours"]
    return _table(f"{metric} ({shown[0].unit})", columns, [_row(figures, figure) for figure in shown])


def _row(figures: Figures, figure: Figure) -> list[str]:
    samples = figure.samples
    many = len(samples) > 20
    return [
        figure.contender,
        str(figure.size),
        _number(figure.median),
        _number(figure.quantile(0.99)) if many else "",
        _number(samples[-1]) if many else "",
        str(len(samples)),
        *(_times(figure, figures.get(figure.metric, name, figure.size)) for name in ("floor", "ours")),
    ]


def _usage(usage: Sequence[dict[str, Any]]) -> str:
    columns = ["workload", "contender", "size", "resident_mb", "peak_mb", "disk_mb", "file_bytes_mb"]
    rows = [[str(used[column]) for column in columns] for used in usage]
    return _table("Memory of the process, disk of the store, after each workload", columns, rows)


def _failures(failures: Sequence[dict[str, Any]]) -> str:
    by_reason: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        place = f"{failure['workload']} at {failure['size']}"
        by_reason.setdefault((failure["contender"], failure["reason"]), []).append(place)
    rows = [[name, ", ".join(places), reason.replace("|", "/")] for (name, reason), places in by_reason.items()]
    return _table("Did not run", ["contender", "workload", "reason"], rows)


def _table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    return "\n".join([f"## {title}", "", *_lines(columns, rows), ""])


def _lines(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(columns) + " |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def _times(figure: Figure, other: Figure | None) -> str:
    return "" if other is None or other.median == 0 else f"{ratio(figure, other):.2f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(one)}" for name, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(one) for one in value)
    return str(value)
