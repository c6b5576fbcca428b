"""Every error has a status, and comes out at the other side as it went in."""

from __future__ import annotations

import errno
from datetime import UTC, datetime

import grpc
import pytest

from synthians_memory import MemoryEntry, errors
from synthians_memory.entrypoints.grpc_server import statuses
from synthians_memory.entrypoints.grpc_server.proto.synthians.memory.v1 import store_pb2 as wire
from synthians_memory.errors import ConflictError, DiskError, NotStoredError, StoreLockedError, SynthiansMemoryError


def below(kind: type[SynthiansMemoryError]) -> list[type[SynthiansMemoryError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in below(child))]


TREE = [kind for kind in dict.fromkeys(below(SynthiansMemoryError)) if kind.__module__ == errors.__name__]


def example(kind: type[SynthiansMemoryError]) -> SynthiansMemoryError:
    if issubclass(kind, ConflictError):
        return kind("a conflict", entity_id="x", stored=datetime(2026, 11, 20, 1, 2, 3, 4, tzinfo=UTC))
    if issubclass(kind, DiskError):
        return kind("ü", path="memories/x.json", hint="Do this.", errno=errno.EIO)
    if issubclass(kind, StoreLockedError):
        return kind("locked", holder="pid 12 on host")
    return kind("a message", path="memories/x.json", hint="Do this.")


def crossed(error: SynthiansMemoryError) -> SynthiansMemoryError:
    metadata = [("other", "x"), (statuses.ERROR_KEY, statuses.detail_of(error).SerializeToString())]
    found = statuses.error_in(metadata)
    assert found is not None
    return found


def test_the_table_is_complete() -> None:
    assert set(statuses.STATUS_OF) == set(TREE)
    assert grpc.StatusCode.OK not in statuses.STATUS_OF.values()


def test_what_the_store_has_refused_is_not_unavailable() -> None:
    unavailable = {kind for kind, code in statuses.STATUS_OF.items() if code is grpc.StatusCode.UNAVAILABLE}
    assert unavailable == {errors.ServiceUnavailableError, errors.StoreClosedError}


@pytest.mark.parametrize("kind", TREE)
def test_an_error_comes_back_as_it_was(kind: type[SynthiansMemoryError]) -> None:
    error = example(kind)
    other = crossed(error)
    assert type(other) is kind
    assert (str(other), other.message, other.hint, other.path) == (str(error), error.message, error.hint, error.path)
    for name in ("entity_id", "stored", "holder", "errno", "parked"):
        assert getattr(other, name, None) == getattr(error, name, None)
    assert statuses.status_of(other) is statuses.status_of(error)


def test_a_conflict_about_nothing_stored() -> None:
    other = crossed(ConflictError("m", entity_id="x", stored=None))
    assert isinstance(other, ConflictError)
    assert other.stored is None


@pytest.mark.parametrize("parked", [True, False])
def test_a_memory_that_was_not_stored_is_named(parked: bool) -> None:
    entry = MemoryEntry(content="secret")
    other = crossed(NotStoredError("m", entry=entry, parked=parked))
    assert isinstance(other, NotStoredError)
    assert isinstance(other.entry, MemoryEntry)
    assert (other.entry.memory_id, other.entry.created_at) == (entry.memory_id, entry.created_at)
    assert (other.entry.content, other.parked) == ("", parked)


def test_errors_of_other_modules_cross_as_what_they_are_kinds_of() -> None:
    class OwnError(errors.DiskFullError):
        pass

    assert type(crossed(OwnError("full", errno=errno.ENOSPC))) is errors.DiskFullError
    assert statuses.status_of(OwnError("full")) is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_long_and_odd_messages_stay_within_what_clients_take() -> None:
    error = errors.InvalidValueError("ü\ud800\n" * 10_000, hint="h" * 10_000, path="p" * 10_000)
    detail = statuses.detail_of(error)
    assert len(detail.SerializeToString()) < 4000
    assert detail.message.startswith("ü?\nü")


def test_what_is_no_detail_is_none() -> None:
    for metadata in (None, [], [("a", "b")], [(statuses.ERROR_KEY, b"\xff\xff")], [(statuses.ERROR_KEY, "text")]):
        assert statuses.error_in(metadata) is None
    newer = wire.ErrorDetail(type="ErrorOfANewerVersion", message="m")
    found = statuses.error_in([(statuses.ERROR_KEY, newer.SerializeToString())])
    assert type(found) is SynthiansMemoryError
    broken = wire.ErrorDetail(type="ConflictError", stored=2**62)
    assert statuses.error_in([(statuses.ERROR_KEY, broken.SerializeToString())]) is None
