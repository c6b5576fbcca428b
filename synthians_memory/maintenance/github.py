"""Filing documents as issues on GitHub, by its REST interface (POST /repos/OWNER/NAME/issues), where switched on.

It is never used unless somebody makes it, and sends nothing but the document.
"""

from __future__ import annotations

import json
import re
from typing import Final

from synthians_memory.errors import InvalidValueError, NotFiledError
from synthians_memory.extras import import_extra
from synthians_memory.maintenance.issue_document import IssueDocument
from synthians_memory.redaction import redacted_text

__all__ = ["GITHUB", "TOKEN_VARIABLE", "GitHubIssues", "require_project"]

GITHUB: Final = "https://api.github.com"
TOKEN_VARIABLE: Final = "SYNTHIANS_MEMORY_GITHUB_TOKEN"  # noqa: S105 - the name of a variable
_INSTALL: Final = 'Install what files issues: pip install "synthians-memory[ops]".'
_PROJECT: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+")
_MADE: Final = 201


class GitHubIssues:
    """An `AlertHook` that files each document. Thread-safe.

    Args:
        project: OWNER/NAME of its repository there.
        token: with the right to make issues there; stands in no message.
        labels, assignees: beside those of the document.
        url: of the interface.
        timeout: of each attempt, seconds.
        retries: after the first attempt; after refusals for now (429, 5xx) and broken connections only.

    Raises:
        InvalidValueError: no such form of a repository, or no token.
        MissingExtraError: urllib3 is not installed.
    """

    def __init__(
        self,
        project: str,
        token: str,
        *,
        labels: tuple[str, ...] = (),
        assignees: tuple[str, ...] = (),
        url: str = GITHUB,
        timeout: float = 10.0,
        retries: int = 3,
        backoff: float = 1.0,
    ) -> None:
        require_project(project)
        if not token:
            raise InvalidValueError("there is no token to file issues with", hint=f"Set {TOKEN_VARIABLE}.")
        self._urllib3 = import_extra("urllib3", _INSTALL)
        retry = self._urllib3.Retry(
            retries, backoff_factor=backoff, status_forcelist=(429, 500, 502, 503, 504), allowed_methods=None
        )
        self._pool = self._urllib3.PoolManager(retries=retry, timeout=timeout)
        self._url = f"{url}/repos/{project}/issues"
        self._token = token
        self._labels = labels
        self._assignees = assignees

    def __call__(self, document: IssueDocument) -> None:
        """File `document`. Raises NotFiledError."""
        fields = {
            "title": document.title,
            "body": f"{document.body}\nfingerprint: {document.fingerprint}\n",
            "labels": list(dict.fromkeys([*document.labels, *self._labels])),
            "assignees": list(dict.fromkeys([*document.assignees, *self._assignees])),
        }
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/vnd.github+json",
            "Content-Type": "application/json",
            "User-Agent": "synthians-memory",
        }
        try:
            answer = self._pool.request("POST", self._url, body=json.dumps(fields).encode(), headers=headers)
        except self._urllib3.exceptions.HTTPError as error:
            raise NotFiledError(
                f"the issue {document.fingerprint} could not be filed: {type(error).__name__}"
            ) from error
        if answer.status != _MADE:
            raise NotFiledError(f"the issue {document.fingerprint} was not filed: {self._url} answered {answer.status}")


def require_project(project: str) -> None:
    """Refuse what is no OWNER/NAME. Raises InvalidValueError; a secret in it is not shown."""
    if not _PROJECT.fullmatch(project):
        raise InvalidValueError(f"{redacted_text(repr(project))} names no repository", hint="Write OWNER/NAME.")
