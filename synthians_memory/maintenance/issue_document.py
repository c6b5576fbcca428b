"""A failure of a store as a document that can be filed as an issue: what happened, on which system, and what to do.

It holds no content of a memory, and no secret that `redaction` can tell.
"""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

from synthians_memory.redaction import REDACTED, redacted_text, secret_values

__all__ = ["LABEL", "Failure", "IssueDocument", "system_facts"]

LABEL: Final = "critical"
_FINGERPRINT_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that a person has to know.

    Attributes:
        code: what kind it is.
        summary: one sentence.
        details: what was found and done, a sentence each.
        subjects: files or ids that are concerned; with the code they make the fingerprint.
        steps: what is left to do.
    """

    code: str
    summary: str
    details: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """The same for the same failure of the same things, however often it is met; hexadecimal."""
        text = "\n".join([self.code, *sorted(self.subjects)])
        return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:_FINGERPRINT_LENGTH]


@dataclass(frozen=True, slots=True)
class IssueDocument:
    """What is filed.

    Attributes:
        title: one line.
        body: Markdown.
        labels, assignees: for whoever takes issues.
        fingerprint: of the failure.
    """

    title: str
    body: str
    labels: tuple[str, ...]
    assignees: tuple[str, ...]
    fingerprint: str

    @classmethod
    def of(
        cls,
        failure: Failure,
        facts: Mapping[str, str],
        excerpt: Sequence[str],
        environment: Mapping[str, str],
        *,
        assignees: Sequence[str] = (),
    ) -> IssueDocument:
        """The document of `failure`, without secrets.

        Args:
            failure: what happened.
            facts: of the system.
            excerpt: the last lines of the log.
            environment: whose secret values stand nowhere in the document.
            assignees: for whoever takes issues.
        """
        secrets = secret_values(environment)
        body = _scrubbed("\n".join(_lines(failure, facts, excerpt)), secrets)
        title = " ".join(_scrubbed(f"synthians-memory: {failure.summary}", secrets).split())
        return cls(title, body, (LABEL,), tuple(assignees), failure.fingerprint)

    def to_text(self) -> str:
        """The document as a file: what an issue tracker asks for, a rule, and the body."""
        head = [
            f"title: {self.title}",
            f"labels: {', '.join(self.labels)}",
            f"assignees: {', '.join(self.assignees)}",
            f"fingerprint: {self.fingerprint}",
        ]
        return "\n".join(["---", *head, "---", "", self.body])


def system_facts() -> dict[str, str]:
    """Which library, on which machine."""
    return {
        "synthians-memory": version("synthians-memory"),
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "machine": platform.machine(),
    }


def _lines(failure: Failure, facts: Mapping[str, str], excerpt: Sequence[str]) -> list[str]:
    lines = ["## What happened", "", f"{failure.summary} ({failure.code})", ""]
    lines += [f"- {detail}" for detail in failure.details]
    lines += ["", "## System", "", *(f"- {name}: {value}" for name, value in facts.items())]
    lines += ["", "## Log", "", *(f"    {line}" for line in excerpt)]
    steps = (
        *failure.steps,
        "Run `synthians-memory check --level full` and see that it finds nothing.",
        "Find the cause.",
    )
    return [*lines, "", "## Checklist", "", *(f"- [ ] {step}" for step in steps), ""]


def _scrubbed(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return redacted_text(text)
