"""Opening the ledger in a directory.

It locks nothing: a ledger does that for each write, so that many processes may have it open.
"""

from __future__ import annotations

import os

from synthians_memory.ledger.ledger import Ledger
from synthians_memory.storage.local import LocalBackend

__all__ = ["open_ledger"]


def open_ledger(directory: str | os.PathLike[str]) -> Ledger:
    """The ledger in `directory`, which is made where it is missing; to be closed.

    Raises:
        DiskError: it cannot be made or opened.
    """
    return Ledger(LocalBackend(directory, create=True))
