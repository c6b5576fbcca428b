"""docs/format.md agrees with the code: its examples are read, its tables recomputed, its schemas those that ship."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import zlib
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import orjson
import pytest
from entity_strategies import assemblies, entities, memories, micros
from hypothesis import given
from jsonschema import Draft202012Validator, ValidationError

from synthians_memory import codec, layout
from synthians_memory.codec import encode, inspect, line_of, parse_line, version_of
from synthians_memory.config import Metric
from synthians_memory.engine.faiss_index import new_index
from synthians_memory.engine.quarantine import Quarantine
from synthians_memory.engine.records import NO_HASH, Record, decode_record, encode_record
from synthians_memory.engine.repair import Step
from synthians_memory.engine.superblock import Superblock
from synthians_memory.engine.vector_log import VectorChange, encode_group, log_header
from synthians_memory.engine.view import Position
from synthians_memory.layout import Kind
from synthians_memory.ledger import Ledger
from synthians_memory.maintenance.manifest import decode_manifest, decode_shard, encode_manifest, encode_shard
from synthians_memory.maintenance.restore_plan import read_plan
from synthians_memory.models import Entity, MemoryAssembly, MemoryEntry
from synthians_memory.storage.framing import Frame, encode_frame, pack_records, scan, unpack_records
from synthians_memory.storage.memory import Medium, MemoryBackend
from synthians_memory.storage.segment import HEADER_BLOCK, SegmentHeader, segment_salt
from synthians_memory.testing.clock import ManualClock
from synthians_memory.times import to_micros

TEXT = (Path(__file__).resolve().parent.parent / "docs" / "format.md").read_text(encoding="utf-8")
KIND_OF_FOLDER: dict[str, Kind] = {folder: kind for kind, folder in layout.ENTITY_FOLDERS.items()}


def blocks(language: str, label: str = "") -> dict[str, str]:
    """The fenced blocks of a language: what follows it on the line, and the text."""
    found = re.findall(rf"^```{language} ({label}\S*)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    return dict(found)


def section(title: str) -> str:
    return re.split(r"^#+ ", TEXT.split(f"\n## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def table(text: str) -> list[list[str]]:
    """The cells of the rows in `text` whose first cell is code, the marks of code taken off."""
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| `")]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


ENTITY_FILES = {path.removeprefix("file="): text for path, text in blocks("json", "file=").items() if "/" in path}


@cache
def schema(kind: Kind) -> dict[str, Any]:
    text = (files("synthians_memory") / "schemas" / f"{kind}.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def validator(kind: Kind) -> Draft202012Validator:
    Draft202012Validator.check_schema(schema(kind))
    return Draft202012Validator(schema(kind))


# Entity files


def test_the_examples_are_found() -> None:
    assert len(ENTITY_FILES) == 3
    assert {path.split("/")[0] for path in ENTITY_FILES} == set(KIND_OF_FOLDER)


@pytest.mark.parametrize("path", ENTITY_FILES)
def test_example_files_are_sealed_and_in_the_canonical_form(path: str) -> None:
    folder, _, name = path.partition("/")
    kind, entity_id, data = KIND_OF_FOLDER[folder], layout.id_of_file_name(name), ENTITY_FILES[path].encode()
    assert entity_id is not None
    judged = inspect(kind, entity_id, data)
    assert (judged.state, judged.reason) == ("sealed", "")
    assert judged.entity is not None
    assert encode(judged.entity).stamp(codec.sealed_version(kind, data).updated_micros).data == data
    validator(kind).validate(json.loads(data))


def test_the_hash_rule_works_with_a_standard_tool() -> None:
    name, digest = re.findall(
        r"^\$ grep -v '\^  \"content_hash\": ' (\S+) \| sha256sum\n([0-9a-f]{64})  -$", TEXT, re.MULTILINE
    )[0]
    kept = [line for line in ENTITY_FILES[name].splitlines(keepends=True) if not line.startswith('  "content_hash": ')]
    assert hashlib.sha256("".join(kept).encode()).hexdigest() == digest
    assert f'"sha256:{digest}"' in ENTITY_FILES[name]


def test_the_documented_order_of_fields_is_the_written_one() -> None:
    rows = re.findall(r"^\| [1-4]\. .*\|$", TEXT, re.MULTILINE)
    for column, entity in ((2, MemoryEntry(content="x")), (3, MemoryAssembly())):
        documented = [name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[column])]
        assert documented == list(json.loads(encode(entity).stamp(0).data))


def test_the_table_of_numbers_names_their_bits() -> None:
    rows = table(TEXT.split("### Vectors", 1)[1].split("### Unknown fields", 1)[0])
    assert len(rows) > 8
    assert {"0x15AE43FD", "0x95AE43FD"} <= {bits for bits, _ in rows}
    for bits, written in rows:
        value = np.array([int(bits, 16)], dtype="<u4").view("<f4")
        assert struct.pack("<f", float(written)) == value.tobytes()
        stored = json.loads(encode(MemoryEntry(content="x", embedding=value)).stamp(0).data)["embedding"][0]
        assert stored == float(written)


def test_the_exceptional_number_is_as_told() -> None:
    shortest = orjson.dumps(np.array([0x15AE43FD], dtype="<u4").view("<f4"), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    assert f"`{shortest.decode()}`" in TEXT
    assert struct.pack("<f", float(shortest)) == struct.pack("<I", 0x15AE43FE)


def test_the_table_of_file_names_is_that_of_the_layout() -> None:
    rows = table(section("Ids and file names"))
    assert len(rows) > 12
    assert rows == [[entity_id, layout.file_name(entity_id)] for entity_id, _ in rows]
    assert all(layout.id_of_file_name(name) == entity_id for entity_id, name in rows)


def test_the_reserved_names_are_those_that_are_refused() -> None:
    documented = re.search(r"refused: (.+?)\.\n", TEXT.split("### Unknown fields", 1)[1])
    assert documented is not None
    names = set(re.findall(r"`(\w+)`", documented[1]))
    for kind, own in (("memory", "memory_id"), ("assembly", "assembly_id")):
        assert {name for name, rule in schema(kind)["properties"].items() if rule is False} == names - {own}
    data = b'{"memory_id": "m", "content": "x", "%s": 1}'
    assert all(inspect("memory", "m", data % name.encode()).state == "damaged" for name in names)


def test_the_layout_names_every_path_of_the_store() -> None:
    tree = section("Layout")
    paths = [
        value
        for name, value in vars(layout).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("_")
    ]
    inside = {path for path in paths if not path.endswith(".next")}
    assert {path.rpartition("/")[2] for path in inside} <= set(re.findall(r"[\w.-]+", tree))


# Schemas


@pytest.mark.parametrize("kind", ["memory", "assembly"])
def test_the_schemas_shown_are_those_that_ship(kind: Kind) -> None:
    shown = blocks("json", "schema=")
    assert set(shown) == {"schema=memory.schema.json", "schema=assembly.schema.json"}
    assert shown[f"schema={kind}.schema.json"] == (
        files("synthians_memory") / "schemas" / f"{kind}.schema.json"
    ).read_text(encoding="utf-8")


@given(entities, micros)
def test_whatever_is_written_fits_its_schema(entity: Entity, at: int) -> None:
    validator(entity.kind).validate(json.loads(encode(entity).stamp(at).data))


@pytest.mark.parametrize("kind", ["memory", "assembly"])
def test_the_schemas_describe_every_field(kind: Kind) -> None:
    written = json.loads(encode(MemoryEntry(content="x") if kind == "memory" else MemoryAssembly()).stamp(0).data)
    assert list(written) == schema(kind)["required"]
    described = {name: rule for name, rule in schema(kind)["properties"].items() if rule is not False}
    assert list(described) == list(written)
    assert all(rule["description"] for rule in described.values())
    assert schema(kind)["additionalProperties"] is True


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("memory_id", ""),
        ("memory_id", "a\x00"),
        ("memory_id", "x" * 201),
        ("content", None),
        ("created_at", None),
        ("created_at", "2026-11-20T12:00:00Z"),
        ("created_at", "2026-11-20T12:00:00.000000"),
        ("created_at", "2026-11-20T12:00:00.000000+00:00"),
        ("created_at", "0000-11-20T12:00:00.000000Z"),
        ("updated_at", None),
        ("expires_at", "2026-13-20T12:00:00.000000Z"),
        ("quickrecal_score", 1.5),
        ("quickrecal_score", "1"),
        ("access_count", -1),
        ("access_count", 2**63),
        ("access_count", 0.5),
        ("tags", [1]),
        ("tags", None),
        ("metadata", []),
        ("embedding", []),
        ("embedding", ["1"]),
        ("embedding", [3.4028236e38]),
        ("hyperbolic_embedding", 1),
        ("content_hash", "sha256:" + "A" * 64),
        ("content_hash", "md5:" + "a" * 64),
        ("kind", "memory"),
    ],
)
def test_the_schema_refuses_what_the_format_does(name: str, value: object) -> None:
    written = json.loads(encode(MemoryEntry(content="x")).stamp(0).data)
    validator("memory").validate(written)
    with pytest.raises(ValidationError):
        validator("memory").validate({**written, name: value})


@pytest.mark.parametrize("kind", ["memory", "assembly"])
def test_the_schema_wants_every_field(kind: Kind) -> None:
    written = json.loads(encode(MemoryEntry(content="x") if kind == "memory" else MemoryAssembly()).stamp(0).data)
    for name in written:
        assert not validator(kind).is_valid({other: value for other, value in written.items() if other != name})


@given(memories, assemblies)
def test_no_file_fits_the_other_schema(memory: MemoryEntry, assembly: MemoryAssembly) -> None:
    assert not validator("assembly").is_valid(json.loads(encode(memory).stamp(0).data))
    assert not validator("memory").is_valid(json.loads(encode(assembly).stamp(0).data))


# JSONL and store.json


def test_import_examples_are_taken_as_told() -> None:
    lines = blocks("jsonl")["import"].splitlines()
    parsed = [parse_line(line.encode()).entity for line in lines]
    derived = re.search(r"The third line above is `(\S+)`", TEXT)
    assert derived is not None
    assert [(entity.kind, entity.entity_id) for entity in parsed] == [
        ("memory", "pep-0020-001"),
        ("assembly", "pep-0020"),
        ("memory", derived[1]),
    ]
    assert isinstance(parsed[0], MemoryEntry)
    assert parsed[0].metadata == {"assembly_id": "pep-0020"}


def test_export_examples_are_canonical_and_those_of_the_files() -> None:
    lines = blocks("jsonl")["export"].removesuffix("\n").split("\n")
    assert [line_of(parse_line(line.encode()).entity).decode() for line in lines] == lines
    expected = []
    for path, text in ENTITY_FILES.items():
        kind = KIND_OF_FOLDER[path.split("/")[0]]
        expected.append(line_of(codec.decode_sealed(kind, text.encode())).decode())
    assert sorted(lines) == sorted(expected)


def test_the_superblock_example_is_one() -> None:
    data = blocks("json", "file=")["file=store.json"].encode()
    assert version_of(data) is not None
    fields = json.loads(data)
    del fields["content_hash"]
    superblock = Superblock.from_facts(fields)
    assert superblock.facts() == fields
    assert superblock.format_version == layout.FORMAT_VERSION


# The journal


def test_the_segment_header_is_as_shown() -> None:
    shown = bytes.fromhex(blocks("hex")["header"])
    block = shown + bytes(HEADER_BLOCK - len(shown))
    header = SegmentHeader.decode(block, 1)
    assert header == SegmentHeader(
        number=1,
        store_id="s",
        epoch="e",
        first_sequence=7,
        last_sequence=6,
        checkpointed_through=6,
        facts={"format_version": 1},
    )
    assert header.encode() == block


def test_the_frame_is_as_shown() -> None:
    shown = bytes.fromhex(blocks("hex")["frame"])
    salt = segment_salt("s", "e", 1)
    assert f"0x{salt:08X}" in TEXT
    assert encode_frame(salt, 7, 1_000_000, 6, pack_records(salt, 7, [b"hello"])) == shown
    (frame,) = scan(shown, 0, salt).parts
    assert isinstance(frame, Frame)
    assert list(unpack_records(frame.payload)) == [b"hello"]


def test_a_frame_is_laid_out_as_told() -> None:
    sequence, wall, synced = 2**64 - 1, -1, 2**63
    frame = encode_frame(5, sequence, wall, synced, b"payload")
    head = struct.pack("<4sIQqQI", b"SMF1", 7, sequence, wall, synced, zlib.crc32(b"payload", 5))
    assert frame == head + struct.pack("<I", zlib.crc32(head, 5)) + b"payload" + bytes(1)
    record = pack_records(5, 7, [b"body"])
    assert (
        record == struct.pack("<4sII", b"SMR1", 4, zlib.crc32(b"body", zlib.crc32(struct.pack("<Q", 7), 5))) + b"body"
    )
    assert segment_salt("store", "epoch", 12) == zlib.crc32(b"store\0epoch\x0012")


def documented_offsets(title: str, start: str) -> list[int]:
    rows = re.findall(r"^\| (\d+) \| .*\|$", TEXT.split(f"\n### {title}\n", 1)[1].split(start, 1)[1], re.MULTILINE)
    offsets = [int(offset) for offset in rows]
    return offsets[: next((i for i in range(1, len(offsets)) if offsets[i] <= offsets[i - 1]), len(offsets))]


@pytest.mark.parametrize(
    ("title", "start", "layout_of_bytes"),
    [
        ("Segment header", "", "<4s|I|I|"),
        ("Frames", "", "<4s|I|Q|q|Q|I|I|"),
        ("Frames", "The payload is", "<4s|I|I|"),
        ("Record bodies", "", "<B|B|B|B|I|I|q|32s|"),
    ],
)
def test_offsets_follow_from_the_types(title: str, start: str, layout_of_bytes: str) -> None:
    parts = layout_of_bytes.removeprefix("<").split("|")
    expected = [struct.calcsize("<" + "".join(parts[:i])) for i in range(len(parts))]
    assert documented_offsets(title, start or "\n") == expected


def test_a_record_body_is_laid_out_as_told() -> None:
    record = Record("assembly", "ä", b"data", -5, bytes(range(32)))
    body = b"".join(encode_record(record))
    prefix = bytes([1, 1, 2, 0]) + struct.pack("<IIq", 2, 4, -5)
    assert body == prefix + bytes(range(32)) + "ä".encode() + b"data"
    assert decode_record(body) == record
    removal = b"".join(encode_record(Record("memory", "m", None, 5, NO_HASH)))
    assert removal == bytes([1, 2, 1, 0]) + struct.pack("<IIq", 1, 0, 5) + bytes(32) + b"m"


# The vector index


def test_the_offsets_in_the_vector_index_follow_from_the_types() -> None:
    rows = re.findall(r"^\| (\d+) \| .*\|$", section("vector_index/"), re.MULTILINE)
    faiss = [struct.calcsize("<" + "4siq2qBiQ"[:stop]) for stop in (0, 2, 3, 4, 6, 7, 8, 9)]
    record = [struct.calcsize("<" + "BHQ16s"[:stop]) for stop in (0, 1, 2, 3, 6)]
    assert list(map(int, rows)) == faiss + record


@pytest.mark.parametrize(("metric", "magic", "code"), [("cosine", b"IxFI", 0), ("ip", b"IxFI", 0), ("l2", b"IxF2", 1)])
def test_a_faiss_file_is_laid_out_as_told(metric: Metric, magic: bytes, code: int) -> None:
    rows = np.arange(6, dtype="<f4").reshape(2, 3)
    index, pieces = new_index(3, metric), list[bytes]()
    index.add(rows)
    assert index.serialise(pieces.append)
    head = struct.pack("<4siqqqBiQ", magic, 3, 2, 1_048_576, 1_048_576, 1, code, 6)
    assert b"".join(pieces) == head + rows.tobytes()


def test_vectors_log_is_laid_out_as_told() -> None:
    row = np.array([1.5, -2.0], dtype="<f4")
    changes = [
        VectorChange(("memory", "ä"), 7, bytes(range(16)), row),
        VectorChange(("assembly", "gone"), 0, b"", None),
    ]
    salt = zlib.crc32(b"vectors.log\0storeepoch")
    (frame,) = scan(encode_group(changes, Position("epoch", 9), "store"), 0, salt).parts
    assert isinstance(frame, Frame)
    assert (frame.sequence, frame.wall_micros, frame.synced_through) == (9, 0, 0)
    put = struct.pack("<BHQ", 1, 2, 7) + bytes(range(16)) + "ä".encode() + row.tobytes()
    remove = struct.pack("<BHQ", 2, 4, 0) + bytes(16) + b"gone"
    assert list(unpack_records(frame.payload)) == [put, remove]
    (head,) = scan(log_header(Position("epoch", 9), "store"), 0, zlib.crc32(b"vectors.log\0store")).parts
    assert isinstance(head, Frame)
    found = b'{"log":"vectors","version":1,"store_id":"store","epoch":"epoch","snapshot":9}'
    assert (head.sequence, list(unpack_records(head.payload))) == (0, [found])


# Quarantine


def test_the_plan_shown_is_one_and_its_actions_are_all_there_are() -> None:
    data = blocks("json")["plan"].encode()
    assert version_of(data) is not None
    (step,) = json.loads(data)["steps"]
    assert asdict(Step(**step)) == step
    rows = re.findall(r"^\| `(\w+)` \| .*\|$", section("quarantine/").split("| `action` |", 1)[1], re.MULTILINE)
    assert set(rows) == set(get_args(get_type_hints(Step)["action"]))


def test_the_note_shown_is_one() -> None:
    backend = MemoryBackend(Medium(clock=ManualClock()))
    Quarantine(backend, ManualClock(to_micros(datetime(2026, 11, 20, 12, tzinfo=UTC)))).keep(
        "memories/two.json", b"", "its content does not match its content_hash"
    )
    assert backend.read("quarantine/20261120_120000_000000/reason.json") == blocks("json")["note"].encode()


# The ledger


def test_the_entries_shown_are_a_chain() -> None:
    shown = blocks("jsonl")["ledger"].encode()
    backend = MemoryBackend()
    file = backend.create("log.jsonl")
    file.write(shown)
    ledger = Ledger(backend)
    assert ledger.check() == []
    before = None
    for line in shown.splitlines():
        entry = json.loads(line)
        claimed = entry.pop("hash_self")
        hashed = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode("ascii")
        assert (entry["hash_prev"], hashlib.sha256(hashed).hexdigest()) == (before, claimed)
        before = claimed


def test_the_hash_of_an_entry_can_be_had_with_standard_tools() -> None:
    (digest,) = re.findall(r"^\$ head -n 1 log.jsonl .* sha256sum\n([0-9a-f]{64})  -$", TEXT, re.MULTILINE)
    line = blocks("jsonl")["ledger"].splitlines()[0]
    assert hashlib.sha256(re.sub('"hash_self":"[0-9a-f]*",', "", line).encode()).hexdigest() == digest


def test_the_members_shown_are_those_that_the_ledger_sets() -> None:
    backend = MemoryBackend()
    ledger = Ledger(backend)
    run_id = ledger.write_run({}, outputs={"stdout": b""})
    assert {name for name, _ in table(section("ledger/"))} == ledger.entry(run_id).keys()


# Snapshots


def test_the_example_of_a_snapshot_is_what_the_library_reads() -> None:
    manifest_text, shard_text = blocks("json", "snapshot")["snapshot"], blocks("json", "shard")["shard"]
    manifest = decode_manifest("20261120_120000_000000", manifest_text.encode())
    assert encode_manifest(manifest) == manifest_text.encode()
    ((name, digest),) = manifest.shards.items()
    entries = decode_shard(name, digest, shard_text.encode())
    assert list(entries) == ["memories/two.json"]
    assert encode_shard(name, entries.items()) == (digest, shard_text.encode())


def test_the_example_of_a_restore_is_what_the_library_reads() -> None:
    backend = MemoryBackend(Medium())
    for folder in ("backups", layout.RESTORE):
        backend.make_folder(folder)
    file = backend.create(layout.RESTORE_PLAN)
    file.write(blocks("json", "restore")["restore"].encode())
    file.close()
    plan = read_plan(backend)
    assert plan is not None
    assert plan.going[:3] == plan.coming
    assert plan.quarantine.startswith(layout.QUARANTINE)
