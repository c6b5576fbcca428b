"""The ledger's two tables, `state.json` and `artifacts.json`: read strictly, written whole, damage never written over.

It knows what frames them, not what is in their rows.
"""

from __future__ import annotations

import json

from synthians_memory.engine.documents import write_whole
from synthians_memory.errors import DamagedError, InvalidValueError, UnsupportedFormatError
from synthians_memory.json_values import JsonObject, parse_strict
from synthians_memory.storage.backend import Backend

__all__ = ["TABLE_VERSION", "damaged_table", "parse_table", "read_table", "write_table"]

TABLE_VERSION = 0


def read_table(backend: Backend, path: str, rows: str, empty: JsonObject) -> JsonObject:
    """The document at `path`; `empty` where no file is.

    Args:
        backend: where.
        path: the file.
        rows: the member that holds its rows, of the same type as in `empty`.
        empty: what a new one holds.

    Raises:
        DamagedError: it is no such document; it stays as it is.
        UnsupportedFormatError: it has another version.
        DiskError: it cannot be read.
    """
    data = backend.read(path)
    return empty if data is None else parse_table(data, path, rows, empty)


def parse_table(data: bytes, path: str, rows: str, empty: JsonObject) -> JsonObject:
    """The document in `data`; arguments and errors as `read_table`."""
    try:
        found = parse_strict(data, path)
    except InvalidValueError as error:
        raise damaged_table(path, error.message) from error
    if not isinstance(found, dict) or not isinstance(found.get(rows), type(empty[rows])):
        raise damaged_table(path, f"{path} has no member {rows!r} as it should")
    if found.get("version") != TABLE_VERSION:
        raise UnsupportedFormatError(f"{path} has the version {found.get('version')!r}, not {TABLE_VERSION}", path=path)
    return found


def write_table(backend: Backend, path: str, document: JsonObject) -> None:
    """Replace the document at `path`, durably and in one step. Raises DiskError."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2)
    write_whole(backend, path, [text.encode("utf-8"), b"\n"])


def damaged_table(path: str, what: str) -> DamagedError:
    """The error for a table that is not what it should be."""
    return DamagedError(
        what, path=path, hint="It was not changed. Mend it, or put it back from a copy; the log has what led to it."
    )
