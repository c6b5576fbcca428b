"""Errors of the library as they cross the service: a status code, a message, and their parts in the trailing metadata.

It is not the errors, and it decides nothing about when one is raised.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from synthians_memory import errors
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2 as wire
from synthians_memory.errors import SynthiansMemoryError
from synthians_memory.models import MemoryEntry
from synthians_memory.times import from_micros, to_micros

__all__ = ["ADMITTED_KEY", "ERROR_KEY", "STATUS_OF", "detail_of", "error_in", "known_errors", "restored", "status_of"]

ERROR_KEY: Final = "synthians-error-bin"
# In the initial metadata of a call that streams its requests: from here on they are read.
ADMITTED_KEY: Final = "synthians-admitted"

# Every class of the tree. UNAVAILABLE is kept for what may be sent again; what the library itself has refused is not.
STATUS_OF: Final[dict[type[SynthiansMemoryError], grpc.StatusCode]] = {
    errors.SynthiansMemoryError: grpc.StatusCode.UNKNOWN,
    errors.InvalidValueError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidIdError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.DimensionError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.BatchTooLargeError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.InvalidTypeError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.UsageError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StoreClosedError: grpc.StatusCode.UNAVAILABLE,
    errors.WrongLoopError: grpc.StatusCode.INTERNAL,
    errors.ForkedStoreError: grpc.StatusCode.INTERNAL,
    errors.MissingExtraError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.GitFailedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ReadOnlyError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StoreLockedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotFiledError: grpc.StatusCode.INTERNAL,
    errors.NotStoredError: grpc.StatusCode.INTERNAL,
    errors.OverloadedError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.StoreFormatError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotAStoreError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.UnsupportedFormatError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.OutdatedFormatError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.StoreMovedError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EmbedderMismatchError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.EntityNotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.ConflictError: grpc.StatusCode.ABORTED,
    errors.SearchTimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.DamagedError: grpc.StatusCode.DATA_LOSS,
    errors.DamagedFileError: grpc.StatusCode.DATA_LOSS,
    errors.DamagedRowError: grpc.StatusCode.DATA_LOSS,
    errors.DamagedViewError: grpc.StatusCode.DATA_LOSS,
    errors.DamagedBackupError: grpc.StatusCode.DATA_LOSS,
    errors.ChangedOutsideError: grpc.StatusCode.FAILED_PRECONDITION,
    errors.ServiceError: grpc.StatusCode.UNKNOWN,
    errors.ServiceUnavailableError: grpc.StatusCode.UNAVAILABLE,
    errors.ServiceBusyError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.ServiceTimeoutError: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.NotAdmittedError: grpc.StatusCode.UNAUTHENTICATED,
    errors.DiskError: grpc.StatusCode.INTERNAL,
    errors.DiskFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.PermissionDeniedError: grpc.StatusCode.INTERNAL,
    errors.NotRegularFileError: grpc.StatusCode.INTERNAL,
    errors.JournalFailedError: grpc.StatusCode.INTERNAL,
}
# Clients take 8 KiB of metadata in all, and the message stands in it twice, each of its bytes escaped where need be.
_MOST_CHARACTERS: Final = 500


def _above(kind: type[SynthiansMemoryError]) -> type[SynthiansMemoryError]:
    """`kind`, or the class nearest above it that the table has: errors of other modules are sent as that one."""
    return next(parent for parent in kind.__mro__ if parent in STATUS_OF)


def status_of(error: SynthiansMemoryError) -> grpc.StatusCode:
    """The status code for `error`."""
    return STATUS_OF[_above(type(error))]


def detail_of(error: SynthiansMemoryError) -> wire.ErrorDetail:
    """The parts of `error` that cross the service; a long message is cut."""
    detail = wire.ErrorDetail(
        type=_above(type(error)).__name__,
        message=_sendable(error.message),
        hint=_sendable(error.hint),
        path=_sendable(error.path or ""),
    )
    if isinstance(error, errors.ConflictError):
        detail.entity_id = error.entity_id
        if error.stored is not None:
            detail.stored = to_micros(error.stored)
    elif isinstance(error, errors.StoreLockedError):
        detail.holder = _sendable(error.holder)
    elif isinstance(error, errors.DiskError):
        detail.errno = error.errno or 0
    elif isinstance(error, errors.NotStoredError):
        detail.parked = error.parked
        if isinstance(error.entry, MemoryEntry):
            detail.entity_id = error.entry.memory_id
            detail.created_at = to_micros(error.entry.created_at)
    return detail


def _sendable(text: str) -> str:
    whole = text.encode("utf-8", "replace").decode("utf-8")
    return whole if len(whole) <= _MOST_CHARACTERS else whole[: _MOST_CHARACTERS - 1] + "…"


def known_errors() -> dict[str, type[SynthiansMemoryError]]:
    """The classes that cross the service, by name."""
    return {kind.__name__: kind for kind in STATUS_OF}


def restored(detail: wire.ErrorDetail) -> SynthiansMemoryError:
    """The error that `detail` was made of; one of a class that is not known here is of the root's."""
    kind = known_errors().get(detail.type, SynthiansMemoryError)
    if kind is errors.ConflictError:
        stored = from_micros(detail.stored) if detail.HasField("stored") else None
        conflict = errors.ConflictError(detail.message, entity_id=detail.entity_id, stored=stored)
        conflict.hint = detail.hint
        return conflict
    given: dict[str, Any] = {"path": detail.path or None, "hint": detail.hint}
    if issubclass(kind, errors.DiskError):
        given["errno"] = detail.errno
    elif kind is errors.StoreLockedError:
        given["holder"] = detail.holder
    elif kind is errors.NotStoredError:
        given["parked"] = detail.parked
        given["entry"] = _named(detail)
    return kind(detail.message, **given)


def _named(detail: wire.ErrorDetail) -> MemoryEntry | None:
    """What is known of a memory that was not stored; its text stays with who sent it."""
    if not detail.HasField("created_at"):
        return None
    return MemoryEntry(memory_id=detail.entity_id, created_at=from_micros(detail.created_at), content="")


def error_in(metadata: Iterable[tuple[str, str | bytes]] | None) -> SynthiansMemoryError | None:
    """The library's error that trailing metadata carries; None where there is none, or nothing that can be read."""
    for key, value in metadata or ():
        if key == ERROR_KEY and isinstance(value, bytes):
            try:
                return restored(wire.ErrorDetail.FromString(value))
            except (DecodeError, SynthiansMemoryError):
                return None
    return None
