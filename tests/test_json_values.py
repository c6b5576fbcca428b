"""JSON values: copied, checked, and read strictly."""

from __future__ import annotations

import enum
import json
from collections import OrderedDict
from typing import Any

import numpy as np
import orjson
import pytest
from entity_strategies import hostile_json, json_objects, json_values, type_name
from hypothesis import given
from hypothesis import strategies as st

from synthians_memory.errors import InvalidTypeError, InvalidValueError, SynthiansMemoryError
from synthians_memory.json_values import MAX_DEPTH, checked_copy, checked_object, checked_text, copy, parse_strict


class Colour(enum.StrEnum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def mutable_parts(value: object) -> set[int]:
    if isinstance(value, dict):
        return {id(value)}.union(*(mutable_parts(part) for part in value.values()))
    if isinstance(value, list):
        return {id(value)}.union(*(mutable_parts(part) for part in value))
    return set()


@given(json_values)
def test_a_copy_is_equal_and_shares_nothing(value: Any) -> None:
    for duplicate in (checked_copy(value, "value"), copy(value)):
        assert repr(duplicate) == repr(value)
        assert not mutable_parts(duplicate) & mutable_parts(value)


@given(json_objects)
def test_what_is_accepted_survives_a_file(value: dict[str, Any]) -> None:
    data = orjson.dumps(checked_object(value, "metadata"))
    assert repr(orjson.loads(data)) == repr(value)
    assert repr(parse_strict(data, "file")) == repr(value)


@given(hostile_json)
def test_everything_is_accepted_or_refused_by_the_library(value: Any) -> None:
    try:
        accepted = checked_copy(value, "metadata")
    except SynthiansMemoryError:
        return
    assert repr(orjson.loads(orjson.dumps(accepted))) == repr(accepted)


def test_subclasses_become_plain() -> None:
    given_value = OrderedDict(
        [("c", Colour.RED), ("l", Level.HIGH), ("f", np.float64(0.5)), ("s", np.str_("x")), ("t", (1,))]
    )
    accepted = checked_object(given_value, "metadata")
    assert repr(accepted) == "{'c': 'red', 'l': 3, 'f': 0.5, 's': 'x', 't': [1]}"
    assert type(accepted) is dict
    assert type(checked_text(Colour.RED, "text")) is str


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "metadata.a is nan"),
        (float("-inf"), "metadata.a is -inf"),
        (2**64, "beyond 64 bits"),
        (-(2**63) - 1, "beyond 64 bits"),
        (10**5000, "beyond 64 bits"),
        ("\ud800", "lone surrogate at character 0"),
        ({"k": ["x", "b\udc00"]}, r"metadata.a.k\[1\] has a lone surrogate at character 1"),
        ({"\udc00": 1}, "a key of metadata.a has a lone surrogate"),
        (nested(MAX_DEPTH), "nested deeper than 100 levels"),
        (nested(100_000), "nested deeper than 100 levels"),
    ],
    ids=type_name,
)
def test_values_that_json_cannot_carry(value: object, reason: str) -> None:
    with pytest.raises(InvalidValueError, match=reason) as caught:
        checked_object({"a": value}, "metadata")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "value", [b"x", {1}, object(), 1j, np.int64(1), np.float32(1), np.zeros(2), range(3), {1: 2}, {None: 1}]
)
def test_types_that_json_cannot_carry(value: object) -> None:
    with pytest.raises(InvalidTypeError, match="metadata"):
        checked_object({"a": value}, "metadata")


@pytest.mark.parametrize("value", [None, [], "x", 1, [("a", 1)], {"a"}])
def test_only_an_object_is_an_object(value: object) -> None:
    with pytest.raises(InvalidTypeError, match="metadata must be an object"):
        checked_object(value, "metadata")


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidValueError, match="nested"):
        checked_object({"a": loop}, "metadata")


def test_the_deepest_value_that_is_accepted() -> None:
    value = {"a": nested(MAX_DEPTH - 1)}
    assert orjson.loads(orjson.dumps(checked_object(value, "metadata"))) == value


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting"),
        (b"{} {}", "Extra data"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'{"a":1,"a":1}', "the key 'a' stands twice"),
        (b'[{"b":{"a":1,"\\u0061":2}}]', "the key 'a' stands twice"),
        (b"NaN", "NaN is not JSON"),
        (b'{"a":[Infinity]}', "Infinity is not JSON"),
        (b"-Infinity", "-Infinity is not JSON"),
        (b"\xff", "not UTF-8 at byte 0"),
        (b'"\xed\xa0\x80"', "not UTF-8 at byte 1"),
        (b"1" * 5000, "limit"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'"a\nb"', "control character"),
        (b"\x00" * 4096, "Expecting value"),
    ],
    ids=type_name,
)
def test_what_is_not_json_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidValueError, match=f"^file: .*{reason}"):
        parse_strict(data, "file")


@given(st.one_of(st.binary(max_size=60), st.text('{}[]",:0123456789.eE-+ntfau\\', max_size=60).map(str.encode)))
def test_any_bytes_are_parsed_as_the_standard_library_does_or_refused(data: bytes) -> None:
    try:
        found = parse_strict(data, "file")
    except InvalidValueError:
        return
    assert repr(found) == repr(json.loads(data))
