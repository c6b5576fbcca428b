"""The error tree: drawn as it is, hints that show, errors that survive another process."""

from __future__ import annotations

import copy
import errno
import pickle
import re
from datetime import UTC, datetime

import pytest

from synthians_memory import errors
from synthians_memory.errors import ConflictError, DiskError, EntityNotFoundError, SynthiansMemoryError, disk_error

_BRANCH = re.compile(r"^(?P<indent>[│ ]*)[├└]── (?P<name>\w+)(?: \((?P<foreign>\w+)\))?  +(?P<text>\S.*)$")


def drawn_tree() -> dict[str, tuple[str, str | None]]:
    """Each class in the docstring: its parent and the foreign class beside it."""
    drawn: dict[str, tuple[str, str | None]] = {}
    path = ["SynthiansMemoryError"]
    for line in (errors.__doc__ or "").splitlines():
        if branch := _BRANCH.match(line):
            depth = len(branch["indent"]) // 4 + 1
            path[depth:] = [branch["name"]]
            drawn[branch["name"]] = (path[depth - 1], branch["foreign"])
    return drawn


def below(kind: type[SynthiansMemoryError]) -> list[type[SynthiansMemoryError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in below(child))]


ALL = [kind for kind in below(SynthiansMemoryError) if kind.__module__ == errors.__name__]


def example(kind: type[SynthiansMemoryError]) -> SynthiansMemoryError:
    if issubclass(kind, ConflictError):
        return kind("a message", entity_id="x", stored=datetime(2026, 11, 20, tzinfo=UTC))
    if issubclass(kind, DiskError):
        return kind("a message", path="memories/x.json", hint="Do this.", errno=errno.EIO)
    return kind("a message", path="memories/x.json", hint="Do this.")


def test_the_tree_is_drawn_as_it_is() -> None:
    actual = {}
    for kind in ALL[1:]:
        foreign = [found.__name__ for found in kind.__bases__ if not issubclass(found, SynthiansMemoryError)]
        actual[kind.__name__] = (kind.__bases__[0].__name__, foreign[0] if foreign else None)
    assert drawn_tree() == actual
    assert len(actual) > 20


def test_every_error_is_exported_and_documented() -> None:
    names = {kind.__name__ for kind in ALL}
    assert names == {name for name in errors.__all__ if name != "disk_error"}
    assert all(kind.__doc__ and kind.__doc__ != kind.__bases__[0].__doc__ for kind in ALL)


@pytest.mark.parametrize("kind", ALL)
def test_message_and_hint_show(kind: type[SynthiansMemoryError]) -> None:
    error = example(kind)
    assert error.hint
    assert str(error) == f"a message. {error.hint}"


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind.hint_default and kind is not ConflictError])
def test_a_default_hint_gives_way_to_a_better_one(kind: type[SynthiansMemoryError]) -> None:
    assert kind("m").hint == kind.hint_default
    assert str(kind("m", hint="Better.")) == "m. Better."


def test_without_a_hint_the_message_stands_alone() -> None:
    assert str(SynthiansMemoryError("what happened")) == "what happened"


@pytest.mark.parametrize(
    ("kind", "foreign"),
    [
        (errors.InvalidValueError, ValueError),
        (errors.InvalidIdError, ValueError),
        (errors.InvalidTypeError, TypeError),
        (errors.UsageError, RuntimeError),
        (errors.StoreClosedError, RuntimeError),
        (errors.EntityNotFoundError, KeyError),
        (errors.DiskFullError, OSError),
    ],
)
def test_plain_python_code_can_catch_them(kind: type[SynthiansMemoryError], foreign: type[Exception]) -> None:
    with pytest.raises(foreign, match="a message"):
        raise example(kind)


def test_a_missing_entity_does_not_show_as_a_quoted_key() -> None:
    assert str(EntityNotFoundError("no memory 'x'")) == "no memory 'x'"


@pytest.mark.parametrize("duplicate", [lambda error: pickle.loads(pickle.dumps(error)), copy.deepcopy, copy.copy])  # noqa: S301
@pytest.mark.parametrize("kind", ALL)
def test_errors_survive_pickling_and_copying(kind: type[SynthiansMemoryError], duplicate: object) -> None:
    error = example(kind)
    error.add_note("while importing")
    other = duplicate(error)  # type: ignore[operator]
    assert type(other) is kind
    assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))
    assert other.__notes__ == ["while importing"]
    assert getattr(other, "errno", None) == getattr(error, "errno", None)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, errors.DiskFullError),
        (errno.EDQUOT, errors.DiskFullError),
        (errno.EACCES, errors.PermissionDeniedError),
        (errno.EROFS, errors.PermissionDeniedError),
        (errno.ELOOP, errors.NotRegularFileError),
        (errno.EISDIR, errors.NotRegularFileError),
        (errno.EIO, DiskError),
        (None, DiskError),
    ],
)
def test_a_refusal_of_the_system_becomes_the_librarys_error(number: int | None, kind: type[DiskError]) -> None:
    foreign = OSError("no number") if number is None else OSError(number, "the reason")
    error = disk_error(foreign, "sync", "memories/x.json")
    assert type(error) is kind
    assert error.errno == (number or 0)
    assert error.path == "memories/x.json"
    assert str(error).startswith("cannot sync memories/x.json: ")
    assert error.hint in str(error)


def test_too_many_open_files_has_a_hint_of_its_own() -> None:
    assert "ulimit" in str(disk_error(OSError(errno.EMFILE, "too many"), "open", "x"))
