"""Too few descriptors: the library's own error, nothing lost, nothing leaked, and reads go on afterwards."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from acknowledged import Acknowledged
from editions import DIMENSION
from fork_server import ForkServer
from verdict import require_kept

CONFIG: dict[str, Any] = {"embedding_dimension": DIMENSION, "segment_bytes": 16 * 1024, "checkpoint_interval": 60.0}
# More than a store ever has open in this workload.
ENOUGH = 40


def live(server: ForkServer, path: Path, history: Acknowledged, **settings: Any) -> dict[str, Any]:
    """One life of a process with few descriptors; its last line."""
    last: dict[str, Any] = {}
    with closing(server.start("run_out_of_descriptors", path=str(path), config=CONFIG, **settings)) as child:
        for line in child.lines():
            history.note(line)
            last = line
        assert child.end() == 0
    return last


async def test_an_opening_without_descriptors_fails_cleanly(fork_server: ForkServer, place: Path) -> None:
    path, history = place / "store", Acknowledged()
    opened = []
    for life in range(1, ENOUGH):
        last = live(fork_server, path, history, life=life, spare=life - 1, when="before")
        assert last["descriptors"] == 0, f"{last['descriptors']} descriptors are left open"
        opened.append(last["opened"])
        await require_kept(path, history)
        if opened[-3:] == [True] * 3:
            break
    assert opened[0] is False
    assert opened[-1] is True
    assert history.refusals.keys() <= {"DiskError"}


@pytest.mark.parametrize("spare", [0, 1, 2, 3, 5, 8])
async def test_an_open_store_without_descriptors_keeps_what_it_acknowledged(
    fork_server: ForkServer, place: Path, spare: int
) -> None:
    path, history = place / "store", Acknowledged()
    live(fork_server, path, history, life=1, spare=ENOUGH, when="after")
    last = live(fork_server, path, history, life=2, spare=spare, when="after")
    assert last["opened"] is True
    assert last["descriptors"] == 0
    assert last["loads"] == "went on"
    assert history.refusals.keys() <= {"DiskError", "JournalFailedError", "ReadOnlyError"}
    await require_kept(path, history)


async def test_a_store_at_work_imports_nothing(fork_server: ForkServer, place: Path) -> None:
    """An import needs descriptors too, and its failure is no error of this library."""
    path, history = place / "store", Acknowledged()
    config = CONFIG | {"index_backup_count": 1, "backup_interval": 0.0}
    for life in (1, 2):
        with closing(fork_server.start("name_imports", path=str(path), config=config, life=life)) as child:
            lines = list(child.lines())
        history.note_all(lines)
        assert lines[-1] == {"imported": []}
    await require_kept(path, history)
