"""Files of a state as they should be, ways to damage one, and a look at a directory that sees every change in it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from synthians_memory.layout import ARCHITECTURE_MAP, DECISION_LOG, STATE_FILES, SYSTEM_STATE, TELEMETRY

VALID: dict[str, Any] = {
    SYSTEM_STATE: {
        "manifest_version": "1.0.0",
        "system_name": "notes",
        "org": "Ada & Co",
        "phase": "testing",
        "components_status": {"api": "healthy"},
        "last_action": "scaffold",
        "last_action_at": "2026-11-20T12:00:00Z",
        "health_score": 85,
        "errors": ["one"],
        "warnings": [],
        "added by somebody": {"kept": [1, 2.5, None]},
    },
    DECISION_LOG: [
        {
            "id": "3f0e9a52-25a8-4b3c-9c64-6a8b9ad2c1d7",
            "timestamp": "2026-11-20T12:00:00.000000Z",
            "decision_type": "architecture",
            "description": "Plain files",
            "rationale": "People read them",
            "made_by": "human",
            "related_components": ["api", "storage"],
        }
    ],
    ARCHITECTURE_MAP: {
        "system_name": "notes",
        "components": [
            {
                "name": "api",
                "type": "service",
                "path": "src/api",
                "status": "healthy",
                "dependencies": ["storage"],
                "health": 90,
            }
        ],
        "dependency_graph": {"api": ["storage"]},
        "last_updated": "2026-11-20T12:00:00+01:00",
    },
    TELEMETRY: [
        {
            "event_id": "d9a4f1de-96a5-4b41-8a57-4a5f3a1a2b3c",
            "timestamp": "2026-11-20T12:00:00Z",
            "event_type": "test_pass",
            "component": "api",
            "value": 42.5,
            "unit": "ms",
            "metadata": {"run": "abc"},
        }
    ],
}
MEMBERS = {name: name.removesuffix(".json") for name in STATE_FILES}

# What cannot be read as JSON.
UNREADABLE: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \n\t\r\n",
    "truncated": b'{"phase": "testi',
    "cut behind a comma": b'[{"id": "x"},',
    "binary": bytes(range(256)),
    "zeros": bytes(4096),
    "not UTF-8": b'{"phase": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "nested deeply": b"[" * 100_000 + b"]" * 100_000,
    "nested more than is written": b"[" * 500 + b"]" * 500,
    "nested objects": b'{"a":' * 50_000,
    "digits without end": b'{"health_score": ' + b"9" * 100_000 + b"}",
    "NaN": b'{"health_score": NaN}',
    "infinite": b"[-Infinity]",
    "beyond a double": b'{"value": 1e999}',
    "a key twice": b'{"phase": "testing", "phase": "building"}',
    "two values": b"{} {}",
}


def write_valid(directory: Path) -> None:
    """Put all files there."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, value in VALID.items():
        (directory / name).write_text(json.dumps(value), encoding="utf-8")


def look(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything below `directory` by its name: mode, inode, time of change, content."""
    found = {}
    for path in [directory, *sorted(directory.rglob("*"))] if directory.exists() else []:
        status = os.lstat(path)
        content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        found[str(path.relative_to(directory))] = (status.st_mode, status.st_ino, status.st_mtime_ns, content)
    return found
