"""The command state log-telemetry: append an event to the telemetry.

It measures nothing, and changes no event that is there.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import typer

from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.state.place import StateDirOption, write_to
from synthians_memory.errors import InvalidValueError
from synthians_memory.json_values import parse_strict
from synthians_memory.layout import TELEMETRY
from synthians_memory.state import EventType, TelemetryEvent

__all__ = ["EXAMPLES", "log_telemetry"]

EXAMPLES: Final = (
    "--store notes state log-telemetry --event-type test_pass --component backend --value 120 --unit ms",
    'state log-telemetry --state-dir .memory --event-type deploy --component api --metadata \'{"run": "abc"}\'',
)


def _number(text: str) -> int | float:
    """An integer stays one, however long. ValueError where it is no number."""
    digits = text.removeprefix("-").removeprefix("+")
    return int(text) if digits.isascii() and digits.isdigit() else float(text)


def log_telemetry(
    context: typer.Context,
    *,
    event_type: Annotated[EventType, typer.Option(help="What happened.")],
    component: Annotated[str, typer.Option(metavar="NAME", help="The component that it happened in.")],
    state_dir: StateDirOption = None,
    value: Annotated[float | None, typer.Option(metavar="NUMBER", parser=_number, help="What was measured.")] = None,
    unit: Annotated[str | None, typer.Option(metavar="TEXT", help="Its unit, such as ms or %.")] = None,
    metadata: Annotated[
        str | None, typer.Option(metavar="JSON", help="Whatever else is known of it, as a JSON object.")
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Append an event to the telemetry.

    Under a new id, with the time now. The file is made where there is none, with the store around it.
    """
    event = TelemetryEvent(
        event_type=event_type,
        component=component,
        value=value,
        unit=unit,
        metadata=None if metadata is None else _object(metadata),
    )
    return write_to(context, state_dir, as_json, TELEMETRY, lambda state: state.log_telemetry(event))


def _object(text: str) -> dict[str, Any]:
    hint = 'Write it as in --metadata \'{"run": "abc"}\', within single quotes.'
    try:
        found = parse_strict(text.encode("utf-8", "surrogatepass"), "--metadata")
    except InvalidValueError as error:
        raise InvalidValueError(error.message, hint=hint) from error
    if not isinstance(found, dict):
        raise InvalidValueError("--metadata is no JSON object", hint=hint)
    return found
