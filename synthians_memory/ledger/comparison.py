"""Comparing two runs: the fields of their entries, and the files that they put out.

It judges neither, and changes nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from synthians_memory.json_values import JsonObject, JsonValue
from synthians_memory.layout import RUN_OUTPUTS
from synthians_memory.ledger.capsules import run_folder
from synthians_memory.ledger.entries import CAPSULE_HASHES, HASH_PREV, HASH_SELF
from synthians_memory.storage.backend import Backend

__all__ = ["OutputDifference", "RunDifference", "compare_runs"]

_OF_EVERY_RUN: Final = ("run_id", "ts", HASH_PREV, HASH_SELF, CAPSULE_HASHES)
_SHOWN_BYTES: Final = 64 * 1024
_SHOWN_LINES: Final = 200


@dataclass(frozen=True, slots=True)
class OutputDifference:
    """One output file that differs.

    Attributes:
        name: of the file.
        before: SHA-256 in the run compared with; None where it has no such file.
        after: likewise in the run itself.
        lines: a unified diff of texts that are not long, without line breaks; else nothing.
    """

    name: str
    before: str | None
    after: str | None
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunDifference:
    """How a run differs from another.

    Attributes:
        run: its id.
        against: that of the other.
        fields: name -> value in the other and in the run, of each field that differs; None stands for one that is missing.
        outputs: the files that differ, in the order of their names.
    """

    run: str
    against: str
    fields: dict[str, tuple[JsonValue, JsonValue]]
    outputs: tuple[OutputDifference, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs but what differs between any two runs: ids, times and hashes of entries."""
        return not self.fields and not self.outputs

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        outputs = [{"name": o.name, "before": o.before, "after": o.after, "lines": list(o.lines)} for o in self.outputs]
        fields = {name: {"before": before, "after": after} for name, (before, after) in self.fields.items()}
        return {"run": self.run, "against": self.against, "equal": self.equal, "fields": fields, "outputs": outputs}


def compare_runs(backend: Backend, folder: str, run: JsonObject, against: JsonObject) -> RunDifference:
    """How the entry `run` differs from `against`, both in the ledger in `folder`. Raises DiskError."""
    names = sorted((run.keys() | against.keys()) - set(_OF_EVERY_RUN))
    fields = {name: (against.get(name), run.get(name)) for name in names if against.get(name) != run.get(name)}
    outputs = tuple(_outputs(backend, folder, run, against))
    return RunDifference(str(run["run_id"]), str(against["run_id"]), fields, outputs)


def _outputs(backend: Backend, folder: str, run: JsonObject, against: JsonObject) -> Iterator[OutputDifference]:
    before, after = _output_hashes(against), _output_hashes(run)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            old, new = _text(backend, folder, against, name), _text(backend, folder, run, name)
            diff = (
                []
                if old is None or new is None
                else difflib.unified_diff(old, new, "before", "after", lineterm="", n=1)
            )
            yield OutputDifference(name, before.get(name), after.get(name), tuple(diff)[:_SHOWN_LINES])


def _output_hashes(entry: JsonObject) -> dict[str, str]:
    hashes: Any = entry.get(CAPSULE_HASHES)
    start = f"{RUN_OUTPUTS}/"
    known = hashes if isinstance(hashes, dict) else {}
    return {name.removeprefix(start): value for name, value in known.items() if name.startswith(start)}


def _text(backend: Backend, folder: str, entry: JsonObject, name: str) -> list[str] | None:
    """The lines of an output; none where there is no such file, None where it is long or no text."""
    data = backend.read(f"{run_folder(folder, entry['run_id'])}/{RUN_OUTPUTS}/{name}", 0, _SHOWN_BYTES + 1)
    if data is None:
        return []
    try:
        return None if len(data) > _SHOWN_BYTES else data.decode("utf-8").splitlines()
    except UnicodeDecodeError:
        return None
