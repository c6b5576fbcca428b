"""Entities that cannot be served, met while many are read: told one by one, and the exit code for them.

It is not a check: it knows only what a command happened to read.
"""

from __future__ import annotations

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.output import tell
from synthians_memory.errors import SynthiansMemoryError

__all__ = ["Damage"]


class Damage:
    """What was left out.

    Attributes:
        count: how many entities.
    """

    def __init__(self) -> None:
        self.count = 0

    def note(self, error: SynthiansMemoryError) -> None:
        """Tell of one on standard error."""
        self.count += 1
        tell("damaged", error.message)

    def exit_code(self) -> ExitCode:
        """The exit code for the whole; says what to do where there was any."""
        if not self.count:
            return ExitCode.OK
        tell("hint", "Run `check`, then `repair`; or `adopt` a file whose content is right.")
        return ExitCode.DAMAGED
