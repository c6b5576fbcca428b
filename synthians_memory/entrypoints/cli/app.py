"""The command line as a whole: its commands, and what stands before them.

It is no command itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli import (
    adopt,
    backup,
    backups,
    check,
    checkpoint,
    delete,
    export,
    get,
    history,
    import_,
    init,
    list_,
    recall,
    remember,
    repair,
    restore,
    search,
    stats,
    verify_disk,
)
from synthians_memory.entrypoints.cli.program import Program
from synthians_memory.entrypoints.cli.settings import STORE_VARIABLE

__all__ = ["app", "main"]

_NAME: Final = "synthians-memory"
_EXAMPLES: Final = (
    "--store notes import notes.jsonl --embed",
    '--store notes remember "Ada takes her tea with milk"',
    '--store notes recall "when are annotations evaluated"',
    "--store notes check",
)
_COMMANDS: Final[tuple[tuple[str, Callable[..., int], Sequence[str]], ...]] = (
    ("init", init.init, init.EXAMPLES),
    ("import", import_.import_file, import_.EXAMPLES),
    ("export", export.export, export.EXAMPLES),
    ("get", get.get, get.EXAMPLES),
    ("list", list_.list_entities, list_.EXAMPLES),
    ("delete", delete.delete, delete.EXAMPLES),
    ("remember", remember.remember, remember.EXAMPLES),
    ("recall", recall.recall, recall.EXAMPLES),
    ("search", search.search, search.EXAMPLES),
    ("stats", stats.stats, stats.EXAMPLES),
    ("check", check.check, check.EXAMPLES),
    ("repair", repair.repair, repair.EXAMPLES),
    ("adopt", adopt.adopt, adopt.EXAMPLES),
    ("checkpoint", checkpoint.checkpoint, checkpoint.EXAMPLES),
    ("backup", backup.backup, backup.EXAMPLES),
    ("backups", backups.backups, backups.EXAMPLES),
    ("restore", restore.restore, restore.EXAMPLES),
    ("history", history.history, history.EXAMPLES),
    ("verify-disk", verify_disk.verify_disk, verify_disk.EXAMPLES),
)
# What people type before they have read what the commands are called.
_ALIASES: Final = {
    **dict.fromkeys(("add", "note", "save"), "remember"),
    **dict.fromkeys(("ask", "find", "query"), "recall"),
}


class _Commands(Program):
    aliases = _ALIASES


def _examples(written: Sequence[str]) -> str:
    # The first character tells the formatter to keep the lines.
    lines = (f"  {line}" if _NAME in line else f"  {_NAME} {line}" for line in written)
    return "\b\nExamples:\n" + "\n".join(lines)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{_NAME} {version(_NAME)}")
        raise typer.Exit


app = typer.Typer(
    name=_NAME,
    cls=_Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_examples(_EXAMPLES),
)


@app.callback(epilog=_examples(_EXAMPLES))
def _root(
    store: Annotated[
        str, typer.Option(metavar="PATH", envvar=STORE_VARIABLE, help="The store's directory.")
    ] = "./storage",
    show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Keep the memories of AI agents in plain files: remember, recall, check, repair.

    Options of the store come from the environment: SYNTHIANS_MEMORY_ and the name of the setting in capitals, such
    as SYNTHIANS_MEMORY_DURABILITY=interval. docs/cli.md tells what each command prints, and the exit codes.
    """


for _name, _function, _written in _COMMANDS:
    app.command(_name, epilog=_examples(_written))(_function)


def main() -> None:
    """Run the command line of this process, and leave with its exit code."""
    app(prog_name=_NAME)
