"""Where the state is that a command works on, and what every write of it tells.

It is not the files: `synthians_memory.state` reads and writes them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Annotated, Final, Self

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.output import Output, cleaned, tell
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.stores import Place, path_of_store
from synthians_memory.errors import InvalidValueError, StoreLockedError
from synthians_memory.layout import STATE, STATE_FILES, SUPERBLOCK
from synthians_memory.state import Context, StateDirectory, Written, open_state, rehydrate
from synthians_memory.state.documents import encode_document

__all__ = ["StateDirOption", "StatePlace", "write_to"]

StateDirOption = Annotated[
    str | None, typer.Option(metavar="PATH", help="The directory of the state; without it state/ in the store.")
]
# Each waits a moment for whoever is just making the store.
_MOST_TRIES: Final = 100


@dataclass(frozen=True, slots=True)
class StatePlace:
    """Where the files of a state are.

    Attributes:
        location: a directory for them alone, or that of a store.
        in_store: whether it is the latter.
    """

    location: str
    in_store: bool

    @classmethod
    def of(cls, context: typer.Context, state_dir: str | None) -> Self:
        """What --state-dir says, or else --store. Raises InvalidValueError for an empty one."""
        if state_dir == "":
            raise InvalidValueError("--state-dir is empty", hint="Give a directory; . is the present one.")
        if state_dir is not None:
            return cls(state_dir, False)
        return cls(path_of_store(context), True)

    @property
    def directory(self) -> str:
        """The directory with the files in it."""
        return os.path.join(self.location, STATE) if self.in_store else self.location

    def rehydrate(self) -> Context:
        """As `synthians_memory.state.rehydrate`."""
        return rehydrate(self.location, in_store=self.in_store)

    def write(self, work: Callable[[StateDirectory], Written]) -> Written:
        """Do `work` on the state; raises as `open_state` and as it."""
        with open_state(self.location, in_store=self.in_store) as state:
            return work(state)

    def require_other(self, path: str) -> None:
        """Refuse a path for output that is empty or one of the files; raises InvalidValueError."""
        if not path:
            raise InvalidValueError("--output is empty", hint="Give a file; - is standard output.")
        directory = os.path.realpath(self.directory)
        if os.path.realpath(path) in {os.path.join(directory, name) for name in STATE_FILES}:
            raise InvalidValueError(f"{path} is a file of the state itself", hint="Give --output another path.")

    @property
    def needs_store(self) -> bool:
        """Whether a store has to be made first."""
        return self.in_store and not os.path.lexists(os.path.join(self.location, SUPERBLOCK))


def write_to(
    context: typer.Context, state_dir: str | None, as_json: bool, name: str, work: Callable[[StateDirectory], Written]
) -> int:
    """Run a command that writes the file `name` of the state by `work`, and tell what it wrote."""
    return run(_write_to(context, StatePlace.of(context, state_dir), Output.wanted(as_json), name, work))


async def _write_to(
    context: typer.Context, place: StatePlace, output: Output, name: str, work: Callable[[StateDirectory], Written]
) -> int:
    await _make_store(context, place)
    written = await asyncio.to_thread(place.write, work)
    path = os.path.join(place.directory, name)
    if written.set_aside is not None:
        tell("warning", f"{path} was damaged; it is kept as {written.set_aside} beside it, and a new one was begun")
    if output.json:
        document = {"file": path, "set_aside": written.set_aside, "written": written.value}
        output.line(encode_document(document))
    else:
        output.show(f"wrote {cleaned(path)}")
    return ExitCode.OK


async def _make_store(context: typer.Context, place: StatePlace) -> None:
    """Make the store where there is none, as `remember` does; several may try at once."""
    for _ in range(_MOST_TRIES):
        if not place.needs_store:
            return
        with suppress(StoreLockedError):
            async with Place.of(context).writing(create=True):
                return
