"""Directories as the original Synthians code leaves them, written by hand from the description of its layouts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

TIME = "2025-03-15T14:32:01.123456"
EPOCH = 1742049121.5
LONE = "\ud800"


def vector(*numbers: float) -> list[float]:
    return [*numbers, *[0.0] * (4 - len(numbers))]


def memory(memory_id: str, **changes: Any) -> dict[str, Any]:
    """A memory with every key that the later layout writes."""
    return {
        "id": memory_id,
        "content": f"what {memory_id} says",
        "embedding": vector(1.0, 0.5),
        "timestamp": TIME,
        "quickrecal_score": 0.75,
        "quickrecal_updated": "2025-03-16T08:12:35.789012",
        "metadata": {"source": "chat", "emotion": {"joy": 0.25}},
        "access_count": 3,
        "last_access_time": "2025-03-17T10:00:00+01:00",
        "hyperbolic_embedding": [0.125, 0.25],
        **changes,
    }


def assembly(assembly_id: str, members: list[Any], **changes: Any) -> dict[str, Any]:
    """An assembly with every key that the later layout writes."""
    return {
        "id": assembly_id,
        "assembly_id": assembly_id,
        "name": f"Assembly {assembly_id}",
        "description": "things that belong together",
        "memories": members,
        "composite_embedding": vector(0.25, 0.25),
        "hyperbolic_embedding": None,
        "keywords": ["tea"],
        "tags": ["kitchen", "morning"],
        "topics": [],
        "creation_time": TIME,
        "last_access_time": TIME,
        "last_activation": TIME,
        "last_activated": EPOCH,
        "activation_count": 2,
        "activation_level": 0.5,
        "assembly_schema_version": "1.8",
        "vector_index_updated_at": TIME,
        "is_active": True,
        "merged_from": ["asm:old"],
        **changes,
    }


def file_of(entity_id: str) -> str:
    return entity_id.replace(":", "-") + ".json"


def write(root: Path, path: str, content: Any) -> Path:
    """A file of the source; objects as the original code writes them, NaN and lone surrogates included."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else json.dumps(content, indent=2).encode()
    target.write_bytes(data)
    return target


def later_layout(root: Path) -> Path:
    """Layout (a): folders, a flat index, faiss and mapping files, and one memory that the index does not know."""
    memories = [memory("mem:one"), memory("mem:two", embedding=vector(0.0, 1.0)), memory("unindexed")]
    for entry in memories:
        write(root, f"memories/{file_of(entry['id'])}", entry)
    group = assembly("asm:0f", [memories[0], memories[1]])
    write(root, f"assemblies/{file_of('asm:0f')}", group)
    index = {
        entry["id"]: {"path": f"memories/{file_of(entry['id'])}", "type": "memory", "timestamp": TIME}
        for entry in memories[:2]
    }
    index["asm:0f"] = {"path": "assemblies/asm-0f.json", "type": "assembly", "timestamp": TIME}
    write(root, "memory_index.json", index)
    write(root, "faiss_index.bin", b"IxF2 not for us")
    write(root, "faiss_index.bin.mapping.json", {"mem:one": 0})
    return root


def older_layout(root: Path) -> Path:
    """Layout (b): memories flat in the root, epochs as floats, members as ids."""
    index = {}
    for number in range(3):
        memory_id = f"mem_{number}"
        entry = {"id": memory_id, "content": f"older {number}", "embedding": vector(float(number + 1)), "metadata": {}}
        write(root, f"{memory_id}.json", entry)
        index[memory_id] = {
            "path": f"{memory_id}.json",
            "timestamp": EPOCH,
            "quickrecal": 0.5 + number / 8,
            "type": "memory",
        }
    group = {
        "assembly_id": "asm_1",
        "name": "older",
        "memories": ["mem_0", "mem_2", "mem_gone"],
        "composite_embedding": vector(1.0),
        "creation_time": EPOCH,
        "last_access_time": EPOCH + 1,
        "activation_count": 1,
    }
    write(root, "assemblies/asm_1.json", group)
    write(root, "memory_index.json", index)
    return root


def footprint(root: Path) -> dict[str, tuple[Any, ...]]:
    """Every entry below `root`: kind, mode, time, and bytes or target."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[os.fsdecode(path.relative_to(root))] = (status.st_mode, status.st_mtime_ns, status.st_ino, content)
    return found
