"""Options that several commands have, and the reading of what a user writes into them.

It is not what the commands do with them.
"""

from __future__ import annotations

import os
from typing import Annotated, Final

import typer

from synthians_memory.entrypoints.cli.exits import InputMissingError
from synthians_memory.errors import disk_error
from synthians_memory.layout import Kind
from synthians_memory.storage.streams import STANDARD_STREAM

__all__ = [
    "DEFAULT_EMBEDDER",
    "AssembliesOption",
    "AssemblyOption",
    "EmbedderOption",
    "IdArgument",
    "JsonOption",
    "MetadataOption",
    "embedder_name",
    "kind_of",
    "require_input",
]

DEFAULT_EMBEDDER: Final = "default"

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON also on a terminal; elsewhere it is printed anyway.")
]
AssemblyOption = Annotated[bool, typer.Option("--assembly", help="The id is that of an assembly, not of a memory.")]
AssembliesOption = Annotated[bool, typer.Option("--assemblies", help="Assemblies instead of memories.")]
EmbedderOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help='The embedder: "default" (works offline), or a name such as "sentence-transformers:all-MiniLM-L6-v2". '
        "Without it: the one that the store names.",
    ),
]
MetadataOption = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="Metadata; VALUE is JSON, or else text. May be repeated."),
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id; write -- before one that begins with a dash.")]


def kind_of(assembly: bool) -> Kind:
    """What --assembly or --assemblies asks for."""
    return "assembly" if assembly else "memory"


def embedder_name(written: str | None) -> str | None:
    """The name for `open_embedder` that an --embedder option means."""
    return None if written == DEFAULT_EMBEDDER else written


def require_input(path: str) -> int | None:
    """Refuse a file that cannot be read, before anything is done; its size where that is known beforehand.

    Raises:
        InputMissingError: it is not there.
        DiskError: it is there and cannot be looked at.
    """
    if path == STANDARD_STREAM:
        return None
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputMissingError(f"there is no file {path}", path=path, errno=error.errno or 0) from error
    except OSError as error:
        raise disk_error(error, "read", path) from error
    return status.st_size or None
