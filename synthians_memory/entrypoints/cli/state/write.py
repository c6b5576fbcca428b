"""The command state write: change the system state.

It does not replace it: what is not named stays as it is.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.state.place import StateDirOption, write_to
from synthians_memory.errors import InvalidValueError
from synthians_memory.layout import SYSTEM_STATE
from synthians_memory.state import Phase, StateChange

__all__ = ["EXAMPLES", "write_state"]

EXAMPLES: Final = (
    "--store notes state write --phase building --action run_tests --health-score 95",
    "state write --state-dir .memory --component api --status healthy --clear-errors",
)


def write_state(
    context: typer.Context,
    *,
    state_dir: StateDirOption = None,
    phase: Annotated[Phase | None, typer.Option(help="Where in its life the system is.")] = None,
    action: Annotated[str | None, typer.Option(metavar="TEXT", help="What was done last.")] = None,
    health_score: Annotated[int | None, typer.Option(metavar="N", help="How well the system is, 0 to 100.")] = None,
    component: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A component; with --status. May be repeated with it.")
    ] = None,
    status: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="The status of that component.")] = None,
    system_name: Annotated[str | None, typer.Option(metavar="NAME", help="What the system is called.")] = None,
    org: Annotated[str | None, typer.Option(metavar="NAME", help="The organisation that owns it.")] = None,
    error: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="An error to add to those that there are. May be repeated.")
    ] = None,
    clear_errors: Annotated[bool, typer.Option("--clear-errors", help="Remove the errors that there are.")] = False,
    warning: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="A warning to add. May be repeated.")
    ] = None,
    clear_warnings: Annotated[
        bool, typer.Option("--clear-warnings", help="Remove the warnings that there are.")
    ] = False,
    as_json: JsonOption = False,
) -> int:
    """Change the system state.

    Only what is named changes, and the time of the last action. The file is made where there is none, with the store around it.
    """
    change = StateChange(
        phase=phase,
        action=action,
        health_score=health_score,
        components=_statuses(component or [], status or []),
        system_name=system_name,
        org=org,
        errors=tuple(error or ()),
        clear_errors=clear_errors,
        warnings=tuple(warning or ()),
        clear_warnings=clear_warnings,
    )
    return write_to(context, state_dir, as_json, SYSTEM_STATE, lambda state: state.write_state(change))


def _statuses(components: list[str], statuses: list[str]) -> dict[str, str]:
    if len(components) != len(statuses):
        raise InvalidValueError(
            f"--component is given {len(components)} times, --status {len(statuses)} times",
            hint="Give --status TEXT with each --component NAME, in the same order.",
        )
    found = dict(zip(components, statuses, strict=True))
    if len(found) != len(components):
        raise InvalidValueError("--component names a component twice", hint="Give each component once.")
    return found
