"""Counting the tokens of a text: an estimate that needs nothing, or a tokenizer's own file.

It does not cut texts, and downloads nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any, Final

from synthians_memory.errors import InvalidTypeError, InvalidValueError, disk_error
from synthians_memory.extras import import_extra

__all__ = ["TokenCounter", "TokenizerFile", "checked_counter", "estimate_tokens", "open_tokenizer"]

# The number of tokens of a text, at least 0; the same for the same text. Called in a thread.
TokenCounter = Callable[[str], int]

_BYTES_PER_TOKEN: Final = 4


def estimate_tokens(text: str) -> int:
    """A quarter of the bytes of `text` in UTF-8, rounded up: near the truth for English, above it for most of the rest."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // _BYTES_PER_TOKEN)


class TokenizerFile:
    """Counts by the tokenizer that a file describes (`tokenizer.json` of a model), exactly; thread-safe.

    Limits and padding that the file sets for a model's input are left aside, and so are the tokens that a model puts
    around an input.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Reads the file, which takes a moment: make it outside the event loop, or with `open_tokenizer`.

        Args:
            path: of the file, as the library tokenizers writes it.

        Raises:
            MissingExtraError: that library is not installed.
            DiskError: the file cannot be read.
            InvalidValueError: it is none of these.
        """
        library = import_extra("tokenizers", 'Install it: pip install "synthians-memory[tiers]".')
        name = os.fspath(path)
        try:
            with open(name, "rb") as file:
                data = file.read()
        except OSError as error:
            raise disk_error(error, "read", name) from error
        self._tokenizer = _tokenizer_of(library, data, name)

    def __call__(self, text: str) -> int:
        """The number of tokens of `text`; a lone surrogate counts as the character that stands for what cannot be read."""
        readable = text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
        return len(self._tokenizer.encode(readable, add_special_tokens=False).ids)


def _tokenizer_of(library: Any, data: bytes, name: str) -> Any:
    try:
        tokenizer = library.Tokenizer.from_buffer(data)
    except Exception as error:
        raise InvalidValueError(
            f"{name} describes no tokenizer: {error}", hint="Give the tokenizer.json of a model."
        ) from error
    # A model's own limit would make every long text look short.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


async def open_tokenizer(path: str | os.PathLike[str]) -> TokenizerFile:
    """As `TokenizerFile(path)`, without blocking the event loop."""
    return await asyncio.to_thread(TokenizerFile, path)


def checked_counter(count: TokenCounter) -> TokenCounter:
    """`count`, where a number that no budget can be kept with is refused.

    Raises:
        InvalidTypeError: `count` cannot be called; later, it gave something else than an integer.
        InvalidValueError: later, it gave a negative one.
    """
    if not callable(count):
        raise InvalidTypeError("count_tokens must be a function from a text to its number of tokens")

    def counted(text: str) -> int:
        tokens = count(text)
        if isinstance(tokens, bool) or not isinstance(tokens, int):
            raise InvalidTypeError(f"count_tokens gave {type(tokens).__name__}, not an integer")
        if tokens < 0:
            raise InvalidValueError(f"count_tokens gave {tokens} tokens", hint="Give at least 0.")
        return tokens

    return counted
