"""Repair: findings become a saved plan of idempotent steps, and the steps are taken.

It is not check: it searches for nothing, and it deletes no source; what is in the way goes to quarantine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Literal

import orjson

from synthians_memory.codec import Inspection, Version, encode, sealed_version, version_of
from synthians_memory.engine.adoption import Adopter, Adoption
from synthians_memory.engine.check import Progress, check
from synthians_memory.engine.checkpoint import Checkpointer
from synthians_memory.engine.commit import Batch, Committer, Operation
from synthians_memory.engine.documents import read_document, write_document
from synthians_memory.engine.foreign_files import inspect_for
from synthians_memory.engine.rebuild import vector_change
from synthians_memory.engine.records import Key, decode_record
from synthians_memory.engine.salvage import salvage
from synthians_memory.engine.state import StoreState
from synthians_memory.engine.superblock import store_superblock
from synthians_memory.engine.text_source import StateSource
from synthians_memory.errors import (
    BatchTooLargeError,
    DamagedFileError,
    DamagedViewError,
    EntityNotFoundError,
    NotRegularFileError,
    OverloadedError,
)
from synthians_memory.json_values import JsonObject
from synthians_memory.layout import ENTITY_FOLDERS, QUARANTINE, REPAIR_PLAN, SUPERBLOCK, Kind, entity_path, is_scratch
from synthians_memory.reports import Finding, RepairReport
from synthians_memory.storage.segment import read_journal

__all__ = ["Planner", "Repairer", "Step"]

Action = Literal[
    "adopt", "restore", "set_aside", "forget", "index_vector", "write_views", "rebuild_vectors", "write_superblock",
    "rebuild_text", "remove_scratch", "write_pending", "copy_journal",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """One idempotent step.

    Attributes:
        action: what is done.
        path: the file concerned.
        kind, entity_id: the entity concerned, where it is one.
    """

    action: Action
    path: str
    kind: Kind | None = None
    entity_id: str | None = None

    def sentence(self) -> str:
        """What is done, for people."""
        return _SENTENCES[self.action].format(path=self.path, entity=f"{self.kind} {self.entity_id!r}")


_SENTENCES: Final[dict[Action, str]] = {
    "adopt": "adopt {path} as it stands",
    "restore": "write the acknowledged version of {path} again",
    "set_aside": "move {path} to quarantine and keep beside it what can be salvaged",
    "forget": "record that {entity} is gone",
    "index_vector": "make the vector of {entity} agree with its embedding",
    "write_views": "write the memory index and the vector index anew",
    "rebuild_vectors": "rebuild the vector index from the entity files",
    "rebuild_text": "remove the text index; it is built again when it is asked",
    "write_superblock": "write {path} anew",
    "remove_scratch": "remove {path}",
    "write_pending": "write {path}",
    "copy_journal": "keep a copy of {path} and checkpoint what it holds",
}


class Planner:
    """Turns findings into steps; reads the state only, and changes nothing."""

    def __init__(self, state: StoreState) -> None:
        self._state = state
        self._retained: dict[Key, bytes] | None = None

    def dry_run(self, findings: Sequence[Finding]) -> RepairReport:
        """What a repair by hand would do about `findings`."""
        steps = self.plan(findings, automatic=False)
        return RepairReport(tuple(findings), tuple(s.sentence() for s in steps), tuple(findings), dry_run=True)

    def plan(self, findings: Iterable[Finding], *, automatic: bool) -> list[Step]:
        """The steps that mend what `findings` name, each once; `automatic` as in `Repairer.repair`."""
        steps: dict[Step, None] = {}
        for finding in findings:
            for action in self._actions(finding, automatic=automatic):
                steps[Step(action, finding.path, finding.kind, finding.entity_id)] = None
        return list(steps)

    def _actions(self, finding: Finding, *, automatic: bool) -> tuple[Action, ...]:
        if finding.code in ("file_damaged", "file_undecodable", "not_a_file", "file_missing"):
            return self._file_actions(finding, automatic=automatic)
        return _ACTIONS.get(finding.code, ())

    def _file_actions(self, finding: Finding, *, automatic: bool) -> tuple[Action, ...]:
        if finding.entity_id is None:
            return ("set_aside",)
        key = _key_of(finding.kind, finding.entity_id)
        indexed = self._state.index.hash(key) is not None
        missing = finding.code == "file_missing"
        if indexed and self.acknowledged(key) is not None:
            return ("restore",) if missing else ("set_aside", "restore")
        if missing:
            return ("forget",)
        if automatic and finding.code != "not_a_file":
            return ()
        return ("set_aside", "forget") if indexed else ("set_aside",)

    def refusal(self, steps: Iterable[Step]) -> Finding | None:
        """Why `steps` are not to be taken unwatched; None where they may be."""
        dropped = len({(step.kind, step.entity_id) for step in steps if step.action in ("forget", "set_aside")})
        if dropped <= self._state.most_dropped:
            return None
        message = f"a repair at open would have dropped or set aside {dropped} entities, so it did nothing"
        return Finding("repair_refused", message)

    def acknowledged(self, key: Key) -> Version | None:
        """The acknowledged version, where it is still to be had without its file."""
        decided, version = self._state.decided(key)
        if not decided:
            version = self._state.staged_version(key)
        if decided or version is not None:
            return version
        wanted = self._state.index.row(key)
        if wanted is None:
            return None
        cached = self._state.cache.get(key)
        if cached is not None and cached[0] == wanted.hash:
            version = encode(cached[1]).stamp(wanted.updated_micros)
            if version.hash == wanted.hash:
                return version
        data = self._in_journal().get(key)
        return sealed_version(key[0], data) if data is not None and version_of(data) == wanted.hash else None

    def _in_journal(self) -> dict[Key, bytes]:
        """The last version of each entity in the retained frames; read once."""
        if self._retained is None:
            identity = (self._state.superblock.store_id, self._state.superblock.epoch)
            entries = read_journal(self._state.backend, identity).entries
            records = (decode_record(body) for entry in entries for body in entry.records)
            self._retained = {record.key: record.data for record in records if record.data is not None}
        return self._retained


class Repairer:
    """Mends one open store; used by the writer."""

    def __init__(self, state: StoreState, committer: Committer, checkpointer: Checkpointer) -> None:
        self._state = state
        self._committer = committer
        self._checkpointer = checkpointer
        self._adopter = Adopter(state, committer)
        self._planner = Planner(state)
        self._quarantined: list[str] = []
        self._steps: dict[Action, Callable[[Step], None]] = {
            "adopt": self._adopt_step,
            "restore": self._restore,
            "set_aside": self._set_aside,
            "forget": self._forget,
            "index_vector": self._index_vector,
            "write_views": self._write_views,
            "rebuild_vectors": self._rebuild_vectors,
            "rebuild_text": self._rebuild_text,
            "write_superblock": self._write_superblock,
            "remove_scratch": self._remove_scratch,
            "write_pending": self._write_pending,
            "copy_journal": self._copy_journal,
        }

    def repair(self, findings: Sequence[Finding], *, automatic: bool, progress: Progress | None = None) -> RepairReport:
        """Mend what `findings` name.

        Args:
            findings: what check found.
            automatic: at open nobody watches: a damaged file that cannot be restored is left in place,
                and a plan that would drop or set aside more than max(10, 1 %) of the entities is not begun.
            progress: as in `check`, of the check afterwards.

        Returns:
            What was done, and what a new check still finds.

        Raises:
            DiskError: a step failed; the plan is saved and gone on with at the next open or repair.
        """
        steps = self._planner.plan(findings, automatic=automatic)
        refusal = self._planner.refusal(steps) if automatic else None
        if refusal is not None:
            return RepairReport(tuple(findings), remaining=(*findings, refusal))
        if steps:
            self._save(steps)
            self._take(steps)
        level = self._state.config.startup_check if automatic else "full"
        remaining = tuple(check(self._state, level, progress))
        done = tuple(step.sentence() for step in steps)
        return RepairReport(tuple(findings), done, remaining, tuple(self._quarantined))

    def accept_losses(self) -> None:
        """Take it that folders which lost everything stay empty; a person has asked for it. Raises DiskError."""
        for kind in self._state.vanished:
            if self._state.backend.make_folder(ENTITY_FOLDERS[kind]):
                self._state.backend.sync_folder("")
        self._state.vanished = frozenset()

    def resume(self) -> tuple[str, ...]:
        """Take the steps of a plan that was interrupted; returns what was done. Raises DiskError."""
        try:
            saved = read_document(self._state.backend, REPAIR_PLAN)
            steps = [] if saved is None else _steps_of(saved)
        except DamagedViewError:
            # A plan holds nothing that check does not find again.
            self._drop_plan()
            return ()
        except NotRegularFileError as error:
            self._quarantined.append(self._state.quarantine.move(REPAIR_PLAN, error.message))
            return ()
        if saved is not None:
            self._take(steps)
        return tuple(f"{step.sentence()} (of an earlier repair that was interrupted)" for step in steps)

    def adopt(self, key: Key) -> Version:
        """Take the file of one entity as it stands, whatever its hash line says; an ordinary journaled write.

        Raises:
            EntityNotFoundError: there is no file.
            DamagedFileError: it does not parse, or does not validate.
        """
        path = entity_path(*key)
        data = self._state.backend.read(path)
        if data is None:
            raise EntityNotFoundError(f"{path} does not exist", path=path, hint="Give the id of an existing file.")
        found = inspect_for(self._state, key, data)
        if found.entity is None:
            raise DamagedFileError(
                f"{path} cannot be adopted: {found.reason}", path=path, hint="Correct the file, then adopt it again."
            )
        version = self._adopt(key, found)
        self._checkpointer.run()
        return version

    def _save(self, steps: Sequence[Step]) -> None:
        self._state.backend.make_folder(QUARANTINE)
        body = b",\n".join(b"    " + orjson.dumps(asdict(step)) for step in steps)
        write_document(self._state.backend, REPAIR_PLAN, [b'  "steps": [\n%s\n  ]' % body])

    def _drop_plan(self) -> None:
        self._state.backend.unlink(REPAIR_PLAN)
        self._state.backend.sync_folder(QUARANTINE)

    # Doing

    def _take(self, steps: Sequence[Step]) -> None:
        for step in steps:
            self._steps[step.action](step)
        self._checkpointer.run()
        self._drop_plan()

    def _inspect(self, key: Key) -> Inspection | None:
        stat = self._state.backend.stat(entity_path(*key))
        data = self._state.backend.read(entity_path(*key)) if stat is not None and stat.kind == "file" else None
        return inspect_for(self._state, key, data) if data is not None else None

    def _adopt_step(self, step: Step) -> None:
        key = _key_of(step.kind, step.entity_id)
        found = self._inspect(key)
        if found is None or found.state == "damaged":
            return
        try:
            self._adopt(key, found)
        except (BatchTooLargeError, OverloadedError) as error:
            # The file stays in place, and the check afterwards names it again.
            self._state.last_error = str(error)

    def _adopt(self, key: Key, found: Inspection) -> Version:
        outcome = self._adopter.adopt(Adoption(key, found))
        if not isinstance(outcome, Version):
            raise DamagedFileError(f"{entity_path(*key)} cannot be adopted")
        return outcome

    def _restore(self, step: Step) -> None:
        key = _key_of(step.kind, step.entity_id)
        version = self._planner.acknowledged(key)
        if version is None:
            return
        try:
            # No frame may be left that covers the file while it is written.
            self._commit(Operation(*key, encode(version.entity), exact=version))
        except (BatchTooLargeError, OverloadedError):
            self._committer.applier.apply_file(key, version, frozenset())

    def _set_aside(self, step: Step) -> None:
        stat = self._state.backend.stat(step.path)
        found = None if step.entity_id is None else self._inspect(_key_of(step.kind, step.entity_id))
        if stat is None or (found is not None and found.state != "damaged"):
            return
        reason = found.reason if found else "something that is no regular file stood in the place of one"
        target = self._state.set_aside(step.path, reason)
        self._quarantined.append(target)
        saved = salvage(found.data) if found else None
        if saved:
            self._quarantined.append(self._state.quarantine.keep_beside(target, "salvaged.json", saved))

    def _forget(self, step: Step) -> None:
        key = _key_of(step.kind, step.entity_id)
        if self._state.backend.stat(step.path) is not None or self._state.index.hash(key) is None:
            return
        self._adopter.adopt(Adoption(key, None))

    def _commit(self, operation: Operation) -> Version | bool:
        batch = Batch([operation])
        self._committer.commit([batch])
        if batch.error is not None:
            raise batch.error
        return batch.outcomes[0]

    def _index_vector(self, step: Step) -> None:
        change = vector_change(self._state, _key_of(step.kind, step.entity_id))
        if change is not None:
            self._state.vectors.apply([change])
            # No sequence stands for this change, so it cannot be a group of the log.
            self._state.vectors.forget_files()

    def _rebuild_vectors(self, step: Step) -> None:
        state = self._state
        state.vectors.reset()
        for kind, rows in state.index.rows.items():
            for entity_id in sorted(rows):
                change = vector_change(state, (kind, entity_id))
                if change is not None:
                    state.vectors.apply([change])
        self._write_views(step)

    def _write_views(self, step: Step) -> None:
        self._state.index.forget_files()
        self._state.vectors.forget_files()
        self._state.index.snapshot_wanted = True
        self._checkpointer.wanted = True

    def _rebuild_text(self, _: Step) -> None:
        self._state.text.discard(StateSource(self._state))

    def _write_superblock(self, step: Step) -> None:
        stat = self._state.backend.stat(SUPERBLOCK)
        if stat is not None:
            self._quarantined.append(self._state.quarantine.move(SUPERBLOCK, "it was damaged"))
        store_superblock(self._state.backend, self._state.superblock)

    def _remove_scratch(self, step: Step) -> None:
        if is_scratch(step.path.rpartition("/")[2]):
            self._state.backend.unlink(step.path)

    def _write_pending(self, step: Step) -> None:
        self._committer.applier.retry_stuck()

    def _copy_journal(self, step: Step) -> None:
        data = self._state.backend.read(step.path)
        if data is not None:
            reason = "durable frames are not intact"
            self._quarantined.append(self._state.quarantine.keep(step.path, data, reason))
        self._checkpointer.wanted = True


def _steps_of(saved: JsonObject) -> list[Step]:
    """The steps in a saved plan; DamagedViewError for a document that is none."""
    try:
        steps = [Step(**step) for step in saved["steps"]]
    except (KeyError, TypeError) as error:
        raise DamagedViewError(f"{REPAIR_PLAN} is no plan: {error}", path=REPAIR_PLAN) from error
    if any(step.action not in _SENTENCES for step in steps):
        raise DamagedViewError(f"{REPAIR_PLAN} has steps that are unknown", path=REPAIR_PLAN)
    return steps


def _key_of(kind: Kind | None, entity_id: str | None) -> Key:
    if kind is None or entity_id is None:
        raise EntityNotFoundError("the step names no entity")
    return kind, entity_id


_ACTIONS: Final[dict[str, tuple[Action, ...]]] = {
    "file_not_indexed": ("adopt",),
    "file_replaced": ("adopt",),
    "file_edited": ("adopt",),
    "vector_missing": ("index_vector",),
    "vector_stale": ("index_vector",),
    "vector_orphan": ("index_vector",),
    "vector_wrong": ("rebuild_vectors",),
    "index_damaged": ("write_views",),
    "vectors_damaged": ("write_views",),
    "text_damaged": ("rebuild_text",),
    "superblock_damaged": ("write_superblock",),
    "scratch": ("remove_scratch",),
    "apply_pending": ("write_pending",),
    "journal_damaged": ("copy_journal",),
}
