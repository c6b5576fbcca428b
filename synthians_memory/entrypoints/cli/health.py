"""The command health: one health pass, for cron.

It keeps no time; `monitor` does.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import ExitCode
from synthians_memory.entrypoints.cli.findings import findings_table, summary
from synthians_memory.entrypoints.cli.options import JsonOption
from synthians_memory.entrypoints.cli.output import Output, cleaned, facts, tell, tell_first
from synthians_memory.entrypoints.cli.program import run
from synthians_memory.entrypoints.cli.progress import progress
from synthians_memory.entrypoints.cli.snapshots import FromOption
from synthians_memory.entrypoints.cli.stores import Place
from synthians_memory.facade import PARTS
from synthians_memory.maintenance.alert_hooks import hooks_of
from synthians_memory.maintenance.alerts import Alerts
from synthians_memory.maintenance.configuration import Configuration
from synthians_memory.maintenance.health import health_pass
from synthians_memory.maintenance.health_place import HealthPlace, HealthSettings, configured_settings, local_place
from synthians_memory.maintenance.health_report import HealthReport, Outcome

__all__ = [
    "EXAMPLES",
    "NoBackupOption",
    "NoMendOption",
    "alerts_of",
    "exit_code",
    "health",
    "health_place",
    "warn",
]

EXAMPLES: Final = (
    "--store notes health",
    "--store notes health --sample 24",
    "--store notes health --no-mend --no-backup",
)

NoMendOption = Annotated[bool, typer.Option("--no-mend", help="Only examine; nothing but logs and backups is written.")]
NoBackupOption = Annotated[bool, typer.Option("--no-backup", help="Take no backup, also where one is due.")]

_CODES: Final[dict[Outcome, ExitCode]] = {
    "healthy": ExitCode.OK,
    "findings": ExitCode.FINDINGS,
    "mended": ExitCode.MENDED,
    "restored": ExitCode.RESTORED,
    "failed": ExitCode.DAMAGED,
}


def health(
    context: typer.Context,
    sample: Annotated[
        int,
        typer.Option(min=1, metavar="N", help="Read one Nth of the entity files, another one in each pass; 1: all."),
    ] = 1,
    no_mend: NoMendOption = False,
    no_backup: NoBackupOption = False,
    directory: FromOption = None,
    as_json: JsonOption = False,
) -> int:
    """Look the store over, mend it, and take the backup that is due.

    For cron, once an hour. What is damaged is repaired, brought back from backups, or the whole store is, in this order; nothing
    is deleted. The exit code is 0 where all is well, 7 where something was mended, 8 where something was restored, 5 where damage is left,
    and 1 where something else is. Beside a program that has the store open it only looks. docs/health.md tells all of it.
    """
    place, output = Place.of(context), Output.wanted(as_json)
    wanted = configured_settings(place.configuration, sample=sample, mend=not no_mend, backup=not no_backup)
    return run(_health(health_place(place.configuration, directory), wanted, alerts_of(place.configuration), output))


async def _health(place: HealthPlace, wanted: HealthSettings, alerts: Alerts, output: Output) -> int:
    with progress("examining", "files") as move:
        report = await asyncio.to_thread(
            lambda: health_pass(place, wanted, alerts, progress=lambda done, total: move(done, total=total))
        )
    if output.json:
        output.document(report.to_dict())
    else:
        _show(report, output)
    warn(report)
    return exit_code(report)


# What both commands have in common


def health_place(configuration: Configuration, directory: str | None) -> HealthPlace:
    """The store that is meant, with its snapshots where --from says."""
    return local_place(configuration.store_config, parts=PARTS, snapshots=directory)


def alerts_of(configuration: Configuration) -> Alerts:
    """Who is told of failures."""
    place = health_place(configuration, None)
    assignees = configuration.github.assignees if configuration.github else ()
    return Alerts(place.open_store, place.clock, hooks=hooks_of(configuration, os.environ), assignees=assignees)


def exit_code(report: HealthReport) -> ExitCode:
    """Of one pass."""
    return _CODES[report.outcome]


def warn(report: HealthReport) -> None:
    """Tell on standard error of what is lost, left or could not be done; nothing of a pass that found nothing."""
    if report.outcome == "healthy":
        return
    tell(report.outcome, _sentence(report))
    tell_first("mended", report.actions, "see logs/health.log")
    tell_first("restored", [f"{putback.path} from {putback.origin}" for putback in report.restored], "see --json")
    tell_first("lost", report.lost, "see --json")
    tell_first("problem", report.problems, "see --json")
    left = [finding.message for finding in report.remaining if finding.severity != "note"]
    tell_first("left", left, "see `check`")
    tell_first("hint", report.steps, "see --json")


def _sentence(report: HealthReport) -> str:
    if report.holder:
        return f"{report.holder} has the store open; its own monitor mends it."
    if report.rollback is not None:
        return f"the store was made again from the snapshot {report.rollback.snapshot}."
    return f"{len(report.actions):,} steps of repair, {len(report.restored):,} files restored, {len(report.lost):,} losses."


def _show(report: HealthReport, output: Output) -> None:
    """Print one pass for people."""
    found: Sequence[object] = [findings_table(report.remaining), ""] if report.remaining else []
    output.show(*found)  # type: ignore[arg-type]
    signs = report.vital_signs
    age = "none" if signs.backup_age_seconds is None else f"{signs.backup_age_seconds / 3600:.1f} hours"
    output.show(
        facts(
            (
                ("outcome", report.outcome),
                ("memories", f"{report.memories:,}"),
                ("assemblies", f"{report.assemblies:,}"),
                ("examined", f"{report.read:,} files of a sample" if report.read else "every byte"),
                ("left", summary(report.remaining)),
                ("backup taken", report.backup.snapshot.name if report.backup else "none was due"),
                ("newest backup", cleaned(age)),
                ("free space", f"{signs.free_bytes:,} bytes"),
                ("seconds", f"{report.seconds:.1f}"),
            )
        )
    )
