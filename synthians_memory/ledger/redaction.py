"""What must not be kept of a run: which environment variables are, and secrets, told by their names and shapes.

It is no proof that nothing secret is left: what looks like an ordinary word passes, and so do inputs and outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from synthians_memory.json_values import JsonValue

__all__ = ["REDACTED", "allowed_environment", "redacted", "redacted_arguments"]

REDACTED: Final = "[redacted]"

_ALLOWED: Final = frozenset(
    (
        "BASE_SHA", "CI", "COLUMNS", "HOME", "HOSTNAME", "LANG", "LANGUAGE", "LINES", "LOGNAME", "OLDPWD", "PATH", "PWD",
        "PYTHONHASHSEED", "PYTHONPATH", "SHELL", "SOURCE_DATE_EPOCH", "TERM", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV",
    )
)  # fmt: skip
_ALLOWED_PREFIXES: Final = ("LC_", "SYNTHIANS_MEMORY_")

_SECRET_NAME: Final = re.compile(
    r"(?<![a-z])(api|access|private|secret|signing|encryption|account|auth)[_\-. ]?keys?(?![a-z])|passw(or)?d|passphrase"
    r"|passcode|secret|token|credential|authori[sz]ation|(?<![a-z])(auth|cookies?|pin|pwd|sas|bearer|jwt)(?![a-z])"
    r"|connection[_\-. ]?string|session[_\-. ]?id",
    re.IGNORECASE,
)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
# The directory that a shell is in, and no password.
_NO_SECRETS: Final = frozenset(("PWD", "OLDPWD"))
_SECRET_SHAPE: Final = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*"
    r"|\b(?:sk|pk|rk)[-_][A-Za-z0-9_-]{16,}"
    r"|\bgh[a-z]_[A-Za-z0-9]{20,}|\bgithub_pat_[A-Za-z0-9_]{20,}|\bglpat-[A-Za-z0-9_-]{16,}|\bhf_[A-Za-z0-9]{20,}"
    r"|\bnpm_[A-Za-z0-9]{20,}|\bpypi-[A-Za-z0-9_-]{20,}|\bxox[a-z]-[A-Za-z0-9-]{10,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bAIza[A-Za-z0-9_-]{30,}|\bya29\.[A-Za-z0-9_-]{20,}",
    re.DOTALL,
)
_CREDENTIALS_IN_URL: Final = re.compile(r"(?<=://)[^/\s@]+(?=@)")
_AFTER_SCHEME: Final = re.compile(r"\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_ASSIGNED: Final = re.compile(r"([A-Za-z0-9_.-]+)(\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s,;&]+)")


def allowed_environment(environment: Mapping[str, str], more: Iterable[str] = ()) -> dict[str, str]:
    """The variables that a capsule keeps: those on the list and those in `more`, secrets among them redacted."""
    wanted = _ALLOWED | set(more)
    kept = {name: value for name, value in environment.items() if name in wanted or name.startswith(_ALLOWED_PREFIXES)}
    return {name: REDACTED if _is_secret(name) else _redacted_text(value) for name, value in sorted(kept.items())}


def redacted(value: JsonValue) -> JsonValue:
    """`value` with secrets replaced: what stands under a name such as `api_key`, and what has the shape of a secret."""
    if isinstance(value, dict):
        return {
            name: REDACTED if _is_secret(name) and not _says_nothing(inner) else redacted(inner)
            for name, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [redacted(inner) for inner in value]
    return _redacted_text(value) if isinstance(value, str) else value


def redacted_arguments(arguments: Sequence[str]) -> list[str]:
    """A command's arguments, as `redacted`; also what follows an option such as `--token`."""
    kept: list[str] = []
    for number, argument in enumerate(arguments):
        before = arguments[number - 1] if number else ""
        follows = before.startswith("-") and "=" not in before and _is_secret(before) and not argument.startswith("-")
        kept.append(REDACTED if follows else _redacted_text(argument))
    return kept


def _is_secret(name: str) -> bool:
    return name not in _NO_SECRETS and _SECRET_NAME.search(_CAMEL.sub("_", name).replace("_", " ")) is not None


def _says_nothing(value: JsonValue) -> bool:
    return value is None or isinstance(value, bool | int | float)


def _redacted_text(text: str) -> str:
    text = _SECRET_SHAPE.sub(REDACTED, text)
    text = _CREDENTIALS_IN_URL.sub(REDACTED, text)
    text = _AFTER_SCHEME.sub(rf"\1\2{REDACTED}", text)
    return _ASSIGNED.sub(lambda found: found[1] + found[2] + REDACTED if _is_secret(found[1]) else found[0], text)
