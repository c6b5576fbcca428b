"""Ids and file names: one reversible map, and safe on every disk."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from entity_strategies import ids, type_name
from hypothesis import example, given
from hypothesis import strategies as st

from synthians_memory import layout
from synthians_memory.errors import InvalidIdError, InvalidTypeError
from synthians_memory.layout import (
    entity_path,
    file_name,
    id_of_file_name,
    is_scratch,
    scratch_path,
    segment_number,
    segment_path,
    validate_id,
)

_SAFE = re.compile(r"[a-z0-9_%-][a-zA-Z0-9._%-]*\.json")
_DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10)}
HOSTILE = [
    "..",
    ".",
    "../x",
    "../../etc/passwd",
    "a/b",
    "/",
    "\\",
    "C:\\x",
    "NUL.txt",
    "nul.txt",
    "con",
    "CoN",
    "aux.A.b",
]
HOSTILE += [
    "com1.é",
    "lpt9",
    "con.",
    "nul..x",
    ".hidden",
    ".scratch-1",
    "-rf",
    "a.json",
    "x.json.json",
    " ",
    "a ",
    "~",
    "*?",
]
HOSTILE += ["%41", "%", "%%", "%2E", "\u202e", "\ufeff", "\u0130", "ß", "ſ", "é", "e\u0301", "\U0010ffff"]


@given(ids)
def test_names_and_ids_are_a_bijection(entity_id: str) -> None:
    name = file_name(entity_id)
    assert id_of_file_name(name) == entity_id
    assert validate_id(entity_id) == entity_id


@pytest.mark.parametrize("entity_id", HOSTILE)
def test_hostile_ids_get_safe_names(entity_id: str, tmp_path: Path) -> None:
    name = file_name(entity_id)
    assert _SAFE.fullmatch(name)
    assert name.split(".", 1)[0].lower() not in _DEVICES
    assert not is_scratch(name)
    assert id_of_file_name(name) == entity_id
    (tmp_path / name).write_bytes(b"x")
    assert os.listdir(tmp_path) == [name]


@given(ids)
@example("con.A")
def test_names_are_safe_everywhere(entity_id: str) -> None:
    name = file_name(entity_id)
    assert _SAFE.fullmatch(name)
    assert len(name) <= 255
    assert name.split(".", 1)[0].lower() not in _DEVICES
    assert os.path.normpath(entity_path("memory", entity_id)) == f"memories/{name}"


@given(ids, ids)
@example("Ada", "ada")
@example("CON", "con")
@example("%41", "A")
def test_two_ids_never_share_a_file_even_without_case(one: str, other: str) -> None:
    assert (file_name(one).lower() == file_name(other).lower()) == (one == other)


@given(st.one_of(st.text(max_size=20), st.from_regex(r"[a-zA-Z0-9._%-]{1,20}\.json", fullmatch=True)))
def test_a_name_has_an_id_only_if_the_id_has_that_name(name: str) -> None:
    entity_id = id_of_file_name(name)
    assert entity_id is None or file_name(entity_id) == name


@pytest.mark.parametrize(
    "name",
    [
        *[
            "a",
            "a.JSON",
            "A.json",
            ".json",
            ".x.json",
            ".scratch-1",
            "con.json",
            "nul.x.json",
            "a/b.json",
            "é.json",
            "%.json",
            "%4.json",
        ],
        *[
            "%41.JSON",
            "%4a.json",
            "%2e.json",
            "%61.json",
            "%2E.txt",
            "%63on",
            "%FF.json",
            "%00.json",
            "%7F.json",
            "%C3.json",
            "%C2%85.json",
        ],
        *("", "a b.json", "a\n.json", "a.json\n", "x" * 201 + ".json", "%ED%A0%80.json", "\udcff.json"),
    ],
)
def test_names_that_no_id_has(name: str) -> None:
    assert id_of_file_name(name) is None


@pytest.mark.parametrize("entity_id", ["x" * 200, "%" * 83 + "x", "é" * 41 + "x", "\U0001f600" * 20], ids=type_name)
def test_the_longest_ids_are_taken(entity_id: str, tmp_path: Path) -> None:
    name = file_name(entity_id)
    assert id_of_file_name(name) == entity_id
    (tmp_path / name).write_bytes(b"x")
    assert (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("entity_id", "reason"),
    [
        ("", "empty"),
        ("x" * 201, "201 bytes long, over 200"),
        ("é" * 101, "202 bytes long, over 200"),
        ("x" * 10**6, "over 200"),
        ("A" * 84, "file name of 257 bytes, over 255"),
        ("\U0001f600" * 21, "over 255"),
        ("a\nb", "control characters"),
        ("\x00", "control characters"),
        ("a\x7f", "control characters"),
        ("\x85", "control characters"),
        ("\x01" * 10**6, "control characters"),
        ("a\ud800", "lone surrogates"),
        ("\udfff" * 10**6, "lone surrogates"),
    ],
    ids=type_name,
)
def test_what_cannot_be_an_id_is_refused(entity_id: str, reason: str) -> None:
    with pytest.raises(InvalidIdError, match=reason) as caught:
        validate_id(entity_id, "memory_id")
    assert str(caught.value).startswith("memory_id ")
    assert caught.value.hint in str(caught.value)
    assert len(str(caught.value)) < 600
    str(caught.value).encode()


@pytest.mark.parametrize("value", [None, 1, b"x", ["x"], 1.0, object(), ("x",)])
def test_what_is_no_string_is_refused(value: object) -> None:
    with pytest.raises(InvalidTypeError, match="must be a string"):
        validate_id(value)


@given(st.text(max_size=120))
def test_every_string_is_an_id_or_refused(text: str) -> None:
    try:
        name = file_name(text)
    except InvalidIdError:
        return
    assert id_of_file_name(name) == text


@given(st.integers(0, 10**18 - 1))
def test_segment_numbers_and_back(number: int) -> None:
    path = segment_path(number)
    assert segment_number(path.removeprefix("journal/")) == number


@pytest.mark.parametrize(
    "name", ["1.wal", "00000000001.wal", "0000000001.WAL", "0000000001", "٠٠٠٠٠٠٠٠٠١.wal", "0000000001.wal\n"]
)
def test_names_of_no_segment(name: str) -> None:
    assert segment_number(name) is None


@given(st.datetimes(datetime(1970, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001
def test_moments_of_index_backups_and_back(moment: datetime) -> None:
    path = layout.index_backup_path(moment)
    folder, _, name = path.rpartition("/")
    assert folder == layout.INDEX_BACKUPS
    assert layout.index_backup_moment(name) == moment


@pytest.mark.parametrize(
    "name", ["memory_index.json", "memory_index.20261120.json", "memory_index.20261320_120000_000000.json"]
)
def test_names_of_no_index_backup(name: str) -> None:
    assert layout.index_backup_moment(name) is None


def test_scratch_is_recognised_by_its_name() -> None:
    assert scratch_path("memories", "7") == "memories/.scratch-7"
    assert scratch_path("", "7") == ".scratch-7"
    assert is_scratch(".scratch-7")
    assert not is_scratch("scratch-7.json")


def test_a_parent_is_made_before_its_child() -> None:
    folders = layout.INITIAL_FOLDERS
    parents = [folder.rpartition("/")[0] for folder in folders]
    assert all(not parent or parent in folders[:place] for place, parent in enumerate(parents))
