"""What the program prints: tables for people, JSON for programs, messages on standard error.

It is not progress (`progress`), and it decides nothing about exit codes.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, Self

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from synthians_memory.errors import disk_error

__all__ = ["FEW", "Output", "cleaned", "facts", "flush_output", "preview", "table", "tell", "tell_first"]

# As many lines as a person reads of something long; all are in the JSON.
FEW: Final = 20
_PREVIEW: Final = 200


@dataclass(frozen=True, slots=True)
class Output:
    """Standard output of one command.

    Attributes:
        json: whether it is JSON; else it is for people.
    """

    json: bool

    @classmethod
    def wanted(cls, as_json: bool) -> Self:
        """JSON where it is asked for, or where no terminal shows it."""
        return cls(as_json or not sys.stdout.isatty())

    def document(self, value: Mapping[str, Any]) -> None:
        """Print one JSON document, always in UTF-8."""
        self.line(json.dumps(value, ensure_ascii=False, indent=2).encode("utf-8", "replace"))

    def line(self, data: bytes) -> None:
        """Print bytes as they are, and a line break."""
        with _writing():
            sys.stdout.flush()
            sys.stdout.buffer.write(data + b"\n")
            sys.stdout.flush()

    def show(self, *parts: RenderableType) -> None:
        """Print for people; strings have no markup, and are left to the terminal to wrap, so that paths stay whole."""
        with _writing():
            console = Console(file=sys.stdout, markup=False, highlight=False, emoji=False)
            for part in parts:
                console.print(part, soft_wrap=isinstance(part, str))


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, "write", "standard output") from error


def flush_output() -> OSError | None:
    """Write out what is left for standard output; why it cannot be written, which nothing after this tries again."""
    try:
        sys.stdout.flush()
    except OSError as error:
        # Its buffer would fail once more when the interpreter ends.
        sys.stdout = io.StringIO()
        return error
    return None


def tell(label: str, text: str) -> None:
    """Print one line on standard error, such as "error: what happened"."""
    print(f"{label}: {cleaned(text)}", file=sys.stderr, flush=True)  # noqa: T201


def tell_first(label: str, texts: Sequence[str], more: str) -> None:
    """Print the first few of `texts`, one a line, and `more` about how many others there are."""
    for text in texts[:FEW]:
        tell(label, text)
    if len(texts) > FEW:
        tell(label, f"... and {len(texts) - FEW} more; {more}")


def cleaned(text: str) -> str:
    """`text` without characters that would steer the terminal."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def preview(text: str) -> str:
    """The beginning of `text` as one line."""
    return cleaned(" ".join(text[:_PREVIEW].split()))


def table(
    columns: Iterable[str], rows: Iterable[Sequence[str | Text]], *, cut: str = "", wrapped: Iterable[str] = ()
) -> Table:
    """A table.

    Args:
        columns: their names.
        rows: their cells.
        cut: the column that gets what is left of the terminal's width, and whose lines are cut there.
        wrapped: the columns whose text goes on in the next line.
    """
    found = Table(box=None, pad_edge=False, header_style="bold", expand=bool(cut))
    wrapping = set(wrapped)
    for name in columns:
        ratio = 1 if name == cut else None
        overflow: Literal["fold", "ellipsis"] = "fold" if name in wrapping else "ellipsis"
        found.add_column(name, no_wrap=name not in wrapping, overflow=overflow, ratio=ratio)
    for row in rows:
        found.add_row(*row)
    return found


def facts(pairs: Iterable[tuple[str, object]]) -> Table:
    """Names and values, a pair a line."""
    found = Table.grid(padding=(0, 2))
    found.add_column(style="bold", no_wrap=True)
    found.add_column(overflow="fold")
    for name, value in pairs:
        found.add_row(name, cleaned(str(value)))
    return found
