"""Telling people of failures: a line in `logs/failures.log`, and hooks, by default a document in `issues/`.

It mends nothing, and a hook that fails never stops who mends.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from synthians_memory.engine.documents import write_whole
from synthians_memory.errors import DiskError, SynthiansMemoryError
from synthians_memory.layout import FAILURES_LOG, ISSUES, issue_path
from synthians_memory.maintenance.event_log import EventLog
from synthians_memory.maintenance.issue_document import Failure, IssueDocument, system_facts
from synthians_memory.storage.backend import Backend
from synthians_memory.times import Clock, from_micros

__all__ = ["AlertHook", "Alerts", "IssueFiles"]

_EXCERPT: Final = 20


class AlertHook(Protocol):
    """Somebody who is told of failures; called in a thread of its own caller."""

    def __call__(self, document: IssueDocument) -> None:
        """Take `document`. Raises SynthiansMemoryError where it could not be passed on."""


class IssueFiles:
    """Keeps each document as a file in `issues/`, one for each fingerprint. Safe from any thread and process.

    Args:
        open_backend: opens the store's medium.
        clock: source of time.
    """

    def __init__(self, open_backend: Callable[[], Backend], clock: Clock) -> None:
        self._open_backend = open_backend
        self._clock = clock

    def __call__(self, document: IssueDocument) -> None:
        """Write `document`, durably, unless one with its fingerprint is there. Raises DiskError."""
        backend = self._open_backend()
        try:
            if backend.make_folder(ISSUES):
                backend.sync_folder("")
            if not any(document.fingerprint in name for name, _ in backend.scan(ISSUES)):
                path = issue_path(from_micros(self._clock.micros()), document.fingerprint)
                write_whole(backend, path, [document.to_text().encode(errors="replace")])
        finally:
            backend.close()


class Alerts:
    """Tells of failures: first the log, then each hook.

    Args:
        open_backend: opens the store's medium.
        clock: source of time.
        hooks: who is told; None: `IssueFiles` alone.
        environment: whose secrets are kept out of documents.
        assignees: of the documents.
    """

    def __init__(
        self,
        open_backend: Callable[[], Backend],
        clock: Clock,
        *,
        hooks: Sequence[AlertHook] | None = None,
        environment: Mapping[str, str] = os.environ,
        assignees: Sequence[str] = (),
    ) -> None:
        self._open_backend = open_backend
        self._log = EventLog(open_backend, FAILURES_LOG, clock)
        self._hooks = (IssueFiles(open_backend, clock),) if hooks is None else tuple(hooks)
        self._environment = environment
        self._assignees = tuple(assignees)

    def tell(self, failure: Failure) -> list[str]:
        """Tell everybody of `failure`; what could not be told, a sentence each. Raises nothing of the library's."""
        problems: list[str] = []
        _try(problems, lambda: self._log.append(**_fields(failure)))
        document = IssueDocument.of(
            failure, system_facts(), self._excerpt(problems), self._environment, assignees=self._assignees
        )
        for hook in self._hooks:
            _try(problems, lambda hook=hook: hook(document))  # type: ignore[misc]
        if problems:
            _try([], lambda: self._log.append(code="alert_failed", problems=problems))
        return problems

    def _excerpt(self, problems: list[str]) -> list[str]:
        try:
            backend = self._open_backend()
            try:
                data = backend.read(FAILURES_LOG) or b""
            finally:
                backend.close()
        except DiskError as error:
            problems.append(str(error))
            return []
        return data.decode(errors="replace").splitlines()[-_EXCERPT:]


def _fields(failure: Failure) -> dict[str, object]:
    return {
        "code": failure.code,
        "summary": failure.summary,
        "details": list(failure.details),
        "fingerprint": failure.fingerprint,
    }


def _try(problems: list[str], step: Callable[[], None]) -> None:
    try:
        step()
    except SynthiansMemoryError as error:
        problems.append(str(error))
