"""Each system call on a store fails in turn, also during recovery: nothing acknowledged is lost, no foreign exception."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from acknowledged import Acknowledged
from editions import DIMENSION
from failing_calls import Failure, calls_in, counted, failing, failures, require_strace
from fork_server import ForkServer
from verdict import require_kept, seen_by_reader

SAMPLE = 20
CONFIG: dict[str, Any] = {
    "embedding_dimension": DIMENSION,
    "segment_bytes": 16 * 1024,
    "checkpoint_interval": 60.0,
    "index_backup_count": 1,
    "backup_interval": 0.0,
    # Every load asks the disk.
    "cache_bytes": 0,
}
# Of a repair at open: a file that could not be read then was moved aside, and restored from the journal.
HARMLESS = ("vectors_damaged", "index_damaged")


@dataclass(frozen=True)
class Crashed:
    """A store that was killed, and what it was told to keep."""

    path: Path
    history: Acknowledged
    config: dict[str, Any]

    def copy(self, name: str) -> Crashed:
        return Crashed(shutil.copytree(self.path, self.path.with_name(name)), self.history.copy(), self.config)


@pytest.fixture(params=["through", "behind"])
async def crashed(fork_server: ForkServer, quick_disk: Path, request: pytest.FixtureRequest) -> Crashed:
    config = CONFIG | {"write_mode": request.param}
    path, history = quick_disk / "crashed", Acknowledged()
    for life, steps in enumerate((12, 6), start=1):
        settings: dict[str, Any] = {
            "path": str(path),
            "config": config,
            "seed": 4,
            "life": life,
            "tasks": 2,
            "steps": steps,
        }
        with closing(fork_server.start("work", **settings)) as child:
            for line in child.lines():
                history.note(line)
                if life == 2 and history.operations > 25:
                    child.kill()
    history.settle(await seen_by_reader(path))
    return Crashed(path, history, config)


def suffer(server: ForkServer, store: Crashed, failure: Failure | None, log: Path | None = None) -> None:
    """A process opens the store, works with it and closes it, while calls fail."""
    child = server.start("suffer", path=str(store.path), config=store.config, life=3, waits=True)
    with closing(child):
        assert child.line() == {"ready": True}
        tracer = failing(child.pid, failure) if failure else counted(child.pid, log or Path("/dev/null"))
        with tracer:
            child.go()
            store.history.note_all(child.lines())
            child.end()


async def require_survived(server: ForkServer, crashed: Crashed, chosen: Iterable[Failure]) -> dict[str, int]:
    """Errors of the library that were met, after all of these failures."""
    met: dict[str, int] = {}
    for number, failure in enumerate(chosen):
        store = crashed.copy(f"store {number}")
        try:
            suffer(server, store, failure)
            await require_kept(store.path, store.history, notes_allowed=HARMLESS)
        except BaseException as error:
            error.add_note(str(failure))
            raise
        shutil.rmtree(store.path)
        for name, count in store.history.refusals.items():
            met[name] = met.get(name, 0) + count
    return met


async def test_a_sample_of_failing_calls_loses_nothing_acknowledged(
    fork_server: ForkServer, crashed: Crashed, quick_disk: Path
) -> None:
    require_strace()
    store = crashed.copy("counted")
    suffer(fork_server, store, None, quick_disk / "log")
    assert store.history.refusals == {}
    await require_kept(store.path, store.history)
    possible = failures(calls_in(quick_disk / "log"))
    met = await require_survived(fork_server, crashed, Random(5).sample(possible, SAMPLE))
    assert met


@pytest.mark.long
@pytest.mark.timeout(7200)
async def test_every_failing_call_loses_nothing_acknowledged(
    fork_server: ForkServer, crashed: Crashed, quick_disk: Path
) -> None:
    require_strace()
    suffer(fork_server, crashed.copy("counted"), None, quick_disk / "log")
    possible = failures(calls_in(quick_disk / "log"))
    met = await require_survived(fork_server, crashed, possible)
    print(
        f"{len(possible)} failures of {len({failure.call for failure in possible})} calls, 0 lost; refused with {met}"
    )
