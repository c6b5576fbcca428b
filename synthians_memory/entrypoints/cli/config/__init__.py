"""The commands of the group config, one module each.

It is no command itself, and knows no key.
"""

from __future__ import annotations

from typing import Final

from synthians_memory.entrypoints.cli.config import show

__all__ = ["COMMANDS", "HELP"]

HELP: Final = """See by which settings the commands go, and who gave them.

The user's file, the store's file, the environment and arguments, in rising order. docs/configuration.md tells the keys."""
COMMANDS: Final = (("show", show.show, show.EXAMPLES),)
