"""The bytes of entities: nothing is lost, nothing damaged is served, one form for one value."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

import numpy as np
import orjson
import pytest
from entity_strategies import (
    NOTABLE_BITS,
    SIGN,
    entities,
    finite_bits,
    hostile_json,
    memories,
    micros,
    same_values,
    type_name,
    vector_of,
)
from hypothesis import given
from hypothesis import strategies as st

from synthians_memory import codec
from synthians_memory.codec import (
    Inspection,
    content_hash_text,
    decode_sealed,
    encode,
    inspect,
    line_of,
    parse_line,
    seal,
    seal_pieces,
    unseal,
    version_of,
)
from synthians_memory.errors import InvalidTypeError, InvalidValueError, SynthiansMemoryError
from synthians_memory.hashing import embedding_hash
from synthians_memory.layout import Kind
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry
from synthians_memory.times import from_micros

SMALL = MemoryEntry(
    memory_id="m",
    content="ä",
    created_at="2026-11-20",
    embedding=[1.5, -0.0],
    tags=("t",),
    metadata={"a": [1, {"b": None}]},  # type: ignore[arg-type]
)
ASSEMBLY = MemoryAssembly(assembly_id="a", name="n", members=("m",), created_at="2026-11-20", composite_embedding=[0.1])  # type: ignore[arg-type]
KINDS: list[Kind] = ["memory", "assembly"]


def file_of(entity: Entity, at: int = 0) -> bytes:
    return encode(entity).stamp(at).data


# Files


@given(entities, micros)
def test_a_file_gives_back_what_was_written(entity: Entity, at: int) -> None:
    version = encode(entity).stamp(at)
    expected = entity.replace(updated_at=from_micros(at))
    read = decode_sealed(entity.kind, version.data)
    judged = inspect(entity.kind, entity.entity_id, version.data)
    assert (judged.state, judged.reason, judged.hash) == ("sealed", "", version.hash)
    assert judged.entity is not None
    assert judged.adoptable
    for found in (read, judged.entity, version.stored_entity()):
        assert same_values(found, expected)
    assert read.content_hash == version.stored_entity().content_hash == content_hash_text(version.hash)  # type: ignore[attr-defined]
    assert version.updated_micros == at


@given(entities, micros)
def test_the_form_is_canonical(entity: Entity, at: int) -> None:
    version = encode(entity).stamp(at)
    assert version.data == file_of(decode_sealed(entity.kind, version.data), at)
    judged = inspect(entity.kind, entity.entity_id, version.data).entity
    assert judged is not None
    assert version.data == file_of(judged, at)
    assert version.embedding_hash == embedding_hash(entity.vector)
    assert abs(encode(entity).size - len(version.data)) < 16


@given(entities, micros)
def test_the_hash_is_that_of_the_bytes_without_their_last_line(entity: Entity, at: int) -> None:
    version = encode(entity).stamp(at)
    lines = version.data.splitlines(keepends=True)
    assert lines[-2] == b'  "content_hash": "sha256:%s"\n' % version.hash.hex().encode()
    assert hashlib.sha256(b"".join([*lines[:-2], lines[-1]])).digest() == version.hash
    assert version_of(version.data) == version.hash
    assert unseal(version.data) == (version.hash, version.hash)


@given(entities)
def test_each_field_has_a_line_of_its_own(entity: Entity) -> None:
    lines = file_of(entity).decode().split("\n")
    assert (lines[0], lines[-2:]) == ("{", ["}", ""])
    members = [json.loads("{" + line.removesuffix(",") + "}") for line in lines[1:-2]]
    assert all(len(member) == 1 for member in members)
    assert all(line.startswith('  "') for line in lines[1:-2])
    names = [name for member in members for name in member]
    assert names[-4:] == ["hyperbolic_embedding", type(entity).vector_field, "updated_at", "content_hash"]
    extra: dict[str, Any] = entity.extra  # type: ignore[attr-defined]
    assert [name for name in names if name in extra] == sorted(extra)


@given(memories, micros)
def test_another_update_time_is_another_version(memory: MemoryEntry, at: int) -> None:
    draft = encode(memory)
    one, other = draft.stamp(at), draft.stamp(at - 1 if at > 0 else at + 1)
    assert one.hash != other.hash
    assert draft.stamp(at) == one


def test_times_beyond_the_calendar_are_refused_by_the_library() -> None:
    with pytest.raises(InvalidValueError, match="years 1 to 9999"):
        encode(SMALL).stamp(253_402_300_800_000_000)


# Float32


@pytest.mark.parametrize("sign", [0, SIGN])
@pytest.mark.parametrize("bits", NOTABLE_BITS)
def test_notable_numbers_keep_their_bits(bits: int, sign: int) -> None:
    vector = vector_of([bits | sign, 0x3F800000])
    memory = MemoryEntry(content="x", embedding=vector, hyperbolic_embedding=vector)
    for found in (decode_sealed("memory", file_of(memory)), parse_line(line_of(memory)).entity):
        assert isinstance(found, MemoryEntry)
        assert found.embedding.tobytes() == vector.tobytes()  # type: ignore[union-attr]
        assert found.hyperbolic_embedding.tobytes() == vector.tobytes()  # type: ignore[union-attr]


def test_the_one_number_that_its_shortest_decimal_does_not_name_is_written_in_full() -> None:
    exceptional = vector_of([0x15AE43FD, 0x95AE43FD])
    assert (
        np.array(orjson.loads(orjson.dumps(exceptional, option=orjson.OPT_SERIALIZE_NUMPY)), "<f4").tolist()
        != exceptional.tolist()
    )
    assert b'"embedding": [7.038530691851209e-26,-7.038530691851209e-26],' in file_of(
        SMALL.replace(embedding=exceptional)
    )


@given(st.lists(finite_bits, min_size=1, max_size=300))
def test_all_bits_survive_any_reader_that_rounds_twice(bits: list[int]) -> None:
    vector = vector_of(bits)
    fields = json.loads(file_of(SMALL.replace(embedding=vector)))
    assert np.array(fields["embedding"], dtype=np.float64).astype("<f4").tobytes() == vector.tobytes()


def test_every_exponent_keeps_its_bits() -> None:
    mantissas = np.concatenate([np.arange(64), 2**23 - 1 - np.arange(64)]).astype(np.uint32)
    bits = ((np.arange(255, dtype=np.uint32) << 23)[:, None] | mantissas[None, :]).ravel()
    vector = np.concatenate([bits, bits | np.uint32(SIGN)]).astype("<u4").view("<f4")
    found = decode_sealed("memory", file_of(SMALL.replace(embedding=vector)))
    assert found.vector.tobytes() == vector.tobytes()  # type: ignore[union-attr]


@pytest.mark.long
@pytest.mark.parametrize("sixteenth", range(16))
def test_every_float32_keeps_its_bits(sixteenth: int) -> None:
    step = 1 << 20
    for start in range(sixteenth << 27, min((sixteenth + 1) << 27, 0x7F800000), step):
        vector = np.arange(start, start + step, dtype="<u4").view("<f4")
        read = np.array(orjson.loads(codec._vector_json(vector)), dtype="<f4")
        assert read.tobytes() == vector.tobytes()


# Files that something has happened to


@pytest.mark.parametrize("entity", [SMALL, ASSEMBLY], ids=["memory", "assembly"])
def test_no_byte_can_change_unseen(entity: Entity) -> None:
    version = encode(entity).stamp(0)
    data = bytearray(version.data)
    for place, byte in enumerate(version.data):
        for other in range(256):
            data[place] = other
            assert other == byte or version_of(bytes(data)) is None
        data[place] = byte


@pytest.mark.parametrize("entity", [SMALL, ASSEMBLY], ids=["memory", "assembly"])
def test_no_flipped_bit_passes_for_a_sealed_file(entity: Entity) -> None:
    version = encode(entity).stamp(0)
    data = bytearray(version.data)
    for place, byte in enumerate(version.data):
        for other in (*(byte ^ (1 << bit) for bit in range(8)), byte ^ 0xFF, 0, ord('"'), ord("\n")):
            data[place] = other
            judged = inspect(entity.kind, entity.entity_id, bytes(data))
            if other != byte:
                assert judged.state != "sealed"
                # The content's own hash is still right where only the line that states it was hit.
                assert judged.hash != version.hash or place >= version.data.rindex(b'"sha256:')
        data[place] = byte


def test_no_cut_and_no_addition_passes_for_a_sealed_file() -> None:
    version = encode(SMALL).stamp(0)
    changed = [version.data[:end] for end in range(len(version.data))]
    changed += [version.data[start:] for start in range(1, len(version.data))]
    changed += [version.data + tail for tail in (b"\n", b" ", b"\0", b"{}", version.data)]
    changed += [
        b"\xef\xbb\xbf" + version.data,
        version.data.replace(b"\n", b"\r\n"),
        version.data.replace(b"  ", b"\t"),
    ]
    for data in changed:
        assert version_of(data) is None
        assert inspect("memory", "m", data).state == "damaged"


def test_without_its_hash_line_a_file_counts_as_edited() -> None:
    version = encode(SMALL).stamp(0)
    lines = version.data.splitlines(keepends=True)
    data = b"".join([*lines[:-3], lines[-3].replace(b'Z",', b'Z"'), lines[-1]])
    judged = inspect("memory", "m", data)
    assert (judged.state, judged.hash) == ("edited", hashlib.sha256(data).digest())
    assert judged.entity is not None
    assert same_values(judged.entity, version.stored_entity())


def test_an_edited_file_may_hold_less_and_be_laid_out_at_will() -> None:
    judged = inspect(
        "memory",
        "m",
        b'{ "content": "x",\r\n\t"memory_id": "m", "embedding": [\n1, 2e0\n], "created_at": "2026-11-20" }',
    )
    assert judged.state == "edited"
    assert isinstance(judged.entity, MemoryEntry)
    assert (judged.entity.content, judged.entity.tags, judged.entity.embedding.tolist()) == ("x", (), [1.0, 2.0])  # type: ignore[union-attr]


def test_an_edited_file_that_kept_its_hash_line_is_damaged_but_adoptable() -> None:
    data = file_of(SMALL).replace(b'"t"', b'"u"')
    judged = inspect("memory", "m", data)
    assert (judged.state, judged.adoptable) == ("damaged", True)
    assert judged.reason == "its content does not match its content_hash"
    assert judged.entity == SMALL.replace(tags=("u",), updated_at=from_micros(0))
    assert judged.entity.content_hash is None  # type: ignore[attr-defined]


def test_a_file_under_another_name_is_damaged() -> None:
    judged = inspect("memory", "n", file_of(SMALL))
    assert (judged.state, judged.entity) == ("damaged", None)
    assert judged.reason == "it holds 'm', which belongs into another file"


def file_with(fields: str) -> bytes:
    return b'{"memory_id": "m", "content": "x"' + fields.encode() + b"}"


JUNK = [
    (b"", "Expecting value"),
    (b"\n", "Expecting value"),
    (b"null", "not a JSON object"),
    (b"[]", "not a JSON object"),
    (b'"m"', "not a JSON object"),
    (b"{}", "the field 'memory_id' is missing"),
    (b'{"memory_id": "m"}', "the field 'content' is missing"),
    (b"\x00" * 4096, "Expecting value"),
    (b"\xff\xfe{\x00}\x00", "not UTF-8 at byte 0"),
    (file_with("")[:-1] + b', "a": "\xed\xa0\x80"}', "not UTF-8"),
    (file_with(', "a": "\\ud800"'), "extra.a has a lone surrogate"),
    (file_with(', "\\udfff": 1'), "a key of extra has a lone surrogate"),
    (file_with(', "content": "y"'), "the key 'content' stands twice"),
    (file_with(', "metadata": {"a": 1, "a": 1}'), "the key 'a' stands twice"),
    (file_with(', "quickrecal_score": NaN'), "NaN is not JSON"),
    (file_with(', "a": [Infinity]'), "Infinity is not JSON"),
    (file_with(', "a": 1e400'), "extra.a is inf"),
    (file_with(', "embedding": [1, 1e39]'), "embedding holds NaN, infinity"),
    (file_with(', "embedding": [1, null]'), "embedding must hold numbers"),
    (file_with(', "embedding": [[1]]'), "embedding must be one-dimensional"),
    (file_with(', "embedding": []'), "embedding must be one-dimensional"),
    (file_with(', "embedding": "1"'), "embedding must hold numbers"),
    (file_with(f', "quickrecal_score": 1{"0" * 400}'), "quickrecal_score is an integer beyond"),
    (file_with(f', "access_count": 1{"0" * 4000}'), "access_count must lie in"),
    (file_with(f', "a": {"1" * 5000}'), "limit"),
    (file_with(', "a": 18446744073709551616'), "extra.a is an integer beyond 64 bits"),
    (file_with(', "access_count": 1.0'), "access_count must be an integer"),
    (file_with(', "access_count": null'), "access_count must be an integer"),
    (file_with(', "tags": {"a": 1}'), "tags must be a list of strings"),
    (file_with(', "metadata": []'), "metadata must be an object"),
    (file_with(', "created_at": 0'), "created_at must be a datetime"),
    (file_with(', "created_at": "yesterday"'), "created_at 'yesterday' is no time"),
    (file_with(', "kind": "memory"'), "extra may not hold the name kind"),
    (file_with(', "extra": {}'), "extra may not hold the name extra"),
    (file_with(f', "a": {"[" * 100}{"]" * 100}'), "nested deeper than 100 levels"),
    (file_with(f', "a": {"[" * 100_000}{"]" * 100_000}'), "nested too deeply"),
    (b"[" * 1_000_000, "nested too deeply"),
    (b'{"a":' * 200_000, "nested too deeply"),
    (file_with(', "content_hash": null'), "does not match its content_hash"),
    (b'{"memory_id": "m\\u0000", "content": "x"}', "control characters"),
    (b'{"memory_id": 5, "content": "x"}', "memory_id must be a string"),
    (b'{"memory_id": ["m"], "content": "x"}', "memory_id must be a string"),
]


@pytest.mark.parametrize(("data", "reason"), JUNK, ids=type_name)
def test_junk_is_damaged_and_the_reason_given(data: bytes, reason: str) -> None:
    judged = inspect("memory", "m", data)
    assert judged.state == "damaged"
    assert reason in judged.reason
    assert len(judged.reason) < 300
    assert judged.data is data


@given(st.binary(max_size=300), st.sampled_from(KINDS))
def test_any_bytes_are_judged(data: bytes, kind: Kind) -> None:
    assert inspect(kind, "m", data).state == "damaged"
    assert version_of(data) is None


@given(entities, st.data())
def test_any_mixture_of_a_file_with_junk_is_judged(entity: Entity, data: st.DataObject) -> None:
    good = file_of(entity)
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(good))] * 2)))
    mixed = good[:start] + data.draw(st.binary(max_size=20)) + good[end:]
    judged = inspect(entity.kind, entity.entity_id, mixed)
    assert (judged.state == "sealed") == (mixed == good)


_NAMES = [
    *MemoryEntry.__dataclass_fields__,
    *MemoryAssembly.__dataclass_fields__,
    *("kind", "id", "vector_text", "unknown"),
]


@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(_NAMES), hostile_json, max_size=4))
def test_any_values_of_any_fields_are_judged(kind: Kind, fields: dict[str, Any]) -> None:
    fields.setdefault(f"{kind}_id", "m")
    fields.setdefault("content", "x")
    fields.setdefault("created_at", "2026-11-20")
    fields.setdefault("updated_at", "2026-11-20T12:00:00-02:00")
    data = seal(
        f"  {json.dumps(name)}: {json.dumps(value)}".encode()
        for name, value in fields.items()
        if name != "content_hash"
    )
    judged = inspect(kind, "m", data)
    assert judged.state in ("edited", "damaged")
    if judged.state == "edited":
        assert judged.entity is not None
        assert same_values(decode_sealed(kind, data), judged.entity)


# Sealed files of other programs


def foreign_files() -> list[bytes]:
    """Sealed files whose form is not that of `encode`."""
    own = file_of(SMALL)
    short = [
        b'  "memory_id": "m"',
        b'  "content": "x"',
        b'  "created_at": "2026-11-20T12:00:00+02:00"',
        b'  "updated_at": "2026-11-20"',
    ]
    return [
        seal(short),
        seal([*short, b'  "embedding": [1, 2]']),
        seal([*short, b'  "embedding":[1,2]']),
        seal([*short, b'  "embedding": [', b"1", b"2", b"]"]).replace(b"[,", b"[").replace(b"2,", b"2"),
        seal([*short, b'  "embedding": [1], "unknown": [2]']),
        seal([*short, b'  "embedding": [1, 2] , "unknown": 2']),
        seal([*short, b'  "metadata": {\n  "embedding": [1, 2],\n"x": 1}', b'  "embedding": null']),
        seal([*short, b'  "embedding": [3]', b'  "metadata": {\n  "embedding": [1, 2],\n"x": 1}']),
        own.replace(b"0.5", b"1"),
        own.replace(b'"2026-11-20T00:00:00.000000Z"', b'"2026-11-20T02:00:00.000000+02:00"'),
        own.replace(b'"2026-11-20T00:00:00.000000Z"', b'"2026-11-20"'),
        own.replace(b'"expires_at": null', b'"expires_at": "2027-01-01T00:00:00-05:00"'),
        own.replace(b'  "tags": ["t"],\n', b""),
        own.replace(b'  "embedding": [1.5,-0.0],\n', b""),
        own.replace(b'  "content": "\xc3\xa4",\n', b"").replace(
            b'  "embedding"', b'  "content": "\xc3\xa4",\n  "embedding"'
        ),
        own.replace(b'"embedding": [1.5', b'"embedding":  [1.5'),
        own.replace(b"[1.5,-0.0]", b'[1.5,-0.0], "unknown": [2]'),
        own.replace(b"[1.5,-0.0]", b'[1.5,-0.0], "unknown": "]"'),
        own.replace(b"[1.5,-0.0]", b"[1.5,\n-0.0]"),
    ]


def other_notations() -> list[bytes]:
    """Sealed files that differ from those of `encode` in how numbers, texts and times are written."""
    own = file_of(SMALL)
    return [
        own.replace(b"[1.5,-0.0]", b"[ 15e-1 ,-0.0 ]"),
        own.replace(b"[1.5,-0.0]", b"[18446744073709551615, 1]"),
        own.replace(b"0.5", b"5E-1"),
        own.replace(b'  "hyperbolic_embedding": null,\n', b'  "hyperbolic_embedding": [\n  1],\n'),
        own.replace(b'{"a":[1,', b'{"a": [1e16, 1e+16, -0, '),
        own.replace(b'"\xc3\xa4"', b'"\\u00e4"'),
        own.replace(b'"2026-11-20T00:00:00.000000Z"', b'"2026-11-20T00:00:00Z"'),
    ]


def sealed_again(data: bytes) -> bytes:
    """The document with a seal for what it holds now."""
    return b"".join(seal_pieces([data[: data.rindex(b'  "content_hash"')].removeprefix(b"{\n")]))


@pytest.mark.parametrize("data", foreign_files(), ids=type_name)
def test_a_sealed_file_of_another_form_is_read_as_it_was_judged(data: bytes) -> None:
    data = sealed_again(data)
    judged = inspect("memory", "m", data)
    assert (judged.state, judged.reason) == ("edited", "")
    assert_read_as_judged(data, judged)


@pytest.mark.parametrize("data", other_notations(), ids=type_name)
def test_another_notation_breaks_no_seal(data: bytes) -> None:
    """What writes numbers may be exchanged without a file becoming another."""
    data = sealed_again(data)
    judged = inspect("memory", "m", data)
    assert (judged.state, judged.reason) == ("sealed", "")
    assert_read_as_judged(data, judged)


def assert_read_as_judged(data: bytes, judged: Inspection) -> None:
    found = decode_sealed("memory", data)
    assert judged.entity is not None
    assert same_values(found, judged.entity)
    assert found.content_hash == content_hash_text(judged.hash)  # type: ignore[attr-defined]
    times = [value for value in vars(found).values() if isinstance(value, datetime)]
    assert all(value.utcoffset() is not None and not value.utcoffset() for value in times)


@pytest.mark.parametrize("name", ["created_at", "updated_at"])
@pytest.mark.parametrize("value", [b"", b"null"])
def test_a_sealed_file_states_its_times(name: str, value: bytes) -> None:
    """Defaults would make another version of the same bytes at each reading."""
    times = {"created_at": b'"2026-11-20"', "updated_at": b'"2026-11-20"'} | {name: value}
    lines = [b'  "%s": %s' % (field.encode(), text) for field, text in times.items() if text]
    judged = inspect("memory", "m", seal([b'  "memory_id": "m"', b'  "content": "x"', *lines]))
    assert judged.state == "damaged"
    assert judged.reason == (
        "created_at must be a datetime, not NoneType"
        if name == "created_at" and value
        else f"it is sealed without {name}"
    )


@given(entities, st.randoms(use_true_random=False))
def test_members_in_any_order_are_read_as_they_were_judged(entity: Entity, random: Any) -> None:
    lines = [line.removesuffix(b",") for line in file_of(entity).splitlines()[1:-2]]
    random.shuffle(lines)
    data = seal(lines)
    judged = inspect(entity.kind, entity.entity_id, data)
    assert judged.state == ("sealed" if data == file_of(entity) else "edited")
    assert same_values(decode_sealed(entity.kind, data), entity.replace(updated_at=from_micros(0)))


# Unknown fields


UNKNOWN = {
    "zukünftig": {"a": [1, 2.5, None, True]},
    "": "",
    '"\n\\': -0.0,
    "Z": 2**64 - 1,
    "a": -(2**63),
    "members": ["x"],
}


def test_unknown_fields_are_kept_through_every_later_version() -> None:
    memory = MemoryEntry(memory_id="m", content="x", extra=UNKNOWN)
    for step in range(3):
        found = decode_sealed("memory", file_of(memory, step))
        assert isinstance(found, MemoryEntry)
        assert repr(sorted(found.extra.items())) == repr(sorted(UNKNOWN.items()))
        memory = found.replace(content=f"version {step}")


def test_fields_of_the_other_kind_are_unknown_fields() -> None:
    assembly = MemoryAssembly(assembly_id="a", extra={"embedding": [1.5], "content": "x"})
    found = decode_sealed("assembly", file_of(assembly))
    assert isinstance(found, MemoryAssembly)
    assert (found.extra, found.composite_embedding) == ({"embedding": [1.5], "content": "x"}, None)


# Seals of other documents


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_a_seal_proves_any_lines(lines: list[bytes]) -> None:
    data = seal(lines)
    assert version_of(data) is not None
    assert data == b"".join(seal_pieces(line + b",\n" for line in lines))


# JSONL


@given(entities)
def test_a_line_gives_back_what_was_written(entity: Entity) -> None:
    line = line_of(entity)
    assert line.endswith(b"}")
    assert b"\n" not in line
    parsed = parse_line(line)
    assert same_values(parsed.entity, entity)
    assert parsed.entity.updated_at == entity.updated_at  # type: ignore[attr-defined]
    assert parsed.given >= type(entity).__dataclass_fields__.keys() - {"extra", "content_hash"}


@given(entities, micros)
def test_export_import_export_is_byte_for_byte_the_same(entity: Entity, at: int) -> None:
    first = line_of(decode_sealed(entity.kind, file_of(entity, at)))
    imported = parse_line(first).entity
    second = line_of(decode_sealed(entity.kind, file_of(imported, at)))
    assert second == first == line_of(imported)


@pytest.mark.parametrize(
    ("line", "kind", "entity_id"),
    [
        ('{"kind": "memory", "memory_id": "m", "content": "x", "members": []}', "memory", "m"),
        ('{"kind": "assembly", "id": "a", "content": "x"}', "assembly", "a"),
        ('{"kind": null, "id": "m", "content": "x"}', "memory", "m"),
        ('{"id": "m", "content": "x", "members": []}', "memory", "m"),
        ('{"id": "a", "members": []}', "assembly", "a"),
        ('{"assembly_id": "a", "members": []}', "assembly", "a"),
        (' {"id": "m", "content": "x", "content_hash": 5} \r\n', "memory", "m"),
    ],
)
def test_the_kind_of_a_line(line: str, kind: str, entity_id: str) -> None:
    entity = parse_line(line.encode()).entity
    assert (entity.kind, entity.entity_id) == (kind, entity_id)


def test_the_assembly_of_a_memory_goes_to_its_metadata() -> None:
    parsed = parse_line(b'{"id": "m", "content": "x", "assembly_id": "a", "metadata": {"b": 1}}')
    assert parsed.entity == MemoryEntry(
        memory_id="m",
        content="x",
        metadata={"b": 1, "assembly_id": "a"},
        created_at=parsed.entity.created_at,  # type: ignore[attr-defined]
    )
    assert parsed.given == {"memory_id", "content", "metadata"}
    again = parse_line(b'{"id": "m", "content": "x", "assembly_id": "a", "metadata": {"assembly_id": "a"}}')
    assert again.entity.metadata == {"assembly_id": "a"}  # type: ignore[attr-defined]


def test_a_line_without_an_id_gets_the_same_one_each_time() -> None:
    lines = [
        '{"content": "x", "tags": ["a"]}',
        '{"tags":["a"],"content":"\\u0078"}',
        '{"kind":"memory","content":"x","tags":["a"],"content_hash":"y"}',
    ]
    ids = {parse_line(line.encode()).entity.entity_id for line in lines}
    expected = hashlib.sha256(b'["memory",{"content":"x","tags":["a"]}]').hexdigest()[:32]
    assert ids == {f"m-{expected}"}
    other = parse_line(b'{"content": "x", "tags": ["b"]}').entity.entity_id
    assert other not in ids
    assert parse_line(b'{"members": []}').entity.entity_id.startswith("a-")


BAD_LINES = [
    (b"", "Expecting value"),
    (b"[]", "not a JSON object"),
    (b"{", "Expecting"),
    (b'{"id": "m"}', "the field 'content' is missing"),
    (b'{"id": "m", "memory_id": "m", "content": "x"}', "both 'id' and 'memory_id' are given"),
    (b'{"id": null, "content": "x"}', "memory_id must be a string"),
    (b'{"id": "", "content": "x"}', "memory_id is empty"),
    (b'{"kind": "note", "id": "m"}', "the kind 'note' is unknown"),
    (b'{"kind": [], "id": "m"}', "is unknown"),
    (b'{"kind": {}, "id": "m"}', "is unknown"),
    (b'{"kind": "%s"}' % (b"x" * 10**6), "is unknown"),
    (b'{"id": "m", "content": "x", "assembly_id": "a", "metadata": {"assembly_id": "b"}}', "differ"),
    (b'{"id": "m", "content": "x", "assembly_id": "a", "metadata": 0}', "metadata must be an object"),
    (b'{"id": "m", "content": "x", "vector_text": "y"}', "extra may not hold the name vector_text"),
    (b'{"kind": "assembly", "assembly_id": "a", "memory_id": "m"}', "extra may not hold the name memory_id"),
    (b'{"content": "x", "a": %s1%s}' % (b"[" * 500, b"]" * 500), "nested deeper than 100 levels"),
    (b'{"content": "x", "a": %s1%s}' % (b"[" * 980, b"]" * 980), "nested"),
    (b'{"content": "x", "a": %s1%s}' % (b"[" * 50_000, b"]" * 50_000), "nested too deeply"),
    (b'{"content": "x", "a": "\\ud800"}', "lone surrogate"),
    (b'{"content": "x", "a": 1e999}', "is inf"),
    (b'{"content": "x", "content": "x"}', "stands twice"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=type_name)
def test_bad_lines_are_refused_and_the_reason_given(line: bytes, reason: str) -> None:
    with pytest.raises((InvalidValueError, InvalidTypeError)) as caught:
        parse_line(line)
    assert reason in caught.value.message
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("depth", range(960, 1010))
def test_no_depth_slips_between_reading_and_refusing(depth: int) -> None:
    with pytest.raises(InvalidValueError, match="nested"):
        parse_line(b'{"content": "x", "metadata": {"a": %s%s}}' % (b"[" * depth, b"]" * depth))


@given(st.dictionaries(st.sampled_from(_NAMES), hostile_json, max_size=5))
def test_any_line_is_taken_or_refused_by_the_library(fields: dict[str, Any]) -> None:
    try:
        entity = parse_line(json.dumps(fields).encode()).entity
    except SynthiansMemoryError:
        return
    assert same_values(parse_line(line_of(entity)).entity, entity)


def test_as_deep_with_an_id_as_without() -> None:
    deepest = b'"content": "x", "metadata": {"a": %s%s}}' % (b"[" * 99, b"]" * 99)
    assert parse_line(b'{"id": "m", ' + deepest).entity.metadata == parse_line(b"{" + deepest).entity.metadata  # type: ignore[attr-defined]
