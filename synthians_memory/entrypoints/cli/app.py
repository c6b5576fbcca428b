"""The command line as a whole: its commands, and what stands before them.

It is no command itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli import (
    adopt,
    backup,
    backups,
    capture,
    check,
    checkpoint,
    config,
    delete,
    doctor,
    export,
    get,
    health,
    history,
    import_,
    import_legacy,
    import_mcp,
    init,
    list_,
    migrate,
    monitor,
    move,
    purge,
    recall,
    reembed,
    remember,
    repair,
    replay,
    report,
    restore,
    search,
    serve,
    state,
    stats,
    sweep_expired,
    tiers,
    verify_disk,
    watch,
)
from synthians_memory.entrypoints.cli.ledger import commands as ledger
from synthians_memory.entrypoints.cli.program import Program, RunningCommand
from synthians_memory.maintenance.configuration_keys import STORE_VARIABLE

__all__ = ["app", "main"]

_NAME: Final = "synthians-memory"
_EXAMPLES: Final = (
    "--store notes import notes.jsonl --embed",
    '--store notes remember "Ada takes her tea with milk"',
    '--store notes recall "when are annotations evaluated"',
    "--store notes check",
)
# Name, function and examples of each.
_Commands = Sequence[tuple[str, Callable[..., int], Sequence[str]]]
_COMMANDS: Final[_Commands] = (
    ("init", init.init, init.EXAMPLES),
    ("import", import_.import_file, import_.EXAMPLES),
    ("import-legacy", import_legacy.import_legacy, import_legacy.EXAMPLES),
    ("import-mcp", import_mcp.import_mcp, import_mcp.EXAMPLES),
    ("export", export.export, export.EXAMPLES),
    ("get", get.get, get.EXAMPLES),
    ("list", list_.list_entities, list_.EXAMPLES),
    ("delete", delete.delete, delete.EXAMPLES),
    ("purge", purge.purge, purge.EXAMPLES),
    ("sweep-expired", sweep_expired.sweep_expired, sweep_expired.EXAMPLES),
    ("remember", remember.remember, remember.EXAMPLES),
    ("capture", capture.capture, capture.EXAMPLES),
    ("recall", recall.recall, recall.EXAMPLES),
    ("search", search.search, search.EXAMPLES),
    ("stats", stats.stats, stats.EXAMPLES),
    ("check", check.check, check.EXAMPLES),
    ("repair", repair.repair, repair.EXAMPLES),
    ("adopt", adopt.adopt, adopt.EXAMPLES),
    ("replay", replay.replay_parked, replay.EXAMPLES),
    ("watch", watch.watch, watch.EXAMPLES),
    ("serve", serve.serve, serve.EXAMPLES),
    ("reembed", reembed.reembed, reembed.EXAMPLES),
    ("checkpoint", checkpoint.checkpoint, checkpoint.EXAMPLES),
    ("move", move.move, move.EXAMPLES),
    ("migrate", migrate.migrate, migrate.EXAMPLES),
    ("backup", backup.backup, backup.EXAMPLES),
    ("backups", backups.backups, backups.EXAMPLES),
    ("restore", restore.restore, restore.EXAMPLES),
    ("history", history.history, history.EXAMPLES),
    ("doctor", doctor.doctor, doctor.EXAMPLES),
    ("report", report.report, report.EXAMPLES),
    ("health", health.health, health.EXAMPLES),
    ("monitor", monitor.monitor, monitor.EXAMPLES),
    ("verify-disk", verify_disk.verify_disk, verify_disk.EXAMPLES),
)
# Commands with a name of two words: the first, what they are for, and the commands behind it.
_GROUPS: Final[tuple[tuple[str, str, _Commands], ...]] = (
    ("state", state.HELP, state.COMMANDS),
    ("ledger", ledger.HELP, ledger.COMMANDS),
    ("config", config.HELP, config.COMMANDS),
    ("tiers", tiers.HELP, tiers.COMMANDS),
)
# What runs another program: options behind that program's name are its own.
_RUNNING: Final = ("ledger run",)
# What people type before they have read what the commands are called.
_ALIASES: Final = {
    **dict.fromkeys(("add", "note", "save"), "remember"),
    **dict.fromkeys(("ask", "find", "query"), "recall"),
}


class _Root(Program):
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
    cls=_Root,
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

    Options of the store come from config.yaml in it, and from the environment: SYNTHIANS_MEMORY_ and the name of the
    setting in capitals, such as SYNTHIANS_MEMORY_DURABILITY=interval. `config show` shows them. docs/cli.md tells what
    each command prints, and the exit codes.
    """


def _add(to: typer.Typer, commands: _Commands, before: str = "") -> None:
    for name, function, written in commands:
        settings: dict[str, Any] = {"epilog": _examples(written)}
        if before + name in _RUNNING:
            settings |= {"cls": RunningCommand, "context_settings": {"allow_interspersed_args": False}}
        to.command(name, **settings)(function)


_add(app, _COMMANDS)
for _name, _help, _commands in _GROUPS:
    _group = typer.Typer(rich_markup_mode=None, help=_help, epilog=_examples(_commands[0][2]))
    _add(_group, _commands, f"{_name} ")
    app.add_typer(_group, name=_name)


def main() -> None:
    """Run the command line of this process, and leave with its exit code."""
    app(prog_name=_NAME)
