"""The command state log-decision: append a decision to its log.

It changes no decision that is there.
"""

from __future__ import annotations

from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.state.place import StateDirOption, write_to
from synthians_memory.layout import DECISION_LOG
from synthians_memory.state import Decision, MadeBy

__all__ = ["EXAMPLES", "log_decision"]

EXAMPLES: Final = (
    '--store notes state log-decision --type tooling --description "Use ruff" --rationale "It is fast" --made-by agent',
)


def log_decision(
    context: typer.Context,
    *,
    decision_type: Annotated[
        str, typer.Option("--type", metavar="TEXT", help="Its category, such as architecture or tooling.")
    ],
    description: Annotated[str, typer.Option(metavar="TEXT", help="What was decided.")],
    rationale: Annotated[str, typer.Option(metavar="TEXT", help="Why.")],
    made_by: Annotated[MadeBy, typer.Option(help="Who decided.")],
    state_dir: StateDirOption = None,
    component: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A component that it is about. May be repeated.")
    ] = None,
    outcome: Annotated[str | None, typer.Option(metavar="TEXT", help="What came of it, or is expected to.")] = None,
    as_json: JsonOption = False,
) -> int:
    """Append a decision to the decision log.

    Under a new id, with the time now. The log is made where there is none, with the store around it.
    """
    decision = Decision(
        decision_type=decision_type,
        description=description,
        rationale=rationale,
        made_by=made_by,
        related_components=tuple(component or ()),
        outcome=outcome,
    )
    return write_to(context, state_dir, as_json, DECISION_LOG, lambda state: state.log_decision(decision))
