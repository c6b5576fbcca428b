"""Who is told of a store's failures, as its configuration says: always a document in `issues/`, and GitHub where switched on.

It tells nobody by itself: `alerts.Alerts` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from synthians_memory.errors import InvalidValueError, MissingExtraError, NotFiledError, SynthiansMemoryError
from synthians_memory.maintenance.alerts import AlertHook, IssueFiles
from synthians_memory.maintenance.configuration import Configuration, GitHubAlerts
from synthians_memory.maintenance.github import GITHUB, TOKEN_VARIABLE, GitHubIssues
from synthians_memory.maintenance.issue_document import IssueDocument
from synthians_memory.storage.backend import Backend
from synthians_memory.storage.local import LocalBackend
from synthians_memory.times import Clock, SystemClock

__all__ = ["hooks_of"]


def hooks_of(
    configuration: Configuration,
    environment: Mapping[str, str] = os.environ,
    *,
    open_backend: Callable[[], Backend] | None = None,
    clock: Clock | None = None,
    url: str = GITHUB,
) -> tuple[AlertHook, ...]:
    """The hooks for `Alerts`. Never raises: what keeps GitHub from being told is raised when it is to be told.

    Args:
        configuration: of the store.
        environment: has the token, SYNTHIANS_MEMORY_GITHUB_TOKEN.
        open_backend: opens the store's medium; None: the directory that the configuration names.
        clock: source of time; None: the machine's.
        url: of GitHub's interface.
    """
    documents = IssueFiles(open_backend or (lambda: LocalBackend(configuration.path)), clock or SystemClock())
    if configuration.github is None:
        return (documents,)
    return documents, _issues(configuration.github, environment.get(TOKEN_VARIABLE, ""), url)


def _issues(wanted: GitHubAlerts, token: str, url: str) -> AlertHook:
    try:
        return GitHubIssues(wanted.project, token, labels=wanted.labels, assignees=wanted.assignees, url=url)
    except (InvalidValueError, MissingExtraError) as error:
        return _NoIssues(error)


class _NoIssues:
    """In place of a hook that could not be made."""

    def __init__(self, reason: SynthiansMemoryError) -> None:
        self._reason = reason

    def __call__(self, document: IssueDocument) -> None:
        raise NotFiledError(
            f"the issue {document.fingerprint} could not be filed: {self._reason.message}", hint=self._reason.hint
        ) from self._reason
