"""Exit codes, and the one table from the library's errors to them and to what a person at a shell can do.

It is not the errors: it adds nothing to what they say happened.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from synthians_memory.errors import (
    BatchTooLargeError,
    ChangedOutsideError,
    DamagedError,
    DiskError,
    EmbedderMismatchError,
    EntityNotFoundError,
    GitFailedError,
    InvalidTypeError,
    InvalidValueError,
    NotAStoreError,
    OverloadedError,
    PermissionDeniedError,
    ReadOnlyError,
    SearchTimeoutError,
    StoreFormatError,
    StoreLockedError,
    StoreMovedError,
    SynthiansMemoryError,
    UnsupportedFormatError,
    UsageError,
)

__all__ = ["Answer", "ExitCode", "InputMissingError", "answer_to"]


class ExitCode(IntEnum):
    """What the program ends with; docs/cli.md describes each."""

    OK = 0
    FINDINGS = 1
    USAGE = 2
    NOT_FOUND = 3
    LOCKED = 4
    DAMAGED = 5
    DISK = 6
    MENDED = 7
    RESTORED = 8
    TIMED_OUT = 124  # as the program timeout ends
    NOT_RECORDED = 125  # with the next two, as programs that run others end
    CANNOT_EXECUTE = 126
    NO_COMMAND = 127
    INTERRUPTED = 130  # 128 and the number of SIGINT, as shells count
    BROKEN_PIPE = 141  # likewise of SIGPIPE


class InputMissingError(DiskError):
    """A file that the user names is not there."""

    hint_default = "Give the path of an existing file."


class Answer(NamedTuple):
    """What to say and to return when an error ends a command."""

    code: ExitCode
    hint: str


class _Row(NamedTuple):
    """Errors of `kind`: `hint` stands in for the library's default hint, and for any hint where `always`."""

    kind: type[SynthiansMemoryError]
    code: ExitCode
    hint: str = ""
    always: bool = False


# The first row that fits counts.
_TABLE: Final = (
    _Row(InputMissingError, ExitCode.NOT_FOUND),
    _Row(NotAStoreError, ExitCode.NOT_FOUND, "Give --store the directory of a store."),
    _Row(StoreMovedError, ExitCode.NOT_FOUND, "Give --store the new place."),
    _Row(EntityNotFoundError, ExitCode.NOT_FOUND, "`list` shows the ids."),
    _Row(
        StoreLockedError,
        ExitCode.LOCKED,
        "Wait for that program, or close it. Beside it work: get, list, recall, search, stats, check, doctor, report, health, export, backup, backups, history, state, ledger, config show, repair --dry-run, and what only reads of tiers. If it is `serve`, other programs store through it (docs/service.md).",
    ),
    _Row(ReadOnlyError, ExitCode.DAMAGED, "Run `check` to see what is wrong, then `repair`.", always=True),
    _Row(DamagedError, ExitCode.DAMAGED),
    _Row(ChangedOutsideError, ExitCode.DAMAGED),
    _Row(UnsupportedFormatError, ExitCode.USAGE),
    _Row(
        EmbedderMismatchError,
        ExitCode.USAGE,
        "Leave out --dimension, --metric, --embedder, the environment variables for them and what a configuration file says of them, or use another store.",
        always=True,
    ),
    _Row(
        StoreFormatError,
        ExitCode.USAGE,
        "Use a local disk, or set SYNTHIANS_MEMORY_ALLOW_NETWORK_FILESYSTEM=true.",
        always=True,
    ),
    _Row(BatchTooLargeError, ExitCode.USAGE, "Give a smaller --chunk, or raise SYNTHIANS_MEMORY_MAX_BATCH_BYTES."),
    _Row(InvalidValueError, ExitCode.USAGE, "Correct it, and run the command again."),
    _Row(InvalidTypeError, ExitCode.USAGE, "Correct it, and run the command again."),
    _Row(GitFailedError, ExitCode.USAGE),
    _Row(UsageError, ExitCode.USAGE, "See --help."),
    _Row(OverloadedError, ExitCode.DISK, "Look with `stats` why files cannot be written, then try again."),
    _Row(
        PermissionDeniedError,
        ExitCode.DISK,
        "Make the store and its files readable and writable for this user; commands that only read need no writing.",
    ),
    _Row(DiskError, ExitCode.DISK),
    _Row(
        SearchTimeoutError,
        ExitCode.TIMED_OUT,
        "Allow more time with --timeout. `checkpoint` brings the text index up to date for all who read.",
        always=True,
    ),
    _Row(SynthiansMemoryError, ExitCode.DISK, "Run `check`; please report it if nothing is found."),
)


def answer_to(error: SynthiansMemoryError) -> Answer:
    """The exit code for `error`, and the hint to print with it ("" for none)."""
    row = next(row for row in _TABLE if isinstance(error, row.kind))
    replaced = row.hint and (row.always or error.hint in ("", type(error).hint_default))
    return Answer(row.code, row.hint if replaced else error.hint)
