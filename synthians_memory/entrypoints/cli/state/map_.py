"""The command state map: change the architecture map.

It does not replace it: components that are not named stay as they are.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.state.place import StateDirOption, write_to
from synthians_memory.errors import InvalidValueError
from synthians_memory.layout import ARCHITECTURE_MAP
from synthians_memory.state import MapChange

__all__ = ["EXAMPLES", "write_map"]

EXAMPLES: Final = (
    "--store notes state map --component api --type service --path src/api --depends-on storage --health 90",
    "state map --state-dir .memory --remove api",
)


def write_map(
    context: typer.Context,
    *,
    state_dir: StateDirOption = None,
    system_name: Annotated[str | None, typer.Option(metavar="NAME", help="What the system is called.")] = None,
    component: Annotated[
        str | None, typer.Option(metavar="NAME", help="The component to change, or to add; what follows is about it.")
    ] = None,
    component_type: Annotated[
        str | None, typer.Option("--type", metavar="TEXT", help="What kind of thing it is.")
    ] = None,
    path: Annotated[str | None, typer.Option(metavar="TEXT", help="Where its source is.")] = None,
    status: Annotated[str | None, typer.Option(metavar="TEXT", help="How it is.")] = None,
    depends_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A component that it needs; those given take the place of those that there are. May be repeated.",
        ),
    ] = None,
    clear_dependencies: Annotated[bool, typer.Option("--clear-dependencies", help="It needs no other.")] = False,
    health: Annotated[int | None, typer.Option(metavar="N", help="How well it is, 0 to 100.")] = None,
    remove: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A component that goes. May be repeated.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Change the architecture map.

    Only what is named changes, and the time of the last update. The file is made where there is none, with the store around it.
    """
    if depends_on and clear_dependencies:
        raise InvalidValueError("--depends-on and --clear-dependencies contradict each other", hint="Give one of them.")
    change = MapChange(
        system_name=system_name,
        component=component,
        component_type=component_type,
        path=path,
        status=status,
        dependencies=depends_on or (() if clear_dependencies else None),
        health=health,
        removed=tuple(remove or ()),
    )
    return write_to(context, state_dir, as_json, ARCHITECTURE_MAP, lambda state: state.write_map(change))
