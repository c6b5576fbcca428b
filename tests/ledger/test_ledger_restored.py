"""A restore that is cut off while it tells the ledger is gone on with: the newer log is kept, and one entry names the cut."""

from __future__ import annotations

from synthians_memory.layout import LEDGER, LEDGER_LOG, QUARANTINE
from synthians_memory.ledger import Ledger, LedgerPart
from synthians_memory.testing.clock import ManualClock
from synthians_memory.testing.faults import FaultyDisk
from synthians_memory.testing.faulty_backend import FaultyBackend
from synthians_memory.testing.power_cut import Policy
from synthians_memory.testing.sweep import for_each_crash

REPLACED = f"{QUARANTINE}/20260101_000000_000000/store"
NEWER = f"{REPLACED}/{LEDGER}/{LEDGER_LOG}"


def part() -> LedgerPart:
    return LedgerPart(ManualClock())


def restored_disk() -> FaultyDisk:
    """The log of the snapshot is in its place, the newer one in quarantine."""
    disk = FaultyDisk()
    backend = FaultyBackend(disk)
    ledger = Ledger(backend, LEDGER, clock=ManualClock())
    ledger.write_log({"task": "one"})
    older = backend.read(f"{LEDGER}/{LEDGER_LOG}") or b""
    ledger.write_log({"task": "two"})
    made = ""
    for name in f"{REPLACED}/{LEDGER}".split("/"):
        parent, made = made, f"{made}/{name}".lstrip("/")
        backend.make_folder(made)
        backend.sync_folder(parent)
    for path, data in ((NEWER, backend.read(f"{LEDGER}/{LEDGER_LOG}") or b""), (f"{LEDGER}/{LEDGER_LOG}", older)):
        backend.unlink(path)
        file = backend.create(path)
        file.write(data)
        file.sync()
        file.close()
        backend.sync_folder(path.rpartition("/")[0])
    return disk


def test_one_entry_names_the_cut_wherever_it_was_interrupted() -> None:
    disk = restored_disk()
    newer = FaultyBackend(disk).read(NEWER)

    def verify(backend: FaultyBackend, at: int, policy: Policy, seed: int) -> None:
        part().restored(backend, REPLACED)
        ledger = Ledger(backend, LEDGER, clock=ManualClock())
        assert [entry.get("task") for entry in ledger.entries()] == ["one", "restore"]
        assert backend.read(NEWER) == newer
        kept = [backend.read(f"{LEDGER}/{name}") for name, _ in backend.scan(LEDGER) if name.startswith("log.cut-")]
        assert newer in kept
        worse = [finding for finding in part().check(backend, "full") if finding.severity != "note"]
        assert {finding.code for finding in worse} <= {"ledger_cut_unrecorded"}

    assert for_each_crash(lambda backend: part().restored(backend, REPLACED), verify, disk=disk) > 20
