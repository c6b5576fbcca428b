"""A configuration file's bytes as a document: a safe part of YAML, with text, numbers, truth, lists and mappings.

It does not know which keys there are. It is imported where there is a file to be read, since PyYAML is an extra.
"""

from __future__ import annotations

from typing import Any, Final

import yaml

from synthians_memory.errors import InvalidTypeError, InvalidValueError
from synthians_memory.redaction import redacted_text

__all__ = ["parse"]

_MOST_INTEGER: Final = 2**63
_TAG: Final = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    """SafeLoader without aliases (which may stand for more than there is memory), and strict about keys."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "it has an alias, which is not taken here", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key_node.tag != f"{_TAG}str":
                problem = f"the key {key!r} is no text" if isinstance(key, str) else "a key is no text"
                raise yaml.constructor.ConstructorError(None, None, f"{problem}; put it in quotes", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def construct_text(self, node: Any) -> str:
        value: str = self.construct_scalar(node)
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise yaml.constructor.ConstructorError(None, None, "a text has a lone surrogate", node.start_mark)
        return value

    def construct_integer(self, node: Any) -> int:
        value: int = self.construct_yaml_int(node)
        if abs(value) > _MOST_INTEGER:
            raise yaml.constructor.ConstructorError(None, None, "a number has over 64 bits", node.start_mark)
        return value


# Dates are text here, and what has a type of Python's own is refused.
_Loader.yaml_constructors = {
    **{
        tag: function
        for tag, function in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.removeprefix(_TAG) in ("null", "bool", "float", "seq", "map")
    },
    f"{_TAG}str": _Loader.construct_text,
    f"{_TAG}timestamp": _Loader.construct_text,
    f"{_TAG}int": _Loader.construct_integer,
}


def parse(path: str, data: bytes) -> dict[str, Any]:
    """The document in `data`; empty where there is nothing but comments.

    Args:
        path: of the file, for messages.
        data: UTF-8, also with a byte order mark.

    Raises:
        InvalidValueError: it is no such YAML; the place is named, the text there is not shown.
        InvalidTypeError: it holds something else than sections.
    """
    try:
        document = yaml.load(data.decode("utf-8-sig"), _Loader)  # noqa: S506 - a SafeLoader with less
    except UnicodeDecodeError as error:
        raise InvalidValueError(
            f"{path} is not UTF-8, at byte {error.start}", path=path, hint="Save it as UTF-8."
        ) from error
    except yaml.YAMLError as error:
        # Its own text has the lines around the place, in which a secret may stand.
        raise _refused(path, _problem(error, data)) from None
    except (ValueError, RecursionError) as error:
        raise _refused(path, "a number that is too long, or too many brackets") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidTypeError(
            f"{path} holds no sections", path=path, hint="Write `storage:`, and its keys indented below it."
        )
    return document


def _refused(path: str, problem: str) -> InvalidValueError:
    message = f"{path} cannot be read as YAML: {redacted_text(problem)}"
    return InvalidValueError(message, path=path, hint="Correct it, or move it away.")


def _problem(error: yaml.YAMLError, data: bytes) -> str:
    """What is wrong and where."""
    if isinstance(error, yaml.reader.ReaderError):
        before = data.decode("utf-8-sig")[: error.position]
        return f"a character that cannot stand there, in line {before.count(chr(10)) + 1}"
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or "it is not well-formed"
    return f"{problem}, in line {mark.line + 1}, column {mark.column + 1}" if mark else str(problem)
