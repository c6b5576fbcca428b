"""Disks that are recorded while stores live on them, and cut off from their power."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from crash_images import POLICIES, Policy, PowerCuts, copy_image
from fork_server import Child, ForkServer
from mounts import mounted, mounted_image
from recording_disk import RecordingDisk, recording_disk
from verdict import require_kept

Life = dict[str, Any]
# Gets the disk and its log, which grows.
Meanwhile = Callable[[RecordingDisk, Path], None]
_PATIENCE = 30.0


@dataclass(frozen=True)
class Bench:
    """Where disks are recorded and cut.

    Attributes:
        server: of the children.
        images: a directory in memory.
        kept: a directory for what a failed test leaves.
        kind, options: of the file system on the disks.
    """

    server: ForkServer
    images: Path
    kept: Path
    kind: str
    options: str

    def record(self, pristine: Path, lives: list[Life], meanwhile: Meanwhile | None = None) -> Path:
        """The log of a disk, `pristine` at first, while processes with a store on it come and go.

        Args:
            pristine: an image of the disk.
            lives: settings of `work`, and `seconds`, after which it is killed; without them it ends by itself.
            meanwhile: called when the last of them has started.
        """
        backing, log = self.images / "backing", self.images / f"log of {pristine.name}"
        copy_image(pristine, backing)
        with recording_disk(backing, log) as disk:
            with mounted(disk.device, self.images / "recorded", self.kind.split()[0], self.options) as target:
                for number, life in enumerate(lives, start=1):
                    settings = {**life, "path": str(target / "store"), "report_to": disk.marks}
                    seconds = settings.pop("seconds", None)
                    with closing(self.server.start("work", **settings)) as child:
                        if meanwhile is not None and number == len(lives):
                            meanwhile(disk, log)
                        self._await_end(child, seconds)
        return log

    def _await_end(self, child: Child, seconds: float | None) -> None:
        if seconds is None:
            assert child.end() == 0, "the workload failed"
        else:
            time.sleep(seconds)

    async def cut(self, cuts: PowerCuts, count: int, rng: Random) -> int:
        """Cut the power at so many random moments, and require of each state it may leave what must hold."""
        moments = sorted(rng.sample(cuts.moments, count))
        for moment in moments:
            cuts.advance(moment)
            for policy in POLICIES:
                await self.require_kept(cuts, policy, rng, f"before record {moment}, {policy}")
        return len(moments) * len(POLICIES)

    async def require_kept(self, cuts: PowerCuts, policy: Policy, rng: Random, what: str) -> None:
        image, drawn = self.images / "cut", rng.getstate()
        cuts.leave(policy, image, rng)
        try:
            with mounted_image(image, self.images / "after", self.kind, self.options) as target:
                await require_kept(target / "store", cuts.history.copy())
        except BaseException as error:
            rng.setstate(drawn)
            cuts.leave(policy, self.kept / "cut", rng)
            error.add_note(f"power cut {what}; the disk before recovery is {self.kept / 'cut'}")
            raise


def await_in_log(log: Path, *words: str, times: int = 1) -> None:
    """Until lines with one of these words have come, so many times."""
    end = time.monotonic() + _PATIENCE
    marks = [f'"{word}":'.encode() for word in words]
    while sum(log.read_bytes().count(mark) for mark in marks) < times:
        assert time.monotonic() < end, f"the workload does not get to {words}"
        time.sleep(0.01)
