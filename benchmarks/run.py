"""The command: which workloads, which contenders, how large, and where.

    python -m benchmarks FOLDER --workload save savers --contender ours floor sqlite-vec --size 10000

It measures nothing itself.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import reads, writes
from benchmarks.contenders import CONTENDERS
from benchmarks.machine import machine, new_folder
from benchmarks.output import markdown, write_all
from benchmarks.stage import TINY, Options, Scale, Stage

WORKLOADS: dict[str, Callable[[Stage], None]] = {
    "save": writes.save,
    "savers": writes.savers,
    "batch": writes.batch,
    "load": reads.load,
    "search": reads.search,
    "training": writes.training,
    "open": reads.open_store,
    "check": reads.check,
    "lag": writes.lag,
    "growth": writes.growth,
    # They free inodes, which makes creating files slower for everyone on the disk for some minutes.
    "delete": writes.delete,
    "update": writes.update,
    "update-batch": writes.update_batch,
}
SCALES = {"standard": Scale(), "tiny": TINY}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    found.add_argument("folder", type=Path, help="on the disk that is to be measured; every run makes a new one in it")
    found.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS))
    found.add_argument("--contender", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    found.add_argument("--size", nargs="+", type=int, default=[10_000], help="memories in the stores")
    found.add_argument("--peers-size", type=int, default=10_000, help="the largest size for all but ours and the floor")
    found.add_argument("--python", nargs="+", default=[], metavar="CONTENDER=PATH", help="another interpreter")
    found.add_argument("--scale", choices=SCALES, default="standard", help="tiny: only whether everything runs")
    found.add_argument("--blocks", type=int, help="turns of each contender")
    found.add_argument("--batch", type=int, help="memories in one batch and one import")
    found.add_argument("--rest", type=float, default=0.0, help="seconds between two workloads")
    found.add_argument("--limit", type=float, default=1800.0, help="seconds that one command may take")
    found.add_argument("--drop-caches", action="store_true", help="cold loads: empty the machine's caches (needs root)")
    return found


def options_of(arguments: argparse.Namespace) -> Options:
    """What was asked for, in a folder of its own."""
    changes = {name: value for name in ("blocks", "batch") if (value := getattr(arguments, name)) is not None}
    return Options(
        folder=new_folder(arguments.folder.resolve(), "run"),
        contenders=tuple(dict.fromkeys(arguments.contender)),
        sizes=tuple(sorted(arguments.size)),
        peers_size=arguments.peers_size,
        pythons=dict(one.split("=", 1) for one in arguments.python),
        limit=arguments.limit,
        drop_caches=arguments.drop_caches,
        scale=replace(SCALES[arguments.scale], **changes),
    )


def run(options: Options, workloads: Sequence[str], rest: float = 0.0) -> tuple[Stage, dict[str, Any]]:
    """Run the workloads one after the other, with `rest` seconds between; the report is written anew after each."""
    stage = Stage(options)
    facts = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **machine(options.folder),
        "workloads": list(workloads),
        "sizes": list(options.sizes),
        "scale": asdict(options.scale),
    }
    for name in workloads:
        time.sleep(rest if name != workloads[0] else 0.0)
        start = time.perf_counter()
        WORKLOADS[name](stage)
        stage.say(f"{name}: done after {time.perf_counter() - start:.0f} s")
        write_all(stage, facts)
    return stage, facts


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what the command line asks for and print the tables."""
    parsed = parser().parse_args(arguments)
    options = options_of(parsed)
    stage, facts = run(options, parsed.workload, parsed.rest)
    print(markdown(stage, facts))
    stage.say(f"JSON, tables and plot are in {options.folder}")
