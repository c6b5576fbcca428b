"""The commands of the group state, one module each.

It is no command itself, and knows nothing of the files.
"""

from __future__ import annotations

from typing import Final

from synthians_memory.entrypoints.cli.state import log_decision, log_telemetry, map_, rehydrate, write

__all__ = ["COMMANDS", "HELP"]

HELP: Final = """Keep the state of a workflow: rehydrate it at the start, record what is done and decided.

Four JSON files, in state/ of the store or in any directory. docs/state.md tells what is in them."""
COMMANDS: Final = (
    ("rehydrate", rehydrate.rehydrate_state, rehydrate.EXAMPLES),
    ("write", write.write_state, write.EXAMPLES),
    ("log-decision", log_decision.log_decision, log_decision.EXAMPLES),
    ("log-telemetry", log_telemetry.log_telemetry, log_telemetry.EXAMPLES),
    ("map", map_.write_map, map_.EXAMPLES),
)
