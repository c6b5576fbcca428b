"""The hashes that prove contents: SHA-256 of files and of vectors.

It knows no form of either; where a file carries its hash, `codec` knows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from synthians_memory.models import Vector

if TYPE_CHECKING:
    from _hashlib import HASH

__all__ = ["digest_of_pieces", "embedding_hash", "hasher_of"]

# Bytes that hashlib hashes without giving up the interpreter lock, and those for which it had better do so.
_SHORT: Final = 2047
_LONG: Final = 64 * 1024


def hasher_of(data: bytes) -> HASH:
    """SHA-256 fed with `data`.

    hashlib gives up the interpreter lock for every piece that is not short. In a loop over many entities that
    happens every few microseconds, and a thread that waits for the lock, the event loop's, is woken each time
    just too late to get it, and waits on until the loop ends.
    """
    if len(data) > _LONG:
        return hashlib.sha256(data)
    hasher = hashlib.sha256()
    for start in range(0, len(data), _SHORT):
        hasher.update(data[start : start + _SHORT])
    return hasher


def embedding_hash(vector: Vector | None) -> bytes | None:
    """The first 16 bytes of the SHA-256 of the vector's little-endian float32 bytes; None for None."""
    return None if vector is None else hashlib.sha256(vector.tobytes()).digest()[:16]


def digest_of_pieces(pieces: Iterable[bytes]) -> str:
    """SHA-256 of `pieces` one behind the other, as hexadecimal digits."""
    hasher = hashlib.sha256()
    for piece in pieces:
        hasher.update(piece)
    return hasher.hexdigest()
