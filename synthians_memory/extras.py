"""Importing a library that the core does not need, at the moment somebody asks for it.

It does not install anything.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from synthians_memory.errors import MissingExtraError

__all__ = ["import_extra"]


def import_extra(name: str, hint: str) -> ModuleType:
    """The module `name`.

    Args:
        name: of the library, as it is imported.
        hint: how to install it.

    Raises:
        MissingExtraError: it is not installed, or fails to import.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtraError(f"the library {name} cannot be imported: {error}", hint=hint) from error
